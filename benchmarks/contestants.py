"""Who is measured: our driver, what users would pick instead, and the floor below all."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import ready_frame
from benchmarks.stage import BIN, HEIGHT, WIDTH, Contestant
from benchmarks.wire import Client

SMALL_MODE = "1332x990_10"


def connect(client: Client) -> None:
    """Asks for the definitions and connects our driver; its first mode is the largest."""
    client.send("<getProperties version='1.7'/>")
    client.definition("CONNECTION")
    client.new("Switch", "CONNECTION", CONNECT="On")
    client.definition("PICAM_FRAME")


def _simulator_at_size(client: Client) -> None:
    """INDI's simulator with frames as large as ours and a timer as quick as it goes."""
    client.send("<getProperties version='1.7'/>")
    client.definition("SIMULATOR_SETTINGS")
    client.new("Number", "SIMULATOR_SETTINGS", SIM_XRES=WIDTH, SIM_YRES=HEIGHT)
    client.set_of("SIMULATOR_SETTINGS")
    client.new("Number", "POLLING_PERIOD", PERIOD_MS=10)
    client.set_of("POLLING_PERIOD")
    client.new("Switch", "CONNECTION", CONNECT="On")
    client.definition("CCD_EXPOSURE")
    client.drain(0.5)


def _nothing(client: Client) -> None:
    client.send("<getProperties version='1.7'/>")
    client.definition("CCD1")


def _pylibcamera_connected(client: Client) -> None:
    client.send("<getProperties version='1.7'/>\n")
    client.definition("CONNECTION")
    client.new("Switch", "CONNECTION", CONNECT="On")
    client.definition("CCD_GAIN")
    client.drain(1.0)


def on_sensors(contestant: Contestant, sensors: str) -> Contestant:
    """A contestant on other simulated sensors (INDI_PICAM_SIMULATOR)."""
    surroundings = {**contestant.environment, "INDI_PICAM_SIMULATOR": sensors}
    return replace(contestant, environment=surroundings)


OURS = Contestant(
    "indi_picam",
    str(BIN / "indi_picam_simulator"),
    "Pi Camera Simulator",
    connect,
    {"INDI_PICAM_SIMULATOR": "imx477"},
    simulated=True,
)
REFERENCE = Contestant(
    "indi_simulator_ccd", "/usr/bin/indi_simulator_ccd", "CCD Simulator", _simulator_at_size
)
FLOOR = Contestant(
    "a ready frame", f"{sys.executable} -m benchmarks.ready_frame", ready_frame.DEVICE, _nothing
)

_ROOT = Path(__file__).parents[1]
_PYLIBCAMERA = _ROOT / ".venv-matrix/indi_pylibcamera/bin/indi_pylibcamera"
PEER = Contestant(
    "indi-pylibcamera",
    str(_PYLIBCAMERA),
    "pylibcamera Main",
    _pylibcamera_connected,
    {
        "INDI_PICAM_SIMULATOR": "imx477",
        "PYTHONPATH": os.pathsep.join((str(_ROOT / "indi_picam/simulator"), str(_ROOT))),
    },
    simulated=True,
    counts_to_completion=True,
)
"""As it comes from PyPI, in an environment of its own, on our simulated sensor."""


def peer_is_there() -> bool:
    """Whether ``make bench`` could install it."""
    return _PYLIBCAMERA.exists()


def everyone() -> tuple[Contestant, ...]:
    """The drivers that users can pick, as far as they are installed; ours comes last."""
    return (REFERENCE, *((PEER,) if peer_is_there() else ()), OURS)
