"""The lens of a camera as a focuser, through a real indiserver."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from astropy.io import fits

from indi_picam.simulator import frame_log
from indi_picam.simulator import settings as simulator_settings
from tests.camera.conftest import sharpness
from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, StartServer, connect

FOCUSER = f"{DEVICE} Focuser"
PROPERTIES = [
    "FOCUS_MOTION",
    "REL_FOCUS_POSITION",
    "ABS_FOCUS_POSITION",
    "FOCUS_MAX",
    "FOCUS_ABORT_MOTION",
]


def start(start_server: StartServer, directory: Path, cameras: str = "imx708") -> Client:
    configuration = directory / "simulator.ini"
    configuration.write_text("[simulator]\nlog_file = log.jsonl\n[sky]\nstars = 50\n")
    client: Client = start_server(environment=environment(directory, cameras)).tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition("ACTIVE_DEVICES", DEVICE)
    if "imx708" in cameras:
        client.definition("CONNECTION", FOCUSER)  # before it, the server knows no such device
    return client


def environment(directory: Path, cameras: str = "imx708") -> dict[str, str]:
    return {
        "INDI_PICAM_SIMULATOR": cameras,
        "INDI_PICAM_SIMULATOR_CONFIG": str(directory / "simulator.ini"),
    }


def ask(client: Client, kind: str, name: str, state: str = "Ok", /, **asked: object) -> Element:
    """Asks the focuser; its answer."""
    position = len(client.log)
    client.new(kind, FOCUSER, name, asked)
    return client.set_of(name, state, since=position)


def connection(client: Client, state: str, since: int) -> Element:
    """The focuser's CONNECTION in a state."""
    return client.wait(
        lambda m: (
            (m.get("device"), m.get("name"), m.get("state")) == (FOCUSER, "CONNECTION", state)
        ),
        since,
    )


def connect_both(client: Client) -> None:
    """As Ekos does: all devices of the profile at the same moment, in any order."""
    client.send(f"<enableBLOB device='{DEVICE}'>Also</enableBLOB>")
    position = len(client.log)
    client.new("Switch", FOCUSER, "CONNECTION", {"CONNECT": "On"})
    client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    connection(client, "Busy", position)
    connection(client, "Ok", position)
    client.definition("PICAM_FRAME", DEVICE, since=position)
    client.definition(PROPERTIES[-1], FOCUSER, since=position)


def position_of(message: Element) -> int:
    return int(values(message)["FOCUS_ABSOLUTE_POSITION"])


@pytest.fixture
def client(start_server: StartServer, tmp_path: Path) -> Client:
    """A client of a connected camera with a lens, in a small mode."""
    connected = start(start_server, tmp_path)
    connect_both(connected)
    connected.new("Switch", DEVICE, "PICAM_MODE", {"2304x1296_10": "On"})
    connected.set_of("PICAM_MODE", "Ok")
    return connected


def test_the_focuser_is_there_from_the_start(start_server: StartServer, tmp_path: Path) -> None:
    client = start(start_server, tmp_path)
    info = values(client.definition("DRIVER_INFO", FOCUSER))
    assert info["DRIVER_INTERFACE"] == "8"
    defined = [m.get("name") for m in client.log if m.get("device") == FOCUSER]
    assert defined[:2] == ["CONNECTION", "DRIVER_INFO"]  # PHD2 and others ask in this order
    connect_both(client)
    told = (m for m in client.log if m.get("device") == FOCUSER and m.tag.startswith("def"))
    assert list(dict.fromkeys(m.get("name") for m in told))[2:] == PROPERTIES


def test_cameras_without_a_lens_have_no_focuser(start_server: StartServer, tmp_path: Path) -> None:
    client = start(start_server, tmp_path, "imx477")
    connect(client)
    assert {m.get("device") for m in client.log if m.get("device")} == {DEVICE}


def test_a_focuser_alone_is_told_to_wait_for_its_camera(
    start_server: StartServer, tmp_path: Path
) -> None:
    client = start(start_server, tmp_path)
    position = len(client.log)
    client.new("Switch", FOCUSER, "CONNECTION", {"CONNECT": "On"})
    refused = connection(client, "Alert", position)
    assert values(refused) == {"CONNECT": "Off", "DISCONNECT": "On"}
    assert f"Connect {DEVICE} first" in str(refused.get("message"))


