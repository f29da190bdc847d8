"""What a header says beyond the camera: followed devices, telescope, keywords of clients."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from astropy.io import fits as astropy_fits
from astropy.io.fits import Header
from hypothesis import given
from hypothesis import strategies as st

from indi_picam import clock, fits
from indi_picam.camera.modes import FrameFacts, FrameRequest, ModeFacts, Roi, SensorMode, Way
from indi_picam.capture.plan import ExposurePlan, FrameType
from indi_picam.ccd.heading import MOST_WRITTEN, Heading
from indi_picam.ccd.snooped import Snooped
from indi_picam.indi.decoder import Decoder
from indi_picam.indi.device import Device
from indi_picam.indi.encoder import encode
from indi_picam.indi.messages import Def, DelProperty, GetProperties, Message, Outgoing, Set
from indi_picam.indi.vectors import State

MODE = ModeFacts(
    mode=SensorMode(4056, 3040, 12),
    raw_format="SBGGR12",
    bayer_pattern="BGGR",
    pixel_size_um=(1.55, 1.55),
    exposure_min_us=114,
    exposure_max_us=694_000_000,
    exposure_step_us=28.6,
    gain_min=1.0,
    gain_max=22.26,
    frame_duration_min_us=99_990,
    frame_duration_max_us=694_400_000,
)
REQUEST = FrameRequest(MODE.mode, 2_000_000, 2.0, Roi(0, 0, 4056, 3040), bin_x=2, bin_y=2)
MOUNT = "Telescope Simulator"
M42 = (5.608, -5.37)
"""Where M 42 was in 2026, of date, in hours and degrees."""


class Rig:
    """The groups under test on a device of their own, clients and other devices to talk to them."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.device = Device("Cam", self.sent.append)
        self.snooped = Snooped(self.device)
        self.heading = Heading(self.device, self.snooped)
        for name in ("SCOPE_INFO", "WCS_CONTROL", "FITS_HEADER"):
            self.device.define(self.device[name])
        self.snooped.follow()
        self.sent.clear()

    async def hear(self, xml: str) -> None:
        """What the server passes on, as bytes."""
        for message in Decoder().feed(xml.encode()):
            await self.device.receive(message)
        if self.device._serving is not None:
            await self.device._serving

    async def mount_points(self, ra: object, dec: object) -> None:
        """The mount tells where it points, of date; None is not told."""
        await self.number("EQUATORIAL_EOD_COORD", RA=ra, DEC=dec)

    async def number(self, name: str, device: str = MOUNT, /, **values: object) -> None:
        """Another device defines numbers; a value of None is left out."""
        ones = "".join(
            f"<defNumber name='{key}' label='' format='%g' min='0' max='0' step='0'>{value}"
            "</defNumber>"
            for key, value in values.items()
            if value is not None
        )
        await self.hear(
            f"<defNumberVector device='{device}' name='{name}' state='Ok' perm='rw'>{ones}"
            "</defNumberVector>"
        )

    async def ask(self, kind: str, name: str, **values: object) -> Set:
        """A client asks; the one answer."""
        ones = "".join(f"<one{kind} name='{key}'>{one}</one{kind}>" for key, one in values.items())
        self.sent.clear()
        await self.hear(f"<new{kind}Vector device='Cam' name='{name}'>{ones}</new{kind}Vector>")
        (answer,) = [m for m in self.sent if isinstance(m, Set)]
        encode(answer)
        return answer

    async def write(self, name: str = "", value: str = "", comment: str = "") -> Set:
        """A client writes a keyword."""
        return await self.ask(
            "Text", "FITS_HEADER", KEYWORD_NAME=name, KEYWORD_VALUE=value, KEYWORD_COMMENT=comment
        )

    def header(self, frame_type: FrameType = FrameType.LIGHT, **facts: Any) -> Header:
        """The header of a whole file, as astropy reads it without a complaint."""
        memory = os.memfd_create("frame")
        os.ftruncate(memory, fits.HEADER_ROOM + fits.BLOCK)
        now_ns = clock.monotonic_ns()
        told = FrameFacts(
            exposure_us=2_000_000,
            gain=2.0,
            digital_gain=1.0,
            frame_duration_us=2_100_000,
            sensor_timestamp_ns=now_ns,
            completed_ns=now_ns,
            temperature_c=None,
            black_level=4096.0,
            saturation=65520,
            width=40,
            height=30,
            bayer_pattern=None,
            header_room=fits.HEADER_ROOM,
            datasum=0,
            way=Way.RESTART,
            skipped=0,
        )
        told = replace(told, **facts)
        plan = ExposurePlan(REQUEST, MODE, frame_type)
        cards = [
            fits.Card("INSTRUME", "Cam"),
            *fits.exposure_cards(REQUEST, told, MODE),
            *self.heading.cards(plan, told),
        ]
        file = fits.finish(memory, told, cards)
        content = os.pread(file.memory, file.size, 0)
        os.close(file.memory)
        with astropy_fits.open(io.BytesIO(content), checksum=True) as hdus:
            hdus.verify("exception")
            return hdus[0].header


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_every_followed_device_has_its_keywords(rig: Rig) -> None:
    async def dialogue() -> Header:
        await rig.mount_points(*M42)
        await rig.number("GEOGRAPHIC_COORD", LAT=-33.86, LONG=208.8, ELEV=10)
        await rig.number("TELESCOPE_INFO", TELESCOPE_APERTURE=120, TELESCOPE_FOCAL_LENGTH=900)
        await rig.hear(
            f"<defSwitchVector device='{MOUNT}' name='TELESCOPE_PIER_SIDE' state='Ok' perm='ro'"
            " rule='OneOfMany'><defSwitch name='PIER_WEST'>On</defSwitch>"
            "<defSwitch name='PIER_EAST'>Off</defSwitch></defSwitchVector>"
        )
        await rig.number("ABS_ROTATOR_ANGLE", "Rotator Simulator", ANGLE=33.25)
        await rig.number("ABS_FOCUS_POSITION", "Focuser Simulator", FOCUS_ABSOLUTE_POSITION=50123)
        await rig.number("FOCUS_TEMPERATURE", "Focuser Simulator", TEMPERATURE=-2.125)
        await rig.number("FILTER_SLOT", "CCD Simulator", FILTER_SLOT_VALUE=2)
        await rig.hear(
            "<defTextVector device='CCD Simulator' name='FILTER_NAME' state='Ok' perm='rw'>"
            "<defText name='FILTER_SLOT_NAME_1'>Lum</defText>"
            "<defText name='FILTER_SLOT_NAME_2'>H\u03b1 7nm</defText></defTextVector>"
        )
        await rig.number("SKY_QUALITY", "SQM", SKY_BRIGHTNESS=21.3, SKY_TEMPERATURE=4)
        # What follows a definition counts as much.
        await rig.hear(
            f"<setNumberVector device='{MOUNT}' name='GEOGRAPHIC_COORD' state='Ok'>"
            "<oneNumber name='LONG'>346.6</oneNumber></setNumberVector>"
        )
        return rig.header()

    header = asyncio.run(dialogue())
    expected = {
        "TELESCOP": MOUNT,
        "FOCALLEN": 900.0,
        "APTDIA": 120.0,
        "SCALE": pytest.approx(1.55 / 900 * 206.3 * 2, abs=1e-6),
        "ROTATANG": 33.25,
        "FOCUSPOS": 50123,
        "FOCUSTEM": -2.125,
        "FILTER": "Halpha 7nm",
        "MPSAS": 21.3,
        "SITELAT": -33.86,
        "SITELONG": pytest.approx(-13.4),
        "PIERSIDE": "WEST",
        "EQUINOX": 2000,
    }
    assert {name: header[name] for name in expected} == expected
    # A quarter of a century of precession: 20' west, 1' south (see test_pointing for the digits).
    assert header["RA"] == pytest.approx(15 * 5.608 - 0.327, abs=0.02)
    assert header["DEC"] == pytest.approx(-5.37 - 0.014, abs=0.01)
    assert header["OBJCTRA"].startswith(" 5 35 ") and header["OBJCTDEC"].startswith("-5 2")
    assert -90 <= header["OBJCTALT"] <= 90 and 0 <= header["OBJCTAZ"] < 360
    assert ("AIRMASS" in header) is (header["OBJCTALT"] >= 0)
    assert header["COMMENT"][-1] == "Generated by INDI"


