"""Pacing: what is out by the lock, by the rate, and under a real server with a slow client."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from indi_picam.holding import hold
from indi_picam.indi import pacing as pacing_module
from indi_picam.indi.pacing import OUT_BYTES, Pacing
from tests.system.client import Client, picture

ROOT = Path(__file__).parents[2]
PORTS = itertools.count(7680)
CAMERA, GUIDER, MB = "Camera", "Guider", 1_000_000


def run(scene: Callable[[Pacing], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        pacing = Pacing()
        before = len(os.listdir("/proc/self/fd"))
        try:
            await asyncio.wait_for(scene(pacing), 20)
        finally:
            pacing.close()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())


def frame() -> int:
    """A read-only descriptor of a memory of 1 byte, as it is sent."""
    memory = os.memfd_create("frame", os.MFD_CLOEXEC)
    os.write(memory, b"x")
    try:
        return os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(memory)


async def passes(pacing: Pacing, size: int, device: str = CAMERA) -> bool:
    try:
        await asyncio.wait_for(pacing.room(device, size), 0.05)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("out", "size", "passing"),
    [
        ([], 500_000_000, True),
        ([1], OUT_BYTES - 1, True),
        ([1], OUT_BYTES, False),
        ([24_690_240, 24_690_240], 24_690_240, False),
        ([24_690_240], 24_690_240, True),
        ([500_000_000], 0, False),
    ],
)
def test_64_mb_are_out_or_one_frame_that_is_larger(
    out: list[int], size: int, passing: bool
) -> None:
    async def scene(pacing: Pacing) -> None:
        descriptors = [frame() for _ in out]
        for descriptor, one in zip(descriptors, out, strict=True):
            pacing.sent(CAMERA, descriptor, one)
        assert await passes(pacing, size) is passing
        for descriptor in descriptors:
            os.close(descriptor)
        assert await passes(pacing, size)
        assert pacing.out_bytes == 0

    run(scene)


@pytest.mark.parametrize(
    ("out", "waiting", "size", "passing"),
    [
        # the guider passes the camera's third frame, as it has nothing out
        ([(CAMERA, 25), (CAMERA, 25)], [25], 4, True),
        ([(CAMERA, 25), (CAMERA, 25)], [], 42, True),
        ([(CAMERA, 25), (CAMERA, 25)], [], 43, False),
        # with something out it has to stand in line
        ([(CAMERA, 25), (CAMERA, 25), (GUIDER, 4)], [25], 4, False),
        ([(CAMERA, 25), (CAMERA, 25), (GUIDER, 4)], [], 4, True),
        ([(CAMERA, 120)], [], 4, False),
    ],
)
def test_a_device_with_nothing_out_passes_the_others(
    out: list[tuple[str, int]], waiting: list[int], size: int, passing: bool
) -> None:
    async def scene(pacing: Pacing) -> None:
        descriptors = [frame() for _ in out]
        for descriptor, (device, one) in zip(descriptors, out, strict=True):
            pacing.sent(device, descriptor, one * MB)
        line = [asyncio.create_task(pacing.room(CAMERA, one * MB)) for one in waiting]
        await asyncio.sleep(0)
        assert await passes(pacing, size * MB, GUIDER) is passing
        assert not any(task.done() for task in line)
        for descriptor in descriptors:
            os.close(descriptor)
        await asyncio.gather(*line)
        assert await passes(pacing, size * MB, GUIDER)

    run(scene)


def test_a_frame_is_out_until_the_last_holder_has_closed_it() -> None:
    """A receiver has the same file description by another number; a mapping holds it as well."""

    async def scene(pacing: Pacing) -> None:
        descriptor = frame()
        holder = os.dup(descriptor)
        pacing.sent(CAMERA, descriptor, OUT_BYTES)
        os.close(descriptor)
        assert not await passes(pacing, 1)
        waiting = asyncio.create_task(pacing.room(CAMERA, 1))
        await asyncio.sleep(0)
        os.close(holder)
        closed_s = time.monotonic()
        await waiting
        assert time.monotonic() - closed_s < 0.1

    run(scene)


def test_the_same_frame_may_be_out_twice() -> None:
    async def scene(pacing: Pacing) -> None:
        first = frame()
        second = os.open(f"/proc/self/fd/{first}", os.O_RDONLY | os.O_CLOEXEC)
        pacing.sent(CAMERA, first, OUT_BYTES)
        pacing.sent(CAMERA, second, OUT_BYTES)
        os.close(first)
        assert not await passes(pacing, 1)
        os.close(second)
        assert await passes(pacing, 1)

    run(scene)


def test_what_the_driver_keeps_of_a_frame_does_not_stop_the_next() -> None:
    """A batch keeps its frames in memory until they are acknowledged."""

    async def scene(pacing: Pacing) -> None:
        kept = frame()
        sent, again = hold(kept), hold(kept)
        pacing.sent(CAMERA, sent, OUT_BYTES)
        assert not await passes(pacing, 1)
        os.close(sent)
        assert await passes(pacing, 1)
        os.close(kept)
        os.close(again)

    run(scene)


def test_memory_that_was_let_go_is_freed_though_nobody_waits() -> None:
    async def scene(pacing: Pacing) -> None:
        descriptor = frame()
        pacing.sent(CAMERA, descriptor, 1)
        os.close(descriptor)
        while pacing.out_bytes:
            await asyncio.sleep(0.01)
        assert pacing._timer is None  # nothing is out: nobody looks

    run(scene)


def test_looking_after_what_is_out_costs_next_to_nothing() -> None:
    async def scene(pacing: Pacing) -> None:
        descriptor = frame()
        pacing.sent(CAMERA, descriptor, OUT_BYTES)
        waiting = asyncio.create_task(pacing.room(CAMERA, 1))
        begin_s = time.process_time()
        await asyncio.sleep(1)
        used_s = time.process_time() - begin_s
        os.close(descriptor)
        await waiting
        assert used_s < 0.1

    run(scene)


def test_a_client_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing_module, "_HANGING_S", 0.3)

    async def scene(pacing: Pacing) -> None:
        held = [frame(), frame()]
        for descriptor in held:
            pacing.sent(CAMERA, descriptor, 32_000)
        assert not await passes(pacing, OUT_BYTES)
        await pacing.room(CAMERA, OUT_BYTES)
        assert pacing.out_bytes == 0
        for descriptor in held:
            assert fcntl.fcntl(descriptor, fcntl.F_GETFD) is not None
            os.close(descriptor)

    run(scene)


def test_a_client_that_hangs_is_given_up_though_another_camera_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing_module, "_HANGING_S", 0.3)

    async def scene(pacing: Pacing) -> None:
        held = [frame(), frame()]
        for descriptor in held:
            pacing.sent(CAMERA, descriptor, 32_000)
        waiting = asyncio.create_task(pacing.room(CAMERA, OUT_BYTES))
        guided = 0
        while not waiting.done():
            await pacing.room(GUIDER, 4_000)
            taken = frame()
            pacing.sent(GUIDER, taken, 4_000)
            os.close(taken)
            guided += 1
            await asyncio.sleep(0)
        assert guided > 2
        for descriptor in held:
            os.close(descriptor)

    run(scene)


def test_nobody_passes_one_that_has_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a frame too large to go beside others would wait for as long as they come."""

    async def scene(pacing: Pacing) -> None:
        others = {device: frame() for device in ("A", "B")}
        for device, descriptor in others.items():
            pacing.sent(device, descriptor, 15 * MB)
        large = asyncio.create_task(pacing.room(CAMERA, 128 * MB))
        await asyncio.sleep(0)
        assert not await passes(pacing, 15 * MB, GUIDER)
        for descriptor in others.values():
            os.close(descriptor)
        await large

    run(scene)


