"""`picam query`, `calibrate`, `settings` and `batches`, and pictures in other formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netpbmfile
import numpy as np
import pytest
import tifffile
from astropy.io import fits

from indi_picam.client.failure import Exit
from tests.system.conftest import DEVICE

from .conftest import Picam

SMALL = "mode=1332x990:10"


def query(picam: Picam, *words: str) -> dict[str, Any]:
    status, printed, said = picam.run("query", "--json", *words)
    assert status == 0, said
    facts: dict[str, Any] = json.loads(printed)
    return facts


def test_what_a_camera_can_do(picam: Picam) -> None:
    facts = query(picam, "-e", "2", "30")
    assert (facts["device"], facts["model"], facts["adc_bits"]) == (DEVICE, "imx477", 12)
    assert (facts["width"], facts["height"], facts["pixel_um"]) == (4056, 3040, 1.55)
    assert facts["mode"] == "4056x3040 12 bit" and len(facts["modes"]) == 4
    assert facts["exposure_s"]["min"] < 0.001 and facts["exposure_s"]["max"] > 600
    assert facts["gain"]["min"] == 1.0 and 22 < facts["gain"]["max"] < 23
    estimate = facts["estimate"]
    assert (estimate["count"], estimate["exposure_s"], estimate["possible"]) == (30, 2.0, True)
    assert estimate["frame_bytes"] % 2880 == 0
    assert 0 <= estimate["frame_bytes"] - 4056 * 3040 * 2 < 40 * 2880
    assert 60 < estimate["taken_s"] < 66 and estimate["delivered_s"] >= estimate["taken_s"]
    assert query(picam, "-e", "2", "60")["estimate"]["taken_s"] == pytest.approx(
        estimate["taken_s"] + 60, rel=0.02
    )
    assert not query(picam, "-e", "3000")["estimate"]["possible"]


def test_what_another_makers_camera_can_do(reference: Picam) -> None:
    status, printed, said = reference.run("query")
    assert status == 0, said
    assert "1280 x 1024 pixels of 5.2" in printed
    assert query(reference)["estimate"] is None
    status, _printed, said = reference.run("calibrate")
    assert (status, "cannot be calibrated" in said) == (Exit.CAMERA, True)


def test_calibrating_makes_estimates_measured(picam: Picam) -> None:
    assert picam.run("settings", "set", SMALL)[0] == 0
    status, printed, said = picam.run("calibrate")
    assert status == 0, said
    assert "imx477 1332x990_10" in printed and "Delivery to clients" in printed
    facts = query(picam, "-e", "0.2", "10")
    assert facts["estimate"]["measured"] is True
    assert facts["calibration"]["delivery"] > 0 and facts["calibration"]["disk"] > 0
    assert 2 < facts["estimate"]["taken_s"] < 3


@pytest.mark.parametrize(
    "table",
    [
        [
            ("gain=4", "iso", "400"),
            ("mode=1332x990:10", "mode", "1332x990 10 bit"),
            ("binning=2", "binning", "2:2"),
            ("roi=10:20:640:480", "CCD_FRAME.WIDTH", "640"),
            ("type=dark", "CCD_FRAME_TYPE.FRAME_DARK", "on"),
            ("values=adc", "values", "As the ADC gave them"),
            ("mirror=horizontal+vertical", "mirror", "Left to right+Top to bottom"),
            ("compression=on", "compression", "Enabled"),
            ("whitebalance=daylight", "whitebalance", "Daylight"),
            ("storage=disk", "BATCH_STORAGE.DISK", "on"),
            ("UPLOAD_SETTINGS.UPLOAD_PREFIX=M31 x", "UPLOAD_SETTINGS.UPLOAD_PREFIX", "M31 x"),
        ],
        [
            ("ISO=200", "gain", "2"),
            ("mode=2028x1520_12", "CCD_INFO.CCD_MAX_X", "2028"),
            ("binning=1x2", "CCD_BINNING.VER_BIN", "2"),
            ("CCD_FRAME_TYPE.FRAME_FLAT=on", "type", "Flat"),
            ("mirror.vertical=on", "mirror", "Top to bottom"),
            ("compression=off", "compression", "Disabled"),
            ("colourgains=1.5:2", "colourgains", "1.5:2"),
            ("rate=12.5", "BATCH_RATE.RATE", "12.5"),
        ],
    ],
)
def test_settings_are_taken(picam: Picam, table: list[tuple[str, str, str]]) -> None:
    status, _printed, said = picam.run("settings", "set", *(line[0] for line in table))
    assert status == 0, said
    status, printed, said = picam.run("settings", "get", *(line[1] for line in table))
    assert printed.splitlines() == [f"{name}={holds}" for _assignment, name, holds in table]
    assert status == 0, said


def test_settings_that_cannot_be(picam: Picam) -> None:
    for assignments, status, sentence in (
        (["gain=99"], Exit.CAMERA, "refused CCD_GAIN GAIN=99: CCD_GAIN: GAIN 99 is refused"),
        (["gain=4", "directory=/etc/frames"], Exit.CAMERA, "refused BATCH_DIRECTORY"),
        (["gain=abc"], Exit.USAGE, "CCD_GAIN=abc is refused: it takes 1 to 22.26"),
        (["gain"], Exit.USAGE, "not NAME=VALUE"),
        (["gian=1"], Exit.USAGE, "no setting 'gian'. Short names are gain, iso, mode"),
        (["mode=9"], Exit.USAGE, "it takes 4056x3040 12 bit, 2028x1520 12 bit"),
        (["roi=1:2:3"], Exit.USAGE, "X 0 to 4055"),
        (["temperature=-10"], Exit.USAGE, "can only be read"),
        (["CCD_GAIN.ISO=3"], Exit.USAGE, "no element 'ISO': GAIN"),
        (["CCD_FRAME_TYPE.FRAME_DARK=off"], Exit.USAGE, "choose another one"),
    ):
        ended, _printed, said = picam.run("settings", "set", *assignments)
        assert (ended, sentence in said) == (status, True), said
    assert picam.run("settings", "get", "gain")[1] == "gain=4\n", "what was right stays"


def test_all_settings_are_listed(picam: Picam) -> None:
    status, printed, _said = picam.run("settings", "list", "--all")
    assert status == 0
    for words in ("whitebalance", "CCD_INFO.CCD_MAX_X", "(read only)", "1 to 22.2"):
        assert words in printed


def test_batches_are_listed_fetched_and_discarded(picam: Picam, tmp_path: Path) -> None:
    assert "keeps no batch" in picam.run("batches", "list")[1]
    process = picam.start("--delivery", "after", "-c", f"shutter=0.2,{SMALL}", "5")
    assert process.stderr is not None
    for line in process.stderr:
        if "will" in line:
            break
    process.kill()
    process.communicate()
    kept: list[dict[str, Any]] = []
    while not kept or kept[0]["delivered"] < 5:
        kept = json.loads(picam.run("batches", "list", "--json")[1])
    batch = kept[0]["id"]
    assert (kept[0]["taken"], kept[0]["acknowledged"], kept[0]["where"]) == (5, 0, "memory")
    again = ["batches", "redeliver", batch, "-d", str(picam.directory), "-v"]
    status, printed, said = picam.run(*again[:3], "2-3", *again[3:])
    assert (status, len(printed.splitlines())) == (0, 2), said
    status, printed, said = picam.run(*again)
    assert (status, len(printed.splitlines())) == (0, 3), said
    numbers = [fits.getheader(picam.directory / name)["BATCHNUM"] for name in picam.names()]
    assert sorted(numbers) == [1, 2, 3, 4, 5]
    status, _printed, said = picam.run("batches", "redeliver", "nothing", *again[3:])
    assert (status, "no batch nothing" in said) == (Exit.CAMERA, True), said
    status, _printed, said = picam.run("batches", "discard", batch)
    assert (status, "without --yes" in said) == (Exit.USAGE, True)
    assert picam.run("batches", "discard", batch, "--yes")[0] == 0
    assert json.loads(picam.run("batches", "list", "--json")[1]) == []
    status, _printed, said = picam.run("batches", "discard", batch, "--yes")
    assert (status, "keeps no batch" in said) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    ("format", "suffix", "compression"), [("tiff", ".tiff", "on"), ("ppm", ".pgm", "off")]
)
def test_frames_as_other_kinds_of_files(
    picam: Picam, format: str, suffix: str, compression: str
) -> None:
    assert picam.run("settings", "set", f"compression={compression}")[0] == 0
    done = picam("-o", format, "-c", f"shutter=0.1,{SMALL}", "2")
    assert (done.status, [file.suffix for file in done.files]) == (0, [suffix] * 2), done.said
    read = tifffile.imread if format == "tiff" else netpbmfile.imread
    for file in done.files:
        picture = read(file)
        assert (picture.shape, picture.dtype.itemsize) == ((990, 1332), 2)
        assert np.std(picture) > 10 and np.max(picture) > 5000
    assert not np.array_equal(read(done.files[0]), read(done.files[1]))
    done = picam("-o", format, "--resume")
    assert "no batch that is not complete" in done.said


def test_what_is_wrong_with_a_command_line(picam: Picam) -> None:
    for words, sentence in (
        (["-o", "jpeg", "-c", "shutter=1", "1"], "invalid choice: 'jpeg'"),
        (["--batch", "--single", "-c", "shutter=1", "1"], "not allowed with argument"),
        (["--resume", "-c", "shutter=1"], "leave -c and N out"),
        (["-c", "shutter=1"], "required: N"),
        (["--storage", "tape", "-c", "shutter=1", "1"], "invalid choice: 'tape'"),
        (["--rate", "-1", "-c", "shutter=1", "1"], "is not a number, 0 or more"),
        (["--patience", "nan", "-c", "shutter=1", "1"], "is not a number, 0 or more"),
        (["--resume", "000009-20200101T000000-abcd"], "no batch 000009-20200101T000000-abcd"),
    ):
        done = picam(*words)
        assert done.status in (Exit.USAGE, Exit.CAMERA) and sentence in done.said, done.said
    assert picam.names() == []
