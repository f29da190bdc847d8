"""An INDI client that costs next to nothing: pictures are only looked at for their end.

Small messages are parsed; of a picture the bytes are counted and thrown away, or kept where that is
wanted, as its descriptor is. Every message carries the time at which its last byte had been read.
Knows no driver.
"""

from __future__ import annotations

import array
import base64
import contextlib
import os
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

_END = b"</setBLOBVector>"
_TAG = re.compile(rb"<(\w+)")
_HEAD_BYTES = 512
"""Of a picture: enough for the attributes that name it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One element from the server."""

    tag: str
    attributes: Mapping[str, str]
    values: Mapping[str, str]
    at: float
    """When the last byte had been read, time.monotonic()."""
    length: int = 0
    """Bytes of a picture on the wire."""
    descriptors: tuple[int, ...] = ()
    content: tuple[bytes, ...] = ()
    """Of a picture that was to be kept: its XML, in the pieces that it came in."""

    @property
    def name(self) -> str:
        """Of the property."""
        return self.attributes.get("name", "")

    @property
    def state(self) -> str:
        """Of the property."""
        return self.attributes.get("state", "")

    @property
    def is_picture(self) -> bool:
        """Whether it is a BLOB."""
        return self.tag == "setBLOBVector"

    def file(self) -> bytes:
        """The file in a picture that was to be kept."""
        blob = ElementTree.fromstring(b"".join(self.content))[0]
        if self.descriptors:
            return os.pread(self.descriptors[0], int(blob.get("size", "0")), 0)
        return base64.b64decode(blob.text or "")

    def let_go(self) -> None:
        """Closes the descriptors that came with it."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Silence(Exception):
    """What was waited for did not come in time."""


@dataclass(slots=True)
class Client:
    """One connection to indiserver."""

    socket: socket.socket
    device: str
    keeps_pictures: bool = False
    """Whether they can be looked at later, by Message.file."""
    bytes_per_s: float = 0.0
    """How fast it reads; 0 for as fast as it can."""
    _reads_again_at: float = 0.0
    _content: list[bytes] = field(default_factory=list)
    _buffer: bytearray = field(default_factory=bytearray)
    _picture: bytes | None = None
    _length: int = 0
    _descriptors: list[int] = field(default_factory=list)
    _inbox: deque[Message] = field(default_factory=deque)

    @classmethod
    def tcp(cls, port: int, device: str) -> Client:
        """As most clients are: pictures come as base64."""
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection, device)

    @classmethod
    def local(cls, path: str, device: str) -> Client:
        """On the same computer: pictures come as descriptors."""
        unix = socket.socket(socket.AF_UNIX)
        unix.connect("\0" + path)
        return cls(unix, device)

    def send(self, xml: str) -> None:
        """Sends text as it is."""
        self.socket.sendall(xml.encode())

    def new(self, kind: str, name: str, **values: object) -> float:
        """Sends a ``new<kind>Vector``; returns when."""
        ones = "".join(
            f"<one{kind} name='{key}'>{value}</one{kind}>" for key, value in values.items()
        )
        at = time.monotonic()
        self.send(
            f"<new{kind}Vector device='{self.device}' name='{name}'>{ones}</new{kind}Vector>\n"
        )
        return at

    def pictures(self, wanted: bool) -> None:
        """Asks for pictures, or for none."""
        self.send(
            f"<enableBLOB device='{self.device}'>{'Also' if wanted else 'Never'}</enableBLOB>"
        )

    def wait(self, wanted: Callable[[Message], bool], timeout: float = 30) -> Message:
        """The next message that is wanted; what comes before it is dropped. Raises Silence."""
        deadline = time.monotonic() + timeout
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                if wanted(message):
                    return message
                message.let_go()
            self._receive(deadline)

    def set_of(self, name: str, state: str | None = None, timeout: float = 30) -> Message:
        """The next set of a property, in a state if one is given."""
        return self.wait(
            lambda m: m.tag[:3] == "set" and m.name == name and state in (None, m.state), timeout
        )

    def definition(self, name: str, timeout: float = 30) -> Message:
        """The next definition of a property."""
        return self.wait(lambda m: m.tag[:3] == "def" and m.name == name, timeout)

    def picture(self, timeout: float = 30) -> Message:
        """The next picture."""
        return self.wait(lambda m: m.is_picture, timeout)

    def drain(self, seconds: float = 0.0) -> None:
        """Drops all that has come, and what comes within a time."""
        with contextlib.suppress(Silence):
            self.wait(lambda _: False, seconds)

    def close(self) -> None:
        """Hangs up."""
        self.socket.close()
        for message in self._inbox:
            message.let_go()

    def _receive(self, deadline: float) -> None:
        time.sleep(max(0.0, self._reads_again_at - time.monotonic()))
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            raise Silence(f"{self.device} was silent for too long")
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(16 * 4))
        at = time.monotonic()
        if not data:
            raise ConnectionError("the server hung up")
        if self.bytes_per_s:
            self._reads_again_at = max(self._reads_again_at, at) + len(data) / self.bytes_per_s
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors += array.array("i", content[: len(content) // 4 * 4])
        if self._picture is not None and b"<" not in self._buffer and b"<" not in data:
            self._add_to_picture(bytes(self._buffer))
            self._buffer.clear()
            self._add_to_picture(data)
            return
        self._buffer += data
        while self._split(at):
            pass

    def _split(self, at: float) -> bool:
        """Takes one element from the buffer; False when none is whole."""
        if self._picture is not None:
            return self._end_picture(at)
        tag = _TAG.search(self._buffer)
        if tag is None:
            return False
        if tag[1] == b"setBLOBVector":
            if len(self._buffer) - tag.start() < _HEAD_BYTES and _END not in self._buffer:
                return False
            head = bytes(self._buffer[tag.start() : tag.start() + _HEAD_BYTES])
            self._picture, self._length = head, 0
            return True
        head_end = self._buffer.find(b">", tag.end())
        if head_end < 0:
            return False
        closing = b"</" + tag[1] + b">"
        if self._buffer[head_end - 1 : head_end] == b"/":
            end = head_end + 1
        elif (found := self._buffer.find(closing, head_end)) >= 0:
            end = found + len(closing)
        else:
            return False
        element = ElementTree.fromstring(bytes(self._buffer[tag.start() : end]))
        del self._buffer[:end]
        values = {one.get("name", ""): (one.text or "").strip() for one in element}
        self._inbox.append(Message(element.tag, element.attrib, values, at))
        return True

    def _add_to_picture(self, part: bytes) -> None:
        self._length += len(part)
        if self.keeps_pictures:
            self._content.append(part)

    def _end_picture(self, at: float) -> bool:
        if self._picture is None:
            return False
        found = self._buffer.find(_END)
        gone = found + len(_END) if found >= 0 else max(0, len(self._buffer) - len(_END))
        self._add_to_picture(bytes(self._buffer[:gone]))
        del self._buffer[:gone]
        if found < 0:
            return False
        tags = b">".join(self._picture.split(b">")[:2])  # of the vector, which counts, and the BLOB
        pairs = re.findall(rb"(\w+)=[\"']([^\"']*)[\"']", tags)
        attributes = {key.decode(): value.decode() for key, value in reversed(pairs)}
        descriptors, self._descriptors = tuple(self._descriptors), []
        content, self._content = tuple(self._content), []
        picture = (at, self._length, descriptors, content)
        self._inbox.append(Message("setBLOBVector", attributes, {}, *picture))
        self._picture = None
        return True
