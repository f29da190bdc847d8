"""What `picam -c` understands, and what it says when it does not."""

from __future__ import annotations

import pytest

from indi_picam.client.choosing import choose_frame, choose_mode
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.options import ModeWish, RoiWish, Wish, idle_note, parse

HQ = ["4056x3040_12", "2028x1520_12", "2028x1080_12", "1332x990_10"]
HQ_TRIXIE = ["4056x3040_12", "4056x3040_10", "4056x3040_8", "2028x1520_8", "2028x1520_12"]
V1 = ["2592x1944_10", "1920x1080_10", "1296x972_10", "640x480_10"]
V2 = ["3280x2464_10", "3280x2464_8", "1640x1232_8", "1640x1232_10", "640x480_10"]
GLOBAL_SHUTTER = ["1456x1088_10"]


def test_the_two_command_lines_of_old() -> None:
    first = parse("shutter=1,ISO=100,exposure=verylong,metering=matrix,awb=off")
    assert (first.shutter_s, first.iso, first.gain, first.mode, first.roi) == (
        1.0,
        100.0,
        None,
        None,
        None,
    )
    assert first.idle == ("exposure", "metering", "awb")
    second = parse("shutter=10,ISO=800,exposure=off,awb=off,analoggain=10,mode=2")
    assert (second.shutter_s, second.iso, second.gain, second.mode) == (10.0, None, 10.0, 2)
    assert "analoggain=10 wins over ISO=800." in second.notes