@pytest.mark.parametrize(("rate_mb_s", "expected_s"), [(0.0, 0.0), (400.0, 0.2), (200.0, 0.4)])
def test_a_rate_stands_in_where_base64_goes_through_a_pipe(
    rate_mb_s: float, expected_s: float
) -> None:
    """Two frames of 40 MB: the second must wait until the first is through, and then the third."""

    async def scene(pacing: Pacing) -> None:
        pacing.rate_mb_s = rate_mb_s
        begin_s = time.monotonic()
        for _ in range(3):
            await pacing.room(CAMERA, 40_000_000)
            pacing.sent(CAMERA, None, 40_000_000)
        assert expected_s <= time.monotonic() - begin_s < expected_s + 0.15

    run(scene)


def test_the_end_ends_every_wait() -> None:
    async def scene(pacing: Pacing) -> None:
        descriptor = frame()
        pacing.sent(CAMERA, descriptor, OUT_BYTES)
        waiting = asyncio.create_task(pacing.room(CAMERA, 1))
        await asyncio.sleep(0)
        pacing.close()
        await waiting
        os.close(descriptor)
        pacing.sent(CAMERA, None, 1)
        assert pacing.out_bytes == 0

    run(scene)


# -- a real server ---------------------------------------------------------------------------------

COUNT, SIZE, SERVER_LIMIT_MB, READER_BYTES_S = 20, 2_500_001, 16, 10_000_000

DRIVER = f"""#!{sys.executable}
import asyncio, os, sys
sys.path.insert(0, {str(ROOT)!r})
from indi_picam.indi import pacing
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.link import Link, take_stdio
from indi_picam.indi.vectors import Blob, BlobVector, Number, NumberVector

pacing.OUT_BYTES = %d

async def deliver(link, device, image):
    for number in range({COUNT}):
        frame = os.memfd_create("frame")
        os.write(frame, bytes([65 + number]) * {SIZE})
        await link.blob_slot("Cam", {SIZE})
        device.send_blob(image, "BATCH1", frame, size={SIZE}, format=".bin")

async def main(descriptors):
    link = Link(*descriptors)
    device = Device("Cam", link.send)
    image = device.add(BlobVector("BATCH1", "Batch", "Batch", (Blob("BATCH1", "Image"),), "ro"))
    tasks = []

    async def start(values):
        tasks.append(asyncio.create_task(deliver(link, device, image)))
        return Answer()

    go = device.add(NumberVector("GO", "Go", "Batch", (Number("N", "n"),)), start)
    device.define(go, image)
    async for message in link:
        await device.receive(message)

asyncio.run(main(take_stdio()))
"""


