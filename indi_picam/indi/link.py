"""The connection to indiserver: the only file that touches fd 0 and fd 1.

indiserver gives a driver one unix socket as both fd 0 and fd 1 (two pipes before 1.9.7). A BLOB
goes through the socket as a descriptor attached to its element, through a pipe as unbroken base64.
Messages leave whole and in the order of ``send``; nothing ever lands inside another, and nothing
here blocks the loop:

=======  =====================================================================================
writer   meaning
=======  =====================================================================================
empty    nothing is queued
due      the loop writes when it comes to it, all at once
waiting  the kernel took no more, or a turn's share is used up: the loop calls to go on
closed   the server is gone or ``close`` was called: sends are dropped, the iteration ends
=======  =====================================================================================

Knows messages and bytes, no property and no camera. The driver process owns one Link for all its
devices.
"""

from __future__ import annotations

import array
import asyncio
import binascii
import fcntl
import itertools
import os
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from indi_picam.indi.decoder import Decoder
from indi_picam.indi.encoder import encode, inline_blob
from indi_picam.indi.messages import Incoming, Outgoing, PingReply, PingRequest, SetBlob
from indi_picam.indi.pacing import Pacing

_READ_BYTES = 1 << 16
_PIECE_BYTES = 384 << 10
"""Of a BLOB per base64 step: a multiple of 3, so that pieces join (measured: +0.5 MB)."""
_TURN_BYTES = 1 << 20
"""Written before the loop may do something else."""
_MOST_PIECES = 64
"""Of one system call; the kernel takes 1024 (IOV_MAX)."""
_SLOT_WAIT_S = 5.0
"""How long libindi waits for the reply to the ping after a BLOB (2.2.4)."""


def take_stdio() -> tuple[int, int]:
    """Take fd 0 and 1 from everybody else; returns private descriptors (read, write) for a Link.

    Afterwards fd 0 is /dev/null and fd 1 is stderr, for us, for every library and for every child.
    Call it first.
    """
    read_fd = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    write_fd = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return read_fd, write_fd


@dataclass(slots=True)
class _Sending:
    """A message on its way out: piece at hand, pieces to come, descriptor that rides or is read."""

    piece: memoryview
    rest: Iterator[bytes] | None = None
    attachment: int | None = None


