"""Beliefs about sensors, the ways that follow from them, and the acceptance of frames."""

from __future__ import annotations

import dataclasses

import pytest

from indi_picam.camera import ways
from indi_picam.camera.modes import Metadata, ModeFacts, SensorMode, Settings, Way
from indi_picam.camera.sensors import GENERIC, exposure_limits_us, line_us, sensor_named


def facts_of(
    width: int, height: int, exposure_us: tuple[int, int], frame_min_us: int, line: float
) -> ModeFacts:
    return ModeFacts(
        mode=SensorMode(width, height, 12),
        raw_format="SRGGB12",
        bayer_pattern="RGGB",
        pixel_size_um=(1.0, 1.0),
        exposure_min_us=exposure_us[0],
        exposure_max_us=exposure_us[1],
        exposure_step_us=line,
        gain_min=1.0,
        gain_max=20.0,
        frame_duration_min_us=frame_min_us,
        frame_duration_max_us=exposure_us[1],
        buffers=2,
    )


IMX477 = facts_of(4056, 3040, (114, 694_422_939), 100_000, 28.6)
IMX477_SMALL = facts_of(1332, 990, (31, 667_244_877), 8_330, 8.0)
IMX290 = facts_of(1920, 1080, (14, 115_686_000), 16_667, 14.8)
OV5647 = facts_of(2592, 1944, (130, 969_249), 64_100, 32.5)


@pytest.mark.parametrize(
    ("model", "facts", "exposure_us", "way"),
    [
        ("imx477", IMX477, 1_000, Way.RESTART),
        ("imx477", IMX477, 600_000_000, Way.RESTART),
        ("imx290", IMX290, 50_000, Way.RESTART),
        ("imx290", IMX290, 1_000_000, Way.PRIMER),
        ("imx462", IMX290, 60_000_000, Way.PRIMER),
        ("ov5647", OV5647, 130, Way.RESTART),
        ("ov5647", OV5647, 900_000, Way.PRIMER),
        ("imx283_mono", IMX290, 2_000_000, Way.PRIMER),
        ("unheard-of", IMX477, 2_000_000, Way.RESTART),
    ],
)
def test_the_cheaper_start_is_chosen(
    model: str, facts: ModeFacts, exposure_us: int, way: Way
) -> None:
    assert ways.start_way(sensor_named(model), facts, exposure_us) is way


@pytest.mark.parametrize(
    ("model", "exposure_us", "silence_s"),
    [
        ("imx477", 600_000_000, 3),
        ("imx500", 1_000, 30),
        ("ov64a40", 1_000_000, 4),
        ("ov64a40", 900_000_000, 903),
    ],
)
def test_a_start_may_take_an_exposure_only_where_the_kernel_sleeps_through_it(
    model: str, exposure_us: int, silence_s: float
) -> None:
    assert sensor_named(model).start_silence_s(exposure_us) == silence_s


@pytest.mark.parametrize(
    ("model", "facts", "exposure_us", "runs_on"),
    [
        ("imx477", IMX477, 1_000, False),
        ("imx477", IMX477, 1_000_000, False),
        ("imx477", IMX477_SMALL, 5_000, True),
        ("imx290", IMX290, 100_000, True),
        ("imx290", IMX290, 1_000_000, False),
    ],
)
def test_a_sensor_runs_on_only_where_that_is_sooner_than_any_start(
    model: str, facts: ModeFacts, exposure_us: int, runs_on: bool
) -> None:
    assert ways.stays_running(sensor_named(model), facts, exposure_us) is runs_on


ASKED = Settings(exposure_us=100_000, gain=4.0)
GOT = Metadata(
    exposure_us=99_972,
    gain=3.9961,
    digital_gain=1.001,
    frame_duration_us=100_600,
    sensor_timestamp_ns=2_000_000_000,
    temperature_c=None,
    black_level=4096.0,
)
REQUESTED_NS = GOT.exposure_began_ns - 1


