"""Sequences in Ekos, as KStars' users run them; every picture is held to what the sensor saw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from indi_picam.camera.modes import CaptureFormat
from tests.clients.conftest import Observatory
from tests.clients.sequence import UPLOAD_BOTH, UPLOAD_CLIENT, UPLOAD_LOCAL, Job, write
from tests.clients.truth import check_image, check_raw
from tests.system.client import picture
from tests.system.conftest import DEVICE, connect

FULL = (0, 0, 1920, 1080)
"""Of an imx290, at which Ekos' own default of nothing at all would become a single pixel."""


FORMATS = {"Raw": CaptureFormat.RAW, "Mono": CaptureFormat.MONO, "RGB": CaptureFormat.RGB}
"""By their labels, which is how Ekos stores them."""


def gain(value: float) -> dict[str, dict[str, float]]:
    return {"CCD_GAIN": {"GAIN": value}}


def begin(observatory: Observatory, jobs: Sequence[Job], tmp_path: Path) -> float:
    """Starts a sequence of these jobs; returns when, in seconds since 1970."""
    file = tmp_path / "jobs.esq"
    write(file, jobs, observatory.pictures, observatory.on_camera)
    began = time.time()
    observatory.kstars.begin(file)
    return began


def check(file: Path, job: Job, observatory: Observatory) -> str:
    """Holds a picture to the truth and to the job that it was taken for; when it began."""
    capture_format = FORMATS[job.format]
    if capture_format is CaptureFormat.RAW:
        header = check_raw(file, observatory.bench)
    else:
        header = check_image(file, observatory.bench, capture_format)
    x, y, width, height = job.frame or FULL
    size = (header["NAXIS1"], header["NAXIS2"])
    assert size == (width // job.binning, height // job.binning)
    assert (header["XORGSUBF"], header["YORGSUBF"]) == (x, y)
    assert header["XBINNING"] == header["YBINNING"] == job.binning
    assert header["FRAME"] == job.type
    if job.type == "Bias":
        assert header["EXPTIME"] < 0.001
    else:
        assert header["EXPTIME"] == job.exposure_s
    if job.numbers:
        asked = job.numbers["CCD_GAIN"]["GAIN"]
        assert header["GAINASKD"] == asked
        assert header["GAIN"] == pytest.approx(asked, rel=0.036)  # in steps of 0.3 dB
    return str(header["DATE-OBS"])


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param(
            (
                Job("short", 0.1, 3, FULL, numbers=gain(1)),
                Job("high gain", 0.1, 2, FULL, numbers=gain(4)),
                Job("low gain", 0.1, 2, FULL, numbers=gain(1)),
                Job("long", 1, 1, FULL, numbers=gain(1)),
            ),
            id="exposures and gains",
        ),
        pytest.param(
            (
                Job("part", 0.1, 2, (101, 203, 301, 205)),
                Job("binned", 0.1, 2, FULL, binning=2),
                Job("binned part", 0.1, 1, (11, 13, 101, 99), binning=2),
                Job("whole", 0.1, 1, FULL),
            ),
            id="frames and binning",
        ),
        pytest.param(
            tuple(
                Job(f"{turn} {label}", 1, 1, FULL, format=label, numbers=gain(10))
                for turn in ("first", "second")
                for label in FORMATS
            ),
            id="capture formats",
        ),
        pytest.param(
            tuple(Job(kind, 0.1, 1, FULL, type=kind) for kind in ("Light", "Dark", "Bias")),
            id="types",
        ),
        pytest.param(
            (
                Job("to Ekos", 0.1, 1, FULL, upload=UPLOAD_CLIENT),
                Job("to the camera", 0.1, 2, FULL, upload=UPLOAD_LOCAL),
                Job("to both", 0.1, 2, FULL, upload=UPLOAD_BOTH),
                Job("to Ekos again", 0.1, 1, FULL, upload=UPLOAD_CLIENT),
            ),
            id="upload modes",
        ),
    ],
)
def test_a_sequence_gives_the_pictures_it_asks_for(
    observatory: Observatory, tmp_path: Path, jobs: Sequence[Job]
) -> None:
    began = begin(observatory, jobs, tmp_path)
    assert observatory.kstars.end() == "Complete"
    starts: list[str] = []
    for job in jobs:
        saved = {}
        for directory, used in (
            (observatory.pictures, job.upload != UPLOAD_LOCAL),
            (observatory.on_camera, job.upload != UPLOAD_CLIENT),
        ):
            files = sorted((directory / job.name).rglob("*.fits"))
            assert len(files) == (job.count if used else 0), f"{job.name} in {directory}"
            saved[directory] = {check(file, job, observatory) for file in files}
        of_job = set.union(*saved.values())
        assert all(dates in (set(), of_job) for dates in saved.values())
        assert len(of_job) == job.count, f"{job.name}: some files are the same frame"
        starts += of_job
    assert len(set(starts)) == len(starts), "a frame was given twice"
    assert all(datetime.fromisoformat(f"{start}Z").timestamp() > began for start in starts)


def test_a_long_exposure_is_aborted_and_the_next_sequence_runs(
    observatory: Observatory, tmp_path: Path
) -> None:
    program = observatory.kstars
    aborted, next_job = Job("aborted", 20, 1, FULL), Job("after an abort", 0.1, 2, FULL)
    watcher = observatory.server.tcp()
    connect(watcher)
    begin(observatory, [aborted], tmp_path)
    program.service.wait(lambda: 0 < program.exposure_left(DEVICE) <= 15, "its middle")
    assert program.exposure_state(DEVICE) == "Busy"
    position = len(watcher.log)
    program.capture("abort")
    assert observatory.kstars.end() == "Aborted"
    program.service.wait(lambda: program.exposure_state(DEVICE) == "Idle", "the abort", 2)
    watcher.read_for(1)
    assert [m for m in watcher.log[position:] if m.get("name") == "CCD1"] == []
    program.capture("clearSequenceQueue")
    begin(observatory, [next_job], tmp_path)
    assert observatory.kstars.end() == "Complete"
    assert list((observatory.pictures / aborted.name).rglob("*.fits")) == []
    files = sorted((observatory.pictures / next_job.name).rglob("*.fits"))
    assert len(files) == next_job.count
    for file in files:
        check(file, next_job, observatory)


def test_previews_are_looped_until_they_are_stopped(observatory: Observatory) -> None:
    """Ekos orders the next one as soon as it has the last: what another client sees of it."""
    program = observatory.kstars
    watcher = observatory.server.tcp()
    connect(watcher)
    position = len(watcher.log)
    program.press("Start framing (looping)")
    seen: list[Element] = []
    while len(seen) < 5:
        seen.append(
            watcher.wait(lambda m: m.get("name") == "CCD1" and m not in seen, since=position)
        )
    program.capture("abort")
    watcher.set_of("CCD_EXPOSURE", "Idle", since=position)
    stopped = len(watcher.log)
    watcher.read_for(1)
    assert [m for m in watcher.log[stopped:] if m.get("name") == "CCD1"] == []
    starts = {check_raw(BytesIO(picture(m)), observatory.bench)["DATE-OBS"] for m in seen}
    assert len(starts) == len(seen)