def test_a_disconnected_camera_takes_its_focuser_along(client: Client) -> None:
    position = len(client.log)
    client.new("Switch", DEVICE, "CONNECTION", {"DISCONNECT": "On"})
    gone = connection(client, "Idle", position)
    assert values(gone) == {"CONNECT": "Off", "DISCONNECT": "On"}
    client.wait(lambda m: m.tag == "delProperty" and m.get("name") == PROPERTIES[-1], position)
    deleted = [
        m.get("name")
        for m in client.log[position:]
        if m.tag == "delProperty" and m.get("device") == FOCUSER
    ]
    assert deleted == PROPERTIES


def test_names_labels_and_limits_are_those_of_a_focuser(client: Client) -> None:
    absolute = client.definition("ABS_FOCUS_POSITION", FOCUSER)
    (steps,) = absolute
    assert (absolute.get("label"), steps.get("label")) == ("Absolute Position", "Steps")
    assert (steps.get("name"), steps.get("min"), steps.get("max")) == (
        "FOCUS_ABSOLUTE_POSITION",
        "0",
        "1500",  # 15 dioptres
    )
    assert position_of(absolute) == 0
    assert values(client.definition("FOCUS_MAX", FOCUSER)) == {"FOCUS_MAX_VALUE": "1500"}
    motion = client.definition("FOCUS_MOTION", FOCUSER)
    assert values(motion) == {"FOCUS_INWARD": "On", "FOCUS_OUTWARD": "Off"}


def test_moves_by_steps_follow_the_direction_and_end_at_the_limits(client: Client) -> None:
    ask(client, "Number", "ABS_FOCUS_POSITION", FOCUS_ABSOLUTE_POSITION=100)
    for direction, steps, where in (
        ("FOCUS_OUTWARD", 250, 350),
        ("FOCUS_INWARD", 50, 300),
        ("FOCUS_INWARD", 300, 0),
    ):
        ask(client, "Switch", "FOCUS_MOTION", **{direction: "On"})
        position = len(client.log)
        ask(client, "Number", "REL_FOCUS_POSITION", FOCUS_RELATIVE_POSITION=steps)
        assert position_of(client.set_of("ABS_FOCUS_POSITION", "Ok", since=position)) == where
    refused = ask(client, "Number", "REL_FOCUS_POSITION", "Alert", FOCUS_RELATIVE_POSITION=1)
    assert "would end at -1" in str(refused.get("message"))
    ask(client, "Number", "ABS_FOCUS_POSITION", "Alert", FOCUS_ABSOLUTE_POSITION=1501)
    position = len(client.log)
    ask(client, "Number", "FOCUS_MAX", FOCUS_MAX_VALUE=1200)
    (limited,) = client.set_of("ABS_FOCUS_POSITION", since=position)
    assert limited.get("max") == "1200"
    ask(client, "Number", "ABS_FOCUS_POSITION", "Alert", FOCUS_ABSOLUTE_POSITION=1201)
    assert values(ask(client, "Switch", "FOCUS_ABORT_MOTION", ABORT="On")) == {"ABORT": "Off"}


def test_each_frame_is_taken_where_the_focuser_stands(client: Client, tmp_path: Path) -> None:
    """As an autofocus run asks: position, picture, position, picture, without a pause."""
    sharp = {}
    settings = simulator_settings.load(environment(tmp_path))
    for steps in (300, 150, 50, 1000):
        client.new("Number", FOCUSER, "ABS_FOCUS_POSITION", {"FOCUS_ABSOLUTE_POSITION": steps})
        client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 1})
        with fits.open(io.BytesIO(picture(client.set_of("CCD1"))), checksum=True) as hdus:
            header, pixels = hdus[0].header.copy(), hdus[0].data.astype(float)
        assert header["FOCUSPOS"] == steps
        assert header["LENSPOS"] == pytest.approx(steps / 100, abs=0.02)
        taken = [line for line in frame_log.read(tmp_path / "log.jsonl") if line["request"]]
        exposed = [line for line in taken if line["exposure_us"] > 250_000]
        assert exposed[-1]["lens_position"] == pytest.approx(steps / 100)
        sharp[steps] = sharpness(pixels, exposed[-1], settings)
    assert sharp.pop(50) > 2 * max(sharp.values())
