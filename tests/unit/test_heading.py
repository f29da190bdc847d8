"""Keywords that clients write, and that a frame shows what held when it began."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from astropy.io.fits import Header
from hypothesis import given
from hypothesis import strategies as st

from indi_picam import clock
from indi_picam.ccd.heading import MOST_WRITTEN
from indi_picam.indi.vectors import State
from tests.unit.header_rig import MOUNT, Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_frame_of_which_no_beginning_was_told_shows_what_held_when_it_was_asked_for(
    rig: Rig,
) -> None:
    async def dialogue() -> list[str]:
        objects = []
        for second in (0, 1000):
            await rig.write("OBJECT", f"M {second}")
            asked_ns = clock.monotonic_ns() + second * 10**9
            rig.heading.exposure_began(asked_ns)
            header = rig.header(exposure_us=1000, sensor_timestamp_ns=asked_ns + 200_000_000)
            objects.append(header["OBJECT"])
        return objects

    assert asyncio.run(dialogue()) == ["M 0", "M 1000"]


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


def test_frames_that_wait_for_a_slow_client_show_what_held_when_each_began(rig: Rig) -> None:
    """A fast exposure takes any number of frames before the first gets its header."""

    async def dialogue() -> list[str]:
        begun_ns = [clock.monotonic_ns() + tenth * 10**8 for tenth in range(200)]
        rig.heading.ordered(begun_ns[0])
        for number, at_ns in enumerate(begun_ns):
            await rig.write("OBJECT", f"M {number}")
            rig.heading.exposure_began(at_ns)
        headers = [
            rig.header(exposure_us=100_000, sensor_timestamp_ns=at_ns + 100_000_000)
            for at_ns in begun_ns[1:]
        ]
        assert len(rig.heading._beginnings) == 1
        return [header["OBJECT"] for header in headers]

    assert asyncio.run(dialogue()) == [f"M {number}" for number in range(1, 200)]


def test_what_is_left_of_an_aborted_order_is_forgotten(rig: Rig) -> None:
    for _ in range(3):
        rig.heading.ordered(clock.monotonic_ns())
        for _ in range(100):
            rig.heading.exposure_began(clock.monotonic_ns())
    assert len(rig.heading._beginnings) == 101


def test_the_lens_of_the_camera_tells_its_position_itself(rig: Rig) -> None:
    """Its device shows where the lens is to stand, before the frame that finds it there."""

    async def dialogue() -> Header:
        await rig.ask("Text", "ACTIVE_DEVICES", ACTIVE_FOCUSER="Cam Focuser")
        await rig.number("ABS_FOCUS_POSITION", "Cam Focuser", FOCUS_ABSOLUTE_POSITION=900)
        return rig.next_header(0)

    assert "FOCUSPOS" not in asyncio.run(dialogue())


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
        return before, rig.next_header(10)

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
        written = rig.next_header(0)
        answer = await rig.write("indi_clear", "whatever")
        assert (answer.state, answer.message) == (State.OK, "[INFO] Custom FITS headers cleared.")
        return [written, rig.next_header(10)]

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