def test_nothing_is_said_of_what_is_not_known(rig: Rig) -> None:
    header = rig.header()
    assert header["TELESCOP"] == MOUNT  # as INDI::CCD: the name alone
    unknown = "FILTER FOCALLEN APTDIA MPSAS ROTATANG FOCUSPOS FOCUSTEM SCALE SITELAT AIRMASS RA"
    assert not set(f"{unknown} OBJCTRA PIERSIDE EQUINOX CRVAL1 DARKTIME".split()) & set(header)


@pytest.mark.parametrize("frame_type", list(FrameType))
def test_only_a_light_frame_has_a_place_in_the_sky(rig: Rig, frame_type: FrameType) -> None:
    asyncio.run(rig.mount_points(*M42))
    header = rig.header(frame_type)
    assert ("RA" in header) is ("EQUINOX" in header) is (frame_type is FrameType.LIGHT)
    assert header.get("DARKTIME") == (2.0 if frame_type is FrameType.DARK else None)


def test_j2000_of_the_mount_is_preferred_once(rig: Rig) -> None:
    async def dialogue() -> list[float]:
        await rig.mount_points(1, 10)
        await rig.number("EQUATORIAL_COORD", RA=7, DEC=50)
        return [_next_header(rig, at_s)["DEC"] for at_s in (0, 10)]

    first, second = asyncio.run(dialogue())
    assert first == 50
    assert second == pytest.approx(10, abs=0.3)


