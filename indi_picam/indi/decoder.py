"""Bytes to messages; no descriptor, no clock, no state but the bytes not yet complete.

The stream is a sequence of XML elements without a common root, two levels deep, cut anywhere. The
decoder takes what libindi's own parser (lilxml) takes and survives what it does not: every ``<``
inside a tag, wrong end tag, unknown entity or overlong element drops the element at hand with a
``Malformed`` and starts afresh.

==========  ===================  ==========================================================
where       bytes                what happens
==========  ===================  ==========================================================
outside     text                 skipped; reported once per run of rubbish unless blank
outside     start tag            the root opens; the size of an element counts from here
root        start tag            a child opens
child       start tag            broken
root,child  end tag of its own   it closes; the root's closing makes the message
any         ``<?..>  <!--..>``   skipped up to the next ``>``, as lilxml does
any         other ``<!``         broken: no document type, no entities, no CDATA
==========  ===================  ==========================================================

``link`` feeds it with the server's stream, ``config`` with saved settings. The other direction is
``encoder``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from indi_picam.indi.messages import (
    Def,
    DelProperty,
    EnableBlob,
    GetProperties,
    Incoming,
    Malformed,
    Message,
    New,
    PingReply,
    PingRequest,
    Set,
)
from indi_picam.indi.vectors import (
    AnyVector,
    Blob,
    BlobVector,
    Kind,
    Light,
    LightVector,
    Number,
    NumberVector,
    Rule,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
    parse_number,
)

MAX_ELEMENT_BYTES = 4 << 20
"""The largest element taken: far above any text, far below what would hurt a Pi."""
MAX_TAG_BYTES = 64 << 10
"""The largest tag taken, its attributes with it: a hostile one of megabytes takes seconds."""
MAX_CHILDREN = 1000
"""The most elements in a vector: each takes 300 bytes of ours for 4 of the sender's."""

_VECTOR_TAG = re.compile(r"(def|set|new)(Text|Number|Switch|Light|BLOB)Vector")
_PLAIN_TAGS = ("getProperties", "delProperty", "message", "enableBLOB", "pingRequest", "pingReply")
_ATTRIBUTE = r"""\s+([A-Za-z_][\w.:-]*)\s*=\s*("[^"]*"|'[^']*')"""
_START_TAG = re.compile(rf"<([A-Za-z_][\w.:-]*)((?:{_ATTRIBUTE})*)\s*(/?)>")
_END_TAG = re.compile(r"</([A-Za-z_][\w.:-]*)\s*>")
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG_STOPS = {"": re.compile(rb"""[<>"']"""), '"': re.compile(rb'[<"]'), "'": re.compile(rb"[<']")}

_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_REFERENCE = re.compile(r"&([^;&<\s]+);")
_CONTROLS = dict.fromkeys([*range(0x20), 0x7F])
_TEXT_CONTROLS = {code: None for code in _CONTROLS if code not in (0x09, 0x0A)}


class _BrokenError(Exception):
    """The element at hand cannot be read; the text is a sentence."""


@dataclass(slots=True)
class _Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def required(self, attribute: str) -> str:
        try:
            return self.attributes[attribute]
        except KeyError:
            raise _BrokenError(f"{self.tag} came without {attribute}.") from None


