"""One frozen value per wire message.

The driver both sends and receives most of them, as it snoops on other devices. Only ``decoder``
and ``encoder`` know how they look as bytes. Times are UTC ``YYYY-MM-DDThh:mm:ss``; an
absent attribute is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indi_picam.indi.vectors import AnyVector, Kind, Limits, State


@dataclass(frozen=True, slots=True)
class GetProperties:
    """Asks for definitions; sent by a driver it asks to be told of another device (snooping)."""

    device: str | None = None
    name: str | None = None
    version: str = "1.7"


@dataclass(frozen=True, slots=True)
class Def:
    """Defines a property with its present values."""

    device: str
    vector: AnyVector
    timestamp: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Set:
    """Tells the values of a property; ours name every element, a snooped one may name some.

    ``values`` holds float, str, bool or State by kind; of a BLOB the base64 text. libindi's
    clients ignore a set without a state.
    """

    device: str
    name: str
    kind: Kind
    values: Mapping[str, Any]
    state: State | None
    timeout: float | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    timestamp: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class SetBlob:
    """Delivers one BLOB whose bytes stand in a descriptor, from its first byte.

    ``size`` is the count of the uncompressed bytes, ``length`` that of the bytes in the descriptor
    when it differs.
    """

    device: str
    name: str
    element: str
    format: str
    size: int
    attachment: int
    length: int | None = None
    state: State = State.OK
    timeout: float | None = None
    timestamp: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class New:
    """A client's request; the values are the texts it sent, still unchecked."""

    device: str
    name: str
    kind: Kind
    values: Mapping[str, str]
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class DelProperty:
    """A property is gone, or without a name the whole device."""

    device: str
    name: str | None = None
    timestamp: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence for the user, of a device or of the server."""

    device: str | None
    message: str
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class EnableBlob:
    """Asks for BLOBs: Never, Also or Only."""

    device: str
    mode: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Asks the peer to answer when it has parsed everything before."""

    uid: str


@dataclass(frozen=True, slots=True)
class PingReply:
    """The answer to a PingRequest."""

    uid: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that were no message; ``device`` and ``name`` where a broken one still shows them."""

    sentence: str
    device: str | None = None
    name: str | None = None
    request: bool = False
    """It was a client's request, so somebody waits for an answer."""


WireMessage = (
    GetProperties | Def | Set | New | DelProperty | Message | EnableBlob | PingRequest | PingReply
)
Incoming = WireMessage | Malformed
Outgoing = WireMessage | SetBlob