class Link:
    """Messages in by iteration, out by ``send``; owns both descriptors, needs a running loop."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._socket = _unix_socket(write_fd)
        self._decoder = Decoder()
        self._inbox: deque[Incoming] = deque()
        self._arrived = asyncio.Event()
        self._outbox: deque[_Sending] = deque()
        self._due = False
        """Whether the loop will call to write."""
        self._polls = False
        """Whether it will because the kernel takes some again."""
        self._closed = False
        self._pings = itertools.count(1)
        self._last_ping = ""
        self._slot = asyncio.Event()
        self._slot.set()
        self.pacing = Pacing()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        try:
            self._loop.add_reader(read_fd, self._readable)
        except PermissionError:
            # A file or /dev/null cannot be polled (epoll_ctl, EPERM): it is ready until its end.
            self._loop.call_soon(self._read_to_end)

    @property
    def attaches(self) -> bool:
        """Whether BLOBs go as descriptors."""
        return self._socket is not None

    def __aiter__(self) -> Link:
        return self

    async def __anext__(self) -> Incoming:
        """The next message; ends as soon as the server has closed and what came before is taken."""
        while not self._inbox:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    def send(self, message: Outgoing) -> None:
        """Queue a message; returns at once. A BLOB's attachment belongs to the link from now on.

        ValueError, and the attachment closed, when it has no bytes or fewer than the BLOB's size:
        indiserver 1.9.9 exits on the first, its local clients die of the second (SIGBUS).
        """
        sending = (
            self._sending_blob(message) if isinstance(message, SetBlob) else _plain(encode(message))
        )
        if self._closed:
            _drop(sending)
            return
        self._outbox.append(sending)
        if not self._due:
            # Not at once: all that is said until the loop comes to it wakes the server once.
            self._due = True
            self._loop.call_soon(self._write)

    async def blob_slot(self, device: str, size: int = 0) -> None:
        """Wait until a BLOB of this size may be sent; it must be sent at once then.

        The server must have parsed the BLOB before (waited for at most 5 s), and let go enough of
        those before that, its clients too (:class:`Pacing`).
        """
        while True:
            if not self._slot.is_set():
                try:
                    async with asyncio.timeout(_SLOT_WAIT_S):
                        await self._slot.wait()
                except TimeoutError:
                    self._slot.set()
            await self.pacing.room(device, size)
            if self._closed:
                return
            if self._slot.is_set():  # no other device was let through meanwhile
                self._slot.clear()
                return

    async def let_go(self) -> None:
        """Wait until every BLOB is let go, as :class:`Pacing` says, and parsed by the server."""
        await self._slot.wait()
        await self.pacing.all_let_go()

    def close(self) -> None:
        """Close both descriptors; what is queued is dropped, the iteration and every wait end."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._read_fd)
        self._loop.remove_writer(self._write_fd)
        while self._outbox:
            _drop(self._outbox.popleft())
        if self._socket is not None:
            self._socket.detach()
        for descriptor in {self._read_fd, self._write_fd}:
            os.close(descriptor)
        self._arrived.set()
        self._slot.set()
        self.pacing.close()

    # -- in ------------------------------------------------------------------------------

    def _readable(self) -> bool:
        """Read once; False when nothing more will come or nothing is there now."""
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._write()  # what goes at once; the server may only have stopped talking
            self.close()
            return False
        for message in self._decoder.feed(data):
            match message:
                case PingRequest(uid):
                    self.send(PingReply(uid))
                case PingReply(uid):
                    if uid == self._last_ping:
                        self._slot.set()
                case _:
                    self._inbox.append(message)
                    self._arrived.set()
        return True

    def _read_to_end(self) -> None:
        while not self._closed and self._readable():
            pass

    # -- out -----------------------------------------------------------------------------

    def _sending_blob(self, blob: SetBlob) -> _Sending:
        length = blob.size if blob.length is None else blob.length
        descriptor = _read_only(blob.attachment)
        there = os.fstat(descriptor).st_size
        if not 0 < (blob.size if self.attaches else length) <= there:
            os.close(descriptor)
            raise ValueError(f"{blob.name} of {blob.size} bytes cannot be sent from {there}")
        self._last_ping = f"SetBLOB/{next(self._pings)}"
        ping = encode(PingRequest(self._last_ping))
        self.pacing.sent(blob.device, descriptor if self.attaches else None, blob.size)
        if self._socket is not None:
            return _Sending(memoryview(encode(blob) + ping), attachment=descriptor)
        head, tail = inline_blob(blob)
        rest = itertools.chain(_base64_pieces(descriptor, length), (tail + ping,))
        return _Sending(memoryview(head), rest, descriptor)

    def _write(self) -> None:
        """Write what the kernel takes, up to a turn's share; ask for more turns if some is left."""
        share = _TURN_BYTES
        try:
            while self._outbox and share > 0:
                share -= self._write_pieces()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
        if self._closed:
            return
        self._due = bool(self._outbox)
        if self._due and not self._polls:
            self._wait_to_write()
        elif self._polls and not self._due:
            self._loop.remove_writer(self._write_fd)
            self._polls = False

    def _wait_to_write(self) -> None:
        try:
            self._loop.add_writer(self._write_fd, self._write)
            self._polls = True
        except PermissionError:
            # A file cannot be polled and never refuses: only the turn was over.
            self._loop.call_soon(self._write)

    def _write_pieces(self) -> int:
        """Write what goes of the pieces at hand; return the count; BlockingIOError for none."""
        pieces, first = [], self._outbox[0]
        for sending in itertools.islice(self._outbox, _MOST_PIECES):
            if sending is not first and sending.attachment is not None:
                break
            pieces.append(sending.piece)
            if sending.rest is not None:
                break
        if self._socket is not None and first.attachment is not None:
            rights = array.array("i", [first.attachment])
            count = self._socket.sendmsg(pieces, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            # It went with the first byte: sent again with the rest it would arrive twice.
            os.close(first.attachment)
            first.attachment = None
        else:
            count = os.writev(self._write_fd, pieces)
        self._written(count)
        return count

    def _written(self, count: int) -> None:
        while count:
            sending = self._outbox[0]
            part = min(count, len(sending.piece))
            sending.piece, count = sending.piece[part:], count - part
            if not sending.piece:
                following = next(sending.rest, None) if sending.rest is not None else None
                if following is None:
                    _drop(self._outbox.popleft())
                else:
                    sending.piece = memoryview(following)


def _unix_socket(descriptor: int) -> socket.socket | None:
    """The descriptor as a socket when it is a unix socket (libindi's own test: SO_DOMAIN)."""
    try:
        wrapped = socket.socket(fileno=descriptor)
    except OSError:
        return None
    if wrapped.family == socket.AF_UNIX:
        return wrapped
    wrapped.detach()
    return None


def _read_only(descriptor: int) -> int:
    """A read-only descriptor of the same memory, the given one closed; itself if it is read-only.

    A receiver must not be able to change a frame. One that came read-only is kept, as its holder
    may have locked this very file description to learn when it is let go.
    """
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return descriptor
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(descriptor)


def _base64_pieces(descriptor: int, length: int) -> Iterator[bytes]:
    for offset in range(0, length, _PIECE_BYTES):
        piece = os.pread(descriptor, min(_PIECE_BYTES, length - offset), offset)
        if not piece:
            return  # a file on a disk was cut off meanwhile
        yield binascii.b2a_base64(piece, newline=False)


def _plain(data: bytes) -> _Sending:
    return _Sending(memoryview(data))


def _drop(sending: _Sending) -> None:
    if sending.attachment is not None:
        os.close(sending.attachment)