def test_j2000_alone_holds_until_it_changes(rig: Rig) -> None:
    asyncio.run(rig.number("EQUATORIAL_COORD", RA=7, DEC=50))
    assert [_next_header(rig, at_s)["RA"] for at_s in (0, 10)] == [105, 105]


def _next_header(rig: Rig, at_s: float) -> Header:
    at_ns = clock.monotonic_ns() + int(at_s * 1e9)
    rig.heading.exposure_began(at_ns)
    return rig.header(sensor_timestamp_ns=at_ns + 2_000_000_000)


def test_a_frame_shows_what_held_when_it_began(rig: Rig) -> None:
    """Frames of a batch overlap: the second begins before the first is delivered."""

    async def dialogue() -> list[tuple[int, str]]:
        begun_ns = [clock.monotonic_ns() + second * 10**9 for second in (0, 3, 6, 9)]
        for position, at_ns in enumerate(begun_ns):
            await rig.number(
                "ABS_FOCUS_POSITION", "Focuser Simulator", FOCUS_ABSOLUTE_POSITION=position
            )
            await rig.write("OBJECT", f"M {position}")
            rig.heading.exposure_began(at_ns)
        await rig.number("ABS_FOCUS_POSITION", "Focuser Simulator", FOCUS_ABSOLUTE_POSITION=99)
        await rig.write("INDI_CLEAR")
        # The third began, was lost and was never delivered; the sensor's clock is a bit off.
        headers = [
            rig.header(sensor_timestamp_ns=begun_ns[i] + 2_000_000_000 + 50_000_000)
            for i in (0, 1, 3)
        ]
        return [(header["FOCUSPOS"], header["OBJECT"]) for header in headers]

    assert asyncio.run(dialogue()) == [(0, "M 0"), (1, "M 1"), (3, "M 3")]


