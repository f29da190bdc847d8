"""What was measured of a sensor: kept, refused when it cannot hold, and turned into estimates."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indi_picam.camera.modes import CaptureFormat, FrameRequest, ModeFacts, SensorMode, Way
from indi_picam.capture import calibration
from indi_picam.capture.calibrating import LONGER_US, exposures_us, start_and_lost
from indi_picam.capture.calibration import (
    BatchOutlook,
    Calibration,
    CalibrationFault,
    Subject,
    believed,
    estimate,
)

MODE = SensorMode(1920, 1080, 12)
SUBJECT = Subject("imx290", MODE.name, CaptureFormat.RAW)
VERSIONS = {"indi_picam": "0.1.0", "picamera2": "0.3.38", "kernel": "6.12"}
KNOWN = Calibration(
    start_us=40_000,
    lost_frames=1,
    primer_us=120_000,
    free_running_us=20_000,
    frame_us=16_000,
    gap_us=100,
    readout_us=16_000,
    finishing_us=4_000,
    frame_bytes=4_000_000,
    compressed_bytes=1_000_000,
    compressing_us=500_000,
    disk_bytes_s=10e6,
    disk="/store",
    delivery_bytes_s=8e6,
)


def facts(exposure_min_us: int = 30, exposure_max_us: int = 10**8) -> ModeFacts:
    return ModeFacts(
        MODE, "SRGGB12", "RGGB", (2.9, 2.9), exposure_min_us, exposure_max_us, 14.8, 1, 30,
        16_666, 10**9, 2,
    )  # fmt: skip


def request(exposure_us: int, **others: Any) -> FrameRequest:
    return FrameRequest(MODE, exposure_us, 1.0, MODE.full_frame, **others)


# -- kept ------------------------------------------------------------------------------------------


def test_what_was_measured_is_found_again_by_the_next_run(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "calibration"
    assert calibration.load(directory, SUBJECT, VERSIONS) is None
    calibration.save(directory, SUBJECT, VERSIONS, KNOWN)
    assert calibration.load(directory, SUBJECT, VERSIONS) == KNOWN
    for other in (
        dataclasses.replace(SUBJECT, mode="1280x720_12"),
        dataclasses.replace(SUBJECT, format=CaptureFormat.RGB),
        dataclasses.replace(SUBJECT, model="imx477"),
    ):
        assert calibration.load(directory, other, VERSIONS) is None
    assert [path.name for path in directory.iterdir()] == ["imx290_1920x1080_12_raw.json"]


def test_a_name_from_libcamera_never_leaves_the_directory(tmp_path: Path) -> None:
    subject = dataclasses.replace(SUBJECT, model="../imx 290/x")
    calibration.save(tmp_path, subject, VERSIONS, KNOWN)
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path]


@pytest.mark.parametrize("name", list(VERSIONS))
def test_a_calibration_of_other_versions_is_not_used(tmp_path: Path, name: str) -> None:
    calibration.save(tmp_path, SUBJECT, VERSIONS | {name: "old"}, KNOWN)
    with pytest.raises(CalibrationFault, match=f"holds for {name} old: .* anew"):
        calibration.load(tmp_path, SUBJECT, VERSIONS)


Damage = Callable[[dict[str, Any]], object]


def of_measured(name: str, value: object) -> Damage:
    return lambda content: content["measured"].update({name: value})


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("versions"),
        lambda content: content.pop("measured"),
        lambda content: content.pop("form"),
        lambda content: content["measured"].pop("frame_us"),
        of_measured("unheard_of", 1),
        of_measured("start_us", "40000"),
        of_measured("start_us", -1),
        of_measured("start_us", float("nan")),
        of_measured("start_us", None),
        of_measured("frame_us", 0),
        of_measured("frame_bytes", 0),
        of_measured("lost_frames", True),
        of_measured("disk", 5),
    ],
)
def test_a_damaged_calibration_is_not_used(tmp_path: Path, damage: Damage) -> None:
    calibration.save(tmp_path, SUBJECT, VERSIONS, KNOWN)
    path = tmp_path / SUBJECT.file_name
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationFault, match=r"damaged: .* anew"):
        calibration.load(tmp_path, SUBJECT, VERSIONS)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"form": 1}'])
def test_a_file_that_is_none_of_ours_is_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SUBJECT.file_name).write_bytes(content)
    with pytest.raises(CalibrationFault, match=r"damaged: .* anew"):
        calibration.load(tmp_path, SUBJECT, VERSIONS)


def test_a_failed_save_is_told_and_leaves_what_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration.save(tmp_path, SUBJECT, VERSIONS, KNOWN)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CalibrationFault, match=r"cannot be kept .*No space left"):
        calibration.save(tmp_path, SUBJECT, VERSIONS, dataclasses.replace(KNOWN, start_us=1))
    assert calibration.load(tmp_path, SUBJECT, VERSIONS) == KNOWN
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(("state", "begin"), [("/var/s", "/var/s"), ("s", "~"), ("", "~")])
def test_state_is_kept_where_the_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, state: str, begin: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state)
    home = str(Path.home() / ".local/state") if begin == "~" else begin
    assert str(calibration.state_directory()) == f"{home}/indi_picam/calibration"


# -- the way of a frame ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exposure_us", "way"),
    [
        (1_000, Way.FREE_RUNNING),  # 20 ms against 40 + 16
        (70_000, Way.FREE_RUNNING),  # 74.1 against 110.1 and 120
        (200_000, Way.PRIMER),
    ],
)
def test_a_frame_is_taken_the_way_that_was_measured_to_be_cheapest(
    exposure_us: int, way: Way
) -> None:
    assert KNOWN.way(request(exposure_us)) is way
    costs = KNOWN.costs_us(exposure_us)
    assert costs[way] == min(costs.values())


def test_restart_is_taken_where_no_frame_is_lost() -> None:
    known = dataclasses.replace(KNOWN, lost_frames=0, primer_us=None)
    assert known.way(request(200_000)) is Way.RESTART
    assert known.way(request(1_000)) is Way.FREE_RUNNING
    slow = dataclasses.replace(known, free_running_us=60_000)  # by its late answers
    assert slow.way(request(1_000)) is Way.RESTART


def test_the_worker_decides_where_a_lens_may_have_to_move() -> None:
    assert KNOWN.way(request(200_000, controls=(("LensPosition", (1.0,)),))) is None


# -- what is measured ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1, 2, 5])
@pytest.mark.parametrize("jitter_us", [0, 20_000])
def test_lost_frames_are_found_by_what_a_longer_exposure_costs(lost: int, jitter_us: int) -> None:
    short = [(30_000 + lost * 16_000 + jitter, 16_000) for jitter in (0, jitter_us, 0)]
    longer = 16_000 + LONGER_US
    long = [(30_000 + lost * longer + jitter, longer) for jitter in (jitter_us, 0, 0)]
    start_us, found = start_and_lost(short, long)
    assert (found, start_us) == (lost, 30_000)


@pytest.mark.parametrize(
    ("limits", "exposures"),
    [
        ((30, 10**8), (16_666, 116_666)),
        ((20_000, 10**8), (20_000, 120_000)),
        ((30, 50_000), (16_666, 50_000)),
        ((30, 10_000), (10_000, 10_000)),
    ],
)
def test_it_is_measured_within_the_limits_of_the_mode(
    limits: tuple[int, int], exposures: tuple[int, int]
) -> None:
    assert exposures_us(facts(*limits)) == exposures
    assert start_and_lost([(5.0, 9)], [(6.0, 9)]) == (5.0, 0)  # both exposures the same


# -- batches ---------------------------------------------------------------------------------------


def outlook(**others: Any) -> BatchOutlook:
    return BatchOutlook(**{"count": 5, "exposure_us": 200_000, "frame_bytes": 4_000_000} | others)


FIRST_S = 0.12 + 0.2 + 0.016 + 0.004
"""Primer, exposure, readout, file."""
RUN_S = FIRST_S + 4 * 0.2001


@pytest.mark.parametrize(
    ("batch", "taken_s", "delivered_s"),
    [
        # Each frame takes 0.5 s to deliver: 5 of them from the first on, or after the last.
        ({}, RUN_S, FIRST_S + 5 * 0.5),
        ({"live": False}, RUN_S, RUN_S + 5 * 0.5),
        # 0.4 s to write, before it is taken.
        ({"disk": "/store"}, FIRST_S + 5 * 0.4, FIRST_S + 0.4 + 5 * 0.5),
        # Another disk than the measured one: as if at once.
        ({"disk": "/other"}, RUN_S, FIRST_S + 5 * 0.5),
        # Half the pixels: half of everything.
        ({"frame_bytes": 2_000_000}, RUN_S, FIRST_S + 5 * 0.25),
        # Compressing 0.5 s, a quarter of the bytes.
        ({"compressed": True}, RUN_S, FIRST_S + 5 * 0.5 + 0.125),
        ({"compressed": True, "live": False}, RUN_S, RUN_S + 5 * 0.5 + 0.125),
        ({"saved": True}, RUN_S, FIRST_S + 0.4 + 5 * 0.5),
        # Held back by a rate: what is more than may be ahead.
        ({"rate_bytes_s": 4e6}, RUN_S, FIRST_S + 5 * 1.0),
        ({"rate_bytes_s": 4e6, "live": False}, RUN_S, RUN_S + 5 * 1.0),
        ({"rate_bytes_s": 4e6, "ahead_bytes": 4_000_000}, RUN_S, FIRST_S + 4 * 1.0),
        ({"rate_bytes_s": 80e6}, RUN_S, FIRST_S + 5 * 0.5),
        ({"count": 1}, FIRST_S, FIRST_S + 0.5),
        # Shorter exposures than a frame, by restart: start, lost frame, exposure, readout, file.
        ({"exposure_us": 1_000}, 0.077 + 4 * 0.016, 0.077 + 5 * 0.5),
    ],
)
def test_a_batch_takes_as_long_as_its_slowest_part(
    batch: dict[str, Any], taken_s: float, delivered_s: float
) -> None:
    expected = estimate(KNOWN, outlook(**batch))
    assert expected.taken_s == pytest.approx(taken_s)
    assert expected.delivered_s == pytest.approx(delivered_s)


def test_what_was_not_measured_costs_nothing() -> None:
    known = dataclasses.replace(
        KNOWN, disk="", disk_bytes_s=None, delivery_bytes_s=None, compressed_bytes=None
    )
    expected = estimate(known, outlook(disk="/store", compressed=True))
    assert expected.taken_s == expected.delivered_s == pytest.approx(RUN_S)


def test_the_table_stands_in_until_something_is_measured() -> None:
    known = believed("imx290", facts(), 4_000_000)
    assert (known.start_us, known.lost_frames) == (40_000, 1)
    assert known.run_start_us(1_000_000) == 40_000 + 5 * 16_666  # by primer
    assert known.run_start_us(20_000) == 40_000 + 20_000
    assert believed("imx477", facts(), 1).lost_frames == 0
