"""What is said between `picam` and an INDI server, as frozen values.

Copied out of pyindi-client by ``connection``, whose views into C++ memory may vanish at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Asked = str | Mapping[str, float] | Mapping[str, str]
"""New values of a property: the switch to be On, numbers (switches: True or False), or texts."""


class Server(NamedTuple):
    """Where an INDI server is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Property:
    """One INDI property as last heard of; ``state`` is Idle, Ok, Busy or Alert."""

    device: str
    name: str
    state: str
    values: Mapping[str, float | str | bool]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Minimum and maximum, for numbers."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What its elements are called for people."""
    label: str = ""
    group: str = ""
    is_writable: bool = True
    has_many: bool = False
    """Whether any number of its switches may be On."""
    number: int = 0
    """Counts what was heard, so that an answer can be told from what was there before."""

    @property
    def selected(self) -> str | None:
        """The element that is On, of a switch."""
        return next((name for name, value in self.values.items() if value is True), None)


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that the server sent, copied out of pyindi-client."""

    device: str
    name: str
    suffix: str
    data: bytearray


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence from a device."""

    device: str
    text: str
    number: int = 0
    """As in Property."""

    @property
    def sentence(self) -> str:
        """The text without the time and level that drivers put before it."""
        return (
            self.text.split("] ", 1)[-1].strip()
            if "] " in self.text
            else self.text.split(": ", 1)[-1].strip()
        )

    @property
    def is_serious(self) -> bool:
        """Whether it is a warning or an error."""
        return "[ERROR]" in self.text or "[WARNING]" in self.text
