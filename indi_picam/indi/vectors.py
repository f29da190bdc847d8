"""Vectors as frozen values, and whether a client's request fits one.

A vector is a declaration and a state at once: the live property holds one and replaces it with
every change, a definition on the wire is one. Nothing here knows messages, bytes or handlers;
``messages``, ``decoder``, ``encoder``, ``device``, ``config`` and the rooms above use it.

What a request may be (``requested``):

===========  ========================================================  =======================
vector       taken                                                     handler gets
===========  ========================================================  =======================
number       any subset; decimal, exponent, sexagesimal; in limits     what was named
text         any subset; up to 4096 characters                         what was named
OneOfMany    one On, the others Off or unnamed                         all, exactly one True
..           none On: the selection is kept                            nothing, it is not called
AtMostOne    one On or none                                            all, at most one True
AnyOfMany    any subset                                                all, as they shall be
light, BLOB  nothing                                                   --
===========  ========================================================  =======================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

Perm = Literal["ro", "wo", "rw"]
Limits = tuple[float, float, float]
"""Minimum, maximum and step of a number; minimum not below maximum means no limits."""

MAX_TEXT = 4096
"""Characters in a text value: a path may be this long (PATH_MAX), nothing else is longer."""


class State(StrEnum):
    """The state of a vector or of a light, as on the wire."""

    IDLE = "Idle"
    OK = "Ok"
    BUSY = "Busy"
    ALERT = "Alert"


class Rule(StrEnum):
    """How many switches of a vector may be On."""

    ONE_OF_MANY = "OneOfMany"
    AT_MOST_ONE = "AtMostOne"
    ANY_OF_MANY = "AnyOfMany"


class Kind(StrEnum):
    """The five kinds of vector, as they stand inside tag names (``defNumberVector``)."""

    TEXT = "Text"
    NUMBER = "Number"
    SWITCH = "Switch"
    LIGHT = "Light"
    BLOB = "BLOB"


class Refused(Exception):
    """A request not followed: a sentence for the client, the vector's new state and values."""

    def __init__(
        self, sentence: str, state: State = State.ALERT, values: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.state = state
        self.values = values or {}


@dataclass(frozen=True, slots=True)
class Number:
    """One number; ``format`` (printf's, or ``%<w>.<f>m``: sexagesimal) is a hint for displays."""

    name: str
    label: str
    value: float = 0.0
    min: float = 0.0
    max: float = 0.0
    step: float = 0.0
    format: str = "%g"


@dataclass(frozen=True, slots=True)
class Text:
    """One text."""

    name: str
    label: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch."""

    name: str
    label: str
    on: bool = False


@dataclass(frozen=True, slots=True)
class Light:
    """One light."""

    name: str
    label: str
    state: State = State.IDLE


@dataclass(frozen=True, slots=True)
class Blob:
    """The place of a binary value; the bytes themselves are never kept here."""

    name: str
    label: str


E = TypeVar("E", Number, Text, Switch, Light, Blob)


@dataclass(frozen=True, slots=True)
class Vector(Generic[E]):
    """What all vectors have; ``timeout`` is how many seconds a client should wait for an answer."""

    name: str
    label: str
    group: str
    elements: tuple[E, ...]
    perm: Perm = "rw"
    timeout: float = 60.0
    state: State = State.IDLE

    kind: ClassVar[Kind]
    _value_field: ClassVar[str] = "value"

    @property
    def values(self) -> dict[str, Any]:
        """The present values by element name: float, str, bool or State, nothing for BLOBs."""
        if not self._value_field:
            return {}
        return {element.name: getattr(element, self._value_field) for element in self.elements}

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """This vector with some values replaced; ValueError for an unknown element or NaN."""
        unknown = values.keys() - {element.name for element in self.elements}
        if unknown or (values and not self._value_field):
            raise ValueError(f"{self.name} has no value {', '.join(map(repr, sorted(unknown)))}")
        changed = {name: self._stored(value) for name, value in values.items()}
        elements = tuple(
            replace(element, **{self._value_field: changed[element.name]})
            if element.name in changed
            else element
            for element in self.elements
        )
        return replace(self, elements=elements)

    def _stored(self, value: Any) -> Any:
        return value


@dataclass(frozen=True, slots=True)
class NumberVector(Vector[Number]):
    """Numbers."""

    kind = Kind.NUMBER

    def with_limits(self, limits: Mapping[str, Limits]) -> Self:
        """This vector with some limits replaced; ValueError for an unknown element or NaN."""
        if unknown := limits.keys() - {element.name for element in self.elements}:
            raise ValueError(f"{self.name} has no element {', '.join(map(repr, sorted(unknown)))}")
        elements = []
        for element in self.elements:
            low, high, step = map(
                self._stored, limits.get(element.name, (element.min, element.max, element.step))
            )
            elements.append(replace(element, min=low, max=high, step=step))
        return replace(self, elements=tuple(elements))

    def _stored(self, value: Any) -> float:
        if not math.isfinite(value):
            raise ValueError(f"{self.name} cannot hold {value}")
        return float(value)


@dataclass(frozen=True, slots=True)
class TextVector(Vector[Text]):
    """Texts."""

    kind = Kind.TEXT

    def _stored(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class SwitchVector(Vector[Switch]):
    """Switches under a rule."""

    rule: Rule = Rule.ONE_OF_MANY

    kind = Kind.SWITCH
    _value_field = "on"

    @property
    def selected(self) -> str | None:
        """The name of the first switch that is On, None when all are Off."""
        return next((switch.name for switch in self.elements if switch.on), None)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """As for every vector; turning one On turns the others Off unless the rule is AnyOfMany."""
        if self.rule is not Rule.ANY_OF_MANY and any(values.values()):
            values = dict.fromkeys(self.values, False) | dict(values)
        return Vector.with_values(self, values)

    def _stored(self, value: Any) -> bool:
        return bool(value)


@dataclass(frozen=True, slots=True)
class LightVector(Vector[Light]):
    """Lights: shown, never asked for."""

    kind = Kind.LIGHT
    _value_field = "state"

    def _stored(self, value: Any) -> State:
        return State(value)


@dataclass(frozen=True, slots=True)
class BlobVector(Vector[Blob]):
    """BLOBs."""

    kind = Kind.BLOB
    _value_field = ""


AnyVector = NumberVector | TextVector | SwitchVector | LightVector | BlobVector

_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SEXAGESIMAL = re.compile(
    r"([+-]?)(\d+(?:\.\d*)?)[\s:;]+(\d+(?:\.\d*)?)(?:[\s:;]+(\d+(?:\.\d*)?))?", re.ASCII
)


def parse_number(text: str) -> float:
    """A number of the wire: decimal, exponent, or ``d:m:s`` with colons, semicolons or blanks.

    ValueError with a sentence for anything else. A decimal comma is not taken for a separator, as
    libindi's scanner would (``1,5`` would be 1 degree 5 minutes), and neither NaN nor infinity is
    a number.
    """
    text = text.strip()
    if _DECIMAL.fullmatch(text):
        value = float(text)
    elif parts := _SEXAGESIMAL.fullmatch(text):
        value = float(parts[2]) + float(parts[3]) / 60 + float(parts[4] or 0) / 3600
        value = -value if parts[1] == "-" else value
    else:
        raise ValueError(f"{_quoted(text)} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{_quoted(text)} is too large for a number")
    return value


def number_text(value: float) -> str:
    """The shortest text that reads back as this number in C; ValueError for NaN and infinity."""
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be sent as a number")
    return repr(value + 0.0).removesuffix(".0")  # + 0.0: an int becomes a float, -0 becomes 0


def value_text(value: float | str | bool) -> str:
    """A value as the wire writes it: a number, ``On`` or ``Off``, the text or the light's state."""
    if isinstance(value, bool):
        return "On" if value else "Off"
    return value if isinstance(value, str) else number_text(value)


def requested(
    vector: AnyVector, kind: Kind, texts: Mapping[str, str], *, check_limits: bool = True
) -> dict[str, Any] | None:
    """The values a client asks for, checked as the table above says; None: nothing to change.

    Raises Refused with a sentence that names the element, the value and what is allowed.
    """
    if kind is not vector.kind or kind in (Kind.LIGHT, Kind.BLOB):
        raise Refused(f"{vector.name} takes no new{kind}Vector.")
    names = [element.name for element in vector.elements]
    for name in texts:
        if name not in names:
            raise Refused(f"{vector.name} has no element {_quoted(name)}, only {_listed(names)}.")
    if isinstance(vector, SwitchVector):
        return _requested_switches(vector, texts)
    if not texts:
        raise Refused(f"The request for {vector.name} names none of {_listed(names)}.")
    if isinstance(vector, TextVector):
        return _requested_texts(vector, texts)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            values[name] = parse_number(text)
        except ValueError as fault:
            raise Refused(f"{vector.name}: {name} is refused, {fault}.") from None
    if check_limits and isinstance(vector, NumberVector):
        within_limits(vector, values)
    return values


def within_limits(vector: NumberVector, values: Mapping[str, float]) -> None:
    """Raise Refused when a value is outside the limits of its element."""
    for element in vector.elements:
        value = values.get(element.name)
        if value is None or element.min >= element.max or element.min <= value <= element.max:
            continue
        raise Refused(
            f"{vector.name}: {element.name} {number_text(value)} is refused, "
            f"allowed is {number_text(element.min)} to {number_text(element.max)}."
        )


def _requested_texts(vector: TextVector, texts: Mapping[str, str]) -> dict[str, Any]:
    for name, text in texts.items():
        if len(text) > MAX_TEXT:
            raise Refused(
                f"{vector.name}: {name} is refused, {len(text)} characters exceed {MAX_TEXT}."
            )
    return dict(texts)


def _requested_switches(vector: SwitchVector, texts: Mapping[str, str]) -> dict[str, Any] | None:
    asked: dict[str, bool] = {}
    for name, text in texts.items():
        # Whatever begins with On is On for libindi's drivers (indiuserio.c), and only Off is Off.
        if not text.startswith("On") and text != "Off":
            raise Refused(
                f"{vector.name}: {name} is refused, {_quoted(text)} is neither On nor Off."
            )
        asked[name] = text != "Off"
    turned_on = [name for name, on in asked.items() if on]
    if vector.rule is Rule.ANY_OF_MANY:
        return vector.values | asked
    if len(turned_on) > 1:
        raise Refused(f"{vector.name} takes one switch On at a time, not {_listed(turned_on)}.")
    if vector.rule is Rule.ONE_OF_MANY and not turned_on:
        # libindi's clients send all Off when the label they look for is not there: an answer, but
        # no change.
        return None
    return {element.name: element.name in turned_on for element in vector.elements}


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