@pytest.mark.parametrize(
    ("changes", "requested_ns", "reason"),
    [
        ({}, REQUESTED_NS, None),
        ({}, REQUESTED_NS + 1, None),
        ({}, REQUESTED_NS + 2, "begun before"),
        ({"exposure_us": 100_000}, 0, None),
        ({"exposure_us": 99_940}, 0, "exposed for 99940 us"),
        ({"exposure_us": 114}, 0, "exposed for 114 us"),
        ({"gain": 3.98}, 0, "at gain 3.98"),
        ({"gain": 1.0}, 0, "at gain 1,"),
        ({"gain": 4.0157}, 0, None),
    ],
)
def test_frames_are_judged_by_their_metadata(
    changes: dict[str, float], requested_ns: int, reason: str | None
) -> None:
    got = dataclasses.replace(GOT, **changes)  # type: ignore[arg-type]
    refused = ways.refusal(ASKED, requested_ns, got, sensor_named("imx477"), IMX477)
    assert (refused is None) if reason is None else (refused and reason in refused)


def test_long_exposures_have_the_coarser_step_of_the_shifted_frame_length() -> None:
    asked, got = Settings(400_000_000, 1.0), dataclasses.replace(GOT, gain=1.0)
    for late_us, accepted in ((0, True), (7_000, True), (50_000, False)):
        frame = dataclasses.replace(got, exposure_us=asked.exposure_us - late_us)
        late = ways.refusal(asked, -(10**15), frame, sensor_named("imx477"), IMX477)
        assert (late is None) is accepted


@pytest.mark.parametrize(
    ("after_ms", "wait_ms"), [(0, 0.0), (1, 99.6), (100.6, 0.0), (150, 51.2), (1006.5, 100.1)]
)
def test_wait_for_the_next_exposure_of_a_running_sensor(after_ms: float, wait_ms: float) -> None:
    now_ns = GOT.exposure_began_ns + int(after_ms * 1e6)
    assert ways.wait_us(GOT, now_ns) == pytest.approx(1000 * wait_ms, abs=1)


@pytest.mark.parametrize(
    ("model", "gain", "tolerance"),
    [
        ("imx477", 10.0, 100 / 1024),
        ("imx219", 8.0, 64 / 256),
        ("imx290", 10.0, 0.351),
        ("imx296", 10.0, 0.1158),
        ("ov5647", 40.0, 0.0625),
        ("imx283", 16.0, 256 / 2048),
        ("never_seen", 10.0, 0.39),
    ],
)
def test_gain_tolerance_is_one_code_of_the_sensor(
    model: str, gain: float, tolerance: float
) -> None:
    assert sensor_named(model).gain_tolerance(gain) == pytest.approx(tolerance, rel=0.07)


@pytest.mark.parametrize(
    ("model", "reported", "frame_max_us", "limits"),
    [
        ("imx477", (114, 694_422_939, 20_000), 694_434_742, (114, 694_422_939)),
        ("imx296", (29, 0, 20_000), 15_534_385, (29, 15_534_000)),
        ("imx290", (14, None, None), 115_700_000, (14, 115_700_000)),
        ("ov5647", (130, 2_147_483_647, 20_000), 1_065_021, (130, 1_065_021)),
        ("ov5647", (130, 2_147_483_647, 20_000), 0, (130, 3_100_000)),
        ("never_seen", (0, 5_000, 0), 0, (1, 5_000)),
        ("never_seen", (), 0, (1, 2**31 - 1)),
    ],
)
def test_bogus_exposure_limits_are_repaired(
    model: str, reported: tuple[object, ...], frame_max_us: int, limits: tuple[int, int]
) -> None:
    assert exposure_limits_us(sensor_named(model), reported, frame_max_us) == limits


@pytest.mark.parametrize(
    ("facts", "line"), [(IMX477, 28.6), (IMX290, 14.8), (OV5647, 32.5), (IMX477_SMALL, 8.0)]
)
def test_line_length_is_bounded_from_above_and_closely(facts: ModeFacts, line: float) -> None:
    bound = line_us(facts.mode, facts.exposure_min_us, facts.frame_duration_min_us)
    assert line <= bound <= 1.16 * line


def test_unknown_sensors_take_the_generic_entry() -> None:
    assert sensor_named("imx585_mono") is GENERIC
    assert sensor_named("") is GENERIC
    assert sensor_named("imx708_wide_noir").has_temperature
