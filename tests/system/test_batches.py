"""Batches through a real indiserver: gapless, kept, delivered, acknowledged, resumed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from astropy.io import fits

from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect
from tests.system.test_exposures import choose_small_mode, expose, story, worker_of
from tests.system.test_uploading import ask
from tests.unit.test_storage import small_disk


@pytest.fixture
def client(server: Server) -> Client:
    """A connected client of a camera in a small mode."""
    client = server.tcp()
    connect(client)
    client.definition("BATCH1")
    choose_small_mode(client)
    return client


def start_batch(client: Client, count: int, exposure_s: float, state: str = "Busy") -> int:
    """Orders a batch; returns the position in the log from which its messages come."""
    position = len(client.log)
    client.new("Number", DEVICE, "BATCH_START", {"COUNT": count, "EXPOSURE": exposure_s})
    client.set_of("BATCH_START", state, since=position)
    return position


def delivered(client: Client, since: int, count: int) -> list[bytes]:
    """The next frames on BATCH1."""
    found: list[bytes] = []
    position = since
    while len(found) < count:
        message = client.set_of("BATCH1", since=position)
        position = next(i for i, m in enumerate(client.log) if m is message) + 1
        found.append(picture(message))
    return found


def numbers(frames: list[bytes]) -> list[int]:
    """The numbers of frames in their batch."""
    return [fits.getheader(io.BytesIO(frame))["BATCHNUM"] for frame in frames]


def batch_id(client: Client, since: int) -> str:
    """The batch that is told of."""
    return values(client.wait(is_status, since))["BATCH"]


def is_status(message: Element) -> bool:
    return message.get("name") == "BATCH_STATUS" and bool(values(message)["BATCH"])


@pytest.mark.parametrize("storage", ["AUTO", "MEMORY", "DISK"])
def test_a_batch_has_no_gap_and_arrives_whole(client: Client, own_home: Path, storage: str) -> None:
    ask(client, "Switch", "BATCH_STORAGE", {storage: "On"})
    start = start_batch(client, 8, 0.2)
    frames = delivered(client, start, 8)
    client.set_of("BATCH_START", "Ok", since=start)
    assert numbers(frames) == list(range(1, 9))
    dates = []
    for frame in frames:
        with fits.open(io.BytesIO(frame), checksum=True) as hdus:
            hdus.verify("exception")
            dates.append(hdus[0].header["DATE-OBS"])
    gaps = np.diff(np.array(dates, dtype="datetime64[ms]")).astype(int)
    assert np.all(np.abs(gaps - 200) <= 3), gaps
    assert not [m for m in client.log[start:] if m.get("name") == "CCD1"]
    files = sorted(own_home.glob(".local/share/indi_picam/*/*/*.fits"))
    assert [file.read_bytes() for file in files] == (frames if storage == "DISK" else [])
    progress = values(client.set_of("BATCH_PROGRESS", "Ok", since=start))
    assert (progress["ASKED"], progress["TAKEN"], progress["MADE_UP"]) == ("8", "8", "0")


def test_frames_wait_for_the_end_of_the_batch_when_told(client: Client) -> None:
    ask(client, "Switch", "BATCH_DELIVERY", {"AFTER": "On"})
    start = start_batch(client, 4, 0.2)
    over = client.set_of("BATCH_START", "Ok", since=start)
    assert "BATCH1" not in [m.get("name") for m in client.log[start : client.log.index(over)]]
    assert numbers(delivered(client, start, 4)) == [1, 2, 3, 4]


def test_the_camera_is_held_while_a_batch_runs(client: Client) -> None:
    start = start_batch(client, 50, 0.2)
    for kind, name, asked in (
        ("Number", "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 1}),
        ("Number", "CCD_GAIN", {"GAIN": 7}),
        ("Number", "CCD_FRAME", {"X": 0, "Y": 0, "WIDTH": 64, "HEIGHT": 64}),
        ("Number", "CCD_BINNING", {"HOR_BIN": 2, "VER_BIN": 2}),
        ("Switch", "CCD_CAPTURE_FORMAT", {"INDI_RGB": "On"}),
        ("Switch", "PICAM_MODE", {"4056x3040_12": "On"}),
        ("Number", "BATCH_START", {"COUNT": 3, "EXPOSURE": 1}),
    ):
        assert ask(client, kind, name, dict(asked), "Alert")
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    client.set_of("BATCH_START", "Idle", since=start)
    client.set_of("CCD_EXPOSURE", "Idle", since=start)
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert "CCD1 Ok" in story(client.log[start:])


def test_a_batch_pauses_and_goes_on(client: Client) -> None:
    start = start_batch(client, 6, 0.2)
    delivered(client, start, 2)
    ask(client, "Switch", "BATCH_CONTROL", {"PAUSE": "On"})
    client.wait(lambda m: is_status(m) and "Paused" in values(m)["WORDS"], start)
    paused = len(client.log)
    client.read_for(0.6)
    assert not [m for m in client.log[paused:] if m.get("name") == "BATCH1"]
    ask(client, "Switch", "BATCH_CONTROL", {"RESUME": "On"})
    assert numbers(delivered(client, start, 6)) == [1, 2, 3, 4, 5, 6]


def test_an_aborted_batch_stays_and_is_sent_on_request(client: Client) -> None:
    start = start_batch(client, 20, 0.2)
    delivered(client, start, 3)
    ask(client, "Switch", "BATCH_CONTROL", {"ABORT": "On"})
    client.set_of("BATCH_START", "Idle", since=start)
    client.read_for(0.3)
    aborted = len(client.log)
    batch = batch_id(client, start)
    ask(client, "Text", "BATCH_REDELIVER", {"BATCH": batch, "FRAMES": "2-3"})
    assert numbers(delivered(client, aborted, 2)) == [2, 3]
    ask(client, "Text", "BATCH_CONTINUE", {"BATCH": batch})
    client.set_of("BATCH_START", "Ok", since=aborted)
    position = len(client.log)
    ask(client, "Text", "BATCH_REDELIVER", {"BATCH": batch, "FRAMES": ""})
    assert numbers(delivered(client, position, 20)) == list(range(1, 21))


def test_what_is_acknowledged_or_discarded_is_not_offered_again(client: Client) -> None:
    ask(client, "Switch", "BATCH_STORAGE", {"MEMORY": "On"})
    start = start_batch(client, 3, 0.2)
    delivered(client, start, 3)
    batch = batch_id(client, start)
    ask(client, "Text", "BATCH_ACKNOWLEDGE", {"BATCH": batch, "FRAMES": "1-2"})
    told = ask(client, "Text", "BATCH_REDELIVER", {"BATCH": batch, "FRAMES": ""})
    assert "1 frames" in told
    ask(client, "Text", "BATCH_DISCARD", {"BATCH": batch})
    assert "no batch" in ask(
        client, "Text", "BATCH_REDELIVER", {"BATCH": batch, "FRAMES": ""}, "Alert"
    )


def test_little_is_told_of_many_frames_and_the_last_of_it_is_right(client: Client) -> None:
    """A client acknowledges frames as fast as they come: each asks no more than what changed."""
    frames = 30
    ask(client, "Switch", "BATCH_STORAGE", {"MEMORY": "On"})
    start = start_batch(client, frames, 0.1)
    delivered(client, start, frames)
    client.wait(lambda m: m.get("name") == "BATCH_STATUS" and m.get("state") == "Ok", start)

    def told(name: str, since: int) -> list[Element]:
        return [m for m in client.log[since:] if m.get("name") == name]

    assert len(told("BATCH_PROGRESS", start)) <= 2 * frames + 5
    batch, position, began = batch_id(client, start), len(client.log), time.monotonic()
    for number in range(1, frames + 1):
        acknowledged = {"BATCH": batch, "FRAMES": str(number)}
        client.new("Text", DEVICE, "BATCH_ACKNOWLEDGE", acknowledged)
    last = client.wait(
        lambda m: m.get("name") == "BATCH_ACKNOWLEDGE" and values(m).get("FRAMES") == str(frames),
        position,
    )
    answered = next(i for i, message in enumerate(client.log) if message is last)
    client.set_of("ESTIMATE", since=answered)
    halves = (time.monotonic() - began) / 0.5
    assert len(told("ESTIMATE", position)) <= 2 + halves
    assert float(values(told("BATCH_PROGRESS", position)[-1])["ACKNOWLEDGED"]) == frames


def test_nothing_on_disk_is_lost_when_the_driver_is_killed(
    start_server: StartServer, own_home: Path
) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)
    client.definition("BATCH1")
    choose_small_mode(client)
    ask(client, "Switch", "BATCH_STORAGE", {"DISK": "On"})
    start = start_batch(client, 30, 0.2)
    delivered(client, start, 4)
    os.kill(server.driver_pid(), signal.SIGKILL)
    server.stop()
    client = start_server().tcp()
    connect(client)
    client.definition("BATCH1")
    told = values(client.definition("BATCH_LIST"))["BATCHES"]
    batch, taken, *_ = told.split()
    count = int(taken.partition("/")[0])
    assert count >= 4
    position = len(client.log)
    ask(client, "Text", "BATCH_REDELIVER", {"BATCH": batch, "FRAMES": ""})
    frames = delivered(client, position, count)
    assert numbers(frames) == list(range(1, count + 1))
    for frame in frames:
        with fits.open(io.BytesIO(frame), checksum=True) as hdus:
            hdus.verify("exception")


def test_a_new_driver_knows_the_directory_and_what_waits_there(
    start_server: StartServer, own_home: Path
) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)
    client.definition("BATCH1")
    choose_small_mode(client)
    ask(client, "Text", "BATCH_DIRECTORY", {"DIRECTORY": "_HOME_/frames"})
    settings: list[tuple[str, str, dict[str, object]]] = [
        ("Switch", "BATCH_STORAGE", {"DISK": "On"}),
        ("Switch", "BATCH_DELIVERY", {"AFTER": "On"}),
        ("Number", "BATCH_RATE", {"RATE": 7.5}),
        ("Switch", "CONFIG_PROCESS", {"CONFIG_SAVE": "On"}),
    ]
    for kind, name, asked in settings:
        ask(client, kind, name, asked)
    ask(client, "Text", "BATCH_DIRECTORY", {"DIRECTORY": "_HOME_/others"})  # kept without a save
    start = start_batch(client, 2, 0.2)
    client.set_of("BATCH_START", "Ok", since=start)
    server.stop()
    client = start_server().tcp()
    connect(client)
    client.definition("BATCH1")
    assert values(client.definition("BATCH_DIRECTORY")) == {"DIRECTORY": str(own_home / "others")}
    batch = values(client.definition("BATCH_LIST"))["BATCHES"].split()[0]
    position = len(client.log)
    ask(client, "Text", "BATCH_REDELIVER", {"BATCH": batch, "FRAMES": ""})
    assert numbers(delivered(client, position, 2)) == [1, 2]
    ask(client, "Switch", "CONFIG_PROCESS", {"CONFIG_LOAD": "On"})
    loaded = {m.get("name"): values(m) for m in client.log[position:] if m.get("state") == "Ok"}
    assert loaded["BATCH_STORAGE"]["DISK"] == "On"
    assert loaded["BATCH_DELIVERY"]["AFTER"] == "On"
    assert loaded["BATCH_RATE"] == {"RATE": "7.5"}


def test_a_worker_that_dies_costs_a_batch_no_frame(server: Server, client: Client) -> None:
    start = start_batch(client, 6, 0.5)
    for _ in range(2):
        client.set_of("BATCH1", since=len(client.log) - 1)
        os.kill(worker_of(server.driver_pid()), signal.SIGKILL)
        client.read_for(0.2)
    client.set_of("BATCH_START", "Ok", since=start)
    assert numbers(delivered(client, start, 6)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("kind", "name", "asked", "word"),
    [
        ("Number", "BATCH_START", {"COUNT": 0}, "COUNT"),
        ("Number", "BATCH_START", {"COUNT": -3}, "COUNT"),
        ("Number", "BATCH_START", {"COUNT": 1e9}, "COUNT"),
        ("Number", "BATCH_START", {"COUNT": 5, "EXPOSURE": 3600}, "allows"),
        ("Number", "BATCH_START", {"COUNT": 100_000, "EXPOSURE": 0.1}, "fits nowhere"),
        ("Text", "BATCH_DIRECTORY", {"DIRECTORY": "/etc/frames"}, "refused"),
        ("Text", "BATCH_ACKNOWLEDGE", {"BATCH": "none", "FRAMES": "1"}, "no batch"),
        ("Text", "BATCH_DISCARD", {"BATCH": "../.."}, "no batch"),
        ("Switch", "BATCH_CONTROL", {"PAUSE": "On"}, "No batch"),
    ],
)
def test_nonsense_is_refused(
    client: Client, kind: str, name: str, asked: dict[str, object], word: str
) -> None:
    assert word in ask(client, kind, name, asked, "Alert")


def test_an_aborted_batch_ends_when_its_frames_are_safe(
    start_server: StartServer, own_home: Path
) -> None:
    with small_disk(own_home / "disk", "size=1400m") as disk:
        server = start_server()
        client = server.tcp()
        connect(client)
        client.definition("BATCH1")
        choose_small_mode(client)
        ask(client, "Text", "BATCH_DIRECTORY", {"DIRECTORY": str(disk)})
        ask(client, "Switch", "BATCH_STORAGE", {"DISK": "On"})
        start = start_batch(client, 100, 0.1)
        numbers(delivered(client, start, 2))
        while subprocess.run(["mount", "-o", "remount,ro", str(disk)]).returncode:
            pass  # while a file is being written it is busy
        client.wait(lambda m: "read-only" in m.get("message", ""), start)
        waiting = client.wait(
            lambda m: m.get("name") == "BATCH_PROGRESS" and float(values(m)["IN_MEMORY"]) > 3,
            start,
        )
        counted = float(values(waiting)["TAKEN"])
        position = len(client.log)
        ask(client, "Switch", "BATCH_CONTROL", {"ABORT": "On"})
        assert "made safe" in ask(client, "Number", "BATCH_START", {"COUNT": 5}, "Alert")
        one = expose(client, 0.1)  # the camera is free
        client.set_of("CCD_EXPOSURE", "Ok", since=one)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        client.set_of("BATCH_START", "Idle", since=position)
        told = client.wait(
            lambda m: m.get("name") == "BATCH_STATUS" and m.get("state") == "Ok", position
        )
        files = len(list(disk.glob("*/*.fits")))
        assert files >= counted + 4
        assert f"aborted: {files} of 100 frames taken" in values(told)["WORDS"]
        sent = [m for m in client.log[position:] if m.tag == "setBLOBVector"]
        assert [m.get("name") for m in sent] == ["CCD1"], "sent without being asked for"
        server.stop()


def test_saved_settings_load_with_a_directory_that_clients_could_not_choose(
    start_server: StartServer, tmp_path: Path
) -> None:
    client = start_server(environment={"XDG_DATA_HOME": str(tmp_path / "data")}).tcp()
    connect(client)
    client.definition("BATCH1")
    ask(client, "Switch", "CONFIG_PROCESS", {"CONFIG_SAVE": "On"})
    position = len(client.log)
    ask(client, "Switch", "CONFIG_PROCESS", {"CONFIG_LOAD": "On"})
    assert client.set_of("BATCH_DIRECTORY", since=position).get("state") == "Ok"
    assert "data" in str(values(client.definition("BATCH_DIRECTORY")))


def test_received_frames_are_kept_up_to_the_limit(client: Client, own_home: Path) -> None:
    ask(client, "Switch", "BATCH_STORAGE", {"DISK": "On"})
    ask(client, "Number", "BATCH_KEEP", {"SIZE": 0.006})  # two of 2.6 MB
    start = start_batch(client, 4, 0.2)
    client.set_of("BATCH_START", "Ok", since=start)
    batch = batch_id(client, start)
    since = len(client.log)
    ask(client, "Text", "BATCH_ACKNOWLEDGE", {"BATCH": batch, "FRAMES": "1-4"})
    client.wait(
        lambda m: m.get("name") == "BATCH_PROGRESS" and float(values(m)["ON_DISK"]) == 2, since
    )
    files = sorted(own_home.glob(".local/share/indi_picam/*/*/*.fits"))
    assert [fits.getheader(file)["BATCHNUM"] for file in files] == [3, 4]