@contextmanager
def serving(directory: Path, out_bytes: int) -> Iterator[int]:
    """An indiserver with the driver above; its port, which is in the local path as well."""
    port = next(PORTS)
    driver = directory / "driver"
    driver.write_text(DRIVER % out_bytes)
    driver.chmod(0o755)
    command = ["indiserver", "-v", "-r", "0", "-m", str(SERVER_LIMIT_MB)]
    command += ["-p", str(port), "-u", f"pacing-{port}", str(driver)]
    log = directory / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    deadline = time.monotonic() + 10
    while "Local server: listening" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.terminate()
        server.wait(10)
        print(log.read_text()[-3000:])


class SlowReader(threading.Thread):
    """A TCP client that reads at an even rate, and keeps what it gets."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            b"<getProperties version='1.7'/><enableBLOB device='Cam'>Also</enableBLOB>"
        )
        self.received = bytearray()
        self.cut_off = False

    def run(self) -> None:
        begin_s = time.monotonic()
        self.socket.settimeout(10)
        while self.received.count(b"</setBLOBVector>", -100) == 0 or self.blobs() < COUNT:
            ahead_s = len(self.received) / READER_BYTES_S - (time.monotonic() - begin_s)
            time.sleep(max(0.0, ahead_s))
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                self.cut_off = True
                return
            self.received += piece

    def blobs(self) -> int:
        return self.received.count(b"</setBLOBVector>")


@pytest.mark.parametrize("paced", [True, False])
def test_a_slow_client_gets_every_frame_and_is_never_cut_off(tmp_path: Path, paced: bool) -> None:
    """The limits and frames are an eighth of the real ones; without pacing the client is cut."""
    with serving(tmp_path, OUT_BYTES // 8 if paced else 1 << 40) as port:
        fast = Client.local(f"pacing-{port}")
        slow = SlowReader(port)
        try:
            fast.send("<getProperties version='1.7'/><enableBLOB device='Cam'>Also</enableBLOB>")
            slow.start()
            fast.definition("GO")
            begin_s = time.monotonic()
            fast.new("Number", "Cam", "GO", {"N": 1})
            first_s = 0.0
            since = 0
            for number in range(COUNT):
                blob = fast.wait(lambda m: m.tag == "setBLOBVector", since)
                since = fast.log.index(blob) + 1
                first_s = first_s or time.monotonic() - begin_s
                assert picture(blob, fast.descriptors) == bytes([65 + number]) * SIZE
            slow.join(30)
            assert not slow.is_alive()
        finally:
            fast.close()
            with suppress(OSError):
                slow.socket.shutdown(socket.SHUT_RDWR)
            slow.socket.close()
            if slow.ident is not None:
                slow.join(10)
    assert first_s < 1, "a local client does not wait for a slow one"
    assert slow.cut_off is not paced
    if paced:
        texts = re.findall(rb"<oneBLOB [^>]*>([^<]*)</oneBLOB>", bytes(slow.received))
        pictures = [base64.b64decode(text) for text in texts]
        assert pictures == [bytes([65 + number]) * SIZE for number in range(COUNT)]


def test_a_client_that_dies_frees_what_it_held(tmp_path: Path) -> None:
    """A stopped local client holds the descriptors it was sent; its end lets them go."""
    holder = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.system.client import Client
client = Client.local(sys.argv[1])
client.send("<getProperties version='1.7'/><enableBLOB device='Cam'>Also</enableBLOB>")
print("ready", flush=True)
client.wait(lambda m: m.tag == "setBLOBVector", 0)
print("has one", flush=True)
time.sleep(60)
"""
    with serving(tmp_path, OUT_BYTES // 8) as port:
        fast = Client.local(f"pacing-{port}")
        other = subprocess.Popen(
            [sys.executable, "-c", holder, f"pacing-{port}"], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "ready\n"
            fast.send("<getProperties version='1.7'/><enableBLOB device='Cam'>Also</enableBLOB>")
            fast.definition("GO")
            fast.new("Number", "Cam", "GO", {"N": 1})
            assert other.stdout.readline() == "has one\n"
            fast.read_for(1.0)
            held = sum(message.tag == "setBLOBVector" for message in fast.log)
            assert held == OUT_BYTES // 8 // SIZE
            other.send_signal(signal.SIGKILL)
            while sum(message.tag == "setBLOBVector" for message in fast.log) < COUNT:
                position = len(fast.log)
                for descriptor in fast.descriptors:
                    os.close(descriptor)
                fast.descriptors.clear()
                fast.wait(lambda m: m.tag == "setBLOBVector", position)
        finally:
            other.kill()
            other.communicate()
            fast.close()
