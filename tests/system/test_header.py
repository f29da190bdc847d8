"""Telescope, focuser, rotator, filter wheel and sky quality meter of INDI beside our camera: what
they say stands in the header, judged by astropy."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from astropy import units
from astropy.coordinates import TETE, AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.io.fits import Header
from astropy.time import Time
from astropy.utils import iers

from indi_picam import __version__, clock
from indi_picam.simulator import faults, frame_log
from indi_picam.simulator.models import SENSORS
from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect
from tests.system.server import SIMULATOR
from tests.system.test_exposures import SMALL_MODE, choose_small_mode, expose, fast, look

OTHERS = {
    "Telescope Simulator": "indi_simulator_telescope",
    "Focuser Simulator": "indi_simulator_focus",
    "Rotator Simulator": "indi_simulator_rotator",
    "Filter Simulator": "indi_simulator_wheel",
    "SQM Simulator": "indi_simulator_sqm",
}
MOUNT = "Telescope Simulator"
LATITUDE, LONGITUDE = 52.5, -13.4
TRUTH = SENSORS["imx477"]
MODE = TRUTH.mode(SMALL_MODE)
LINE_US = 40
"""More than a line of any mode: exposures are whole ones."""
LOG, FAULTS = "frames.jsonl", "faults.ini"


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
    return start_server(SIMULATOR, logging_in(tmp_path), *OTHERS.values())


def logging_in(directory: Path, **more: str) -> dict[str, str]:
    """The environment of a simulator that tells in a directory what it did, and is told faults."""
    settings = directory / "simulator.ini"
    settings.write_text(f"[simulator]\nlog_file = {LOG}\nfault_file = {FAULTS}\n")
    return {"HOME": str(directory), "INDI_PICAM_SIMULATOR_CONFIG": str(settings), **more}


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


GROUPS: dict[str, dict[type, str]] = {
    "every frame": {
        str: "INSTRUME SENSOR TELESCOP FRAME IMAGETYP FILTER ROWORDER TIMESYS DATE-OBS DATE-AVG"
        " DATE-END SENSMODE RAWFMT CAPFMT TAKENBY SWCREATE CHECKSUM DATASUM",
        float: "EXPTIME EXPTRUE EXPASKED GAIN GAINASKD DIGIGAIN CCD-TEMP PIXSIZE1 PIXSIZE2 XPIXSZ"
        " YPIXSZ BLKLEVEL FOCALLEN APTDIA MPSAS ROTATANG FOCUSTEM SCALE",
        int: "BITPIX NAXIS NAXIS1 NAXIS2 XBINNING YBINNING XORGSUBF YORGSUBF ISO SATURATE ADCBITS"
        " SKIPPED DROPPED REPEATED FOCUSPOS",
        bool: "SIMPLE HFLIP VFLIP",
    },
    "raw": {int: "BZERO BSCALE"},
    "mosaic": {str: "BAYERPAT", int: "XBAYROFF YBAYROFF"},
    "isp": {
        str: "NOISERED WBMODE",
        float: "WBRED WBBLUE BRIGHTNS CONTRAST COLORSAT SHARPNES",
        int: "COLTEMP",
    },
    "planes": {int: "NAXIS3"},
    "dark": {float: "DARKTIME"},
    "light": {
        str: "OBJCTRA OBJCTDEC PIERSIDE",
        float: "SITELAT SITELONG AIRMASS OBJCTAZ OBJCTALT RA DEC",
        int: "EQUINOX",
    },
    "world": {
        str: "RADECSYS CTYPE1 CTYPE2",
        float: "CRVAL1 CRVAL2 CRPIX1 CRPIX2 SECPIX1 SECPIX2 CDELT1 CDELT2 CROTA1 CROTA2",
    },
    "written": {str: "OBJECT", int: "MYINT", float: "MYREAL"},
}
"""Every keyword with its type, by what it depends on: those of INDI::CCD and our own."""

Asked = tuple[str, str, dict[str, object]]
"""What a client asks our camera for: kind, property, values."""


def keyword(name: str, value: object) -> Asked:
    """A keyword that a client writes."""
    values = {"KEYWORD_NAME": name, "KEYWORD_VALUE": value, "KEYWORD_COMMENT": ""}
    return "Text", "FITS_HEADER", values


SETTINGS: tuple[Asked, ...] = (
    ("Number", "SCOPE_INFO", {"FOCAL_LENGTH": 750}),
    ("Number", "CCD_GAIN", {"GAIN": 4}),
    ("Switch", "PICAM_FLIP", {"VERTICAL": "On"}),
    ("Number", "CCD_FRAME", {"X": 11, "Y": 6, "WIDTH": 400, "HEIGHT": 300}),
    ("Number", "PICAM_COLOUR_GAINS", {"RED": 1.5, "BLUE": 1.75}),
    ("Number", "PICAM_BRIGHTNESS", {"VALUE": 0.125}),
    ("Number", "PICAM_CONTRAST", {"VALUE": 1.25}),
    ("Number", "PICAM_SATURATION", {"VALUE": 0.5}),
    ("Number", "PICAM_SHARPNESS", {"VALUE": 2}),
    ("Switch", "PICAM_NOISE_REDUCTION", {"FAST": "On"}),
    ("Switch", "WCS_CONTROL", {"WCS_ENABLE": "On"}),
    ("Number", "CCD_ROTATION", {"CCD_ROTATION_VALUE": 30}),
    keyword("object", "M 42"),
    keyword("MyInt", -7),
    keyword("MYREAL", 1.5),
)


class Order(NamedTuple):
    """A frame to take, and the groups of keywords that it has beside those of every frame."""

    frame_type: str
    exposure_us: int
    groups: str
    format: str = "raw"
    binning: int = 1
    first: tuple[Asked, ...] = ()
    """What is asked for before all else."""

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What is asked for just before the frame."""
        return (
            *self.first,
            ("Switch", "CCD_FRAME_TYPE", {f"FRAME_{self.frame_type.upper()}": "On"}),
            ("Switch", "CCD_CAPTURE_FORMAT", {f"INDI_{self.format.upper()}": "On"}),
            ("Number", "CCD_BINNING", {"HOR_BIN": self.binning, "VER_BIN": self.binning}),
        )


