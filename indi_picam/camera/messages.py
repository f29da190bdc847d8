"""What the driver and a camera worker say to each other: one frozen dataclass a message, as JSON.

Each message is one packet of a SOCK_SEQPACKET socket; a finished frame's descriptor rides with it.
Nothing is pickled. ``serial`` numbers the takes, so that nothing of an aborted one is mistaken for
the next.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from indi_picam.camera.modes import (
    UPRIGHT,
    CameraFacts,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    Orientation,
    SensorMode,
)

MAX_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Open:
    """To the worker, first of all: open the camera with this libcamera Id."""

    camera_id: str


@dataclass(frozen=True, slots=True)
class Configure:
    """To the worker: set up a sensor mode; nothing happens when it is set up already."""

    mode: SensorMode
    orientation: Orientation = UPRIGHT


@dataclass(frozen=True, slots=True)
class Take:
    """To the worker: take the frames of a request."""

    serial: int
    request: FrameRequest


@dataclass(frozen=True, slots=True)
class Abort:
    """To the worker: end what is being taken; answered by Stopped."""


@dataclass(frozen=True, slots=True)
class Close:
    """To the worker: free the camera and end."""


@dataclass(frozen=True, slots=True)
class Opened:
    """From the worker: the camera is open."""

    facts: CameraFacts


@dataclass(frozen=True, slots=True)
class Configured:
    """From the worker: the mode is set up."""

    facts: ModeFacts


@dataclass(frozen=True, slots=True)
class Began:
    """From the worker: the exposure of the next frame began at this time of the clock."""

    serial: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Finished:
    """From the worker, with a descriptor: a frame."""

    serial: int
    facts: FrameFacts


@dataclass(frozen=True, slots=True)
class Stopped:
    """From the worker: nothing is being taken any more (after Abort)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From the worker: what was asked failed; ``retry`` as in CameraFault."""

    serial: int | None
    sentence: str
    retry: bool


@dataclass(frozen=True, slots=True)
class Alive:
    """From the worker: heartbeat. It will be heard of again within this real time, or it hangs."""

    within_s: float


Message = (
    Open
    | Configure
    | Take
    | Abort
    | Close
    | Opened
    | Configured
    | Began
    | Finished
    | Stopped
    | Failed
    | Alive
)

_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Message)}


def _fields(value: Any) -> dict[str, Any]:
    """Of a dataclass, as they are: what is in them, JSON asks for itself."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


_ENCODER = json.JSONEncoder(default=_fields, separators=(",", ":"), check_circular=False)


def encode(message: Message) -> bytes:
    """One packet."""
    return _ENCODER.encode([type(message).__name__, message]).encode()


def decode(packet: bytes) -> Message:
    """The message of a packet; raises ValueError, KeyError or TypeError for any other."""
    name, fields = json.loads(packet.decode())
    kind: Any = _TYPES[name]
    message: Message = _builder(kind)(fields)
    return message


@cache
def _builder(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of an annotated type from what JSON makes of it."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        parts = {name: _builder(hint) for name, hint in get_type_hints(kind).items()}
        return lambda fields: kind(**{name: parts[name](part) for name, part in fields.items()})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if get_origin(kind) in (Union, types.UnionType):
        some = _builder(get_args(kind)[0])
        return lambda value: None if value is None else some(value)
    if get_origin(kind) is not tuple:
        return lambda value: value
    if get_args(kind)[-1] is Ellipsis:
        each = _builder(get_args(kind)[0])
        return lambda values: tuple(map(each, values))
    builders = [_builder(part) for part in get_args(kind)]
    return lambda values: tuple(build(value) for build, value in zip(builders, values, strict=True))
