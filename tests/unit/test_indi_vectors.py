"""Requests checked against vectors, numbers read and written."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indi_picam.indi.vectors import (
    AnyVector,
    Blob,
    BlobVector,
    Kind,
    Light,
    LightVector,
    Number,
    NumberVector,
    Refused,
    Rule,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
    number_text,
    parse_number,
    requested,
)

FRAME = NumberVector(
    "CCD_FRAME",
    "Frame",
    "Image Settings",
    (
        Number("X", "Left", 0, 0, 4055),
        Number("WIDTH", "Width", 4056, 1, 4056),
        Number("FREE", "Free"),
    ),
)
SETTINGS = TextVector(
    "UPLOAD_SETTINGS", "Upload", "Options", (Text("DIR", "Dir"), Text("PREFIX", "P"))
)
ABC = (Switch("A", "a", True), Switch("B", "b"), Switch("C", "c"))
ONE = SwitchVector("MODE", "Mode", "Main", ABC)
AT_MOST = SwitchVector("MODE", "Mode", "Main", ABC, rule=Rule.AT_MOST_ONE)
ANY = SwitchVector("MODE", "Mode", "Main", ABC, rule=Rule.ANY_OF_MANY)

TAKEN: list[tuple[AnyVector, dict[str, str], dict[str, Any] | None]] = [
    (FRAME, {"X": " 16 ", "WIDTH": "1e3"}, {"X": 16.0, "WIDTH": 1000.0}),
    (FRAME, {"WIDTH": "4056"}, {"WIDTH": 4056.0}),
    (FRAME, {"FREE": "-1e300"}, {"FREE": -1e300}),
    (SETTINGS, {"DIR": "/tmp/ä"}, {"DIR": "/tmp/ä"}),
    (SETTINGS, {"DIR": "x" * 4096, "PREFIX": ""}, {"DIR": "x" * 4096, "PREFIX": ""}),
    (ONE, {"B": "On"}, {"A": False, "B": True, "C": False}),
    (ONE, {"C": "On", "A": "Off", "B": "Off"}, {"A": False, "B": False, "C": True}),
    (ONE, {"A": "Ontario"}, {"A": True, "B": False, "C": False}),
    (ONE, {"A": "Off", "B": "Off", "C": "Off"}, None),
    (ONE, {"A": "Off"}, None),
    (ONE, {}, None),
    (AT_MOST, {"B": "On"}, {"A": False, "B": True, "C": False}),
    (AT_MOST, {"A": "Off"}, {"A": False, "B": False, "C": False}),
    (ANY, {"B": "On"}, {"A": True, "B": True, "C": False}),
    (ANY, {"A": "Off"}, {"A": False, "B": False, "C": False}),
]


@pytest.mark.parametrize(("vector", "texts", "values"), TAKEN)
def test_taken(vector: AnyVector, texts: dict[str, str], values: dict[str, Any] | None) -> None:
    assert requested(vector, vector.kind, texts) == values


REFUSED: list[tuple[AnyVector, dict[str, str], str]] = [
    (FRAME, {"Y": "1"}, "CCD_FRAME has no element 'Y', only X, WIDTH, FREE."),
    (FRAME, {"": "1"}, "CCD_FRAME has no element '', only X, WIDTH, FREE."),
    (FRAME, {}, "The request for CCD_FRAME names none of X, WIDTH, FREE."),
    (FRAME, {"X": "1", "WIDTH": "abc"}, "CCD_FRAME: WIDTH is refused, 'abc' is not a number."),
    (FRAME, {"X": ""}, "CCD_FRAME: X is refused, '' is not a number."),
    (FRAME, {"X": "nan"}, "CCD_FRAME: X is refused, 'nan' is not a number."),
    (FRAME, {"X": "-inf"}, "CCD_FRAME: X is refused, '-inf' is not a number."),
    (FRAME, {"FREE": "1e999"}, "CCD_FRAME: FREE is refused, '1e999' is too large for a number."),
    (FRAME, {"X": "-1"}, "CCD_FRAME: X -1 is refused, allowed is 0 to 4055."),
    (FRAME, {"WIDTH": "4056.5"}, "CCD_FRAME: WIDTH 4056.5 is refused, allowed is 1 to 4056."),
    (FRAME, {"X": "9" * 60}, "CCD_FRAME: X 1e+60 is refused, allowed is 0 to 4055."),
    (FRAME, {"X": "z" * 60}, f"CCD_FRAME: X is refused, '{'z' * 40}…' is not a number."),
    (SETTINGS, {"NAME": "x"}, "UPLOAD_SETTINGS has no element 'NAME', only DIR, PREFIX."),
    (SETTINGS, {}, "The request for UPLOAD_SETTINGS names none of DIR, PREFIX."),
    (
        SETTINGS,
        {"DIR": "x" * 4097},
        "UPLOAD_SETTINGS: DIR is refused, 4097 characters exceed 4096.",
    ),
    (ONE, {"D": "On"}, "MODE has no element 'D', only A, B, C."),
    (ONE, {"A": "1"}, "MODE: A is refused, '1' is neither On nor Off."),
    (ONE, {"A": "off"}, "MODE: A is refused, 'off' is neither On nor Off."),
    (ONE, {"A": "On", "C": "On"}, "MODE takes one switch On at a time, not A, C."),
    (AT_MOST, {"A": "On", "B": "On"}, "MODE takes one switch On at a time, not A, B."),
    (ANY, {"A": ""}, "MODE: A is refused, '' is neither On nor Off."),
    (LightVector("L", "l", "g", (Light("A", "a"),)), {"A": "Ok"}, "L takes no newLightVector."),
    (BlobVector("B", "b", "g", (Blob("A", "a"),)), {"A": "QUJD"}, "B takes no newBLOBVector."),
]


@pytest.mark.parametrize(("vector", "texts", "sentence"), REFUSED)
def test_refused_with_a_sentence(vector: AnyVector, texts: dict[str, str], sentence: str) -> None:
    with pytest.raises(Refused) as refusal:
        requested(vector, vector.kind, texts)
    assert str(refusal.value) == sentence
    assert refusal.value.state is State.ALERT


def test_another_kind_of_vector_is_refused() -> None:
    with pytest.raises(Refused, match=r"^CCD_FRAME takes no newTextVector\.$"):
        requested(FRAME, Kind.TEXT, {"X": "1"})


def test_limits_may_be_left_to_the_handler() -> None:
    assert requested(FRAME, Kind.NUMBER, {"X": "-7"}, check_limits=False) == {"X": -7.0}


NUMBERS = [
    ("0", 0.0),
    ("-12", -12.0),
    ("+.5", 0.5),
    ("5.", 5.0),
    ("1.5E-3", 0.0015),
    ("-10:30:18", -10.505),
    ("-10 30.3", -10.505),
    ("10;30", 10.5),
    (" 12 : 30 : 36 ", 12.51),
    ("-0:30", -0.5),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_number(text: str, value: float) -> None:
    assert parse_number(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "1,5",
        "1_0",
        "0x10",
        "1e",
        "--1",
        "1:-2",
        "1:2:3:4",
        ":5",
        "٣",
        "nan",
        "infinity",
        "1e400",
    ],
)
def test_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_number(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_it_was(value: float) -> None:
    assert parse_number(number_text(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (4056.0, "4056"),
        (0.001, "0.001"),
        (1e15, "1000000000000000"),
        (1e16, "1e+16"),
        (5, "5"),
    ],
)
def test_number_text(value: float, text: str) -> None:
    assert number_text(value) == text


def test_turning_one_on_turns_the_others_off() -> None:
    assert ONE.with_values({"C": True}).values == {"A": False, "B": False, "C": True}
    assert ONE.with_values({"C": True}).selected == "C"
    assert AT_MOST.with_values({"A": False}).selected is None
    assert ANY.with_values({"C": True}).values == {"A": True, "B": False, "C": True}


@pytest.mark.parametrize("values", [{"NONE": 1.0}, {"X": math.nan}, {"X": math.inf}])
def test_a_vector_holds_only_what_it_can(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="CCD_FRAME"):
        FRAME.with_values(values)


def test_new_limits_keep_the_value() -> None:
    changed = FRAME.with_limits({"X": (0, 99, 2)})
    assert changed.elements[0] == Number("X", "Left", 0, 0, 99, 2)
    assert changed.elements[1:] == FRAME.elements[1:]
    with pytest.raises(ValueError, match="'Y'"):
        FRAME.with_limits({"Y": (0, 1, 1)})
