"""The link over socket pairs and pipes: short sends, full buffers, BLOBs both ways, the end."""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest

from indi_picam.indi import link as link_module
from indi_picam.indi.decoder import Decoder
from indi_picam.indi.encoder import encode
from indi_picam.indi.link import Link
from indi_picam.indi.messages import (
    GetProperties,
    Malformed,
    Message,
    Outgoing,
    PingReply,
    PingRequest,
    Set,
    SetBlob,
)
from indi_picam.indi.vectors import Kind, State

BLOB_BYTES = 25_000_003


def pattern(size: int) -> bytes:
    return (b"%08x" * 128 % tuple(range(128)) * (size // 1024 + 1))[:size]


def memory(size: int) -> int:
    descriptor = os.memfd_create("frame", os.MFD_CLOEXEC)
    os.write(descriptor, pattern(size))
    return descriptor


def blob(descriptor: int, size: int) -> SetBlob:
    return SetBlob("Cam", "CCD1", "CCD1", ".fits", size, descriptor)


def tick(number: int) -> Message:
    return Message("Cam", f"tick {number}")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


class Server:
    """The other end of a driver's socket, as indiserver holds it."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.setblocking(False)
        self.bytes = bytearray()
        self.attached: list[int] = []

    async def read(self, until: bytes, piece: int = 1 << 16) -> bytes:
        """All bytes up to and including these; descriptors on the way are kept."""
        while until not in self.bytes[-piece - len(until) :]:
            await _readable(self.end.fileno())
            data, ancillary, _, _ = self.end.recvmsg(piece, 1024)
            assert data, "the driver closed"
            self.bytes += data
            for level, kind, rights in ancillary:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                self.attached += array.array("i", rights)
        read, self.bytes = bytes(self.bytes), bytearray()
        return read

    async def say(self, message: Outgoing) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, encode(message))


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


@contextlib.asynccontextmanager
async def over_a_socket(send_buffer: int | None = None) -> AsyncIterator[tuple[Link, Server]]:
    ours, theirs = socket.socketpair()
    if send_buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    with ours, theirs:
        link = Link(os.dup(ours.fileno()), os.dup(ours.fileno()))
        ours.close()
        try:
            yield link, Server(theirs)
        finally:
            link.close()


@contextlib.asynccontextmanager
async def over_pipes() -> AsyncIterator[tuple[Link, int, int]]:
    """The link, the end that the driver reads from, the end that it writes to."""
    driver_in, server_out = os.pipe()
    server_in, driver_out = os.pipe()
    link = Link(driver_in, driver_out)
    os.set_blocking(server_in, False)
    try:
        yield link, server_out, server_in
    finally:
        link.close()
        for descriptor in (server_in, server_out):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 30))


def test_a_blob_is_attached_read_only_and_ours_is_closed() -> None:
    async def scene() -> None:
        async with over_a_socket() as (link, server):
            assert link.attaches
            descriptor = memory(BLOB_BYTES)
            before = open_descriptors()
            link.send(blob(descriptor, BLOB_BYTES))
            text = await server.read(b"<pingRequest")
            (attached,) = server.attached
            with open(attached, "rb") as received:
                assert b'attached="true"' in text
                assert received.read() == pattern(BLOB_BYTES)
                assert fcntl.fcntl(attached, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.write(attached, b"x")
            await link.pacing.all_let_go()
            assert open_descriptors() == before - 1

    run(scene())


def test_a_read_only_descriptor_is_sent_as_it_is() -> None:
    """Whoever locked that file description learns by the lock when it is let go."""

    async def scene() -> None:
        async with over_a_socket() as (link, server):
            writable = memory(2880)
            sent, kept = (os.open(f"/proc/self/fd/{writable}", os.O_RDONLY) for _ in range(2))
            os.close(writable)
            fcntl.flock(sent, fcntl.LOCK_EX)
            link.send(blob(sent, 2880))
            await server.read(b"<pingRequest")
            with pytest.raises(BlockingIOError):
                fcntl.flock(kept, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(server.attached[0])
            fcntl.flock(kept, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(kept)

    run(scene())


@pytest.mark.parametrize("piece", [1 << 16, 100])
def test_a_full_socket_loses_and_doubles_nothing(piece: int) -> None:
    """The peer does not read at first, so messages and the BLOB meet EAGAIN and short sends."""

    async def scene() -> None:
        async with over_a_socket(send_buffer=4608) as (link, server):
            long = Set("Cam", "T", Kind.TEXT, {"A": "x" * 30_000}, State.OK)
            sent = [tick(n) for n in range(20)] + [long] + [tick(n) for n in range(20, 25)]
            for message in sent:
                link.send(message)
            link.send(blob(memory(2880), 2880))
            link.send(tick(99))
            text = await server.read(b"tick 99", piece)
            before, after = text.split(b"<setBLOBVector")
            assert before == b"".join(map(encode, sent))
            assert (
                after.index(b"</setBLOBVector>")
                < after.index(b"<pingRequest")
                < after.index(b"tick")
            )
            (attached,) = server.attached
            with open(attached, "rb") as received:
                assert received.read() == pattern(2880)

    run(scene())


class Stingy:
    """A socket that takes but a few bytes at a time, and every other time none."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.calls = 0

    def sendmsg(self, buffers: list[memoryview], ancillary: list[Any]) -> int:
        self.calls += 1
        if self.calls % 2:
            raise BlockingIOError
        return self.real.sendmsg([buffers[0][:7]], ancillary)

    def detach(self) -> int:
        return self.real.detach()


def test_a_short_send_takes_the_descriptor_once_and_eagain_keeps_it() -> None:
    async def scene() -> None:
        async with over_a_socket() as (link, server):
            assert link._socket is not None
            stingy = Stingy(link._socket)
            link._socket = stingy  # type: ignore[assignment]
            link.send(blob(memory(2880), 2880))
            text = await server.read(b"<pingRequest")
            assert text.startswith(b"<setBLOBVector ")
            assert stingy.calls == 2
            (attached,) = server.attached
            os.close(attached)

    run(scene())


def test_what_one_callback_sends_goes_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call wakes the server; a BLOB begins one, as its descriptor goes with the first byte."""
    calls: list[int] = []

    def writev(descriptor: int, pieces: list[memoryview]) -> int:
        calls.append(len(pieces))
        return real(descriptor, pieces)

    real = os.writev
    monkeypatch.setattr(os, "writev", writev)

    async def scene() -> None:
        async with over_a_socket() as (link, server):
            for number in range(3):
                link.send(tick(number))
            link.send(blob(memory(2880), 2880))
            link.send(Message("Cam", "the end"))
            text = await server.read(b"the end")
            assert calls == [3]
            assert text.index(b"tick 2") < text.index(b"<setBLOBVector")
            (attached,) = server.attached
            os.close(attached)

    run(scene())


@pytest.mark.parametrize("inline", [False, True])
def test_updates_race_a_blob_but_never_land_inside_it(
    inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if inline:
        monkeypatch.setattr(link_module, "_unix_socket", lambda descriptor: None)

    async def chatter(link: Link, first: int) -> None:
        for number in range(first, first + 1000):
            link.send(tick(number))
            await asyncio.sleep(0)

    async def scene() -> None:
        async with over_a_socket() as (link, server):
            talkers = [asyncio.create_task(chatter(link, first)) for first in (0, 1000)]
            await asyncio.sleep(0)
            link.send(blob(memory(BLOB_BYTES), BLOB_BYTES))
            reading = asyncio.create_task(server.read(b"the end", 1 << 18))
            await asyncio.gather(*talkers)
            link.send(Message("Cam", "the end"))
            text = await reading
            start, end = text.index(b"<setBLOBVector"), text.index(b"</setBLOBVector>")
            inside = text[start:end]
            assert b"tick" not in inside
            ticks = [int(number) for number in re.findall(rb"tick (\d+)", text)]
            assert [n for n in ticks if n < 1000] == list(range(1000))
            assert [n for n in ticks if n >= 1000] == list(range(1000, 2000))
            if inline:
                encoded = re.search(rb"<oneBLOB [^>]*>([^<]*)</oneBLOB>", inside)
                assert encoded is not None
                assert base64.b64decode(encoded[1], validate=True) == pattern(BLOB_BYTES)
            for descriptor in server.attached:
                os.close(descriptor)
            assert len(server.attached) == (0 if inline else 1)

    run(scene())


@pytest.mark.parametrize(("size", "there"), [(0, 0), (0, 5), (2881, 2880)])
def test_a_blob_that_would_kill_its_receiver_is_not_sent(size: int, there: int) -> None:
    async def scene() -> None:
        async with over_a_socket() as (link, server):
            with pytest.raises(
                ValueError, match=f"CCD1 of {size} bytes cannot be sent from {there}"
            ):
                link.send(blob(memory(there), size))
            link.send(tick(1))
            assert await server.read(b"\n") == encode(tick(1))

    run(scene())


@pytest.mark.parametrize("size", [1, 2880, 384 << 10, (384 << 10) + 1, BLOB_BYTES])
def test_a_pipe_gets_unbroken_base64_without_enclen_and_the_loop_goes_on(size: int) -> None:
    async def scene() -> None:
        async with over_pipes() as (link, _, server_in):
            assert not link.attaches
            turns = 0

            async def other_work() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            working = asyncio.create_task(other_work())
            link.send(blob(memory(size), size))
            text = bytearray()
            while not text.endswith(b'<pingRequest uid="SetBLOB/1"/>\n'):
                await _readable(server_in)
                text += os.read(server_in, 1 << 20)
            working.cancel()
            head, encoded, tail = re.split(rb"(?<=\.fits\">)|(?=</oneBLOB>)", bytes(text))
            assert b"enclen" not in head
            assert f'size="{size}"'.encode() in head
            assert b"\n" not in encoded
            assert base64.b64decode(encoded, validate=True) == pattern(size)
            assert tail.startswith(b"</oneBLOB>\n</setBLOBVector>\n<pingRequest")
            assert turns > size >> 20

    run(scene())


def test_the_end_of_input_ends_the_iteration_at_once_with_a_full_outbox() -> None:
    async def scene() -> None:
        async with over_a_socket(send_buffer=4608) as (link, server):
            for number in range(1000):
                link.send(tick(number))
            for _ in range(3):
                link.send(blob(memory(2880), 2880))
            await server.say(GetProperties())
            await asyncio.sleep(0)
            server.end.close()
            assert [message async for message in link] == [GetProperties()]
            link.send(tick(0))
            link.send(blob(memory(2880), 2880))
            await link.blob_slot("Cam")
            await link.blob_slot("Cam")

    run(scene())


def test_the_end_of_input_alone_ends_it_too() -> None:
    async def scene() -> None:
        async with over_pipes() as (link, server_out, _):
            os.write(server_out, b"<getProperties version='1.7'/><oops")
            os.close(server_out)
            assert [message async for message in link] == [GetProperties()]

    run(scene())


def test_a_file_serves_as_input_and_as_output(tmp_path: Any) -> None:
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_bytes(encode(GetProperties()) * 30_000)

    async def scene() -> None:
        link = Link(os.open(requests, os.O_RDONLY), os.open(answers, os.O_CREAT | os.O_WRONLY))
        size = 3 << 20
        link.send(blob(memory(size), size))
        link.send(tick(1))
        assert sum([1 async for _ in link]) == 30_000

    run(scene())
    assert answers.read_bytes().startswith(b"<setBLOBVector")


def test_rubbish_comes_as_a_report_and_pings_are_answered() -> None:
    async def scene() -> None:
        async with over_a_socket() as (link, server):
            await server.say(PingRequest("from the server"))
            server.end.send(b"oops <getProperties version='1.7'/>")
            assert isinstance(await anext(link), Malformed)
            assert await anext(link) == GetProperties()
            assert await server.read(b"\n") == encode(PingReply("from the server"))

    run(scene())


def test_a_slot_is_free_when_the_server_has_parsed_the_blob_before() -> None:
    async def scene() -> None:
        async with over_a_socket() as (link, server):
            order: list[str] = []

            async def device(name: str) -> None:
                for _ in range(2):
                    await link.blob_slot("Cam")
                    order.append(name)
                    link.send(blob(memory(2880), 2880))

            devices = [asyncio.create_task(device(name)) for name in "ab"]
            for count in range(1, 5):
                await server.read(f'<pingRequest uid="SetBLOB/{count}"/>'.encode())
                await asyncio.sleep(0)
                assert len(order) == count
                await server.say(PingReply("SetBLOB/999"))
                await server.say(PingReply(f"SetBLOB/{count}"))
            await asyncio.gather(*devices)
            assert sorted(order) == ["a", "a", "b", "b"]
            for descriptor in server.attached:
                os.close(descriptor)

    run(scene())


def test_a_server_that_answers_no_ping_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "_SLOT_WAIT_S", 0.01)

    async def scene() -> None:
        async with over_a_socket() as (link, server):
            for _ in range(3):
                await link.blob_slot("Cam")
                link.send(blob(memory(1), 1))
            await server.read(b"SetBLOB/3")
            for descriptor in server.attached:
                os.close(descriptor)

    run(scene())


DRIVER = """
import asyncio, os, subprocess, sys
from indi_picam.indi.link import Link, take_stdio
descriptors = take_stdio()
print("a library prints")
os.write(1, b"a C library prints\\n")
subprocess.run([sys.executable, "-c", '''
import os, sys
print("child", os.listdir("/proc/self/fd"), os.readlink("/proc/self/fd/0"))
'''], close_fds=False, check=True)
async def main():
    async with asyncio.timeout(10):
        async for message in Link(*descriptors):
            print("got", message)
asyncio.run(main())
"""


def test_nobody_else_reaches_the_servers_socket() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER],
                stdin=ours.fileno(),
                stdout=ours.fileno(),
                stderr=subprocess.PIPE,
            )
        theirs.sendall(encode(GetProperties()))
        theirs.shutdown(socket.SHUT_WR)
        _, errors = driver.communicate(timeout=30)
        text = errors.decode()
        assert driver.returncode == 0, text
        assert theirs.recv(1000) == b""
    assert "a library prints" in text
    assert "a C library prints" in text
    child = re.search(r"child \[(.*)\] (.*)", text)
    assert child is not None
    # 3 is the directory that the child itself lists.
    assert sorted(re.findall(r"\d+", child[1])) == ["0", "1", "2", "3"]
    assert child[2] == "/dev/null"
    assert "got GetProperties(" in text


def test_decoder_reads_what_the_link_sends() -> None:
    async def scene() -> None:
        async with over_a_socket() as (link, server):
            link.send(tick(1))
            link.send(tick(2))
            assert Decoder().feed(await server.read(b'tick 2"/>\n')) == [tick(1), tick(2)]

    run(scene())
