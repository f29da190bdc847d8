"""Telescope, focuser, rotator, filter wheel and sky quality meter of INDI beside our camera: what
they say stands in the header, judged by astropy."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy import units
from astropy.coordinates import TETE, AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.io.fits import Header
from astropy.time import Time
from astropy.utils import iers

from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect
from tests.system.server import SIMULATOR
from tests.system.test_exposures import choose_small_mode, expose

OTHERS = {
    "Telescope Simulator": "indi_simulator_telescope",
    "Focuser Simulator": "indi_simulator_focus",
    "Rotator Simulator": "indi_simulator_rotator",
    "Filter Simulator": "indi_simulator_wheel",
    "SQM Simulator": "indi_simulator_sqm",
}
MOUNT = "Telescope Simulator"
LATITUDE, LONGITUDE = 52.5, -13.4


@pytest.fixture(autouse=True)
def no_download() -> Iterator[None]:
    """Tests run without a network, and long after the tables that astropy brings have ended."""
    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
    ):
        yield


@pytest.fixture
def observatory(start_server: StartServer, tmp_path: Path) -> Server:
    """All devices in one server, their settings in a home of their own."""
    return start_server(SIMULATOR, {"HOME": str(tmp_path)}, *OTHERS.values())


def connect_all(client: Client) -> None:
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


def test_other_devices_stand_in_the_header(observatory: Server) -> None:
    client = observatory.tcp()
    connect_all(client)
    ra, dec = overhead()
    point(client, ra, dec)
    ask(client, "Number", "Focuser Simulator", "ABS_FOCUS_POSITION", FOCUS_ABSOLUTE_POSITION=50_100)
    ask(client, "Number", "Rotator Simulator", "ABS_ROTATOR_ANGLE", ANGLE=7.5)
    ask(client, "Number", "Filter Simulator", "FILTER_SLOT", FILTER_SLOT_VALUE=4)
    ask(client, "Number", DEVICE, "SCOPE_INFO", FOCAL_LENGTH=750)
    header = header_of(client, expose(client, 0.2))

    expected = {
        "TELESCOP": MOUNT,
        "FOCALLEN": 750.0,  # ours
        "APTDIA": 120.0,  # the mount's
        "SCALE": pytest.approx(header["XPIXSZ"] / 750 * 206.3, abs=1e-6),
        "FOCUSPOS": 50_100,
        "ROTATANG": pytest.approx(7.5, abs=0.1),
        "FILTER": "H_Alpha",
        "MPSAS": pytest.approx(16.9),
        "SITELAT": LATITUDE,
        "SITELONG": LONGITUDE,
        "EQUINOX": 2000,
    }
    assert {name: header[name] for name in expected} == expected
    assert header["PIERSIDE"] in ("EAST", "WEST")

    moment = Time(header["DATE-OBS"])
    told = SkyCoord(ra * 15, dec, unit="deg", frame=TETE(obstime=moment)).icrs
    found = SkyCoord(header["RA"], header["DEC"], unit="deg")
    # The mount itself moves by some arc seconds while it tracks.
    assert found.separation(told).arcsec < 15
    sexagesimal = SkyCoord(header["OBJCTRA"], header["OBJCTDEC"], unit=("hourangle", "deg"))
    assert sexagesimal.separation(found).arcsec < 0.1
    place = EarthLocation(lat=LATITUDE * units.deg, lon=LONGITUDE * units.deg)
    above = found.transform_to(AltAz(obstime=moment, location=place))
    assert header["OBJCTALT"] == pytest.approx(above.alt.deg, abs=0.1)
    assert header["OBJCTAZ"] == pytest.approx(above.az.deg, abs=0.2)
    assert header["OBJCTALT"] == pytest.approx(60, abs=0.5)
    assert header["AIRMASS"] == pytest.approx(1.154, abs=0.01)


def test_a_slew_after_the_start_does_not_touch_the_frame(observatory: Server) -> None:
    client = observatory.tcp()
    connect_all(client)
    point(client, 6, 20)
    position = expose(client, 2)
    client.wait(
        lambda m: (
            m.get("name") == "CCD_EXPOSURE"
            and values(m).get("CCD_EXPOSURE_VALUE") == "1"
            and m.get("device") == DEVICE
        ),
        since=position,
    )
    point(client, 9, 40)
    client.new(
        "Text",
        DEVICE,
        "FITS_HEADER",
        {"KEYWORD_NAME": "OBJECT", "KEYWORD_VALUE": "the next", "KEYWORD_COMMENT": ""},
    )
    client.set_of("FITS_HEADER", "Ok", since=position)
    first = header_of(client, position)
    second = header_of(client, expose(client, 0.1))
    assert (first["DEC"], second["DEC"]) == pytest.approx((20, 40), abs=0.5)
    assert (first.get("OBJECT"), second.get("OBJECT")) == (None, "the next")


def test_a_mount_that_is_gone_is_not_in_the_header(observatory: Server) -> None:
    client = observatory.tcp()
    connect_all(client)
    point(client, 6, 20)
    assert "RA" in header_of(client, expose(client, 0.1))
    position = len(client.log)
    client.new("Switch", MOUNT, "CONNECTION", {"DISCONNECT": "On"})
    client.wait(
        lambda m: (m.tag, m.get("name")) == ("delProperty", "EQUATORIAL_EOD_COORD"), position
    )
    assert "RA" not in header_of(client, expose(client, 0.1))
    ask(client, "Switch", MOUNT, "CONNECTION", CONNECT="On")
    client.wait(
        lambda m: m.tag == "setNumberVector" and m.get("name") == "EQUATORIAL_EOD_COORD",
    )
    assert "RA" in header_of(client, expose(client, 0.1))


def test_active_devices_outlast_the_driver(start_server: StartServer, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    client = start_server(SIMULATOR, environment).tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition("ACTIVE_DEVICES")
    ask(client, "Text", DEVICE, "ACTIVE_DEVICES", ACTIVE_TELESCOPE="EQMod Mount", ACTIVE_FILTER="")
    saved = tmp_path / ".indi" / f"{DEVICE}_config.xml"
    while "EQMod Mount" not in (saved.read_text() if saved.exists() else ""):
        client.read_for(0.01)
    again = start_server(SIMULATOR, environment).tcp()
    again.send("<getProperties version='1.7'/>")
    told = values(again.definition("ACTIVE_DEVICES"))
    assert (told["ACTIVE_TELESCOPE"], told["ACTIVE_FILTER"]) == ("EQMod Mount", "")
    assert told["ACTIVE_ROTATOR"] == "Rotator Simulator"
