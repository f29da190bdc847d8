"""The reference, INDI's own CCD simulator, and our driver are asked the same and answer the same.
The newest one, which Debian does not have yet, is there with its definitions only.

``conformance_differences.toml`` lists where they do not, each with its reason. What is not listed
fails here, and so does what is listed and no longer so.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from tests.clients.dialogue import (
    TOLD,
    Dialogue,
    Step,
    differences_of_answers,
    differences_of_definitions,
)
from tests.system.conftest import DEVICE
from tests.system.server import SIMULATOR, serving

DIFFERENCES = Path(__file__).parent / "conformance_differences.toml"
NEWEST = Path(__file__).parent / "definitions_of_indi_2.2.5.xml"

VERSION = "INDI Library: 1.9.9"
EXPOSURE = "CCD_EXPOSURE"
DONE = "set CCD_EXPOSURE Ok"


def switch(name: str, property: str, element: str | int, until: str = "", times: int = 1) -> Step:
    return Step(name, "Switch", property, {element: "On"}, until, times)


def number(name: str, property: str, until: str = "", **values: object) -> Step:
    return Step(name, "Number", property, dict(values.items()), until)


def text(name: str, property: str, *values: str) -> Step:
    return Step(name, "Text", property, dict(enumerate(values)))


def expose(name: str, seconds: object, until: str = DONE) -> Step:
    return Step(name, "Number", EXPOSURE, {"CCD_EXPOSURE_VALUE": seconds}, until)


def frame(name: str, *values: int) -> Step:
    return Step(
        name, "Number", "CCD_FRAME", dict(zip(("X", "Y", "WIDTH", "HEIGHT"), values, strict=False))
    )


STEPS = (
    switch("connect", "CONNECTION", "CONNECT", "def CCD_FAST_COUNT"),
    switch("connect again", "CONNECTION", "CONNECT"),
    Step("ask for one property", "Properties", "CCD_BINNING", {}),
    Step("ask for a property that is not there", "Properties", "NO_SUCH", {}),
    # exposures
    expose("exposure", 0.5),
    expose("exposure below the limit", -1, "set CCD_EXPOSURE Alert"),
    expose("exposure above the limit", 1e9, "set CCD_EXPOSURE Alert"),
    expose("exposure after a refusal", 0.5),
    expose("long exposure", 20, "set CCD_EXPOSURE Busy"),
    expose("new exposure while busy", 0.5),
    expose("a third long exposure", 20, "set CCD_EXPOSURE Busy"),
    expose("exposure above the limit while busy", 1e9, "set CCD_EXPOSURE"),
    expose("exposure below the limit while busy", -1, "set CCD_EXPOSURE"),
    expose("new exposure after such a refusal", 0.5),
    switch("abort when idle", "CCD_ABORT_EXPOSURE", "ABORT", "set CCD_EXPOSURE Idle"),
    expose("another long exposure", 20, "set CCD_EXPOSURE Busy"),
    switch("abort", "CCD_ABORT_EXPOSURE", "ABORT", "set CCD_EXPOSURE Idle"),
    expose("exposure after an abort", 0.5),
    # types
    switch("dark", "CCD_FRAME_TYPE", "FRAME_DARK"),
    switch("flat", "CCD_FRAME_TYPE", "FRAME_FLAT"),
    switch("bias", "CCD_FRAME_TYPE", "FRAME_BIAS"),
    expose("bias exposure of any length", 0),
    switch("light", "CCD_FRAME_TYPE", "FRAME_LIGHT"),
    Step("no type at all", "Switch", "CCD_FRAME_TYPE", {"FRAME_LIGHT": "Off"}),
    # geometry
    number("binning 2", "CCD_BINNING", HOR_BIN=2, VER_BIN=2),
    frame("frame", 100, 200, 300, 400),
    frame("the same frame again", 100, 200, 300, 400),
    expose("exposure of a binned frame", 0.5),
    frame("part of a frame", 10, 20),
    frame("frame without width", 0, 0, 0, 100),
    frame("frame beyond the left edge", -1, 0, 100, 100),
    frame("frame beyond the right edge", 0, 0, 100000, 100),
    frame("frame within the edges", 100, 200, 300, 400),
    number("no binning", "CCD_BINNING", HOR_BIN=0, VER_BIN=0),
    number("binning above the limit", "CCD_BINNING", HOR_BIN=99, VER_BIN=99),
    number("binning 1", "CCD_BINNING", HOR_BIN=1, VER_BIN=1),
    switch("frame reset", "CCD_FRAME_RESET", "RESET"),
    # formats
    switch("capture format", "CCD_CAPTURE_FORMAT", 0),
    Step("no capture format", "Switch", "CCD_CAPTURE_FORMAT", {0: "Off"}),
    switch("transfer format", "CCD_TRANSFER_FORMAT", "FORMAT_FITS"),
    switch("compression on", "CCD_COMPRESSION", "INDI_ENABLED"),
    expose("compressed exposure", 0.5),
    switch("compression off", "CCD_COMPRESSION", "INDI_DISABLED"),
    # upload
    text("upload settings", "UPLOAD_SETTINGS", "HOME/pictures", "light_XXX"),
    switch("upload local", "UPLOAD_MODE", "UPLOAD_LOCAL"),
    expose("local exposure", 0.5),
    switch("upload both", "UPLOAD_MODE", "UPLOAD_BOTH"),
    expose("exposure to both", 0.5),
    switch("upload client", "UPLOAD_MODE", "UPLOAD_CLIENT"),
    # fast exposure, of frames so small that none is still being sent when the next is counted down
    frame("small frame", 0, 0, 64, 64),
    switch("fast exposure on", "CCD_FAST_TOGGLE", "INDI_ENABLED"),
    number("fast count", "CCD_FAST_COUNT", FRAMES=3),
    Step("fast exposures", "Number", EXPOSURE, {"CCD_EXPOSURE_VALUE": 0.5}, "set CCD1 Ok", times=3),
    number("fast count again", "CCD_FAST_COUNT", FRAMES=100),
    expose("fast exposures that will be aborted", 1, "set CCD_EXPOSURE Busy"),
    switch("abort of a batch", "CCD_ABORT_EXPOSURE", "ABORT", "set CCD_EXPOSURE Idle"),
    number("fast count of two", "CCD_FAST_COUNT", FRAMES=2),
    switch("upload local while fast", "UPLOAD_MODE", "UPLOAD_LOCAL"),
    Step(
        "fast exposures to the disk",
        "Number",
        EXPOSURE,
        {"CCD_EXPOSURE_VALUE": 0.5},
        "set CCD_FILE_PATH Ok",
        times=2,
    ),
    switch("upload both while fast", "UPLOAD_MODE", "UPLOAD_BOTH"),
    number("fast count of two again", "CCD_FAST_COUNT", FRAMES=2),
    Step(
        "fast exposures to both",
        "Number",
        EXPOSURE,
        {"CCD_EXPOSURE_VALUE": 0.5},
        "set CCD1 Ok",
        times=2,
    ),
    switch("upload client again", "UPLOAD_MODE", "UPLOAD_CLIENT"),
    number("fast count of many", "CCD_FAST_COUNT", FRAMES=100),
    expose("fast exposures that will be switched off", 20, "set CCD_EXPOSURE Busy"),
    switch("fast exposure off while it runs", "CCD_FAST_TOGGLE", "INDI_DISABLED"),
    expose("exposure after a fast one", 0.5),
    expose("long exposure that is not fast", 20, "set CCD_EXPOSURE Busy"),
    switch("fast exposure off once more", "CCD_FAST_TOGGLE", "INDI_DISABLED"),
    expose("exposure after the end of a long one", 0.5),
    switch("large frame", "CCD_FRAME_RESET", "RESET"),
    # the rest of the camera
    text("active devices", "ACTIVE_DEVICES", "Some Mount"),
    number("scope", "SCOPE_INFO", FOCAL_LENGTH=500, APERTURE=80),
    switch("coordinates on", "WCS_CONTROL", "WCS_ENABLE"),
    number("rotation", "CCD_ROTATION", CCD_ROTATION_VALUE=45),
    switch("coordinates off", "WCS_CONTROL", "WCS_DISABLE"),
    text("header", "FITS_HEADER", "OBJECT", "M 31"),
    text("colour filter", "CCD_CFA", "0", "1", "GRBG"),
    number("gain", "CCD_GAIN", GAIN=2),
    # what every driver has
    switch("settings saved", "CONFIG_PROCESS", "CONFIG_SAVE"),
    switch("settings loaded", "CONFIG_PROCESS", "CONFIG_LOAD", "set CONFIG_PROCESS"),
    number("another gain", "CCD_GAIN", GAIN=7),
    switch("default settings", "CONFIG_PROCESS", "CONFIG_DEFAULT", "set CONFIG_PROCESS"),
    switch("settings purged", "CONFIG_PROCESS", "CONFIG_PURGE"),
    switch("settings loaded that are not there", "CONFIG_PROCESS", "CONFIG_LOAD"),
    switch("debug on", "DEBUG", "ENABLE"),
    switch("debug off", "DEBUG", "DISABLE"),
    switch("simulation on", "SIMULATION", "ENABLE"),
    switch("simulation off", "SIMULATION", "DISABLE"),
    # bad requests
    number("value of a read-only property", "CCD_INFO", CCD_MAX_X=10),
    number("value of a property that is not there", "NO_SUCH", VALUE=1),
    number("value of an element that is not there", "CCD_BINNING", NO_SUCH=1),
    expose("exposure that is no number", "soon", ""),
    switch("kind of the wrong property", "CCD_GAIN", "GAIN"),
    # the end
    expose("exposure when the camera goes", 20, "set CCD_EXPOSURE Busy"),
    switch("disconnect", "CONNECTION", "DISCONNECT", "del CCD_FAST_COUNT"),
    switch("disconnect again", "CONNECTION", "DISCONNECT"),
    switch("connect once more", "CONNECTION", "CONNECT", "def CCD_FAST_COUNT"),
)


AS_LARGE_AS_OURS = (
    switch("colours", "SIMULATE_BAYER", "INDI_ENABLED"),  # first: the next saves what is default
    Step(
        "the sensor of an imx477",
        "Number",
        "SIMULATOR_SETTINGS",
        {"SIM_XRES": 4056, "SIM_YRES": 3040, "SIM_XSIZE": 1.55, "SIM_YSIZE": 1.55},
    ),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """All that a driver said."""

    answers: Mapping[str, Sequence[str]]
    definitions: Mapping[str, Element]


def record(
    directory: Path,
    driver: str,
    device: str,
    preparation: Sequence[Step] = (),
    steps: Sequence[Step] = STEPS,
) -> Recording:
    """Puts the requests to a driver whose home is a new directory."""
    directory.mkdir()
    with serving(directory, driver, {"HOME": str(directory)}) as server:
        dialogue = Dialogue(server.tcp(), device, directory)
        answers = {"first definitions": dialogue.begin()}
        for step in preparation:
            dialogue.ask(step)
        answers |= {step.name: dialogue.ask(step) for step in steps}
        return Recording(answers, dialogue.definitions)


def installed_version() -> str:
    """Of INDI, as its server tells it."""
    return subprocess.run(["indiserver", "-h"], capture_output=True, text=True).stderr


def shared(definitions: Mapping[str, Element]) -> dict[str, Element]:
    """Those of our driver whose names are not its own."""
    own = tuple(listed()["own_prefixes"])
    return {name: each for name, each in definitions.items() if not name.startswith(own)}


def listed() -> dict[str, Any]:
    """All that the file of the differences says."""
    return tomllib.loads(DIFFERENCES.read_text())


def assert_only_those_listed(differences: Iterable[str], *keys: str) -> None:
    """These are the differences that the file lists under these keys, no more and no fewer."""
    entries = listed()["differences"]
    assert all(entry["reason"] for entry in entries)
    lines = Counter(line for entry in entries for key in keys for line in entry.get(key, ()))
    found = Counter(differences)
    unlisted, gone = found - lines, lines - found
    told = ["not listed:", *unlisted.elements(), "listed, but no longer so:", *gone.elements()]
    assert not unlisted and not gone, "\n".join(told)


@pytest.mark.timeout(180)
@pytest.mark.skipif(VERSION not in installed_version(), reason=f"the differences are of {VERSION}")
def test_our_driver_speaks_as_the_reference_does(tmp_path: Path) -> None:
    reference = record(
        tmp_path / "reference", "/usr/bin/indi_simulator_ccd", "CCD Simulator", AS_LARGE_AS_OURS
    )
    ours = record(tmp_path / "ours", SIMULATOR, DEVICE)
    definitions = shared(ours.definitions)
    found = list(differences_of_definitions(reference.definitions, definitions))
    for step, answers in reference.answers.items():
        # What only one of them has is one difference, not one more in every step.
        theirs, mine = (
            [
                word
                for word in said
                if word.startswith(TOLD)
                or word.split()[1] in reference.definitions.keys() & definitions
            ]
            for said in (answers, ours.answers[step])
        )
        found += differences_of_answers(step, theirs, mine)
    assert_only_those_listed(found, "lines", "lines_of_both")


def test_our_driver_defines_what_the_newest_reference_does(tmp_path: Path) -> None:
    """Where versions differ the newest is the measure."""
    newest = {each.get("name", ""): each for each in ElementTree.parse(NEWEST).getroot()}
    ours = record(tmp_path / "ours", SIMULATOR, DEVICE, steps=STEPS[:1])
    assert_only_those_listed(
        differences_of_definitions(newest, shared(ours.definitions)),
        "lines_of_2_2_5",
        "lines_of_both",
    )
