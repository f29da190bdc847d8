"""Cards in the file: only of what is known, comments whole, numbers with the digits that count."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import pytest
from astropy.io import fits as astropy_fits
from astropy.io.fits import Header

from indi_picam import clock, fits
from indi_picam.camera.modes import (
    FITS_BLOCK,
    CameraFacts,
    CameraId,
    CaptureFormat,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    SensorMode,
    Way,
)
from indi_picam.capture.plan import ExposurePlan, FrameType
from indi_picam.ccd import image_controls, surroundings
from indi_picam.ccd.camera_device import CameraDevice
from indi_picam.ccd.identity import DriverFacts
from indi_picam.ccd.surroundings import Surroundings
from indi_picam.indi.link import Link
from indi_picam.indi.pacing import Pacing
from indi_picam.pointing import Equatorial, Site
from tests.unit.header_rig import MODE, REQUEST

CONTROLS = (
    *((amount.control, (1.2345678,)) for amount in image_controls.AMOUNTS),
    *(
        (choice.control, (float(choice.options[-1][2]),))
        for choice in (*image_controls.CHOICES, image_controls.WHITE_BALANCE)
    ),
)
AROUND = Surroundings(
    telescope="Telescope Simulator",
    focal_length_mm=2034.5,
    aperture_mm=203.2,
    j2000=Equatorial(83.8220833, -5.3911111),
    site=Site(-89.5123456, -113.4123456),  # M 42 never sets there
    rotator_angle_deg=359.999,
    focuser_position=123_456,
    focuser_temperature_c=-12.345,
    filter_name="Halpha 7nm",
    sky_brightness=21.345678,
    orientation_deg=123.456789,
    pier_side="WEST",
)
HORIZONTAL = "SITELAT SITELONG AIRMASS OBJCTAZ OBJCTALT"
WORLD = (
    "CRVAL1 CRVAL2 RADECSYS CTYPE1 CTYPE2 CRPIX1 CRPIX2 SECPIX1 SECPIX2 CDELT1 CDELT2 CROTA1 CROTA2"
)
POSITION = f"OBJCTRA OBJCTDEC RA DEC PIERSIDE EQUINOX {HORIZONTAL} {WORLD}"


def facts_of(**told: Any) -> FrameFacts:
    """A frame with everything that any sensor tells."""
    now_ns = clock.monotonic_ns()
    facts = FrameFacts(
        exposure_us=1_999_987,
        gain=21.3333333,
        digital_gain=1.0039215,
        frame_duration_us=2_100_000,
        sensor_timestamp_ns=now_ns,
        completed_ns=now_ns,
        temperature_c=-12.3456789,
        black_level=4096.0,
        saturation=65520,
        width=40,
        height=30,
        bayer_pattern="BGGR",
        header_room=fits.HEADER_ROOM,
        datasum=0,
        way=Way.FREE_RUNNING,
        skipped=5,
        dropped=123_456,
        lens_position=12.3456789,
        colour_gains=(2.3456789, 1.3456789),
        colour_temperature_k=4500,
        corrects_defects=True,
        repeated=1,
    )
    return replace(facts, **told)


def written(cards: Iterable[fits.Card], facts: FrameFacts) -> Header:
    """The header of a file with these cards."""
    memory = os.memfd_create("frame")
    os.ftruncate(memory, fits.HEADER_ROOM + FITS_BLOCK)
    file = fits.finish(memory, facts, cards)
    head = os.pread(file.memory, fits.HEADER_ROOM, 0)
    os.close(file.memory)
    return astropy_fits.Header.fromfile(io.BytesIO(head))


async def camera() -> CameraDevice:
    """A device of a camera with a lens, that talks to nobody."""
    link = SimpleNamespace(send=lambda message: None, pacing=Pacing())
    driver = DriverFacts("indi_picam", "indi_picam", None, None)
    listed = CameraId("/base/soc/i2c0mux/i2c@1/imx708@1a", "imx708_wide_noir")
    device = CameraDevice("Pi Camera Simulator 2", listed, driver, cast(Link, link))
    device._imaging._camera = CameraFacts(
        listed.id, listed.model, MODE.pixel_size_um, (4056, 3040), (MODE.mode,), (0,), True
    )
    return device


@pytest.mark.parametrize("capture_format", list(CaptureFormat))
@pytest.mark.parametrize("frame_type", list(FrameType))
@pytest.mark.parametrize(
    ("pier_side", "focuser"), [("EAST", 123_456), ("WEST", None), (None, None)]
)
def test_no_comment_is_cut(
    capture_format: CaptureFormat,
    frame_type: FrameType,
    pier_side: str | None,
    focuser: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = replace(AROUND, pier_side=pier_side, focuser_position=focuser)
    facts = facts_of(format=capture_format)
    request = replace(REQUEST, format=capture_format, controls=CONTROLS)

    async def cards() -> list[fits.Card]:
        device = await camera()
        monkeypatch.setattr(device._snooped, "now", lambda: around)
        return device._cards(ExposurePlan(request, MODE, frame_type), facts)

    made = {card.keyword: card for card in asyncio.run(cards()) if card.value is not None}
    assert "DPC" in made and "SWCREATE" in made and "FOCUSPOS" in made
    assert ("CDELT1" in made) is (frame_type is FrameType.LIGHT)
    header = written(made.values(), facts)
    del made["COMMENT"]
    assert {name: header.comments[name] for name in made} == {
        name: card.comment for name, card in made.items()
    }
    structure = [card for card in fits._structure(facts) if card.value is not None]
    assert [header.comments[card.keyword] for card in structure] == [
        card.comment for card in structure
    ]


IMX296 = ModeFacts(
    mode=SensorMode(1456, 1088, 10),
    raw_format="R10",
    bayer_pattern=None,
    pixel_size_um=(3.45, 3.45),
    exposure_min_us=29,
    exposure_max_us=15_534_000,
    exposure_step_us=14.8148,
    gain_min=1.0,
    gain_max=251.1886,
    frame_duration_min_us=16_562,
    frame_duration_max_us=15_534_444,
    buffers=2,
)
PIXEL_UM = Fraction("3.45")
"""Exactly: what is expected is worked out without the noise of binary fractions."""


def scale_arcsec(binning: int, focal_length_mm: str) -> Fraction:
    """Arc seconds of a binned pixel, as INDI::CCD has it."""
    return PIXEL_UM * binning * Fraction("206.3") / Fraction(focal_length_mm)


def digits(value: Fraction, count: int) -> float:
    """A value with so many digits that count."""
    return float(f"{float(value):.{count - 1}e}")


@pytest.mark.parametrize("binning", [1, 2, 3, 4])
@pytest.mark.parametrize("focal_length_mm", ["2034.5", "50", "10000", "135.1234"])
def test_numbers_keep_the_digits_that_count_and_no_others(
    binning: int, focal_length_mm: str
) -> None:
    request = FrameRequest(
        IMX296.mode, 2_000_000, 2.0, IMX296.mode.full_frame, bin_x=binning, bin_y=binning
    )
    facts = facts_of(bayer_pattern=None)
    around = replace(AROUND, focal_length_mm=float(focal_length_mm))
    plan = ExposurePlan(request, IMX296, FrameType.LIGHT)
    cards = [
        *fits.exposure_cards(request, facts, IMX296),
        *surroundings.cards(around, plan, facts),
    ]
    header = written(cards, facts)
    scale = scale_arcsec(binning, focal_length_mm)
    expected = {
        "PIXSIZE1": 3.45,
        "XPIXSZ": float(PIXEL_UM * binning),
        "YPIXSZ": float(PIXEL_UM * binning),
        "CCD-TEMP": -12.346,
        "EXPTRUE": 1.999987,
        "GAIN": 21.333,
        "DIGIGAIN": 1.0039,
        "FOCALLEN": float(Fraction(round(Fraction(focal_length_mm) * 1000), 1000)),
        "APTDIA": 203.2,
        "MPSAS": 21.345678,
        "ROTATANG": 359.999,
        "FOCUSTEM": -12.345,
        "SITELAT": -89.512346,
        "SITELONG": -113.412346,
        "RA": 83.822083,
        "DEC": -5.391111,
        "CRVAL1": 83.8220833,
        "CRVAL2": -5.3911111,
        "CROTA1": 236.543211,
        "SCALE": digits(scale, 7),
        "SECPIX1": digits(scale, 11),
        "SECPIX2": digits(scale, 11),
        "CDELT1": digits(scale / 3600, 11),
        "CDELT2": digits(scale / 3600, 11),
    }
    assert {name: header[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("unknown", "value", "absent"),
    [
        ("telescope", "", "TELESCOP"),
        ("focal_length_mm", None, f"FOCALLEN SCALE {WORLD}"),
        ("aperture_mm", None, "APTDIA"),
        ("j2000", None, POSITION),
        ("site", None, HORIZONTAL),
        ("site", Site(90, 0), "AIRMASS"),  # M 42 never rises there
        ("pier_side", None, "PIERSIDE"),
        ("rotator_angle_deg", None, "ROTATANG"),
        ("focuser_position", None, "FOCUSPOS"),
        ("focuser_temperature_c", None, "FOCUSTEM"),
        ("filter_name", None, "FILTER"),
        ("sky_brightness", None, "MPSAS"),
        ("orientation_deg", None, WORLD),
    ],
)
def test_what_is_not_known_of_the_surroundings_has_no_card(
    unknown: str, value: Any, absent: str
) -> None:
    facts = facts_of()
    plan = ExposurePlan(REQUEST, MODE, FrameType.LIGHT)
    known, left = (
        set(written(surroundings.cards(around, plan, facts), facts))
        for around in (AROUND, replace(AROUND, **{unknown: value}))
    )
    assert known - left == set(absent.split())
