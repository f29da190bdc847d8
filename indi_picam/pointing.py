"""Where a telescope points: the position of date as J2000, above the horizon, through how much air.

Angles are degrees, times UTC in ns since 1970. Computed by pyerfa, the library below astropy, which
knows no network: earth-rotation data are never needed, as UT1 is taken for UTC (less than 0.9 s,
so 14" of altitude) and the leap seconds of 2017 for today's. Knows no INDI and no camera; called
for the header of a frame.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_JD_1970 = 2_440_587.5
_DAY_NS = 86_400 * 10**9
_TT_AHEAD_S = 32.184 + 37
"""TT - UTC: 32.184 s, and 37 leap seconds since 2017 (IERS Bulletin C 52)."""
_ATMOSPHERE = 750
"""The radius of the earth in heights of a homogeneous atmosphere (Meeus; libnova,
``ln_get_airmass``)."""


class Equatorial(NamedTuple):
    """A position in the sky; the right ascension is in degrees, too."""

    ra_deg: float
    dec_deg: float


class Horizontal(NamedTuple):
    """A position in the sky of a site; the azimuth runs from north through east."""

    azimuth_deg: float
    altitude_deg: float


class Site(NamedTuple):
    """A place on earth, north and east positive."""

    latitude_deg: float
    longitude_deg: float


def prepare() -> None:
    """Imports pyerfa and runs it once: some 0.1 s, so off the loop's thread."""
    horizontal(Equatorial(0.0, 0.0), 0, Site(0.0, 0.0))


def j2000(of_date: Equatorial, utc_ns: int) -> Equatorial:
    """The J2000 position of what a mount reports in the equator and equinox of date (JNow).

    Precession, nutation and aberration are removed. The frame is ICRS, 0.02" from FK5 J2000.
    """
    import erfa

    astrom, origins = erfa.apci13(_JD_1970, _tt_days(utc_ns))
    ra, dec = map(math.radians, of_date)
    ra, dec = erfa.aticq(ra + origins, dec, astrom)
    return Equatorial(_turn(ra), math.degrees(dec))


def horizontal(position: Equatorial, utc_ns: int, site: Site) -> Horizontal:
    """Azimuth and altitude of a J2000 position, without refraction, to some 15"."""
    import erfa

    astrom, _ = erfa.apci13(_JD_1970, _tt_days(utc_ns))
    ra, dec = erfa.atciqz(*map(math.radians, position), astrom)
    latitude, longitude = map(math.radians, site)
    hour_angle = erfa.era00(_JD_1970, utc_ns / _DAY_NS) + longitude - ra
    azimuth, altitude = erfa.hd2ae(hour_angle, dec, latitude)
    return Horizontal(_turn(azimuth), math.degrees(altitude))


def airmass(altitude_deg: float) -> float | None:
    """How many times the air of the zenith light passes; None below the horizon."""
    if altitude_deg < 0:
        return None
    height = _ATMOSPHERE * math.sin(math.radians(altitude_deg))
    return math.sqrt(height * height + 2 * _ATMOSPHERE + 1) - height


def sexagesimal(value: float) -> str:
    """Hours or degrees as OBJCTRA and OBJCTDEC have them: ``" 5 34 31.94"``, ``"-0 08 16.80"``."""
    minutes, hundredths = divmod(round(abs(value) * 360_000), 6000)
    whole, minute = divmod(minutes, 60)
    sign = "-" if value < 0 and (minutes or hundredths) else ""
    return f"{sign}{whole}".rjust(2) + f" {minute:02d} {hundredths / 100:05.2f}"


def sexagesimal_hours(ra_deg: float) -> str:
    """A right ascension in hours, never 24."""
    hundredths = round(ra_deg * 24_000) % (24 * 360_000)
    return sexagesimal(hundredths / 360_000)


def _tt_days(utc_ns: int) -> float:
    return (utc_ns / 1e9 + _TT_AHEAD_S) / 86_400


def _turn(angle: float | np.float64) -> float:
    """Radians as degrees from 0 to 360."""
    return math.degrees(angle) % 360
