"""The decoder: every message whole, byte by byte and among rubbish; overlong and hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indi_picam.indi.decoder import MAX_CHILDREN, MAX_ELEMENT_BYTES, Decoder
from indi_picam.indi.encoder import encode
from indi_picam.indi.messages import (
    Def,
    DelProperty,
    EnableBlob,
    GetProperties,
    Incoming,
    Malformed,
    Message,
    New,
    PingReply,
    PingRequest,
    Set,
    WireMessage,
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


def decoded(data: bytes, piece: int | None = None) -> list[Incoming]:
    decoder = Decoder()
    step = piece or len(data) or 1
    return [
        message
        for start in range(0, len(data), step)
        for message in decoder.feed(data[start : start + step])
    ]


# Quotes, indents and line feeds as indiserver 1.9.9 and libindi's drivers write them.
MESSAGES: list[tuple[bytes, WireMessage]] = [
    (b"<getProperties version='1.7'/>\n", GetProperties()),
    (
        b'<?xml version="1.0"?>\n<getProperties version="1.7" device="Cam" name="CCD1"/>',
        GetProperties("Cam", "CCD1"),
    ),
    (
        b'<getProperties version="2.0" device="Cam"></getProperties>',
        GetProperties("Cam", None, "2.0"),
    ),
    (
        b'<newNumberVector device="Cam" name="CCD_EXPOSURE" timestamp="2026-08-05T01:02:03">\n'
        b'    <oneNumber name="CCD_EXPOSURE_VALUE">\n1.5\n    </oneNumber>\n</newNumberVector>\n',
        New(
            "Cam", "CCD_EXPOSURE", Kind.NUMBER, {"CCD_EXPOSURE_VALUE": "1.5"}, "2026-08-05T01:02:03"
        ),
    ),
    (
        b"<newSwitchVector device='Cam' name='CONNECTION'><oneSwitch name='CONNECT'>On</oneSwitch>"
        b"<!-- no harm --><oneSwitch name='DISCONNECT'>Off</oneSwitch></newSwitchVector>",
        New("Cam", "CONNECTION", Kind.SWITCH, {"CONNECT": "On", "DISCONNECT": "Off"}),
    ),
    (
        "<newTextVector device='Käm €' name='T'>"
        "<oneText name='A'>&lt;Größe&gt; &amp;amp; 'x' & co\n"
        "zweite Zeile</oneText><oneText name='B'/></newTextVector>".encode(),
        New("Käm €", "T", Kind.TEXT, {"A": "<Größe> &amp; 'x' & co\nzweite Zeile", "B": ""}),
    ),
    (b"<newTextVector device='C' name='T'></newTextVector>", New("C", "T", Kind.TEXT, {})),
    (
        b"<newTextVector device='C' name='T'><oneText>x > y</oneText></newTextVector>",
        New("C", "T", Kind.TEXT, {"": "x > y"}),
    ),
    (
        b"<newTextVector device='a>b' name='\x01T\n'>"
        b"<oneText name='A'>q\x07q\x00</oneText></newTextVector>",
        New("a>b", "T", Kind.TEXT, {"A": "qq"}),
    ),
    (
        b'<setNumberVector device="Mount" name="EQUATORIAL_EOD_COORD" state="Busy" timeout="60">'
        b'<oneNumber name="RA">5:30:36</oneNumber>'
        b'<oneNumber name="DEC" min="-90" max="90" step="0">'
        b"-1.25e+1</oneNumber></setNumberVector>",
        Set(
            "Mount",
            "EQUATORIAL_EOD_COORD",
            Kind.NUMBER,
            {"RA": 5.51, "DEC": -12.5},
            State.BUSY,
            60.0,
            {"DEC": (-90.0, 90.0, 0.0)},
        ),
    ),
    (
        b"<setSwitchVector device='M' name='P' state='Ok' message='[INFO] done'>"
        b"<oneSwitch name='A'>On\n</oneSwitch><oneSwitch name='B'>Off</oneSwitch>"
        b"</setSwitchVector>",
        Set("M", "P", Kind.SWITCH, {"A": True, "B": False}, State.OK, message="[INFO] done"),
    ),
    (
        b"<setLightVector device='M' name='L'><oneLight name='A'>Alert</oneLight></setLightVector>",
        Set("M", "L", Kind.LIGHT, {"A": State.ALERT}, None),
    ),
    (
        b"<defNumberVector device='M' name='N' label='l' group='g' state='Idle' perm='ro' "
        b"timeout='0' "
        b"timestamp='2026-08-05T01:02:03'><defNumber name='A' label='a' format='%4.1f' min='0' "
        b"max='10' step='1'>5</defNumber></defNumberVector>",
        Def(
            "M",
            NumberVector("N", "l", "g", (Number("A", "a", 5, 0, 10, 1, "%4.1f"),), "ro", 0),
            "2026-08-05T01:02:03",
        ),
    ),
    (
        b"<defSwitchVector device='M' name='N' label='l' group='g' state='Ok' perm='rw' "
        b"rule='AtMostOne' timeout='60'><defSwitch name='A' label='a'>On</defSwitch>"
        b"</defSwitchVector>",
        Def(
            "M",
            SwitchVector(
                "N", "l", "g", (Switch("A", "a", True),), "rw", 60, State.OK, Rule.AT_MOST_ONE
            ),
        ),
    ),
    (
        b"<defTextVector device='M' name='N' perm='wo' timeout='1'>"
        b"<defText name='A'>v</defText></defTextVector>",
        Def("M", TextVector("N", "N", "", (Text("A", "A", "v"),), "wo", 1)),
    ),
    (
        b"<defLightVector device='M' name='N'><defLight name='A'>Busy</defLight></defLightVector>",
        Def("M", LightVector("N", "N", "", (Light("A", "A", State.BUSY),), "ro", 0)),
    ),
    (
        b"<defBLOBVector device='M' name='N' perm='ro'><defBLOB name='A'/></defBLOBVector>",
        Def("M", BlobVector("N", "N", "", (Blob("A", "A"),), "ro", 0)),
    ),
    (b"<delProperty device='M'/>", DelProperty("M")),
    (b"<delProperty device='M' name='N' message='gone'/>", DelProperty("M", "N", None, "gone")),
    (b"<message timestamp='t' message='all of you'/>", Message(None, "all of you", "t")),
    (b"<enableBLOB device='M' name='CCD1'>Also</enableBLOB>", EnableBlob("M", "Also", "CCD1")),
    (b"<pingRequest uid='7'/>", PingRequest("7")),
    (b"<pingReply uid='SetBLOB/1' />", PingReply("SetBLOB/1")),
]


@pytest.mark.parametrize(("data", "message"), MESSAGES)
@pytest.mark.parametrize("piece", [None, 1, 2, 7])
def test_message_is_read_at_any_cut(data: bytes, message: WireMessage, piece: int | None) -> None:
    assert decoded(data, piece) == [message]


@pytest.mark.parametrize("piece", [None, 1, 5])
def test_messages_in_one_stream_keep_their_order(piece: int | None) -> None:
    stream = b"\n".join(data for data, _ in MESSAGES)
    assert decoded(stream, piece) == [message for _, message in MESSAGES]


GOOD = b"<pingRequest uid='after'/>"
NEW = b"<newNumberVector device='C' name='N'>"
NEW_END = b"</newNumberVector>"

# (rubbish, words of the one report, device and name it still shows)
RUBBISH: list[tuple[bytes, str, tuple[str | None, str | None]]] = [
    (b"Traceback (most recent call last): oops", "outside", (None, None)),
    (b"\x00\xff\xfe\x80", "outside", (None, None)),
    (b"</newNumberVector>", "without its start", (None, None)),
    (b"<>", "no tag", (None, None)),
    (b"<1a/>", "no tag", (None, None)),
    (b"<<<<<<", "no tag", (None, None)),
    (b"<message message=hello/>", "no tag", (None, None)),
    (b"<message message='a'message='b'/>", "no tag", (None, None)),
    (b"<message message='never closed />", "no tag", (None, None)),
    (b"<foo><bar>text</bar></foo>", "foo is no message", (None, None)),
    (b"<html><body><p>hi</p></body></html>", "too deep", (None, None)),
    (b"<newFooVector device='C' name='N'></newFooVector>", "no message of INDI", ("C", "N")),
    (b"<newNumberVector name='N'></newNumberVector>", "without device", (None, "N")),
    (b"<newNumberVector device='C'></newNumberVector>", "without name", ("C", None)),
    (NEW + b"<oneNumber name='A'>1</oneText></newNumberVector>", "ended by oneText", ("C", "N")),
    (NEW + b"<oneNumber name='A'>1</newNumberVector>", "ended by newNumberVector", ("C", "N")),
    (NEW + b"<oneNumber name='A'>1<b/></oneNumber></newNumberVector>", "too deep", ("C", "N")),
    (NEW + b"<oneNumber name='A'>&x;</oneNumber></newNumberVector>", "entity &x;", ("C", "N")),
    (NEW + b"<oneNumber name='A'>&#49;</oneNumber></newNumberVector>", "entity &#49;", ("C", "N")),
    (NEW + b"<oneNumber name='A'><![CDATA[1]]></oneNumber></newNumberVector>", "CDATA", ("C", "N")),
    (b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>", "not accepted", (None, None)),
    (b"<setNumberVector device='M' name='N' state='Gut'/>", "'Gut' is not", ("M", "N")),
    (
        b"<setNumberVector device='M' name='N'><oneNumber name='A'>nan</oneNumber>"
        b"</setNumberVector>",
        "'nan' is not a number",
        ("M", "N"),
    ),
    (b"<defTextVector device='M' name='N' perm='xx'/>", "'xx' is no permission", ("M", "N")),
    (
        NEW + b"<oneNumber/>" * (MAX_CHILDREN + 1) + b"</newNumberVector>",
        "more than 1000",
        ("C", "N"),
    ),
]


@pytest.mark.parametrize(("rubbish", "words", "shown"), RUBBISH)
@pytest.mark.parametrize("piece", [None, 1])
def test_rubbish_is_reported_once_and_what_follows_is_read(
    rubbish: bytes, words: str, shown: tuple[str | None, str | None], piece: int | None
) -> None:
    report, *rest = decoded(GOOD + rubbish + GOOD + GOOD, piece)[1:]
    assert isinstance(report, Malformed)
    assert words in report.sentence
    assert (report.device, report.name) == shown
    assert report.request is (rubbish.startswith(b"<new"))
    assert rest == [PingRequest("after")] * 2


def test_each_broken_request_is_reported_even_without_a_good_one_between() -> None:
    broken = NEW + b"<oneNumber name='A'>1</oneText></newNumberVector>"
    assert [type(message) for message in decoded(broken * 3)] == [Malformed] * 3


def test_a_megabyte_of_text_is_taken() -> None:
    text = "x" * (1 << 20)
    data = f"<newTextVector device='C' name='T'><oneText name='A'>{text}</oneText></newTextVector>"
    assert decoded(data.encode(), 65536) == [New("C", "T", Kind.TEXT, {"A": text})]


OVERLONG = [
    (b"<newTextVector device='C' name='T'><oneText name='A'>", b"x", b"</oneText></newTextVector>"),
    (b"<newTextVector device='C' name='", b"n", b"'/>"),
    (b"<!", b"x", b">"),
    (b"", b"x", b""),
    (b"<", b"a", b"/>"),
]


@pytest.mark.parametrize(("start", "middle", "end"), OVERLONG)
@pytest.mark.parametrize("piece", [None, 65536])
def test_an_element_without_an_end_is_dropped(
    start: bytes, middle: bytes, end: bytes, piece: int | None
) -> None:
    data = start + middle * (2 * MAX_ELEMENT_BYTES // len(middle)) + end + GOOD
    report, after = decoded(data, piece)
    assert isinstance(report, Malformed)
    assert after == PingRequest("after")


@pytest.mark.parametrize(
    "flood", [b"<", b"<a", b"<a>", b"x", b"</a>", b"<a b='", b"<!", b"\x00", b"<a></b>"]
)
def test_a_flood_of_rubbish_neither_grows_nor_chatters(flood: bytes) -> None:
    decoder = Decoder()
    reports = []
    for _ in range(30):
        reports += decoder.feed(flood * 2000)
        held = len(decoder._buffer) + sum(len(element.text) for element in decoder._open)
        assert held <= MAX_ELEMENT_BYTES
        assert len(decoder._open) <= 2
    assert len(reports) <= 1


@given(st.binary(max_size=300))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    decoder = Decoder()
    decoder.feed(data)
    # Two end tags and a '>' close whatever quote, tag or element the bytes may have left open.
    decoder.feed(b"'\">--></a></a>")
    assert decoder.feed(b"<a></b>" + GOOD)[-1] == PingRequest("after")


_TAGS = b"< > /> </ ' \" = &lt; &x; <? <! newTextVector oneText device='C' name='A' text".split()
_TOKENS = st.sampled_from(
    [*_TAGS, b" ", b"\xc3", b"\x00", NEW, b"<oneNumber name='A'>1</oneNumber>", GOOD, NEW_END]
)


@given(st.lists(_TOKENS, max_size=60).map(b"".join), st.integers(1, 40))
def test_where_the_stream_is_cut_makes_no_difference(data: bytes, piece: int) -> None:
    assert decoded(data, piece) == decoded(data)


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)
_NAMES = st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=63
)
_MESSAGES = st.one_of(
    st.builds(
        New, _NAMES, _NAMES, st.just(Kind.TEXT), st.dictionaries(_NAMES, _TEXTS.map(str.strip))
    ),
    st.builds(
        Set,
        device=_NAMES,
        name=_NAMES,
        kind=st.just(Kind.NUMBER),
        values=st.dictionaries(_NAMES, st.floats(allow_nan=False, allow_infinity=False)),
        state=st.sampled_from(State),
        timeout=st.integers(0, 9999).map(float),
    ),
    st.builds(
        Set,
        device=_NAMES,
        name=_NAMES,
        kind=st.just(Kind.SWITCH),
        values=st.dictionaries(_NAMES, st.booleans()),
        state=st.sampled_from(State),
    ),
    st.builds(Message, st.none() | _NAMES, _TEXTS),
    st.builds(DelProperty, _NAMES, st.none() | _NAMES),
)


@given(st.lists(_MESSAGES, max_size=5), st.integers(1, 100))
def test_what_is_encoded_is_decoded(messages: list[WireMessage], piece: int) -> None:
    assert decoded(b"".join(map(encode, messages)), piece) == messages