ORDERS = (
    Order("Light", 200_000, "raw mosaic light world written"),
    Order("Dark", 210_000, "raw dark", binning=2, first=(keyword("INDI_CLEAR", ""),)),
    Order(
        "Light",
        220_000,
        "raw light",
        binning=2,
        first=(("Switch", "WCS_CONTROL", {"WCS_DISABLE": "On"}),),
    ),
    Order("Flat", 230_000, "isp planes", "rgb"),
    Order("Light", 240_000, "isp light", "mono", 2),
    Order("Bias", TRUTH.exposure_limits_us(MODE)[0], "raw mosaic"),
)


def test_every_keyword_stands_where_it_belongs(observatory: Server, tmp_path: Path) -> None:
    client = observatory.tcp()
    connect_all(client)
    aim = overhead()
    point(client, *aim)
    ask(client, "Number", "Focuser Simulator", "ABS_FOCUS_POSITION", FOCUS_ABSOLUTE_POSITION=50_100)
    ask(client, "Number", "Rotator Simulator", "ABS_ROTATOR_ANGLE", ANGLE=7.5)
    ask(client, "Number", "Filter Simulator", "FILTER_SLOT", FILTER_SLOT_VALUE=4)
    for kind, name, asked in SETTINGS:
        ask(client, kind, DEVICE, name, **asked)
    for order in ORDERS:
        for kind, name, asked in order.asked:
            ask(client, kind, DEVICE, name, **asked)
        header = header_of(client, expose(client, order.exposure_us / 1e6))
        assert list(header["COMMENT"]) == ["Generated by INDI"]
        types = {
            name: of_type
            for group in ("every frame", *order.groups.split())
            for of_type, names in GROUPS[group].items()
            for name in names.split()
        }
        # Beside the blank cards that fill it up.
        assert set(header) - {"", "COMMENT"} == set(types), order
        assert {name: type(header[name]) for name in types} == types, order
        (taken,) = taken_in(client, tmp_path / LOG, order.exposure_us)
        expected = camera_says(order, taken) | others_say(client, order)
        expected["SKIPPED"] = len(passed_over(tmp_path / LOG, taken))
        if order.frame_type == "Light":
            expected |= sky_says(order, header, *aim)
        told = {name: value for name, value in expected.items() if name in types}
        assert {name: header[name] for name in told} == told, order
        assert set(types) - set(told) == {"CHECKSUM", "DATASUM"}


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


