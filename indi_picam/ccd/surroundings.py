"""What stood around the camera when an exposure began, and the header cards it makes.

Keywords, decimals and conditions are those of INDI::CCD (indiccd.cpp, addFITSKeywords); what is not
known has no card. Knows no INDI; made by the snooped group, turned into cards by the heading group.
"""

from __future__ import annotations

from dataclasses import dataclass

from indi_picam import clock, fits, pointing
from indi_picam.camera.modes import FrameFacts
from indi_picam.capture.plan import ExposurePlan, FrameType
from indi_picam.fits import Card
from indi_picam.pointing import Equatorial, Site

_ARCSEC_UM_PER_MM = 206.3
"""Arc seconds of an um seen from a mm away, as INDI::CCD rounds it."""
_PIER_SIDES = {"EAST": "East, looking West", "WEST": "West, looking East"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything known beyond the camera at one moment; None is unknown."""

    telescope: str = ""
    focal_length_mm: float | None = None
    aperture_mm: float | None = None
    of_date: Equatorial | None = None
    """Where the mount points, in the equator and equinox of date."""
    j2000: Equatorial | None = None
    """The same in J2000, from the mount itself; preferred."""
    site: Site | None = None
    pier_side: str | None = None
    """EAST or WEST."""
    rotator_angle_deg: float | None = None
    focuser_position: int | None = None
    focuser_temperature_c: float | None = None
    filter_name: str | None = None
    sky_brightness: float | None = None
    """Magnitudes per square arc second."""
    orientation_deg: float | None = None
    """Of the camera, clockwise; None while world coordinates are off or it was not told."""


def began_utc_ns(facts: FrameFacts) -> int:
    """When the exposure of a frame began."""
    return clock.utc_ns(facts.exposure_began_ns)


def cards(around: Surroundings, plan: ExposurePlan, facts: FrameFacts) -> list[Card]:
    """The header cards of a frame about what stood around its camera."""
    about = [
        Card("TELESCOP", around.telescope or None, "telescope"),
        Card("FILTER", around.filter_name, "filter"),
        Card("FOCALLEN", fits.rounded(around.focal_length_mm, 3), "[mm] focal length"),
        Card("APTDIA", fits.rounded(around.aperture_mm, 3), "[mm] aperture of the telescope"),
        Card("MPSAS", fits.rounded(around.sky_brightness, 6), "[mag/arcsec2] sky quality"),
        Card("ROTATANG", fits.rounded(around.rotator_angle_deg, 3), "[deg] angle of the rotator"),
        Card("FOCUSPOS", around.focuser_position, "[step] position of the focuser"),
        Card(
            "FOCUSTEM", fits.rounded(around.focuser_temperature_c, 3), "[C] temperature of focuser"
        ),
        Card(
            "SCALE", _significant(_scales(around, plan)[0], 6), "[arcsec] width of a binned pixel"
        ),
    ]
    if plan.frame_type is FrameType.DARK:
        dark_s = fits.nominal_exposure_s(plan.request, facts, plan.mode)
        about.append(Card("DARKTIME", dark_s, "[s] dark exposure"))
    if plan.frame_type is FrameType.LIGHT:
        about += _position_cards(around, plan, facts)
    return about


def _position_cards(around: Surroundings, plan: ExposurePlan, facts: FrameFacts) -> list[Card]:
    utc_ns = began_utc_ns(facts)
    position = around.j2000
    if position is None:
        if around.of_date is None:
            return []
        position = pointing.j2000(around.of_date, utc_ns)
    ra_deg, dec_deg = position
    side = around.pier_side
    return [
        *_horizontal_cards(position, around.site, utc_ns),
        Card("OBJCTRA", pointing.sexagesimal_hours(ra_deg), "[h m s] right ascension, J2000"),
        Card("OBJCTDEC", pointing.sexagesimal(dec_deg), "[d m s] declination, J2000"),
        Card("RA", round(ra_deg, 6), "[deg] right ascension, J2000"),
        Card("DEC", round(dec_deg, 6), "[deg] declination, J2000"),
        Card("PIERSIDE", side, _PIER_SIDES.get(side or "", "")),
        Card("EQUINOX", 2000, "of all coordinates"),
        *_world_cards(position, around, plan, facts),
    ]


def _horizontal_cards(position: Equatorial, site: Site | None, utc_ns: int) -> list[Card]:
    if site is None:
        return []
    azimuth, altitude = pointing.horizontal(position, utc_ns, site)
    return [
        Card("SITELAT", round(site.latitude_deg, 6), "[deg] latitude of the site"),
        Card(
            "SITELONG", round(site.longitude_deg, 6), "[deg] longitude of the site, east positive"
        ),
        Card("AIRMASS", fits.rounded(pointing.airmass(altitude), 6), "at start of exposure"),
        Card("OBJCTAZ", round(azimuth, 6), "[deg] azimuth, from north through east"),
        Card("OBJCTALT", round(altitude, 6), "[deg] altitude, without refraction"),
    ]


def _world_cards(
    position: Equatorial, around: Surroundings, plan: ExposurePlan, facts: FrameFacts
) -> list[Card]:
    """World coordinates from where the mount points: its aim is taken for the frame's centre."""
    scale_x, scale_y = _scales(around, plan)
    if around.orientation_deg is None or scale_x is None or scale_y is None:
        return []
    # Clients tell the angle clockwise, CROTA is counterclockwise.
    rotation = (360 - around.orientation_deg) % 360
    return [
        Card("CRVAL1", round(position.ra_deg, 10), "[deg] right ascension of the centre"),
        Card("CRVAL2", round(position.dec_deg, 10), "[deg] declination of the centre"),
        Card("RADECSYS", "FK5", "reference frame"),
        Card("CTYPE1", "RA---TAN", "projection"),
        Card("CTYPE2", "DEC--TAN", "projection"),
        Card("CRPIX1", facts.width / 2, "[pixel] centre"),
        Card("CRPIX2", facts.height / 2, "[pixel] centre"),
        Card("SECPIX1", _significant(scale_x, 10), "[arcsec] width of a binned pixel"),
        Card("SECPIX2", _significant(scale_y, 10), "[arcsec] height of a binned pixel"),
        Card("CDELT1", _significant(scale_x / 3600, 10), "[deg] width of a binned pixel"),
        Card("CDELT2", _significant(scale_y / 3600, 10), "[deg] height of a binned pixel"),
        Card("CROTA1", round(rotation, 10), "[deg] orientation, counterclockwise"),
        Card("CROTA2", round(rotation, 10), "[deg] orientation, counterclockwise"),
    ]


def _scales(around: Surroundings, plan: ExposurePlan) -> tuple[float | None, float | None]:
    """Arc seconds of a binned pixel, horizontally and vertically."""
    if around.focal_length_mm is None or not all(plan.mode.pixel_size_um):
        return None, None
    width_um, height_um = plan.mode.pixel_size_um
    per_um = _ARCSEC_UM_PER_MM / around.focal_length_mm
    return width_um * plan.request.bin_x * per_um, height_um * plan.request.bin_y * per_um


def _significant(value: float | None, decimals: int) -> float | None:
    """A value as cfitsio writes small ones: decimals of the number before its exponent."""
    return None if value is None else float(f"{value:.{decimals}e}")
