"""The encoder, byte for byte, and what it cuts or refuses."""

from __future__ import annotations

import math

import pytest

from indi_picam.indi.encoder import encode, inline_blob
from indi_picam.indi.messages import (
    Def,
    DelProperty,
    EnableBlob,
    GetProperties,
    Message,
    New,
    Outgoing,
    PingReply,
    PingRequest,
    Set,
    SetBlob,
)
from indi_picam.indi.vectors import (
    Blob,
    BlobVector,
    Kind,
    Light,
    LightVector,
    Number,
    NumberVector,
    Rule,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)

T = "2026-08-05T01:02:03"
NUMBERS = NumberVector("N", "Label", "Group", (Number("A", "a", 0.1, 0, 1e20, 0.5, "%4.1f"),))
SWITCHES = SwitchVector(
    "S", "L", "G", (Switch("A", "a", True), Switch("B", "b")), rule=Rule.AT_MOST_ONE
)

BYTES: list[tuple[Outgoing, str]] = [
    (
        Def("Cam", NUMBERS, T),
        '<defNumberVector device="Cam" name="N" label="Label" group="Group" state="Idle" perm="rw" '
        f'timeout="60" timestamp="{T}">\n'
        '<defNumber name="A" label="a" format="%4.1f" min="0" max="1e+20" step="0.5">0.1'
        "</defNumber>\n"
        "</defNumberVector>\n",
    ),
    (
        Def("Cam", SWITCHES, T, "m"),
        '<defSwitchVector device="Cam" name="S" label="L" group="G" state="Idle" perm="rw" '
        f'rule="AtMostOne" timeout="60" timestamp="{T}" message="m">\n'
        '<defSwitch name="A" label="a">On</defSwitch>\n'
        '<defSwitch name="B" label="b">Off</defSwitch>\n'
        "</defSwitchVector>\n",
    ),
    (
        Def("Cam", TextVector("T", "L", "G", (Text("A", "a", "<x>\n&'\""),), "wo", 0), T),
        '<defTextVector device="Cam" name="T" label="L" group="G" state="Idle" perm="wo" '
        'timeout="0" '
        f'timestamp="{T}">\n<defText name="A" label="a">&lt;x&gt;\n&amp;&apos;&quot;</defText>\n'
        "</defTextVector>\n",
    ),
    (
        Def("Cam", LightVector("L", "l", "G", (Light("A", "a", State.BUSY),)), T),
        f'<defLightVector device="Cam" name="L" label="l" group="G" state="Idle" timestamp="{T}">\n'
        '<defLight name="A" label="a">Busy</defLight>\n</defLightVector>\n',
    ),
    (
        Def("Cam", BlobVector("B", "l", "G", (Blob("A", "a"),), "ro"), T),
        '<defBLOBVector device="Cam" name="B" label="l" group="G" state="Idle" perm="ro" '
        f'timeout="60" timestamp="{T}">\n<defBLOB name="A" label="a"></defBLOB>\n'
        "</defBLOBVector>\n",
    ),
    (
        Set("Cam", "N", Kind.NUMBER, {"A": 1.0, "B": -2.5}, State.BUSY, 60, {"B": (-3, 3, 0.1)}, T),
        f'<setNumberVector device="Cam" name="N" state="Busy" timeout="60" timestamp="{T}">\n'
        '<oneNumber name="A">1</oneNumber>\n'
        '<oneNumber name="B" min="-3" max="3" step="0.1">-2.5</oneNumber>\n</setNumberVector>\n',
    ),
    (
        Set(
            "Cam", "S", Kind.SWITCH, {"A": True, "B": False}, State.OK, 0.5, message="a\nb\tc\x01d"
        ),
        '<setSwitchVector device="Cam" name="S" state="Ok" timeout="0.5" message="a b cd">\n'
        '<oneSwitch name="A">On</oneSwitch>\n<oneSwitch name="B">Off</oneSwitch>\n'
        "</setSwitchVector>\n",
    ),
    (
        New("Cam", "N", Kind.NUMBER, {"A": "1"}),
        '<newNumberVector device="Cam" name="N">\n<oneNumber name="A">1</oneNumber>\n'
        "</newNumberVector>\n",
    ),
    (
        SetBlob("Cam", "CCD1", "CCD1", ".fits", 2880, 9, timeout=60, timestamp=T),
        f'<setBLOBVector device="Cam" name="CCD1" state="Ok" timeout="60" timestamp="{T}">\n'
        '<oneBLOB name="CCD1" size="2880" format=".fits" len="2880" attached="true"></oneBLOB>\n'
        "</setBLOBVector>\n",
    ),
    (
        SetBlob("Cam", "CCD1", "CCD1", ".fits.z", 2880, 9, length=99),
        '<setBLOBVector device="Cam" name="CCD1" state="Ok">\n'
        '<oneBLOB name="CCD1" size="2880" format=".fits.z" len="99" attached="true"></oneBLOB>\n'
        "</setBLOBVector>\n",
    ),
    (GetProperties(), '<getProperties version="1.7"/>\n'),
    (GetProperties("M", "N"), '<getProperties version="1.7" device="M" name="N"/>\n'),
    (DelProperty("Cam", "N", T), f'<delProperty device="Cam" name="N" timestamp="{T}"/>\n'),
    (DelProperty("Cam"), '<delProperty device="Cam"/>\n'),
    (Message("Cam", "Größe", T), f'<message device="Cam" timestamp="{T}" message="Größe"/>\n'),
    (EnableBlob("M", "Never"), '<enableBLOB device="M">Never</enableBLOB>\n'),
    (PingRequest("SetBLOB/1"), '<pingRequest uid="SetBLOB/1"/>\n'),
    (PingReply("1"), '<pingReply uid="1"/>\n'),
]


@pytest.mark.parametrize(("message", "text"), BYTES)
def test_bytes(message: Outgoing, text: str) -> None:
    assert encode(message).decode() == text


def test_inline_blob_says_no_enclen() -> None:
    head, tail = inline_blob(SetBlob("Cam", "CCD1", "CCD1", ".fits", 2880, 9))
    assert head == (
        b'<setBLOBVector device="Cam" name="CCD1" state="Ok">\n'
        b'<oneBLOB name="CCD1" size="2880" format=".fits">'
    )
    assert tail == b"</oneBLOB>\n</setBLOBVector>\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 300, "x" * 254),
        ("€" * 100, "€" * 84),
        ("x" * 253 + "é", "x" * 253),
        ("\udc80", "?"),
    ],
)
def test_a_message_fits_into_256_bytes_whole_characters_only(text: str, kept: str) -> None:
    assert encode(Message(None, text)) == f'<message message="{kept}"/>\n'.encode()


def test_a_name_fits_into_64_bytes() -> None:
    assert encode(DelProperty("d" * 70, "n" * 63)).decode().split('"')[1::2] == ["d" * 63, "n" * 63]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_that_c_could_not_read_is_sent(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        encode(Set("Cam", "N", Kind.NUMBER, {"A": value}, State.OK))
