"""Exposures through a real indiserver: what a client is told, in which order, and what it gets."""

from __future__ import annotations

import io
import mmap
import os
import signal
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from astropy.io import fits

from indi_picam.indi.pacing import OUT_BYTES
from tests.system.client import Client, is_set, picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect

SMALL_MODE = "1332x990_10"
Request = tuple[str, str, Mapping[str, object]]
"""Kind, name and values of a property."""


def expose(client: Client, seconds: object, device: str = DEVICE) -> int:
    """Orders an exposure; returns the position in the log from which its messages come."""
    position = len(client.log)
    client.new("Number", device, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": seconds})
    return position


def choose_small_mode(client: Client) -> None:
    """A mode with short frames, for tests that do not care for the size."""
    position = len(client.log)
    client.new("Switch", DEVICE, "PICAM_MODE", {SMALL_MODE: "On"})
    client.set_of("PICAM_MODE", "Ok", since=position)
    client.set_of("PICAM_ISO", since=position)  # the last of what a mode change tells


def story(messages: list[Element]) -> list[str]:
    """Property and state of all that concerns an exposure, repeats of the countdown left out."""
    told: list[str] = []
    for message in messages:
        line = f"{message.get('name')} {message.get('state')}"
        concerns = message.get("name") in ("CCD_EXPOSURE", "CCD1", "CCD_ABORT_EXPOSURE")
        if message.tag.startswith("set") and concerns and told[-1:] != [line]:
            told.append(line)
    return told


def fast(client: Client, frames: int) -> None:
    """Has the next exposure be so many of them, one close after the other."""
    position = len(client.log)
    client.new("Switch", DEVICE, "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    client.new("Number", DEVICE, "CCD_FAST_COUNT", {"FRAMES": frames})
    client.set_of("CCD_FAST_COUNT", "Ok", since=position)


def look(client: Client, position: int, frames: int) -> list[bytes]:
    """The next pictures, none of which is kept attached: the driver would wait for it."""
    pictures = []
    for _ in range(frames):
        sent = client.set_of("CCD1", "Ok", since=position)
        position = client.log.index(sent) + 1
        pictures.append(picture(sent, client.descriptors))
    return pictures


def assert_valid(content: bytes) -> None:
    """A FITS file by the standard, with checksums that are right."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a checksum that is wrong
        with fits.open(io.BytesIO(content), checksum=True) as hdus:
            hdus.verify("exception")
            assert hdus[0].verify_checksum() == hdus[0].verify_datasum() == 1


@pytest.mark.parametrize(
    ("driver", "device", "ready"),
    [
        ("indi_picam_simulator", DEVICE, "PICAM_FRAME"),
        ("/usr/bin/indi_simulator_ccd", "CCD Simulator", "CCD_GAIN"),
    ],
)
def test_an_exposure_is_told_as_indis_own_simulator_tells_it(
    start_server: StartServer, driver: str, device: str, ready: str
) -> None:
    client = start_server(driver).tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition("CONNECTION", device)
    client.send(f"<enableBLOB device='{device}'>Also</enableBLOB>")
    client.new("Switch", device, "CONNECTION", {"CONNECT": "On"})
    client.definition(ready, device)
    start = expose(client, 0.5, device)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert story(client.log[start:]) == ["CCD_EXPOSURE Busy", "CCD1 Ok", "CCD_EXPOSURE Ok"]
    start = expose(client, 20, device)
    client.set_of("CCD_EXPOSURE", "Busy", since=start)
    client.new("Switch", device, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    client.set_of("CCD_EXPOSURE", "Idle", since=start)
    client.read_for(0.3)
    assert story(client.log[start:]) == [
        "CCD_EXPOSURE Busy",
        "CCD_ABORT_EXPOSURE Ok",
        "CCD_EXPOSURE Idle",
    ]


@pytest.mark.parametrize(
    ("seconds", "period_ms", "left"),
    [
        (2.5, 1000, [2.5, 2, 1, 0]),
        (1, 250, [1, 0.75, 0.5, 0.25, 0]),
        (0.4, 1000, [0.4, 0]),
        (0.5, 200, [0.5, 0.4, 0.2, 0]),
    ],
)
def test_the_seconds_left_are_told_once_a_period(
    server: Server, seconds: float, period_ms: int, left: list[float]
) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    client.new("Number", DEVICE, "POLLING_PERIOD", {"PERIOD_MS": period_ms})
    start = expose(client, seconds)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    busy = [i for i, m in enumerate(client.log) if i >= start and is_set("CCD_EXPOSURE", "Busy")(m)]
    told = [float(values(client.log[i])["CCD_EXPOSURE_VALUE"]) for i in busy]
    assert told == pytest.approx(left)
    end_s = client.times[busy[-1]]
    for position, seconds_left in zip(busy[1:], told[1:], strict=True):
        assert end_s - client.times[position] == pytest.approx(seconds_left, abs=0.1)


def in_one_write(*requests: Request) -> str:
    """Requests as a client sends them that does not wait for answers."""
    return "".join(
        f"<new{kind}Vector device='{DEVICE}' name='{name}'>"
        + "".join(f"<one{kind} name='{one}'>{value}</one{kind}>" for one, value in asked.items())
        + f"</new{kind}Vector>"
        for kind, name, asked in requests
    )


def test_a_burst_is_answered_in_order_and_the_frame_has_what_came_before_it(
    server: Server,
) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)

    def settings(binning: int, x: int, gain: float, kind: str) -> list[Request]:
        return [
            ("Number", "CCD_BINNING", {"HOR_BIN": binning, "VER_BIN": binning}),
            ("Number", "CCD_FRAME", {"X": x, "Y": 6, "WIDTH": 64, "HEIGHT": 48}),
            ("Number", "CCD_GAIN", {"GAIN": gain}),
            ("Switch", "CCD_FRAME_TYPE", {kind: "On"}),
        ]

    start = len(client.log)
    asked = [
        *settings(2, 10, 3, "FRAME_FLAT"),
        ("Number", "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.2}),
        *settings(1, 20, 5, "FRAME_DARK"),
    ]
    client.send(in_one_write(*asked))
    header = fits.getheader(io.BytesIO(picture(client.set_of("CCD1", since=start))))
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    names = [name for _, name, _ in asked]
    told = [m for m in client.log[start:] if m.get("name") in names][: len(asked)]
    assert [m.get("name") for m in told] == names
    assert [m.get("state") for m in told] == [
        "Busy" if n == "CCD_EXPOSURE" else "Ok" for n in names
    ]
    keywords = ("XBINNING", "XORGSUBF", "NAXIS1", "NAXIS2", "GAINASKD", "FRAME", "EXPTIME")
    assert [header[keyword] for keyword in keywords] == [2, 10, 32, 24, 3.0, "Flat", 0.2]
    start = expose(client, 0.1)
    header = fits.getheader(io.BytesIO(picture(client.set_of("CCD1", since=start))))
    assert [header[keyword] for keyword in keywords] == [1, 20, 64, 48, 5.0, "Dark", 0.1]


def test_of_several_exposures_in_one_write_the_last_is_taken(server: Server) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    start = len(client.log)
    client.send(
        in_one_write(
            *(("Number", "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": s}) for s in (0.3, 0.2, 0.4, 0.25))
        )
    )
    content = picture(client.set_of("CCD1", since=start))
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert fits.getheader(io.BytesIO(content))["EXPTIME"] == 0.25
    start_of_next = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start_of_next)
    assert story(client.log[start:]) == ["CCD_EXPOSURE Busy", "CCD1 Ok", "CCD_EXPOSURE Ok"] * 2


def test_a_refused_start_keeps_what_it_was_asked_for(server: Server) -> None:
    """Of an exposure within the limits: INDI::CCD has the value already when it starts one."""
    client = server.tcp()
    connect(client)
    client.new("Number", DEVICE, "CCD_BINNING", {"HOR_BIN": 2, "VER_BIN": 1})
    for seconds, kept in ((1.5, 1.5), (1e9, 1.5), (-1, 1.5), (2, 2)):
        refused = client.set_of("CCD_EXPOSURE", "Alert", since=expose(client, seconds))
        assert float(values(refused)["CCD_EXPOSURE_VALUE"]) == kept


def test_tcp_and_local_clients_get_the_same_valid_file(server: Server) -> None:
    near, far = server.local(), server.tcp()
    connect(far)
    connect(near)
    choose_small_mode(far)
    start_near, start = len(near.log), expose(far, 0.2)
    content = picture(far.set_of("CCD1", since=start))
    attached = near.set_of("CCD1", since=start_near)
    assert attached[0].get("attached") == "true"
    assert picture(attached, near.descriptors) == content
    with fits.open(io.BytesIO(content), checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert (header["NAXIS1"], header["NAXIS2"], header["BITPIX"]) == (1332, 990, 16)
        assert header["EXPTIME"] == 0.2
        assert header["INSTRUME"] == DEVICE
        assert header["BAYERPAT"] == values(far.definition("CCD_CFA"))["CFA_TYPE"]


def test_two_updates_racing_a_blob_reach_everybody_whole_and_in_order(server: Server) -> None:
    """Two clients ask for settings as each frame leaves, while two others get the pictures."""
    frames, at_each = 5, 10
    asked = {
        ("CCD_GAIN", "GAIN"): [f"{1 + number / 10:g}" for number in range(frames * at_each)],
        ("POLLING_PERIOD", "PERIOD_MS"): [f"{1000 + number}" for number in range(frames * at_each)],
    }
    far, near, *talking = server.tcp(), server.local(), *(server.tcp() for _ in asked)
    clients = [far, near, *talking]
    for client in clients:
        connect(client, blobs=client not in talking)
    fast(far, frames)
    for client in clients:
        client.set_of("CCD_FAST_COUNT", "Ok", since=0)
    starts = [len(client.log) for client in clients]

    def talk(client: Client, position: int, name: str, element: str, ones: list[str]) -> None:
        for first in range(0, len(ones), at_each):
            leaves = client.set_of("CCD_FAST_COUNT", since=position)
            position = client.log.index(leaves) + 1
            for value in ones[first : first + at_each]:
                client.new("Number", DEVICE, name, {element: value})

    with ThreadPoolExecutor(len(clients)) as threads:
        looking = [
            threads.submit(look, client, start, frames)
            for client, start in zip(clients[:2], starts, strict=False)
        ]
        talks = [
            threads.submit(talk, client, start, *name, ones)
            for client, start, (name, ones) in zip(talking, starts[2:], asked.items(), strict=True)
        ]
        expose(far, 0.1)
    for each in talks:
        each.result()
    for client, start in zip(clients, starts, strict=True):
        for (name, element), ones in asked.items():
            client.wait(is_set(name, told={element: ones[-1]}), start)
            told = [m for m in client.log[start:] if is_set(name)(m)]
            assert [values(m)[element] for m in told] == ones
            assert {m.get("state") for m in told} == {"Ok"}
    names = [m.get("name") for m in far.log[starts[0] :]]
    raced = names[names.index("CCD1") : len(names) - names[::-1].index("CCD1")]
    assert {name for name, _ in asked} <= set(raced)
    as_base64, attached = (each.result() for each in looking)
    assert as_base64 == attached
    for content in attached:
        assert_valid(content)


def test_local_clients_cannot_write_to_the_picture(server: Server) -> None:
    near = server.local()
    connect(near)
    choose_small_mode(near)
    near.set_of("CCD1", since=expose(near, 0.1))
    with pytest.raises(OSError):
        os.pwrite(near.descriptors[0], b"!", 0)


def test_a_picture_that_a_local_client_keeps_never_changes(server: Server) -> None:
    """The memory of those that it lets go is used again; a mapping alone is enough to keep one."""
    near = server.local()
    connect(near)
    choose_small_mode(near)
    inodes, kept = [], {}
    for number in range(8):
        start = expose(near, 0.1)
        near.set_of("CCD1", since=start)
        near.set_of("CCD_EXPOSURE", "Ok", since=start)
        descriptor = near.descriptors.pop()
        inodes.append(os.fstat(descriptor).st_ino)
        if number in (1, 4):
            kept[number] = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        os.close(descriptor)
    assert len(set(inodes)) < len(inodes)
    for number, mapped in kept.items():
        assert inodes.count(inodes[number]) == 1 + inodes[:number].count(inodes[number])
        assert_valid(mapped[:])


def test_a_client_that_reads_late_gets_all_and_holds_up_only_what_would_be_too_much(
    server: Server,
) -> None:
    """All frames at once would be 200 MB for it, and the server cuts off who is 128 MB behind."""
    frames, at_once = 6, OUT_BYTES // (4056 * 3040 * 2)
    late, active = server.tcp(), server.tcp()
    connect(active)
    late.send(f"<enableBLOB device='{DEVICE}'>Also</enableBLOB><getProperties version='1.7'/>")
    fast(active, frames)
    start = expose(active, 0.1)
    look(active, start, at_once)
    with ThreadPoolExecutor() as threads:
        looking = threads.submit(look, late, 0, frames)
        assert look(active, start, frames) == looking.result()


def test_a_picture_that_waits_for_a_client_is_told_and_comes_when_that_is_gone(
    server: Server,
) -> None:
    idle, active = server.tcp(), server.tcp()
    connect(active)
    idle.send(f"<enableBLOB device='{DEVICE}'>Also</enableBLOB><getProperties version='1.7'/>")
    for _ in range(2):
        start = expose(active, 0.1)
        active.set_of("CCD_EXPOSURE", "Ok", since=start)
    start = expose(active, 0.1)
    active.wait(lambda m: "The picture waits: a client has not" in m.get("message", ""), start)
    idle.close()
    active.set_of("CCD1", since=start)


def test_every_process_ends_when_the_server_is_gone(server: Server) -> None:
    client = server.tcp()
    connect(client)
    driver = server.driver_pid()
    family = [driver, *descendants(driver)]
    expose(client, 60)
    client.set_of("CCD_EXPOSURE", "Busy")
    assert len(family) >= 2
    server.process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in family):
        assert time.monotonic() < deadline, [pid for pid in family if is_alive(pid)]
        time.sleep(0.01)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3, 0.95, 1.02, 1.1])
def test_abort_at_any_moment_leaves_the_camera_ready(server: Server, after_s: float) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    start = expose(client, 1)
    client.read_for(after_s)
    asked_s = time.monotonic()
    aborted = len(client.log)
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    client.set_of("CCD_EXPOSURE", "Idle", since=aborted)
    assert time.monotonic() - asked_s < 0.3
    idle = len(client.log)
    client.read_for(0.3)
    assert story(client.log[idle:]) == []
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert "CCD1 Ok" in story(client.log[start:])


def test_a_new_exposure_replaces_the_running_one(server: Server) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    start = expose(client, 30)
    client.set_of("CCD_EXPOSURE", "Busy", since=start)
    expose(client, 0.2)
    content = picture(client.set_of("CCD1", since=start))
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert fits.getheader(io.BytesIO(content))["EXPTIME"] == 0.2
    assert story(client.log[start:]) == ["CCD_EXPOSURE Busy", "CCD1 Ok", "CCD_EXPOSURE Ok"]


@pytest.mark.parametrize(
    ("sent", "limit_s"), [(signal.SIGKILL, 1.5), (signal.SIGSTOP, 3.0)], ids=["killed", "stopped"]
)
def test_a_worker_that_dies_or_hangs_costs_no_picture(
    server: Server, sent: signal.Signals, limit_s: float
) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    start = expose(client, 1)
    client.read_for(0.5)
    worker = worker_of(server.driver_pid())
    os.kill(worker, sent)
    hit_s = time.monotonic()
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert time.monotonic() - hit_s < 1 + limit_s
    told = [m.get("message", "") for m in client.log[start:] if m.tag == "message"]
    assert any("taken again" in sentence for sentence in told)
    assert story(client.log[start:]) == ["CCD_EXPOSURE Busy", "CCD1 Ok", "CCD_EXPOSURE Ok"]
    assert worker_of(server.driver_pid()) != worker


def test_a_worker_that_dies_twice_fails_the_exposure_but_not_the_driver(server: Server) -> None:
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    start = expose(client, 2)
    for _ in range(2):
        client.read_for(0.6)
        os.kill(worker_of(server.driver_pid()), signal.SIGKILL)
    failed = client.set_of("CCD_EXPOSURE", "Alert", since=start)
    assert "worker ended unexpectedly" in (failed.get("message") or "")
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert "CCD1 Ok" in story(client.log[start:])


def test_disconnect_frees_the_camera_and_connect_takes_it_again(server: Server) -> None:
    client = server.tcp()
    connect(client)
    expose(client, 30)
    client.set_of("CCD_EXPOSURE", "Busy")
    worker = worker_of(server.driver_pid())
    position = len(client.log)
    client.new("Switch", DEVICE, "CONNECTION", {"DISCONNECT": "On"})
    client.set_of("CONNECTION", "Idle", since=position)
    gone = client.wait(lambda m: m.tag == "delProperty" and m.get("name") == "CCD1", position)
    assert gone.get("device") == DEVICE
    assert not is_alive(worker)
    position = len(client.log)
    client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    client.definition("PICAM_FRAME", since=position)
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def worker_of(driver: int) -> int:
    """The camera worker of a driver."""
    for pid in descendants(driver):
        if "indi_picam.camera.worker" in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise AssertionError("there is no worker")


def is_alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
