"""An observatory: INDI's simulated devices beside our camera, and what its sensor says it did."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from astropy import units
from astropy.io import fits
from astropy.io.fits import Header
from astropy.time import Time

from indi_picam.simulator import frame_log
from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, connect
from tests.system.test_exposures import choose_small_mode

OTHERS = {
    "Telescope Simulator": "indi_simulator_telescope",
    "Focuser Simulator": "indi_simulator_focus",
    "Rotator Simulator": "indi_simulator_rotator",
    "Filter Simulator": "indi_simulator_wheel",
    "SQM Simulator": "indi_simulator_sqm",
}
MOUNT = "Telescope Simulator"
LATITUDE, LONGITUDE = 52.5, -13.4
LINE_US = 40
"""More than a line of any mode: exposures are whole ones."""
LOG, FAULTS = "frames.jsonl", "faults.ini"


def logging_in(directory: Path, **more: str) -> dict[str, str]:
    """The environment of a simulator that tells in a directory what it did, and is told faults."""
    settings = directory / "simulator.ini"
    settings.write_text(f"[simulator]\nlog_file = {LOG}\nfault_file = {FAULTS}\n")
    return {"HOME": str(directory), "INDI_PICAM_SIMULATOR_CONFIG": str(settings), **more}


def connect_all(client: Client) -> None:
    """Connects everything; the camera follows the others, the mount knows its site and tracks."""
    connect(client)
    choose_small_mode(client)
    names = {"ACTIVE_FILTER": "Filter Simulator", "ACTIVE_SKYQUALITY": "SQM Simulator"}
    ask(client, "Text", DEVICE, "ACTIVE_DEVICES", **names)
    for device in OTHERS:
        client.definition("CONNECTION", device)
        ask(client, "Switch", device, "CONNECTION", CONNECT="On")
    client.definition("GEOGRAPHIC_COORD", MOUNT)
    ask(client, "Number", MOUNT, "GEOGRAPHIC_COORD", LAT=LATITUDE, LONG=360 + LONGITUDE, ELEV=100)
    ask(client, "Switch", MOUNT, "ON_COORD_SET", SYNC="On")
    ask(client, "Switch", MOUNT, "TELESCOPE_TRACK_STATE", "Busy", TRACK_ON="On")


def ask(
    client: Client, kind: str, device: str, name: str, state: str = "Ok", /, **asked: object
) -> None:
    """Asks a device for something and waits until it is so."""
    position = len(client.log)
    client.new(kind, device, name, asked)
    client.wait(
        lambda m: (
            m.tag.startswith("set")
            and (m.get("device"), m.get("name"), m.get("state")) == (device, name, state)
        ),
        since=position,
    )


def point(client: Client, ra_hours: float, dec_deg: float) -> None:
    """Tells the mount where it points, of date, and waits until it says so."""
    position = len(client.log)
    client.new("Number", MOUNT, "EQUATORIAL_EOD_COORD", {"RA": ra_hours, "DEC": dec_deg})
    client.wait(
        lambda m: (
            (m.tag, m.get("name")) == ("setNumberVector", "EQUATORIAL_EOD_COORD")
            and abs(float(values(m)["DEC"]) - dec_deg) < 0.001
            and abs(float(values(m)["RA"]) - ra_hours) < 0.001
        ),
        since=position,
    )


def header_of(client: Client, position: int) -> Header:
    """The header of the picture that came after a position of the log."""
    content = picture(client.set_of("CCD1", "Ok", since=position))
    client.set_of("CCD_EXPOSURE", "Ok", since=position)
    with fits.open(io.BytesIO(content), checksum=True) as hdus:
        hdus.verify("exception")
        return hdus[0].header


def overhead() -> tuple[float, float]:
    """Where the mount shall point: 30 degrees south of the zenith."""
    sidereal = Time.now().sidereal_time("apparent", longitude=LONGITUDE * units.deg)
    return float(sidereal.hour), LATITUDE - 30


def last_told(client: Client, device: str, name: str) -> dict[str, str]:
    """The values of a property of another device, as it told them last."""
    told: dict[str, str] = {}
    for message in client.log:
        if (message.get("device"), message.get("name")) == (device, name):
            told |= values(message)
    return told


def taken_in(client: Client, log: Path, exposure_us: int, frames: int = 1) -> list[dict[str, Any]]:
    """The first good frames of an exposure that the sensor took, as its own log tells.

    The log is written after a frame is handed over.
    """
    while True:
        taken = [
            line
            for line in frame_log.read(log)
            if abs(line["exposure_us"] - exposure_us) <= LINE_US and line["status"] == "success"
        ]
        if len(taken) >= frames:
            return taken[:frames]
        client.read_for(0.01)


def passed_over(log: Path, taken: dict[str, Any]) -> int:
    """How many frames came between the start of the sensor and this one."""
    return sum(
        line["start"] == taken["start"] and line["sequence"] < taken["sequence"]
        for line in frame_log.read(log)
    )