def test_what_is_said_of_options_that_do_nothing_goes_by_the_format() -> None:
    raw = idle_note(("awb",), is_raw=True)
    assert raw == "awb does nothing here: raw frames come as the sensor gave them."
    assert "raw" not in idle_note(("awb", "ev"), is_raw=False)
    assert "picam settings" in idle_note(("awb", "ev"), is_raw=False)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("shutter=0.25", Wish(0.25)),
        (" Shutter = 2 , iso=400 ", Wish(2.0, iso=400.0)),
        ("shutter=1,mode=0", Wish(1.0)),
        ("shutter=1,mode=4056x3040:12", Wish(1.0, mode=ModeWish(4056, 3040, 12))),
        ("shutter=1,mode=1456x1088", Wish(1.0, mode=ModeWish(1456, 1088, None))),
        ("shutter=1,roi=0.25:0.5:0.5:0.5", Wish(1.0, roi=RoiWish(0.25, 0.5, 0.5, 0.5, True))),
        ("shutter=1,roi=0:0:1:1", Wish(1.0, roi=RoiWish(0, 0, 1, 1, True))),
        ("shutter=1,roi=10:20:640:480", Wish(1.0, roi=RoiWish(10, 20, 640, 480, False))),
    ],
)
def test_a_wish(text: str, wish: Wish) -> None:
    assert parse(text) == wish


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no option ''"),
        ("ISO=100", "shutter is missing"),
        ("shuter=1", "Right ones are shutter, ISO, analoggain, mode, roi;"),
        ("ss=1000000,shutter=1", "no option 'ss'"),
        ("shutter=1,shutter=2", "shutter is given twice"),
        ("shutter=1,exposure=verylnog", "verylong, fixedfps"),
        ("shutter=1,metering=centre", "average, spot, backlit, matrix"),
        ("shutter=0", "not a number above 0"),
        ("shutter=-1", "not a number above 0"),
        ("shutter=nan", "not a number above 0"),
        ("shutter=inf", "not a number above 0"),
        ("shutter=abc", "not a number above 0"),
        ("shutter", "shutter needs a value"),
        ("shutter=1,analoggain=", "analoggain needs a value"),
        ("shutter=1,ISO=0", "not a number above 0"),
        ("shutter=1,mode=big", "mode=big is not understood"),
        ("shutter=1,mode=-1", "mode=-1 is not understood"),
        ("shutter=1,roi=1:2:3", "is not understood"),
        ("shutter=1,roi=0:0:0:0", "is not understood"),
        ("shutter=1,roi=-1:0:10:10", "is not understood"),
        ("shutter=1,roi=0.5:0:10:10", "is not understood"),
        ("shutter=1,roi=0.75:0:0.5:0.5", "beyond the frame"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(Failure) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.exit_status == Exit.USAGE


@pytest.mark.parametrize(
    ("asked", "offered", "mode"),
    [
        (1, HQ, "2028x1080_12"),
        (2, HQ, "2028x1520_12"),
        (3, HQ, "4056x3040_12"),
        (4, HQ, "1332x990_10"),
        (2, HQ_TRIXIE, "2028x1520_12"),
        (1, V1, "1920x1080_10"),
        (3, V1, "2592x1944_10"),
        (7, V1, "640x480_10"),
        (2, V2, "3280x2464_10"),
        (4, V2, "1640x1232_10"),
        (ModeWish(4056, 3040, 8), HQ_TRIXIE, "4056x3040_8"),
        (ModeWish(4056, 3040, None), HQ_TRIXIE, "4056x3040_12"),
        (ModeWish(1456, 1088, None), GLOBAL_SHUTTER, "1456x1088_10"),
    ],
)
def test_a_mode_that_there_is(asked: ModeWish | int, offered: list[str], mode: str) -> None:
    assert choose_mode(asked, offered) == mode


@pytest.mark.parametrize(
    ("asked", "offered", "words"),
    [
        (5, HQ, "no mode 5. Its modes are 4056x3040:12, 2028x1520:12, 2028x1080:12, 1332x990:10."),
        (5, V2, "no mode 5."),  # 1640x922: raspistill had it, libcamera does not
        (2, GLOBAL_SHUTTER, "The modes of this camera are 1456x1088:10."),
        (ModeWish(4056, 3040, 10), HQ, "no mode 4056x3040:10."),
        (ModeWish(640, 480, None), HQ, "no mode 640x480."),
    ],
)
def test_a_mode_that_there_is_not(asked: ModeWish | int, offered: list[str], words: str) -> None:
    with pytest.raises(Failure) as caught:
        choose_mode(asked, offered)
    assert words in str(caught.value)
    assert caught.value.exit_status == Exit.USAGE


@pytest.mark.parametrize(
    ("roi", "size", "frame"),
    [
        (None, (4056, 3040), (0, 0, 4056, 3040)),
        (RoiWish(0, 0, 1, 1, True), (4056, 3040), (0, 0, 4056, 3040)),
        (RoiWish(0.25, 0.25, 0.5, 0.5, True), (4056, 3040), (1014, 760, 2028, 1520)),
        (RoiWish(0.1, 0.1, 0.1, 0.1, True), (1332, 990), (132, 98, 134, 100)),
        (RoiWish(0.9999, 0, 0.0001, 0.0001, True), (1332, 990), (1330, 0, 2, 2)),
        (RoiWish(101, 11, 63, 47, False), (1332, 990), (101, 11, 63, 47)),
        (RoiWish(1332 - 64, 0, 64, 990, False), (1332, 990), (1268, 0, 64, 990)),
    ],
)
def test_a_rectangle(
    roi: RoiWish | None, size: tuple[int, int], frame: tuple[int, int, int, int]
) -> None:
    assert choose_frame(roi, *size) == frame


def test_every_fraction_gives_an_even_rectangle_inside_the_frame() -> None:
    for width, height in ((4056, 3040), (1332, 990), (2592, 1944), (1456, 1088)):
        for step in range(1, 100):
            x, y, w, h = choose_frame(
                RoiWish(step / 100, 0, 1 - step / 100, step / 100, True), width, height
            )
            assert (x % 2, y % 2, w % 2, h % 2) == (0, 0, 0, 0)
            assert x + w <= width and y + h <= height and w > 0 and h > 0


def test_a_rectangle_beyond_the_frame_is_refused() -> None:
    with pytest.raises(Failure, match="beyond the frame of 1332 x 990 pixels"):
        choose_frame(RoiWish(1300, 0, 64, 64, False), 1332, 990)
