"""Positions against published examples and against astropy's coordinate frames; never a network."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from astropy import units
from astropy.coordinates import TETE, AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from indi_picam import pointing
from indi_picam.pointing import Equatorial, Site

ARCSEC = 1 / 3600
BERLIN, SYDNEY, QUITO = Site(52.5, 13.4), Site(-33.86, 151.2), Site(-0.2, -78.5)
MOMENTS = ["2020-06-21T03:00:00", "2023-01-01T00:00:00", "2024-09-22T20:30:00"]
DIRECTIONS = [
    Equatorial(0.001, 0.5),
    Equatorial(83.82, -5.39),
    Equatorial(37.95, 89.26),  # Polaris
    Equatorial(266.4, -29.0),
    Equatorial(359.999, -89.5),
]


def utc_ns(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1e9)


def separation_arcsec(a: Equatorial, b: Equatorial) -> float:
    (ra, dec), (other_ra, other_dec) = a, b
    east = (ra - other_ra + 180) % 360 - 180
    return math.hypot(east * math.cos(math.radians(dec)), dec - other_dec) / ARCSEC


def test_meeus_example_of_an_apparent_place() -> None:
    """Theta Persei on 2028 November 13.19 TD (Astronomical Algorithms, 21.b and 23.a)."""
    at_ns = utc_ns("2028-11-13T04:32:27")  # 69 s behind TD
    apparent = Equatorial(15 * (2 + 46 / 60 + 14.390 / 3600), 49 + 21 / 60 + 7.45 / 3600)
    assert separation_arcsec(pointing.j2000(apparent, at_ns), Equatorial(41.054063, 49.227750)) < 1


def test_meeus_example_of_an_altitude() -> None:
    """Venus over Washington on 1987 April 10 (Astronomical Algorithms, 13.b)."""
    at_ns = utc_ns("1987-04-10T19:21:00")
    apparent = Equatorial(15 * (23 + 9 / 60 + 16.641 / 3600), -(6 + 43 / 60 + 11.61 / 3600))
    washington = Site(38 + 55 / 60 + 17 / 3600, -(77 + 3 / 60 + 56 / 3600))
    seen = pointing.horizontal(pointing.j2000(apparent, at_ns), at_ns, washington)
    assert seen == pytest.approx((248.0337, 15.1249), abs=0.005)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("of_date", DIRECTIONS, ids=str)
def test_j2000_is_within_an_arc_second_of_astropy(of_date: Equatorial, moment: str) -> None:
    frame = TETE(obstime=Time(moment))
    with iers.conf.set_temp("auto_download", False):
        expected = SkyCoord(*of_date, unit="deg", frame=frame).icrs
    found = pointing.j2000(of_date, utc_ns(moment))
    assert separation_arcsec(found, Equatorial(expected.ra.deg, expected.dec.deg)) < 0.1
    assert 0 <= found.ra_deg < 360
    # Precession moves what is not at its pole by 50" a year: so a wrong direction would be seen.
    if abs(of_date.dec_deg) < 60:
        assert separation_arcsec(found, of_date) > 600


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("site", [BERLIN, SYDNEY, QUITO], ids=["Berlin", "Sydney", "Quito"])
@pytest.mark.parametrize("position", DIRECTIONS, ids=str)
def test_altitude_is_that_of_astropy(position: Equatorial, site: Site, moment: str) -> None:
    place = EarthLocation(lat=site.latitude_deg * units.deg, lon=site.longitude_deg * units.deg)
    with iers.conf.set_temp("auto_download", False):
        expected = SkyCoord(*position, unit="deg").transform_to(
            AltAz(obstime=Time(moment), location=place)
        )
    azimuth, altitude = pointing.horizontal(position, utc_ns(moment), site)
    assert altitude == pytest.approx(expected.alt.deg, abs=0.01)
    aside = (azimuth - expected.az.deg + 180) % 360 - 180
    assert aside * math.cos(math.radians(altitude)) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("altitude_deg", "airmass"),
    [
        (90, 1.0),
        (30, 1.9960),  # 2 above a flat earth
        (10, 5.6405),  # 5.76 above a flat earth
        (0, 38.7427),
        (-0.1, None),
        (-90, None),
    ],
)
def test_airmass(altitude_deg: float, airmass: float | None) -> None:
    assert pointing.airmass(altitude_deg) == (airmass and pytest.approx(airmass, abs=0.0001))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.5755388, " 5 34 31.94"),
        (-5.391111, "-5 23 28.00"),
        (-0.138, "-0 08 16.80"),
        (0, " 0 00 00.00"),
        (-1e-9, " 0 00 00.00"),
        (59 / 60 + 59.996 / 3600, " 1 00 00.00"),
        (-89.99999999, "-90 00 00.00"),
    ],
)
def test_sexagesimal(value: float, text: str) -> None:
    assert pointing.sexagesimal(value) == text


def test_a_right_ascension_is_never_24_hours() -> None:
    assert pointing.sexagesimal_hours(359.99999) == " 0 00 00.00"
    assert pointing.sexagesimal_hours(359.9999) == "23 59 59.98"


OFFLINE = """
import socket, sys
def refuse(event, arguments):
    path = str(arguments[0]) if event == "open" else ""
    a_table = "iers" in path and not path.endswith((".py", ".pyc"))
    if event.startswith(("socket.", "urllib.", "http.")) or a_table:
        raise PermissionError(f"{event} {arguments}")
sys.addaudithook(refuse)
try:
    socket.getaddrinfo("localhost", 80)
    sys.exit("the watch sees nothing")
except PermissionError:
    pass
from indi_picam import pointing
pointing.prepare()
for year in (1950, 2000, 2026, 2050, 2099):
    at_ns = (year - 1970) * 31_557_600 * 10**9
    position = pointing.j2000(pointing.Equatorial(83.8, -5.4), at_ns)
    pointing.horizontal(position, at_ns, pointing.Site(52.5, 13.4))
print("astropy" in sys.modules)
from indi_picam import fits
fits.prepare()
print("prepared")
"""


def test_nothing_is_ever_downloaded_or_warned_of_whatever_the_date() -> None:
    """A Pi without a network, and one whose clock was never set, write their headers all the same.

    Every attempt to open a socket, or a file of earth-rotation data, would end the child.
    """
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE], capture_output=True, text=True
    )
    assert (child.stdout, child.stderr) == ("False\nprepared\n", "")