def passed_over(log: Path, taken: dict[str, Any]) -> list[str]:
    """How the frames fared that came between the start of the sensor and a frame."""
    return [
        line["status"]
        for line in frame_log.read(log)
        if line["start"] == taken["start"] and line["sequence"] < taken["sequence"]
    ]


def camera_says(order: Order, taken: dict[str, Any]) -> dict[str, object]:
    """What a header is to tell of the camera, from what was asked for and what the sensor did."""
    binning, raw = order.binning, order.format == "raw"
    pixel_um = TRUTH.pixel_nm * MODE.binning / 1000
    summed = binning**2 if raw else 1
    # The module is mounted upside down, and so libcamera turns it; we mirror it top to bottom.
    upright = TRUTH.order[::-1]
    mirrored = upright[2:] + upright[:2]
    at_odd_column = mirrored[1::-1] + mirrored[:1:-1]
    gain = pytest.approx(taken["gain"], abs=0.0006)
    start_ns, end_ns = (clock.utc_ns(taken[f"{name}_start_ns"]) for name in ("exposure", "readout"))
    return {
        "SIMPLE": True,
        "BITPIX": 16 if raw else 8,
        "NAXIS": 3 if order.format == "rgb" else 2,
        "NAXIS1": 400 // binning,
        "NAXIS2": 300 // binning,
        "NAXIS3": 3,
        "BZERO": 32768,
        "BSCALE": 1,
        "INSTRUME": DEVICE,
        "SENSOR": "imx477",
        "FRAME": order.frame_type,
        "IMAGETYP": f"{order.frame_type} Frame",
        "EXPTIME": order.exposure_us / 1e6,
        "DARKTIME": order.exposure_us / 1e6,
        "EXPASKED": order.exposure_us / 1e6,
        "EXPTRUE": taken["exposure_us"] / 1e6,
        "TIMESYS": "UTC",
        "DATE-OBS": Moment(start_ns),
        "DATE-AVG": Moment((start_ns + end_ns) // 2),
        "DATE-END": Moment(end_ns),
        "GAIN": gain,
        "GAINASKD": 4.0,
        "ISO": round(100 * taken["gain"]),
        "DIGIGAIN": pytest.approx(taken["digital_gain"], abs=0.00006),
        "CCD-TEMP": taken["temperature_c"],
        "PIXSIZE1": pixel_um,
        "PIXSIZE2": pixel_um,
        "XBINNING": binning,
        "YBINNING": binning,
        "XPIXSZ": pixel_um * binning,
        "YPIXSZ": pixel_um * binning,
        "XORGSUBF": 11,
        "YORGSUBF": 6,
        "BLKLEVEL": float(TRUTH.black_level * summed) if raw else 0.0,
        "SATURATE": min(65535, (2**MODE.bits - 1 << 16 - MODE.bits) * summed) if raw else 255,
        "ADCBITS": MODE.bits,
        "SENSMODE": MODE.name,
        "RAWFMT": f"S{mirrored}{MODE.bits}",
        "ROWORDER": "TOP-DOWN",
        "HFLIP": False,
        "VFLIP": True,
        "BAYERPAT": at_odd_column,
        "XBAYROFF": 0,
        "YBAYROFF": 0,
        "CAPFMT": order.format.upper(),
        "TAKENBY": "restart",
        "DROPPED": 0,
        "REPEATED": 0,
        "SWCREATE": f"indi_picam {__version__}",
        "WBMODE": "Manual",
        "WBRED": 1.5,
        "WBBLUE": 1.75,
        "COLTEMP": 4500,
        "BRIGHTNS": 0.125,
        "CONTRAST": 1.25,
        "COLORSAT": 0.5,
        "SHARPNES": 2.0,
        "NOISERED": "Fast",
        "OBJECT": "M 42",
        "MYINT": -7,
        "MYREAL": 1.5,
    }


def others_say(client: Client, order: Order) -> dict[str, object]:
    """What a header is to tell of the devices beside the camera."""
    aperture = last_told(client, MOUNT, "TELESCOPE_INFO")["TELESCOPE_APERTURE"]
    temperature = last_told(client, "Focuser Simulator", "FOCUS_TEMPERATURE")["TEMPERATURE"]
    brightness = last_told(client, "SQM Simulator", "SKY_QUALITY")["SKY_BRIGHTNESS"]
    return {
        "TELESCOP": MOUNT,
        "FOCALLEN": 750.0,  # ours
        "APTDIA": float(aperture),  # the mount's
        "FOCUSPOS": 50_100,
        "FOCUSTEM": pytest.approx(float(temperature), abs=0.001),
        "ROTATANG": pytest.approx(7.5, abs=0.1),
        "FILTER": last_told(client, "Filter Simulator", "FILTER_NAME")["FILTER_SLOT_NAME_4"],
        "MPSAS": pytest.approx(float(brightness)),
        "SCALE": pytest.approx(scale_arcsec(order), abs=1e-6),
    }


def sky_says(order: Order, header: Header, ra: float, dec: float) -> dict[str, object]:
    """What a header is to tell of where the mount pointed, judged by astropy."""
    moment = Time(header["DATE-OBS"])
    told = SkyCoord(ra * 15, dec, unit="deg", frame=TETE(obstime=moment)).icrs
    found = SkyCoord(header["RA"], header["DEC"], unit="deg")
    # The mount itself moves by some arc seconds while it tracks.
    assert found.separation(told).arcsec < 15
    sexagesimal = SkyCoord(header["OBJCTRA"], header["OBJCTDEC"], unit=("hourangle", "deg"))
    assert sexagesimal.separation(found).arcsec < 0.1
    place = EarthLocation(lat=LATITUDE * units.deg, lon=LONGITUDE * units.deg)
    above = found.transform_to(AltAz(obstime=moment, location=place))
    assert above.alt.deg == pytest.approx(60, abs=0.5)
    scale = scale_arcsec(order)
    return {
        "RA": header["RA"],
        "DEC": header["DEC"],
        "OBJCTRA": Like(r"[ \d]\d \d\d \d\d\.\d\d"),
        "OBJCTDEC": Like(r"[- ]?\d+ \d\d \d\d\.\d\d"),
        "OBJCTALT": pytest.approx(above.alt.deg, abs=0.1),
        "OBJCTAZ": pytest.approx(above.az.deg, abs=0.2),
        "AIRMASS": pytest.approx(above.secz.value, abs=0.01),
        "SITELAT": LATITUDE,
        "SITELONG": LONGITUDE,
        "PIERSIDE": Like("EAST|WEST"),
        "EQUINOX": 2000,
        "RADECSYS": "FK5",
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": pytest.approx(header["RA"], abs=1e-6),
        "CRVAL2": pytest.approx(header["DEC"], abs=1e-6),
        "CRPIX1": header["NAXIS1"] / 2,
        "CRPIX2": header["NAXIS2"] / 2,
        "SECPIX1": pytest.approx(scale),
        "SECPIX2": pytest.approx(scale),
        "CDELT1": pytest.approx(scale / 3600),
        "CDELT2": pytest.approx(scale / 3600),
        "CROTA1": 330.0,
        "CROTA2": 330.0,
    }


def scale_arcsec(order: Order) -> float:
    """Arc seconds of a binned pixel at 750 mm."""
    return TRUTH.pixel_nm * MODE.binning / 1000 * order.binning / 750 * 206.3


def last_told(client: Client, device: str, name: str) -> dict[str, str]:
    """The values of a property of another device, as it told them last."""
    told: dict[str, str] = {}
    for message in client.log:
        if (message.get("device"), message.get("name")) == (device, name):
            told |= values(message)
    return told


class Like:
    """Equal to any text that matches a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, text: object) -> bool:
        return re.fullmatch(self._pattern, str(text)) is not None

    def __repr__(self) -> str:
        return self._pattern


class Moment(Like):
    """Equal to any text in the form of FITS that tells this moment, to 2 ms."""

    def __init__(self, utc_ns: int) -> None:
        super().__init__(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")
        self._utc_s = utc_ns / 1e9

    def __eq__(self, text: object) -> bool:
        return super().__eq__(text) and abs(Time(text, scale="utc").unix - self._utc_s) < 0.002

    def __repr__(self) -> str:
        return str(Time(self._utc_s, format="unix").isot)


def fast_frames_with(
    start_server: StartServer, directory: Path, fault: str, value: str
) -> tuple[Client, list[Header]]:
    """Four frames close after each other, with a fault from the second on until it is seen."""
    client = start_server(environment=logging_in(directory)).tcp()
    connect(client)
    choose_small_mode(client)
    fast(client, 4)
    position = expose(client, 0.3)
    client.set_of("CCD1", "Ok", since=position)
    faults.write(str(directory / FAULTS), {"faults": {fault: value}})
    while not (
        any(line["status"] == "error" for line in frame_log.read(directory / LOG))
        or fault not in (directory / FAULTS).read_text()
    ):
        client.read_for(0.01)
    faults.write(str(directory / FAULTS), {})
    return client, [fits.getheader(io.BytesIO(content)) for content in look(client, position, 4)]


def test_frames_that_the_sensor_lost_are_told(start_server: StartServer, tmp_path: Path) -> None:
    client, headers = fast_frames_with(start_server, tmp_path, "bad_frames", "yes")
    numbers = [line["sequence"] for line in taken_in(client, tmp_path / LOG, 300_000, 4)]
    lost = [after - before - 1 for before, after in pairwise(numbers)]
    assert sum(lost) >= 1
    assert [header["DROPPED"] for header in headers] == [0, *lost]
    assert {header["REPEATED"] for header in headers} == {0}


def test_a_frame_that_was_taken_again_is_told(start_server: StartServer, tmp_path: Path) -> None:
    _, headers = fast_frames_with(start_server, tmp_path, "die", "exposure")
    repeated = [header["REPEATED"] for header in headers]
    assert (repeated[0], sorted(repeated)) == (0, [0, 0, 0, 1])


@pytest.mark.parametrize("sensor", ["imx290", "ov5647"])
def test_bad_frames_after_a_start_are_told(
    start_server: StartServer, tmp_path: Path, sensor: str
) -> None:
    client = start_server(environment=logging_in(tmp_path, INDI_PICAM_SIMULATOR=sensor)).tcp()
    connect(client)
    header = header_of(client, expose(client, 0.05))
    (taken,) = taken_in(client, tmp_path / LOG, 50_000)
    passed = passed_over(tmp_path / LOG, taken)
    assert passed == ["error"] * SENSORS[sensor].bad_later_start
    assert (header["SKIPPED"], header["TAKENBY"]) == (len(passed), "restart")


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