@pytest.mark.parametrize(
    ("ra", "dec"), [("nan", 10), (1, "inf"), (1, None), (25, 10), (1, -91), ("", "")]
)
def test_a_position_that_makes_no_sense_is_none(rig: Rig, ra: object, dec: object) -> None:
    async def dialogue() -> tuple[Header, Header]:
        await rig.mount_points(1, 10)
        before = rig.header()
        await rig.mount_points(ra, dec)
        return before, _next_header(rig, 10)

    before, after = asyncio.run(dialogue())
    assert "RA" in before
    assert "RA" not in after


@pytest.mark.parametrize(
    "gone",
    [
        f"<delProperty device='{MOUNT}'/>",
        f"<delProperty device='{MOUNT}' name='EQUATORIAL_EOD_COORD'/>",
        f"<defTextVector device='{MOUNT}' name='EQUATORIAL_EOD_COORD' perm='ro' state='Ok'>"
        "<defText name='RA'>here</defText><defText name='DEC'>there</defText></defTextVector>",
        f"<defNumberVector device='{MOUNT}' name='EQUATORIAL_EOD_COORD' perm='ro' state='Ok'/>",
        f"<setNumberVector device='{MOUNT}' name='EQUATORIAL_EOD_COORD' state='Busy'>"
        "<oneNumber name='RA'>-nan</oneNumber><oneNumber name='DEC'>0</oneNumber>"
        "</setNumberVector>",
    ],
)
def test_a_vanished_mount_is_forgotten(rig: Rig, gone: str) -> None:
    async def dialogue() -> Header:
        await rig.mount_points(*M42)
        await rig.hear(gone)
        return rig.header()

    assert "RA" not in asyncio.run(dialogue())


@pytest.mark.parametrize("slot", [0, 3, -1, 1e9])
def test_a_filter_slot_without_a_name_has_no_filter(rig: Rig, slot: float) -> None:
    async def dialogue() -> Header:
        await rig.hear(
            "<defTextVector device='CCD Simulator' name='FILTER_NAME' state='Ok' perm='rw'>"
            "<defText name='A'>Lum</defText><defText name='B'>Red</defText></defTextVector>"
        )
        await rig.number("FILTER_SLOT", "CCD Simulator", FILTER_SLOT_VALUE=slot)
        return rig.header()

    assert "FILTER" not in asyncio.run(dialogue())


def test_new_names_are_followed_and_old_ones_no_more(rig: Rig) -> None:
    async def dialogue() -> list[object]:
        await rig.number("ABS_ROTATOR_ANGLE", "Rotator Simulator", ANGLE=1)
        await rig.number("FOCUS_TEMPERATURE", "Focuser Simulator", TEMPERATURE=5)
        seen: list[object] = [_next_header(rig, 0).get("ROTATANG")]
        answer = await rig.ask("Text", "ACTIVE_DEVICES", ACTIVE_ROTATOR="Other")
        assert (answer.state, answer.values["ACTIVE_TELESCOPE"]) == (State.OK, MOUNT)
        asked = [(m.device, m.name) for m in rig.sent if isinstance(m, GetProperties)]
        assert asked == [("Other", "ABS_ROTATOR_ANGLE")]
        seen.append(_next_header(rig, 10).get("ROTATANG"))
        await rig.number("ABS_ROTATOR_ANGLE", "Rotator Simulator", ANGLE=2)
        await rig.number("ABS_ROTATOR_ANGLE", "Other", ANGLE=3)
        seen.append(_next_header(rig, 20).get("ROTATANG"))
        await rig.ask("Text", "ACTIVE_DEVICES", ACTIVE_ROTATOR="", ACTIVE_TELESCOPE="")
        assert not [m for m in rig.sent if isinstance(m, GetProperties)]
        header = _next_header(rig, 30)
        seen += [header.get("ROTATANG"), header.get("TELESCOP"), header.get("FOCUSTEM")]
        return seen

    assert asyncio.run(dialogue()) == [1, None, 3, None, None, 5]


