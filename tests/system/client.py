"""An INDI client for tests, independent of the driver's own codec: plain sockets and
ElementTree."""

from __future__ import annotations

import array
import base64
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from xml.etree.ElementTree import Element, XMLPullParser

Predicate = Callable[[Element], bool]


@dataclass
class Client:
    """One connection to indiserver; everything received stays in ``log``, in order, with its
    time."""

    socket: socket.socket
    log: list[Element] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each message of the log was complete, on time.monotonic()."""
    descriptors: list[int] = field(default_factory=list)
    _parser: XMLPullParser[Any] = field(default_factory=lambda: XMLPullParser(("start", "end")))
    _depth: int = 0

    def __post_init__(self) -> None:
        self._parser.feed("<stream>")

    @classmethod
    def tcp(cls, port: int) -> Client:
        """A client as most are."""
        return cls(socket.create_connection(("127.0.0.1", port), timeout=10))

    @classmethod
    def local(cls, path: str) -> Client:
        """A client on the same machine, which gets BLOBs as descriptors."""
        unix = socket.socket(socket.AF_UNIX)
        unix.connect("\0" + path)
        return cls(unix)

    def send(self, xml: str) -> None:
        """Sends text as it is."""
        self.socket.sendall(xml.encode())

    def new(self, kind: str, device: str, name: str, values: Mapping[str, object]) -> None:
        """Sends a ``new<kind>Vector``."""
        ones = "".join(
            f"<one{kind} name='{key}'>{value}</one{kind}>" for key, value in values.items()
        )
        self.send(f"<new{kind}Vector device='{device}' name='{name}'>{ones}</new{kind}Vector>")

    def wait(self, wanted: Predicate, since: int | None = None, timeout: float = 20) -> Element:
        """The first message from position ``since`` of the log on (default: from now) that is
        wanted."""
        position = len(self.log) if since is None else since
        deadline = time.monotonic() + timeout
        while True:
            for message in self.log[position:]:
                if wanted(message):
                    return message
            position = len(self.log)
            self._receive(deadline)

    def set_of(self, name: str, state: str | None = None, since: int | None = None) -> Element:
        """The next set of a property, in a state if one is given."""
        return self.wait(is_set(name, state), since)

    def definition(self, name: str, device: str | None = None, since: int = 0) -> Element:
        """The definition of a property."""
        return self.wait(
            lambda m: (
                m.tag.startswith("def")
                and m.get("name") == name
                and device in (None, m.get("device"))
            ),
            since,
        )

    def read_for(self, seconds: float) -> None:
        """Takes up whatever comes within a time."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._receive(deadline)
        except TimeoutError:
            pass

    def close(self) -> None:
        """Hangs up."""
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.socket], [], [], left)[0]:
            raise TimeoutError(
                "nothing more came; the last was " + repr(self.log[-1:] and _text(self.log[-1]))
            )
        room = socket.CMSG_SPACE(16 * 4)
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, room)
        if not data:
            raise EOFError("the server hung up")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors += array.array("i", content[: len(content) // 4 * 4])
        self._parser.feed(data)
        for event, element in cast(Iterator[tuple[str, Element]], self._parser.read_events()):
            self._depth += 1 if event == "start" else -1
            if event == "end" and self._depth == 1:
                self.log.append(element)
                self.times.append(time.monotonic())


def _text(message: Element) -> str:
    return f"{message.tag} {message.attrib}"


def is_set(name: str, state: str | None = None, told: Mapping[str, str] | None = None) -> Predicate:
    """Whether a message is a set of a property; in this state and with these values, if given."""
    return lambda m: (
        m.tag.startswith("set")
        and m.get("name") == name
        and state in (None, m.get("state"))
        and told in (None, values(m))
    )


def values(message: Element) -> dict[str, str]:
    """The values of a set or definition by element name."""
    return {child.get("name", ""): (child.text or "").strip() for child in message}


def picture(message: Element, descriptors: list[int] | None = None) -> bytes:
    """The bytes of the BLOB in a message: base64, or read from the descriptor that came with it."""
    blob = message[0]
    if blob.get("attached") == "true":
        assert descriptors, "an attached BLOB came without a descriptor"
        descriptor = descriptors.pop(0)
        try:
            return os.pread(descriptor, int(blob.get("size", "0")), 0)
        finally:
            os.close(descriptor)
    return base64.b64decode(blob.text or "")