class Decoder:
    """Turns the bytes of one stream into messages; holds never more than one unfinished element."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._quote = ""
        self._open: list[_Element] = []
        self._open_bytes = 0
        self._in_rubbish = False
        self._decoded: list[Incoming] = []

    def feed(self, data: bytes) -> list[Incoming]:
        """The messages that these bytes complete; Malformed for what had to be dropped."""
        self._buffer += data
        while self._step():
            pass
        if self._open_bytes + len(self._buffer) > MAX_ELEMENT_BYTES:
            self._take(len(self._buffer))
            self._too_long()
        decoded, self._decoded = self._decoded, []
        return decoded

    def _step(self) -> bool:
        """Take one text or one tag off the buffer; False when more bytes are needed."""
        if not self._buffer:
            return False
        if self._buffer[0] != ord("<"):
            end = self._buffer.find(b"<", self._scanned)
            if end < 0 and self._open:
                self._scanned = len(self._buffer)
                return False
            self._text(self._take(end if end >= 0 else len(self._buffer)))
            return True
        if len(self._buffer) == 1:
            return False
        end = self._skipped_end() if self._buffer[1] in b"!?" else self._tag_end()
        if end < 0:
            return False
        tag = self._take(end)
        try:
            self._tag(tag.decode("utf-8", "replace"))
        except _BrokenError as fault:
            self._broken(str(fault))
        return True

    def _skipped_end(self) -> int:
        end = self._buffer.find(b">", self._scanned) + 1
        if not end:
            self._scanned = len(self._buffer)
        return end or -1

    def _tag_end(self) -> int:
        """Where the tag at the front ends: after its ``>``, or before a ``<`` that breaks it."""
        self._scanned = max(self._scanned, 1)
        while stop := _TAG_STOPS[self._quote].search(self._buffer, self._scanned):
            character = stop[0].decode()
            if character == "<":
                return stop.start()
            self._scanned = stop.end()
            if character == ">":
                return stop.end()
            self._quote = "" if self._quote else character
        self._scanned = len(self._buffer)
        return -1

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._scanned = 0
        self._quote = ""
        if self._open:
            self._open_bytes += count
        return taken

    def _text(self, data: bytes) -> None:
        if not self._open:
            if data.strip():
                self._rubbish("There was text outside of any message.")
        elif self._open_bytes > MAX_ELEMENT_BYTES:
            self._too_long()
        else:
            self._open[-1].text += data.decode("utf-8", "replace")

    def _tag(self, tag: str) -> None:
        if tag.startswith(("<?", "<!--")):
            return
        if len(tag) > MAX_TAG_BYTES or self._open_bytes > MAX_ELEMENT_BYTES:
            self._too_long()
        elif start := _START_TAG.fullmatch(tag):
            attributes = {
                name: _plain(quoted[1:-1], _CONTROLS)
                for name, quoted in _ATTRIBUTES.findall(start[2])
            }
            self._start(_Element(start[1], attributes), len(tag))
            if start[5]:
                self._end(start[1])
        elif end := _END_TAG.fullmatch(tag):
            self._end(end[1])
        elif tag.startswith("<!"):
            raise _BrokenError("A document type, entity or CDATA section is not accepted.")
        else:
            raise _BrokenError(f"{tag[:40]!r} is no tag.")

    def _start(self, element: _Element, tag_bytes: int) -> None:
        if not self._open:
            self._open_bytes = tag_bytes
            self._in_rubbish = self._in_rubbish and not _is_known(element.tag)
        elif len(self._open) == 2:
            raise _BrokenError(f"{element.tag} stands too deep, inside {self._open[1].tag}.")
        elif len(self._open[0].children) >= MAX_CHILDREN:
            raise _BrokenError(f"{self._open[0].tag} has more than {MAX_CHILDREN} elements.")
        self._open.append(element)

    def _end(self, tag: str) -> None:
        if not self._open:
            self._rubbish(f"The end of {tag} came without its start.")
            return
        element = self._open[-1]
        if element.tag != tag:
            raise _BrokenError(f"{element.tag} was ended by {tag}.")
        element.text = _plain(element.text.strip(), _TEXT_CONTROLS)
        if len(self._open) == 2:
            self._open[0].children.append(element)
        elif _is_known(tag):
            self._decoded.append(_message(element))
            self._in_rubbish = False
        else:
            raise _BrokenError(f"{tag} is no message of INDI.")
        self._open.pop()
        self._open_bytes = self._open_bytes if self._open else 0

    def _too_long(self) -> None:
        self._broken("An element was too long.")

    def _broken(self, sentence: str) -> None:
        if self._open:
            root = self._open[0]
            self._rubbish(
                sentence,
                root.attributes.get("device"),
                root.attributes.get("name"),
                root.tag.startswith("new"),
            )
        else:
            self._rubbish(sentence)
        self._open.clear()
        self._open_bytes = 0

    def _rubbish(
        self,
        sentence: str,
        device: str | None = None,
        name: str | None = None,
        request: bool = False,
    ) -> None:
        if not self._in_rubbish:
            self._decoded.append(Malformed(sentence, device, name, request))
        self._in_rubbish = True


def _is_known(tag: str) -> bool:
    return tag in _PLAIN_TAGS or _VECTOR_TAG.fullmatch(tag) is not None


def _plain(text: str, unwanted: Mapping[int, str | None]) -> str:
    """Text with its entities resolved and control characters out, as lilxml does."""

    def character(reference: re.Match[str]) -> str:
        try:
            return _ENTITIES[reference[1]]
        except KeyError:
            raise _BrokenError(f"The entity {reference[0][:20]} is not accepted.") from None

    return _REFERENCE.sub(character, text).translate(unwanted)


def _message(element: _Element) -> Incoming:
    """The message that a complete root element is; raises _BrokenError."""
    attributes = element.attributes
    device, name = attributes.get("device"), attributes.get("name")
    timestamp, message = attributes.get("timestamp"), attributes.get("message")
    if vector := _VECTOR_TAG.fullmatch(element.tag):
        try:
            return _VECTOR_MESSAGES[vector[1]](element, Kind(vector[2]))
        except ValueError as fault:
            raise _BrokenError(f"{element.tag} cannot be read: {fault}.") from None
    match element.tag:
        case "getProperties":
            return GetProperties(device, name, attributes.get("version", "1.7"))
        case "delProperty":
            return DelProperty(element.required("device"), name, timestamp, message)
        case "message":
            return Message(device, message or "", timestamp)
        case "enableBLOB":
            return EnableBlob(element.required("device"), element.text, name)
        case "pingRequest":
            return PingRequest(element.required("uid"))
        case _:
            return PingReply(element.required("uid"))


def _new(element: _Element, kind: Kind) -> New:
    # A child without a name keeps the empty one, which no property has: so it is refused, and
    # answered.
    values = {child.attributes.get("name", ""): child.text for child in element.children}
    timestamp = element.attributes.get("timestamp")
    return New(element.required("device"), element.required("name"), kind, values, timestamp)


def _set(element: _Element, kind: Kind) -> Set:
    attributes = element.attributes
    limits = {
        child.required("name"): (
            parse_number(child.attributes["min"]),
            parse_number(child.attributes["max"]),
            parse_number(child.attributes.get("step", "0")),
        )
        for child in element.children
        if "min" in child.attributes and "max" in child.attributes
    }
    return Set(
        element.required("device"),
        element.required("name"),
        kind,
        {child.required("name"): _VALUES[kind](child.text) for child in element.children},
        State(attributes["state"]) if "state" in attributes else None,
        parse_number(attributes["timeout"]) if "timeout" in attributes else None,
        limits,
        attributes.get("timestamp"),
        attributes.get("message"),
    )


def _def(element: _Element, kind: Kind) -> Def:
    attributes = element.attributes
    vector = _vector(element, kind)
    timestamp, message = attributes.get("timestamp"), attributes.get("message")
    return Def(element.required("device"), vector, timestamp, message)


def _vector(element: _Element, kind: Kind) -> AnyVector:
    attributes = element.attributes
    name = element.required("name")
    perm = attributes.get("perm", "ro" if kind is Kind.LIGHT else "rw")
    if perm not in ("ro", "wo", "rw"):
        raise ValueError(f"{perm!r} is no permission")
    common: dict[str, Any] = {
        "name": name,
        "label": attributes.get("label", name),
        "group": attributes.get("group", ""),
        "perm": perm,
        "timeout": parse_number(attributes.get("timeout", "0")),
        "state": State(attributes.get("state", "Idle")),
    }
    named = [(child.required("name"), child) for child in element.children]
    labelled = [(name, child.attributes.get("label", name), child) for name, child in named]
    match kind:
        case Kind.NUMBER:
            numbers = tuple(_number(*parts) for parts in labelled)
            return NumberVector(elements=numbers, **common)
        case Kind.TEXT:
            texts = tuple(Text(name, label, child.text) for name, label, child in labelled)
            return TextVector(elements=texts, **common)
        case Kind.SWITCH:
            rule = Rule(attributes.get("rule", "AnyOfMany"))
            switches = tuple(
                Switch(name, label, _is_on(child.text)) for name, label, child in labelled
            )
            return SwitchVector(elements=switches, rule=rule, **common)
        case Kind.LIGHT:
            lights = tuple(Light(name, label, State(child.text)) for name, label, child in labelled)
            return LightVector(elements=lights, **common)
        case Kind.BLOB:
            return BlobVector(
                elements=tuple(Blob(name, label) for name, label, _ in labelled), **common
            )


def _number(name: str, label: str, child: _Element) -> Number:
    low, high, step = (
        parse_number(child.attributes.get(part, "0")) for part in ("min", "max", "step")
    )
    form = child.attributes.get("format", "%g")
    return Number(name, label, parse_number(child.text), low, high, step, form)


def _is_on(text: str) -> bool:
    return text.startswith("On")


_VALUES: dict[Kind, Callable[[str], Any]] = {
    Kind.TEXT: str,
    Kind.NUMBER: parse_number,
    Kind.SWITCH: _is_on,
    Kind.LIGHT: State,
    Kind.BLOB: str,
}
_VECTOR_MESSAGES: dict[str, Callable[[_Element, Kind], Def | Set | New]] = {
    "def": _def,
    "set": _set,
    "new": _new,
}
