"""What a header is to tell, from what was asked for, what the simulated sensor did and what the
other devices said: every keyword, nothing else."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
from astropy import units
from astropy.coordinates import TETE, AltAz, EarthLocation, SkyCoord
from astropy.io.fits import Header
from astropy.time import Time

from indi_picam import __version__, clock
from indi_picam.simulator.models import SENSORS
from tests.system.client import Client
from tests.system.conftest import DEVICE
from tests.system.observatory import LATITUDE, LONGITUDE, MOUNT, last_told
from tests.system.test_exposures import SMALL_MODE

TRUTH = SENSORS["imx477"]
MODE = TRUTH.mode(SMALL_MODE)

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


class Like:
    """Equal to any text that matches a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, text: object) -> bool:
        return re.fullmatch(self._pattern, str(text)) is not None

    def __repr__(self) -> str:
        return self._pattern


class Moment(Like):
    """Equal to any text in the form of FITS that tells this moment, to 5 ms."""

    def __init__(self, utc_ns: int) -> None:
        super().__init__(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")
        self._utc_s = utc_ns / 1e9

    def __eq__(self, text: object) -> bool:
        return super().__eq__(text) and abs(Time(text, scale="utc").unix - self._utc_s) < 0.005

    def __repr__(self) -> str:
        return str(Time(self._utc_s, format="unix").isot)