def test_scope_info_goes_before_what_the_mount_says(rig: Rig) -> None:
    async def dialogue() -> tuple[Header, Header]:
        await rig.number("TELESCOPE_INFO", TELESCOPE_APERTURE=120, TELESCOPE_FOCAL_LENGTH=900)
        await rig.ask("Number", "SCOPE_INFO", FOCAL_LENGTH=400)
        first = _next_header(rig, 0)
        answer = await rig.ask("Number", "SCOPE_INFO", FOCAL_LENGTH=-1)
        assert answer.state is State.ALERT
        await rig.ask("Number", "SCOPE_INFO", FOCAL_LENGTH=0, APERTURE=80)
        return first, _next_header(rig, 10)

    first, second = asyncio.run(dialogue())
    assert (first["FOCALLEN"], first["APTDIA"]) == (400, 120)
    assert (second["FOCALLEN"], second["APTDIA"]) == (900, 80)


def test_a_missing_focal_length_is_told_once(rig: Rig) -> None:
    for at_s in (0, 10, 20):
        _next_header(rig, at_s)
    told = [m.message for m in rig.sent if isinstance(m, Message)]
    assert told == [
        "[WARNING] Telescope focal length and aperture not known, so not in the FITS header: "
        "set Scope among the options."
    ]


def test_world_coordinates_only_when_all_is_known(rig: Rig) -> None:
    async def dialogue() -> list[Header]:
        await rig.number("EQUATORIAL_COORD", RA=6, DEC=30)
        await rig.ask("Number", "SCOPE_INFO", FOCAL_LENGTH=500)
        await rig.ask("Switch", "WCS_CONTROL", WCS_ENABLE="On")
        defined = [m.vector.name for m in rig.sent if isinstance(m, Def)]
        assert defined == ["CCD_ROTATION"]
        headers = [_next_header(rig, 0)]
        await rig.ask("Number", "CCD_ROTATION", CCD_ROTATION_VALUE=30)
        headers.append(_next_header(rig, 10))
        await rig.ask("Switch", "WCS_CONTROL", WCS_DISABLE="On")
        assert [m.name for m in rig.sent if isinstance(m, DelProperty)] == ["CCD_ROTATION"]
        headers.append(_next_header(rig, 20))
        return headers

    before, header, after = asyncio.run(dialogue())
    assert "CRVAL1" not in before and "CRVAL1" not in after
    scale = 1.55 * 2 / 500 * 206.3
    expected = {
        "CRVAL1": 90,
        "CRVAL2": 30,
        "RADECSYS": "FK5",
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": 20,
        "CRPIX2": 15,
        "SECPIX1": pytest.approx(scale),
        "CDELT2": pytest.approx(scale / 3600),
        "CROTA1": 330,
        "CROTA2": 330,
    }
    assert {name: header[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("42", 42),
        ("-007", -7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("1.5", 1.5),
        ("1,5", 1.5),
        (".25", 0.25),
        ("-12.25", -12.25),
        ("1.", "1."),
        ("1e5", "1e5"),
        ("-", "-"),
        ("9" * 400 + ".5", "9" * 68),
        ("M 42/43", "M 42/43"),
        ("T", "T"),
        ("NaN", "NaN"),
        ("O'Neill", "O'Neill"),
        ("Zoë Müller", "Zoe Muller"),
        ("\u03b1 Cen – 南", "alpha Cen ? ?"),
        ("x" * 69, "x" * 68),
        ("'" * 60, "'" * 34),
    ],
)
def test_values_of_clients_are_typed_by_their_form(
    rig: Rig, value: str, read: str | int | float
) -> None:
    async def dialogue() -> Header:
        answer = await rig.write("mykey", value, "a comment")
        assert answer.state is State.OK
        # A client is told when its text could not be kept as it is.
        assert (answer.message is not None) is (isinstance(read, str) and read != value)
        return rig.header()

    header = asyncio.run(dialogue())
    assert header["MYKEY"] == read
    assert type(header["MYKEY"]) is type(read)


@pytest.mark.parametrize(
    ("name", "value", "comment", "sentence"),
    [
        ("", "", "", "An empty FITS record"),
        ("NINELETTE", "1", "", "no FITS keyword"),
        ("TWO WORD", "1", "", "no FITS keyword"),
        ("ÄRGER", "1", "", "no FITS keyword"),
        ("A=B", "1", "", "no FITS keyword"),
        *(
            (name, "1", "", "how the file is to be read")
            for name in "SIMPLE BITPIX naxis NAXIS1 NAXIS12 BZERO BSCALE BLANK CHECKSUM DATASUM END"
            " EXTEND XTENSION CONTINUE HIERARCH ZIMAGE ZNAXIS2 PCOUNT".split()
        ),
    ],
)
def test_what_would_spoil_the_file_is_refused(
    rig: Rig, name: str, value: str, comment: str, sentence: str
) -> None:
    async def dialogue() -> tuple[Header, Header]:
        before = rig.header()
        answer = await rig.write(name, value, comment)
        assert answer.state is State.ALERT
        assert sentence in (answer.message or "")
        return before, _next_header(rig, 10)

    before, after = asyncio.run(dialogue())
    assert list(before) == list(after)


def test_standard_keywords_give_way_and_come_back(rig: Rig) -> None:
    async def dialogue() -> list[Header]:
        await rig.write("TELESCOP", "My 8 inch")
        await rig.write("INSTRUME", "first")
        await rig.write("INSTRUME", "second", "said later")
        await rig.write("", "", "only a comment")
        await rig.write("comment", "a comment with a name")
        await rig.write("HISTORY", "and a history")
        written = _next_header(rig, 0)
        answer = await rig.write("indi_clear", "whatever")
        assert (answer.state, answer.message) == (State.OK, "[INFO] Custom FITS headers cleared.")
        return [written, _next_header(rig, 10)]

    written, cleared = asyncio.run(dialogue())
    assert (written["TELESCOP"], cleared["TELESCOP"]) == ("My 8 inch", MOUNT)
    assert (written["INSTRUME"], cleared["INSTRUME"]) == ("second", "Cam")
    assert written.comments["INSTRUME"] == "said later"
    assert list(written["COMMENT"]) == [
        "only a comment",
        "a comment with a name",
        "Generated by INDI",
    ]
    assert list(written["HISTORY"]) == ["and a history"]
    assert list(cleared["COMMENT"]) == ["Generated by INDI"]
    assert len([name for name in written if name == "INSTRUME"]) == 1


@pytest.mark.parametrize(("name", "value"), [("OBJECT", ""), ("", "M 42")])
def test_half_a_keyword_writes_nothing_and_is_ok(rig: Rig, name: str, value: str) -> None:
    answer = asyncio.run(rig.write(name, value))
    assert answer.state is State.OK
    assert "Nothing is written" in (answer.message or "")
    assert "OBJECT" not in rig.header()


def test_no_client_fills_the_header_without_end(rig: Rig) -> None:
    async def dialogue() -> list[State | None]:
        answers = [await rig.write(f"K{i}", "1") for i in range(MOST_WRITTEN + 1)]
        answers.append(await rig.write("K0", "2"))
        return [answer.state for answer in answers[-3:]]

    assert asyncio.run(dialogue()) == [State.OK, State.ALERT, State.OK]
    header = rig.header()
    assert (header["K0"], f"K{MOST_WRITTEN}" in header) == (2, False)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=120)


@given(st.lists(st.tuples(st.text("AZ09_-", min_size=1, max_size=8), TEXTS, TEXTS), max_size=8))
def test_whatever_clients_write_the_file_stays_a_file(
    written: Iterable[tuple[str, str, str]],
) -> None:
    """astropy takes every warning for an error, checksums included."""
    rig = Rig()

    async def dialogue() -> None:
        for name, value, comment in written:
            values = {"KEYWORD_NAME": name, "KEYWORD_VALUE": value, "KEYWORD_COMMENT": comment}
            await rig.heading._write(values)

    asyncio.run(dialogue())
    assert rig.header()["COMMENT"][-1] == "Generated by INDI"
