"""What heads a frame beyond the camera's own facts: surroundings, and keywords that clients wrote.

FITS_HEADER takes one keyword per request; what it does (INDI::CCD, indiccd.cpp, ISNewText):

    name             value      comment   what follows
    INDI_CLEAR       any        any       all keywords that clients wrote are forgotten
    of a structure   some       any       Alert: the file would not be readable any more
    illegal          some       any       Alert: up to 8 of A-Z, 0-9, - and _
    COMMENT/HISTORY  some       any       the value as a line of its own
    legal            some       any       the keyword, instead of an earlier or a standard one
    any              empty      some      the comment as a line of its own
    some             empty      empty     Ok, nothing is written
    empty            some       empty     Ok, nothing is written
    empty            empty      empty     Alert

A value is an integer, a decimal or text by its form. Text becomes what FITS can hold, and the
client is told. What is written holds for every frame that begins from then on, until the driver
ends.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from indi_picam import fits
from indi_picam.camera.modes import FrameFacts
from indi_picam.capture.plan import ExposurePlan
from indi_picam.ccd.snooped import Snooped
from indi_picam.ccd.surroundings import Surroundings, cards
from indi_picam.fits import Card
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import Refused, Text, TextVector

FITS_HEADER = TextVector(
    "FITS_HEADER",
    "FITS Header",
    "General Info",
    (
        Text("KEYWORD_NAME", "Name"),
        Text("KEYWORD_VALUE", "Value"),
        Text("KEYWORD_COMMENT", "Comment"),
    ),
    perm="wo",
)
CLEAR = "INDI_CLEAR"
MOST_WRITTEN = 100
"""Keywords of clients at a time: no client needs more, and none shall fill the memory."""
_LEGAL = re.compile(r"[A-Z0-9_-]{1,8}")
_STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|EXTEND|INHERIT|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|BZERO|BSCALE|BLANK|CHECKSUM"
    r"|DATASUM|END|CONTINUE|HIERARCH|LONGSTRN|THEAP|TFIELDS|Z(IMAGE|TABLE|SIMPLE|TENSION|EXTEND|BITPIX"
    r"|BLANK|BLOCKED|NAXIS\d*|PCOUNT|GCOUNT|CMPTYPE|QUANTIZ|DITHER0|TILE\d+|NAME\d+|VAL\d+|HECKSUM"
    r"|DATASUM|SCALE|ZERO|MASKCMP)"
)
"""Keywords that say how the file is to be read (FITS 4.0, 4.4.1, 4.4.2.5-7, 8.2, 10)."""
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[-+]?[0-9]*[.,][0-9]+")
_LONG = range(-(2**63), 2**63)


def written_card(name: str, value: str, comment: str) -> Card | None:
    """The card that a request makes, None for nothing to write; Refused with a sentence."""
    name = name.strip().upper()
    if not (name or value or comment):
        raise Refused("An empty FITS record cannot be added: give a keyword and its value.")
    if not (name and value):
        return Card("COMMENT", comment) if comment else None
    if not _LEGAL.fullmatch(name):
        raise Refused(
            f"{name[:30]!r} is no FITS keyword: up to 8 letters, digits, hyphens and underscores."
        )
    if _STRUCTURE.fullmatch(name):
        raise Refused(f"{name} says how the file is to be read; it cannot be set.")
    if name in ("COMMENT", "HISTORY"):
        return Card(name, value)
    return Card(name, _typed(value), comment)


def _typed(value: str) -> str | int | float:
    if _INTEGER.fullmatch(value) and int(value) in _LONG:
        return int(value)
    if _DECIMAL.fullmatch(value) and math.isfinite(number := float(value.replace(",", "."))):
        return number
    return fits.text_value(value)


@dataclass(frozen=True, slots=True)
class _Beginning:
    at_ns: int
    surroundings: Surroundings
    written: tuple[Card, ...]


class Heading:
    """FITS_HEADER of one camera, and all header cards that the camera itself does not know."""

    def __init__(self, device: Device, snooped: Snooped) -> None:
        self._snooped = snooped
        self._written: dict[tuple[str, str], Card] = {}
        self._beginnings: deque[_Beginning] = deque()
        """Of frames that have no header yet: of a fast exposure, any number may wait."""
        device.add(FITS_HEADER, self._write)

    def ordered(self, at_ns: int) -> None:
        """An exposure is asked for: no frame of an earlier one gets a header any more.

        What holds now is kept, as the beginning of a very short one is not always told.
        """
        self._beginnings.clear()
        self.exposure_began(at_ns)

    def exposure_began(self, at_ns: int) -> None:
        """Keeps what holds at this moment of the camera's clock, for a frame that begins now."""
        around = self._snooped.now()
        self._snooped.tell_of_missing_optics(around)
        self._beginnings.append(_Beginning(at_ns, around, tuple(self._written.values())))

    def cards(self, plan: ExposurePlan, facts: FrameFacts) -> list[Card]:
        """The cards of a frame, from when it began; to come after all others, as they override."""
        began = self._beginning(facts.exposure_began_ns)
        self._snooped.j2000_used()
        return [
            *cards(began.surroundings, plan, facts),
            *began.written,
            Card("COMMENT", "Generated by INDI"),
        ]

    def _beginning(self, at_ns: int) -> _Beginning:
        """What was kept nearest to this moment; frames are asked for in the order they began."""
        if not self._beginnings:
            self.exposure_began(at_ns)
        nearest = min(self._beginnings, key=lambda kept: abs(kept.at_ns - at_ns))
        while self._beginnings[0] is not nearest:
            self._beginnings.popleft()
        return nearest

    async def _write(self, asked: Mapping[str, str]) -> Answer:
        name, value, comment = (asked.get(element.name, "") for element in FITS_HEADER.elements)
        if name.strip().upper() == CLEAR:
            self._written.clear()
            return Answer(message="Custom FITS headers cleared.")
        card = written_card(name, value, comment)
        if card is None:
            return Answer(message="Nothing is written: a keyword needs a value, a value a keyword.")
        commentary = card.keyword in ("COMMENT", "HISTORY")
        key = (card.keyword, str(card.value) if commentary else "")
        if key not in self._written and len(self._written) >= MOST_WRITTEN:
            raise Refused(f"{MOST_WRITTEN} keywords are the most: clear them with {CLEAR}.")
        self._written[key] = card
        changed = isinstance(card.value, str) and not commentary and card.value != value
        told = f"{card.keyword} is written as {card.value!r}, as FITS can hold it."
        return Answer(message=told if changed else None)
