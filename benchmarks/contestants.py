"""Who is measured: our driver, what users would pick instead, and the floor below all."""

from __future__ import annotations

import sys
from dataclasses import replace

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


def ours(sensors: str = "imx477") -> Contestant:
    """Our driver on simulated sensors (INDI_PICAM_SIMULATOR)."""
    return replace(OURS, environment={"INDI_PICAM_SIMULATOR": sensors})


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
