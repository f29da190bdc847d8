"""Which frames a free-running sensor has, and which request gets which."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from indi_picam.simulator.ipa import Ipa
from indi_picam.simulator.models import SENSORS
from indi_picam.simulator.stream import Asked, Frame, Stream

S = 1_000_000_000
MODES = {name: max(sensor.modes, key=lambda mode: mode.width) for name, sensor in SENSORS.items()}


def manual(exposure_us: int, gain: float = 1.0) -> dict[str, Any]:
    return {
        "ExposureTimeMode": 1,
        "AnalogueGainMode": 1,
        "ExposureTime": exposure_us,
        "AnalogueGain": gain,
        "FrameDurationLimits": [100, 1_000_000_000],
        "AwbEnable": False,
    }


def stream_of(name: str, exposure_us: int = 1000, **frames: Any) -> Stream:
    ipa = Ipa(SENSORS[name])
    ipa.apply(manual(exposure_us))
    return Stream(SENSORS[name], MODES[name], ipa, 0, **frames)


def ask(stream: Stream, number: int, at_ns: int, **controls: Any) -> None:
    stream.queue(Asked(number, 0, at_ns, controls, []))


def requests_of(frames: list[Frame]) -> list[int | None]:
    return [frame.asked.number if frame.asked else None for frame in frames]


def test_frames_follow_each_other_whether_or_not_anybody_takes_them() -> None:
    alone, asked = stream_of("imx477"), stream_of("imx477")
    for number in range(5):
        ask(asked, number, number)
    idle = list(alone.advance(2 * S))
    busy = list(asked.advance(2 * S))
    assert [frame.readout_start_ns for frame in idle] == [frame.readout_start_ns for frame in busy]
    assert len(idle) == 20
    assert {b.readout_start_ns - a.readout_start_ns for a, b in pairwise(idle)} == {100_012_500}
    assert requests_of(busy) == [0, 1, 2, 3, 4, *[None] * 15]
    assert requests_of(idle) == [None] * 20


def test_first_exposure_begins_with_the_start_and_is_read_out_after_it() -> None:
    stream = stream_of("imx477", exposure_us=5_000_000)
    ask(stream, 1, 0)
    assert list(stream.advance(5 * S)) == []
    (frame,) = stream.advance(6 * S)
    assert frame.exposure_start_ns == 0
    assert frame.readout_start_ns == pytest.approx(5 * S, abs=30_000)
    assert frame.end_ns - frame.readout_start_ns == pytest.approx(3040 * 28_575, rel=1e-6)


def test_a_request_after_the_frame_start_waits_for_the_next() -> None:
    stream = stream_of("imx477")
    first_ns = stream.next.readout_start_ns if stream.next else 0
    ask(stream, 1, first_ns)
    ask(stream, 2, first_ns + 100_012_499)
    frames = list(stream.advance(S // 2))
    assert requests_of(frames)[:4] == [None, 1, 2, None]


def test_a_request_is_judged_by_when_it_was_queued_not_by_when_it_was_heard_of() -> None:
    stream = stream_of("imx477")
    ask(stream, 1, 0)
    late = list(stream.advance(S))
    assert requests_of(late)[0] == 1


@pytest.mark.parametrize(
    ("sensor", "delay"),
    [("imx477", 4), ("imx708", 4), ("imx219", 3), ("imx290", 3), ("ov5647", 3), ("imx296", 3)],
)
def test_controls_are_in_force_some_frames_after_their_request(sensor: str, delay: int) -> None:
    stream = stream_of(sensor)
    for number in range(12):
        ask(stream, number, 0, **(manual(2000) if number == 3 else {}))
    frames = [frame for frame in stream.advance(20 * S) if frame.asked]
    changed = next(frame.index for frame in frames if frame.settings.exposure_ns > 1_500_000)
    assert changed == 3 + delay
    assert {frame.settings.exposure_ns > 1_500_000 for frame in frames[changed:]} == {True}


def test_bad_and_startup_frames_come_first() -> None:
    stream = stream_of("ov5647", bad=2, startup=4)
    for number in range(6):
        ask(stream, number, 0)
    statuses = [frame.status for frame in stream.advance(S)]
    assert statuses[:6] == ["error", "error", "startup", "startup", "success", "success"]


def test_an_older_libcamera_keeps_bad_frames_to_itself() -> None:
    stream = stream_of("imx290", bad=1, drops_bad=True)
    ask(stream, 0, 0)
    ask(stream, 1, 0)
    frames = list(stream.advance(S // 10))
    assert requests_of(frames)[:3] == [None, 0, 1]
    assert [frame.status for frame in frames][:2] == ["error", "success"]


def test_time_out_is_five_frame_lengths_but_at_least_a_second() -> None:
    for exposure_us, limit_ns in ((1000, S), (2_000_000, 10 * S)):
        stream = stream_of("imx477", exposure_us)
        assert stream.deadline_ns is None
        ask(stream, 1, 3 * S)
        stream.stall()
        assert stream.deadline_ns == pytest.approx(3 * S + limit_ns, rel=1e-3)


def test_a_stalled_sensor_keeps_requests_waiting() -> None:
    stream = stream_of("imx477")
    for number in range(3):
        ask(stream, number, 0)
    list(stream.advance(10_000_000))
    assert [frame.asked.number for frame in stream.reading if frame.asked] == [0]
    stream.stall()
    assert [asked.number for asked in stream.waiting] == [0, 1, 2]
    assert list(stream.advance(100 * S)) == []


def test_exposure_and_gain_are_manual_only_when_their_modes_say_so() -> None:
    sensor, mode = SENSORS["imx477"], MODES["imx477"]
    ipa = Ipa(sensor)
    ipa.apply({"ExposureTime": 5000, "AnalogueGain": 2.0})
    assert ipa.registers(mode).gain == pytest.approx(8.0)
    assert ipa.startup_frames() == 6
    ipa.apply(manual(5000, 2.0))
    assert ipa.registers(mode).gain == pytest.approx(2.0)
    assert ipa.registers(mode).exposure_ns == pytest.approx(5_000_000, abs=28_575)
    assert ipa.startup_frames() == 0
    ipa.apply({"AwbEnable": True})
    assert ipa.startup_frames() == 3
    ipa.apply({"AeEnable": True})
    assert ipa.registers(mode).gain == pytest.approx(8.0)


def test_zero_frame_durations_mean_the_defaults() -> None:
    sensor, mode = SENSORS["imx477"], MODES["imx477"]
    ipa = Ipa(sensor)
    ipa.apply(manual(400_000_000))
    assert ipa.registers(mode).exposure_ns == pytest.approx(400e9, rel=1e-4)
    ipa.apply({"FrameDurationLimits": [0, 0]})
    assert ipa.registers(mode).exposure_ns == pytest.approx(250e9, rel=1e-4)
