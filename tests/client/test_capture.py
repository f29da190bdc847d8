"""`picam capture`: frames as asked for, from our driver and from INDI's own simulator."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from astropy.io import fits

from tests.system.client import values
from tests.system.conftest import DEVICE, connect

from .conftest import Picam

NAME = r"astroimage(\d{5})_(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)\.fits"
SMALL = "mode=1332x990:10"


def header(file: Path) -> fits.Header:
    """The header of a file that passes astropy's verification."""
    with fits.open(file, checksum=True) as frames:
        frames.verify("exception")
        return frames[0].header


def test_the_first_command_line_of_old(picam: Picam) -> None:
    before = datetime.now(UTC)
    done = picam("-c", "shutter=1,ISO=100,exposure=verylong,metering=matrix,awb=off", "5")
    assert done.status == 0, done.said
    assert done.said.count("exposure, metering and awb do nothing here") == 1
    assert [int(re.fullmatch(NAME, file.name)[1]) for file in done.files] == [1, 2, 3, 4, 5]  # type: ignore[index]
    assert picam.names() == sorted(file.name for file in done.files)
    ended = before
    for file in done.files:
        facts = header(file)
        begun = datetime.fromisoformat(facts["DATE-OBS"]).replace(tzinfo=UTC)
        assert file.name.endswith(f"_{begun:%Y-%m-%d_%H-%M-%S}.fits")
        assert begun >= ended, "exposures must not overlap"
        ended = begun + timedelta(seconds=facts["EXPTRUE"])
        assert facts["EXPTIME"] == 1.0
        assert (facts["NAXIS1"], facts["NAXIS2"]) == (4056, 3040)
        assert facts["GAIN"] == pytest.approx(1.0, rel=0.01)
        assert stat.S_IMODE(file.stat().st_mode) & 0o444
    assert ended <= datetime.now(UTC)


def test_the_second_command_line_of_old(picam: Picam) -> None:
    line = "shutter=10,ISO=800,exposure=off,awb=off,analoggain=10,mode=2"
    done = picam("-c", line, "1")
    assert done.status == 0, done.said
    assert "analoggain=10 wins over ISO=800." in done.said
    facts = header(done.files[0])
    assert facts["EXPTIME"] == 10.0
    assert facts["GAIN"] == pytest.approx(10.0, rel=0.01)
    assert facts["SENSMODE"] == "2028x1520_12"
    assert (facts["NAXIS1"], facts["NAXIS2"]) == (2028, 1520)


def test_mode_rectangle_iso_name_and_numbers(picam: Picam) -> None:
    first = picam("-c", f"shutter=0.05,{SMALL},roi=0.25:0.25:0.5:0.5,ISO=400", "2")
    second = picam("-n", "moon", "-c", "shutter=0.05,roi=101:11:63:47", "1")
    third = picam("-c", "shutter=0.05", "1")
    assert (first.status, second.status, third.status) == (0, 0, 0), third.said
    assert [int(file.name[10:15]) for file in first.files + third.files] == [1, 2, 3]
    assert second.files[0].name.startswith("moon00001_")
    facts = header(first.files[1])
    assert (facts["NAXIS1"], facts["NAXIS2"]) == (666, 496)
    assert (facts["XORGSUBF"], facts["YORGSUBF"]) == (332, 246)
    assert facts["GAIN"] == pytest.approx(4.0, rel=0.01)
    facts = header(second.files[0])
    assert (facts["NAXIS1"], facts["NAXIS2"]) == (63, 47)
    assert (facts["XORGSUBF"], facts["YORGSUBF"]) == (101, 11)
    facts = header(third.files[0])
    assert (facts["NAXIS1"], facts["NAXIS2"]) == (1332, 990), "no roi means the whole frame"
    assert facts["GAIN"] == pytest.approx(4.0, rel=0.01), "what is not named stays as it was"


def test_the_upload_mode_is_given_back(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    client.new("Switch", DEVICE, "UPLOAD_MODE", {"UPLOAD_LOCAL": "On"})
    client.set_of("UPLOAD_MODE", "Ok", since=0)
    position = len(client.log)
    done = picam("-c", f"shutter=0.05,{SMALL}", "1")
    assert done.status == 0, done.said
    client.read_for(0.2)
    sets = [m for m in client.log[position:] if m.tag == "setSwitchVector"]
    modes = [values(m) for m in sets if m.get("name") == "UPLOAD_MODE"]
    assert [mode["UPLOAD_CLIENT"] for mode in modes] == ["On", "Off"]
    assert modes[-1]["UPLOAD_LOCAL"] == "On"


def test_another_makers_camera_gives_what_it_has(reference: Picam) -> None:
    options = "shutter=0.2,ISO=800,exposure=off,analoggain=10,mode=2,roi=100:50:640:480"
    done = reference("--device", "CCD Simulator", "-c", options, "2")
    assert done.status == 0, done.said
    assert "CCD Simulator has no sensor modes to choose from: mode is left out." in done.said
    for file in done.files:
        facts = header(file)
        assert (facts["NAXIS1"], facts["NAXIS2"], facts["EXPTIME"]) == (640, 480, 0.2)
        assert facts["GAIN"] == 10
    iso = reference("-c", "shutter=0.1,ISO=200", "1")
    assert iso.status == 0
    assert "does not have an ISO setting: ISO=200 is left out" in iso.said


def test_another_type_or_format_than_usual_is_told_before_the_first_frame(picam: Picam) -> None:
    def told(*settings: str) -> list[str]:
        assert picam.run("settings", "set", *settings)[0] == 0
        done = picam("-c", f"shutter=5,{SMALL},awb=off,exposure=off", "1")
        assert done.status == 0, done.said
        start = f"{DEVICE}: "
        return [line.removeprefix(start) for line in done.said.splitlines() if start in line]

    raw = "awb and exposure do nothing here: raw frames come as the sensor gave them."
    assert told("type=bias")[:3] == [
        "Taking bias frames, as CCD_FRAME_TYPE says: the shortest exposure, whatever shutter says.",
        raw,
        "1 x the shortest exposure, mode 1332x990:10, 1332 x 990 pixels, gain 1",
    ]
    dark, rgb, idle, settings = told("type=dark", "format=rgb")[:4]
    assert dark == "Taking dark frames, as CCD_FRAME_TYPE says."
    assert rgb == (
        "Taking pictures of the camera's processor (RGB, 8 bits), as CCD_CAPTURE_FORMAT says. "
        "For raw frames: picam settings set format=raw"
    )
    assert idle.startswith("awb and exposure do nothing here: ") and "raw" not in idle
    assert settings.startswith("1 x 5 s, mode 1332x990:10,")
    assert told("type=light", "format=raw")[0] == raw


def test_the_settings_are_told_before_the_first_frame(picam: Picam) -> None:
    done = picam("-c", f"shutter=0.05,{SMALL},ISO=200", "1")
    line = f"{DEVICE}: 1 x 0.05 s, mode 1332x990:10, 1332 x 990 pixels, gain 2"
    assert line in done.said.splitlines()
