"""Messages to bytes, attributes in the order of libindi's writer (indiuserio.c).

No descriptor is touched: a BLOB yields the bytes that its descriptor travels with, or the bytes
before and after its base64. What libindi's peers cannot hold is cut here: names to 63 bytes,
messages to 254. ``link`` and ``config`` call it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from indi_picam.indi.messages import (
    Def,
    DelProperty,
    EnableBlob,
    GetProperties,
    Message,
    New,
    Outgoing,
    PingReply,
    PingRequest,
    Set,
    SetBlob,
)
from indi_picam.indi.vectors import (
    LightVector,
    Number,
    SwitchVector,
    number_text,
    value_text,
)

_Attributes = Iterable[tuple[str, str | None]]

_MAX_BYTES = {"message": 254, "uid": 254}
"""Bytes that C peers can hold without the NUL, other than of names."""
_MAX_NAME_BYTES = 63

_CONTROLS = dict.fromkeys([*range(0x20), 0x7F])
_TEXT_ESCAPES = (
    _CONTROLS
    | {
        ord("&"): "&amp;",
        ord("<"): "&lt;",
        ord(">"): "&gt;",
        ord('"'): "&quot;",
        ord("'"): "&apos;",
    }
    | {ord("\t"): "\t", ord("\n"): "\n"}
)
_ATTRIBUTE_ESCAPES = _TEXT_ESCAPES | {ord("\t"): " ", ord("\n"): " ", ord("\r"): " "}


def encode(message: Outgoing) -> bytes:
    """The message as it goes to the wire; a BLOB as the element that its descriptor travels with.

    ValueError for a number that is not finite.
    """
    match message:
        case SetBlob():
            length = message.size if message.length is None else message.length
            head, tail = _around_blob(message, [("len", str(length)), ("attached", "true")])
            return head + tail
        case Def():
            text = _definition(message)
        case Set():
            text = _update(message)
        case New():
            text = _request(message)
        case _:
            text = _plain_message(message)
    return text.encode("utf-8", "replace")


def inline_blob(message: SetBlob) -> tuple[bytes, bytes]:
    """The bytes before and after the BLOB's unbroken base64.

    Without ``enclen``: the server would count a line feed after each 72 characters and wait for
    them for ever.
    """
    return _around_blob(message, [])


def _around_blob(message: SetBlob, extra: _Attributes) -> tuple[bytes, bytes]:
    start = _tag(
        "setBLOBVector",
        ("device", message.device),
        ("name", message.name),
        ("state", message.state),
        ("timeout", None if message.timeout is None else f"{message.timeout:g}"),
        ("timestamp", message.timestamp),
        ("message", message.message),
    )
    blob = _tag(
        "oneBLOB",
        ("name", message.element),
        ("size", str(message.size)),
        ("format", message.format),
        *extra,
    )
    head = f"{start}\n{blob}"
    return head.encode("utf-8", "replace"), b"</oneBLOB>\n</setBLOBVector>\n"


def _definition(message: Def) -> str:
    vector = message.vector
    attributes: list[tuple[str, str | None]] = [
        ("device", message.device),
        ("name", vector.name),
        ("label", vector.label),
        ("group", vector.group),
        ("state", vector.state),
    ]
    if not isinstance(vector, LightVector):
        attributes.append(("perm", vector.perm))
        if isinstance(vector, SwitchVector):
            attributes.append(("rule", vector.rule))
        attributes.append(("timeout", f"{vector.timeout:g}"))
    attributes += [("timestamp", message.timestamp), ("message", message.message)]
    values = vector.values
    children = [
        _child(
            f"def{vector.kind}",
            ("name", element.name),
            ("label", element.label),
            *(_number_attributes(element) if isinstance(element, Number) else ()),
            text=value_text(values[element.name]) if values else "",
        )
        for element in vector.elements
    ]
    return _parent(f"def{vector.kind}Vector", attributes, children)


def _number_attributes(number: Number) -> _Attributes:
    return [
        ("format", number.format),
        ("min", number_text(number.min)),
        ("max", number_text(number.max)),
        ("step", number_text(number.step)),
    ]


def _update(message: Set) -> str:
    attributes = [
        ("device", message.device),
        ("name", message.name),
        ("state", message.state),
        ("timeout", None if message.timeout is None else f"{message.timeout:g}"),
        ("timestamp", message.timestamp),
        ("message", message.message),
    ]
    children = []
    for name, value in message.values.items():
        limits = message.limits.get(name, ())
        bounds = zip(("min", "max", "step"), map(number_text, limits), strict=False)
        children.append(
            _child(f"one{message.kind}", ("name", name), *bounds, text=value_text(value))
        )
    return _parent(f"set{message.kind}Vector", attributes, children)


def _request(message: New) -> str:
    attributes = [
        ("device", message.device),
        ("name", message.name),
        ("timestamp", message.timestamp),
    ]
    children = [
        _child(f"one{message.kind}", ("name", name), text=text)
        for name, text in message.values.items()
    ]
    return _parent(f"new{message.kind}Vector", attributes, children)


def _plain_message(
    message: GetProperties | DelProperty | Message | EnableBlob | PingRequest | PingReply,
) -> str:
    match message:
        case GetProperties(device, name, version):
            return _empty("getProperties", ("version", version), ("device", device), ("name", name))
        case DelProperty(device, name, timestamp, text):
            return _empty(
                "delProperty",
                ("device", device),
                ("name", name),
                ("timestamp", timestamp),
                ("message", text),
            )
        case Message(device, text, timestamp):
            return _empty(
                "message", ("device", device), ("timestamp", timestamp), ("message", text)
            )
        case EnableBlob(device, mode, name):
            return _child("enableBLOB", ("device", device), ("name", name), text=mode) + "\n"
        case PingRequest(uid):
            return _empty("pingRequest", ("uid", uid))
        case PingReply(uid):
            return _empty("pingReply", ("uid", uid))


def _parent(tag: str, attributes: _Attributes, children: list[str]) -> str:
    return "\n".join([_tag(tag, *attributes), *children, f"</{tag}>\n"])


def _child(tag: str, *attributes: tuple[str, str | None], text: str) -> str:
    return f"{_tag(tag, *attributes)}{text.translate(_TEXT_ESCAPES)}</{tag}>"


def _empty(tag: str, *attributes: tuple[str, str | None]) -> str:
    return _tag(tag, *attributes)[:-1] + "/>\n"


def _tag(tag: str, *attributes: tuple[str, str | None]) -> str:
    written = [f' {name}="{_fitting(name, text)}"' for name, text in attributes if text is not None]
    return f"<{tag}{''.join(written)}>"


@lru_cache(maxsize=1024)
def _fitting(attribute: str, text: str) -> str:
    """What a C peer can hold of an attribute's text, cut between characters, and escaped."""
    room = _MAX_BYTES.get(attribute, _MAX_NAME_BYTES)
    fitting = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    return fitting.translate(_ATTRIBUTE_ESCAPES)
