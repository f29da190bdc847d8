"""Nonsense from clients: each gets an answer in the right state and a sentence, and changes
nothing."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import suppress
from xml.etree.ElementTree import Element, ParseError, fromstring

import pytest

from tests.system.client import Client, is_set, values
from tests.system.conftest import DEVICE, Server, connect


def vector(kind: str, name: str, *ones: tuple[str, str]) -> str:
    """The XML of a request."""
    inside = "".join(f"<one{kind} name='{element}'>{value}</one{kind}>" for element, value in ones)
    return f"<new{kind}Vector device='{DEVICE}' name='{name}'>{inside}</new{kind}Vector>"


EXPOSURE = ("CCD_EXPOSURE", "CCD_EXPOSURE_VALUE")
REFUSED = [
    vector("Number", EXPOSURE[0], (EXPOSURE[1], text))
    for text in (
        "abc",
        "",
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e99",
        "-1e308",
        "1e308",
        "1e999",
        "1,5",
        "1:2:3:4",
        "0x10",
    )
] + [
    vector("Number", EXPOSURE[0], ("SHUTTER", "1")),
    vector("Number", EXPOSURE[0]),
    vector("Text", EXPOSURE[0], (EXPOSURE[1], "1")),
    vector("Switch", EXPOSURE[0], (EXPOSURE[1], "On")),
    vector("Number", EXPOSURE[0], (EXPOSURE[1], "1" * 1_000_000)),
    vector("Number", "CCD_FRAME", ("X", "0"), ("Y", "0")),
    vector("Number", "CCD_FRAME", ("X", "0"), ("Y", "0"), ("WIDTH", "-5"), ("HEIGHT", "10")),
    vector("Number", "CCD_FRAME", ("X", "0"), ("Y", "0"), ("WIDTH", "0"), ("HEIGHT", "10")),
    vector("Number", "CCD_FRAME", ("X", "nan"), ("Y", "0"), ("WIDTH", "9"), ("HEIGHT", "10")),
    vector("Number", "CCD_FRAME", ("X", "99999"), ("Y", "0"), ("WIDTH", "9"), ("HEIGHT", "10")),
    vector("Number", "CCD_BINNING", ("HOR_BIN", "0"), ("VER_BIN", "0")),
    vector("Number", "CCD_BINNING", ("HOR_BIN", "5"), ("VER_BIN", "5")),
    vector("Number", "CCD_GAIN", ("GAIN", "1000")),
    vector("Number", "CCD_GAIN", ("GAIN", "0")),
    vector("Number", "CCD_GAIN", ("Gain", "2")),
    vector("Number", "PICAM_ISO", ("ISO", "1")),
    vector("Switch", "CCD_FRAME_TYPE", ("FRAME_LIGHT", "On"), ("FRAME_DARK", "On")),
    vector("Switch", "CCD_FRAME_TYPE", ("FRAME_PARTY", "On")),
    vector("Switch", "CCD_FRAME_TYPE", ("FRAME_DARK", "perhaps")),
    vector("Switch", "PICAM_MODE", ("1x1_1", "On")),
    vector("Text", "CCD_CFA", ("CFA_TYPE", "RYYB")),
    vector("Switch", "CONFIG_PROCESS", ("CONFIG_LOAD", "On")),  # nothing was saved yet
]
NOT_CHANGED = [  # answered, with everything as it was
    vector("Switch", "CCD_FRAME_TYPE", ("FRAME_LIGHT", "Off"), ("FRAME_DARK", "Off")),
    vector("Switch", "PICAM_MODE", ("4056x3040_12", "Off")),
    vector("Number", "CCD_INFO", ("CCD_MAX_X", "5")),
]
IGNORED = [  # no property is meant, so a sentence at most; the driver must live
    "this is not XML at all",
    "<<<>>>",
    "<newNumberVector device='Pi Camera Simulator' name='CCD_GAIN'><oneNumber",
    "</newNumberVector>",
    "<a>" * 200 + "</a>" * 200,
    vector("Number", "CCD_PARTY", ("X", "1")),
    "<newNumberVector/>",
]
TOLD_UNASKED = (
    "BATCH",
    "CCD_EXPOSURE",
    "CCD_FAST_COUNT",
    "CCD_TEMPERATURE",
    "ESTIMATE",
    "PICAM_FRAME",
)
"""What is set by itself when a picture is taken begins so."""


@pytest.fixture
def client(server: Server) -> Client:
    """A connected client of a camera that takes no pictures."""
    client = server.tcp()
    connect(client, blobs=False)
    return client


def state_of_everything(client: Client) -> dict[str, dict[str, str]]:
    """The values of every property that can be set, as the driver tells them now."""
    position = len(client.log)
    client.send("<getProperties version='1.7'/>")
    client.definition("PICAM_FRAME", since=position)
    return {
        m.get("name", ""): values(m)
        for m in client.log[position:]
        if m.tag.startswith("def") and m.get("perm") != "ro"
    }


def named(xml: str) -> str:
    """The property an XML request names."""
    return xml.partition(" name='")[2].partition("'")[0]


def test_nonsense_is_answered_with_a_sentence_and_changes_nothing(client: Client) -> None:
    before = state_of_everything(client)
    for xml in REFUSED:
        position = len(client.log)
        client.send(xml)
        answer = client.set_of(named(xml), since=position)
        assert answer.get("state") == "Alert", xml[:200]
        sentence = answer.get("message") or ""
        assert 20 < len(sentence) < 256, (xml[:200], sentence)
        assert sentence.startswith("[ERROR] "), (xml[:200], sentence)
        assert values(answer) == before[named(xml)], xml[:200]
    assert state_of_everything(client) == before


def test_nonsense_does_not_end_the_exposure_that_runs(client: Client) -> None:
    start = len(client.log)
    client.send(f"<enableBLOB device='{DEVICE}'>Also</enableBLOB>")
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 3})
    client.set_of("CCD_EXPOSURE", "Busy", since=start)
    for text in ("abc", "-1", "1e308", "9999"):
        position = len(client.log)
        client.send(vector("Number", EXPOSURE[0], (EXPOSURE[1], text)))
        client.wait(lambda m: "[ERROR]" in (m.get("message") or ""), since=position)
    client.set_of("CCD1", since=start)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    states = [m.get("state") for m in client.log[start:] if m.get("name") == "CCD_EXPOSURE"]
    assert set(states) == {"Busy", "Ok"}


def test_empty_requests_are_answered_with_the_truth(client: Client) -> None:
    before = state_of_everything(client)
    for xml in NOT_CHANGED:
        position = len(client.log)
        client.send(xml)
        answer = client.set_of(named(xml), since=position)
        assert answer.get("state") in ("Ok", "Idle"), xml
        assert values(answer) == before.get(named(xml), values(client.definition(named(xml)))), xml


@pytest.mark.parametrize("xml", IGNORED, ids=range(len(IGNORED)))
def test_rubbish_does_not_stop_the_driver(server: Server, xml: str) -> None:
    driver = server.driver_pid()
    rude, client = server.tcp(), server.tcp()
    connect(client, blobs=False)
    rude.send(xml)
    rude.close()
    position = len(client.log)
    client.new("Number", DEVICE, "CCD_GAIN", {"GAIN": 2})
    assert values(client.set_of("CCD_GAIN", "Ok", since=position)) == {"GAIN": "2"}
    assert server.driver_pid() == driver


def test_unequal_binning_and_frames_beyond_the_sensor_wait_for_the_exposure(client: Client) -> None:
    for kind, name, asked, word in (
        ("Number", "CCD_BINNING", {"HOR_BIN": 2}, "HOR_BIN and VER_BIN"),
        ("Number", "CCD_FRAME", {"X": 100, "Y": 0, "WIDTH": 4056, "HEIGHT": 3040}, "beyond"),
    ):
        position = len(client.log)
        client.new(kind, DEVICE, name, asked)
        client.set_of(name, "Ok", since=position)
        position = len(client.log)
        client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 1})
        refused = client.set_of("CCD_EXPOSURE", "Alert", since=position)
        assert word in (refused.get("message") or "")
        position = len(client.log)
        client.new("Switch", DEVICE, "CCD_FRAME_RESET", {"RESET": "On"})
        reset = client.set_of("CCD_FRAME_RESET", since=position)
        assert (reset.get("state"), values(reset)) == ("Ok", {"RESET": "Off"})
        full = {"X": "0", "Y": "0", "WIDTH": "4056", "HEIGHT": "3040"}
        assert values(client.set_of("CCD_FRAME", since=position)) == full


def meant(xml: str) -> str:
    """The property of ours that a request means; none if it is no XML or a BLOB without a size."""
    try:
        request = fromstring(xml)
    except ParseError:
        return ""
    is_ours = request.get("device") == DEVICE and request.tag != "newBLOBVector"
    return request.get("name", "") if is_ours else ""


def send_alone(server: Server, xml: str) -> None:
    """Sends what the server may throw a client out for, and waits until it has read it."""
    rude = server.tcp()
    rude.send(xml)
    rude.socket.shutdown(socket.SHUT_WR)
    with suppress(EOFError, ConnectionError):
        rude.wait(lambda _: False)


def defined_by(messages: Iterable[Element]) -> set[str]:
    """The properties that these define and do not delete later; no BLOBs, which are not enabled."""
    names: set[str] = set()
    for message in messages:
        if message.tag.startswith("def") and message.tag != "defBLOBVector":
            names.add(message.get("name", ""))
        elif message.tag == "delProperty":
            names.discard(message.get("name", ""))
    return names


def test_a_night_of_nonsense(server: Server) -> None:
    """Random requests, many broken somewhere; INDI's own simulator is lost in such a run.

    What is XML and names a property that there is has one answer.
    """
    rng = random.Random(477)
    client = server.local()  # no wire answers faster
    connect(client, blobs=False)
    driver = server.driver_pid()
    properties = {
        m.get("name", ""): (m.tag[3:-6], list(values(m)))
        for m in client.log
        if m.tag.startswith("def") and m.get("name") not in ("CONNECTION", "CONFIG_PROCESS")
    }
    texts = [
        "1",
        "-1",
        "0.1",
        "On",
        "Off",
        "nan",
        "",
        "12:30:00",
        "<",
        "&#10;",
        "é" * 300,
        "../..",
        "%n",
    ]
    pulse = f"<getProperties version='1.7' device='{DEVICE}' name='CONNECTION'/>"
    for _ in range(400):
        name = rng.choice(list(properties))
        kind, elements = properties[name]
        if rng.random() < 0.2:
            kind = rng.choice(["Number", "Text", "Switch", "Light", "BLOB"])
        asked = [
            (rng.choice([*elements, "NONE"]), rng.choice(texts)) for _ in range(rng.randint(0, 4))
        ]
        xml = vector(kind, name, *asked)
        if rng.random() < 0.2:
            cut = rng.randrange(len(xml))
            xml = (
                xml[:cut] + rng.choice(["", "<", ">", "'", "\x00", "<!DOCTYPE a>"]) + xml[cut + 3 :]
            )
        name = meant(xml)
        is_there = name in defined_by(client.log)
        if not is_there:
            send_alone(server, xml)
            xml = ""
        position = len(client.log)
        client.send(xml + pulse)  # answered after everything before it
        try:
            if is_there:
                client.set_of(name, since=position)
            client.definition("CONNECTION", since=position)
        except ParseError:  # the server passes on to others what it alone takes for XML
            client = server.local()
            connect(client, blobs=False)
            continue
        answers = sum(map(is_set(name), client.log[position:]))
        assert answers == 1 or not is_there or name.startswith(TOLD_UNASKED), xml
    for kind, name, switches in (
        ("Switch", "UPLOAD_MODE", {"UPLOAD_CLIENT": "On"}),
        ("Switch", "CCD_ABORT_EXPOSURE", {"ABORT": "On"}),
        ("Switch", "CCD_FAST_TOGGLE", {"INDI_DISABLED": "On"}),
        ("Switch", "CCD_FRAME_RESET", {"RESET": "On"}),
    ):
        position = len(client.log)
        client.new(kind, DEVICE, name, switches)
        client.set_of(name, "Ok", since=position)
    position = len(client.log)
    client.send(f"<enableBLOB device='{DEVICE}'>Also</enableBLOB>")
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.1})
    client.set_of("CCD1", since=position)
    assert server.driver_pid() == driver
