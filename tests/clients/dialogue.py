"""The same requests put to two drivers, and how their answers differ, one line for each difference.

A dialogue is what a driver sent in answer to each step, as words: ``set CCD_EXPOSURE Ok 0``. Two
drivers may differ in times, texts for people, temperatures, how often a countdown ticked, and in
which order properties vanish together: none of that is kept. Of the texts the level is kept, in the
words ``told [INFO]``, whether one came alone or with a set. Knows no camera: the steps and the two
drivers come from the test.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from tests.system.client import Client

PATIENCE_S = 10
TICK = "set CCD_EXPOSURE Busy"
TOLD = "told "
"""How the words of a text for people begin."""
PULSE = "POLLING_PERIOD"
"""A property that answers at any time and touches nothing: its answer ends a step."""
UNSTEADY = {("CCD_EXPOSURE", "Busy"), ("CCD_TEMPERATURE", "Ok")}
"""Sets whose values are not compared."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request. An element may be given by its number where drivers name it differently."""

    name: str
    kind: str
    property: str
    values: Mapping[str | int, object]
    until: str = ""
    """The words with which its last answer begins, where that does not come at once."""
    times: int = 1
    """How often those words come."""


class Dialogue:
    """A conversation with one device."""

    def __init__(self, client: Client, device: str, home: Path) -> None:
        self.client = client
        self._device = device
        self._home = str(home)
        self.definitions: dict[str, Element] = {}
        self._told = 0

    def begin(self) -> list[str]:
        """Asks who is there, and returns what is defined before the device is connected."""
        self.client.send("<getProperties version='1.7'/>")
        self.client.definition(PULSE, self._device)
        self.client.send(f"<enableBLOB device={quoteattr(self._device)}>Also</enableBLOB>")
        # One burst for each connection that asked, indiserver's own among them: their first counts.
        return list(dict.fromkeys(word for word in self._answers() if word.startswith("def")))

    def ask(self, step: Step) -> list[str]:
        """The words of all that came in answer to a step."""
        start, running_s = len(self.client.log), self._running_s
        if step.kind == "Properties":
            self.client.send(
                f"<getProperties version='1.7' device={quoteattr(self._device)}"
                f" name={quoteattr(step.property)}/>"
            )
        else:
            values = {self._element(step.property, k): v for k, v in step.values.items()}
            self.client.new(
                step.kind,
                self._device,
                step.property,
                {
                    name: escape(str(value).replace("HOME", self._home))
                    for name, value in values.items()
                },
            )
        if step.until:
            seen: list[Element] = []

            def last(message: Element) -> bool:
                if words(message).startswith(step.until) and message not in seen:
                    seen.append(message)
                return len(seen) >= step.times

            with suppress(TimeoutError):  # what is missing then shows as a difference
                self.client.wait(last, since=start, timeout=PATIENCE_S)
        answers = self._answers()
        if step.property not in TICK:
            # One of a step before may still be counting down, and the reference even counts on.
            return [word for word in answers if word != TICK]
        asked = str(step.values["CCD_EXPOSURE_VALUE"])
        return _with_first_tick(answers, asked, self._ticks_s(start), running_s)

    def _ticks_s(self, start: int = 0) -> list[float]:
        """What an exposure that runs was said to have left, from a position of the log on."""
        return [
            float(f"{float(message[0].text or 'nan'):g}")  # as words are
            for message in self.client.log[start:]
            if (message.tag, message.get("name"), message.get("state"), message.get("device"))
            == ("setNumberVector", "CCD_EXPOSURE", "Busy", self._device)
        ]

    @property
    def _running_s(self) -> float:
        """What the exposure that ran last was said to have left."""
        return (self._ticks_s() or [0.0])[-1]

    def _element(self, name: str, element: str | int) -> str:
        if isinstance(element, str):
            return element
        defined = self.definitions.get(name)
        return "" if defined is None else defined[element].get("name", "")

    def _answers(self) -> list[str]:
        """What came since the last call; the pulse comes after everything asked before it."""
        position = len(self.client.log)
        self.client.new("Number", self._device, PULSE, {"PERIOD_MS": 50})
        self.client.wait(lambda m: words(m).startswith(f"set {PULSE}"), since=position)
        told, self._told = self.client.log[self._told :], len(self.client.log)
        spoken: list[str] = []
        for message in told:
            if message.get("device") != self._device:
                continue
            if text := message.get("message"):
                spoken.append(TOLD + text.partition(" ")[0])
            if message.tag == "message":
                continue
            if message.tag.startswith("def"):
                self.definitions[message.get("name", "")] = message
            text = words(message).replace(self._home, "HOME")
            if not text.startswith(f"set {PULSE}"):
                spoken.append(text)
        return [
            text
            for is_deletion, group in groupby(spoken, lambda text: text.startswith("del"))
            for text in (sorted(group) if is_deletion else group)
        ]


def _with_first_tick(
    answers: Sequence[str], asked: str, ticks_s: Sequence[float], before_s: float
) -> list[str]:
    """The answers to an exposure, whose first tick keeps its value.

    An exposure before it had been counted down to ``before_s``: its ticks are left out, and what a
    refusal says is left of it is no more than that.
    """
    ticks = iter(ticks_s)
    kept, is_new = [], False
    for word in answers:
        if word == TICK and not is_new:
            seconds = f"{next(ticks):g}"
            is_new = seconds == asked or not _is_left_of(before_s, seconds)
            if not is_new:
                continue
            word = f"{TICK} {seconds}"
        refused = word.startswith("set CCD_EXPOSURE Alert ")
        if refused and before_s and _is_left_of(before_s, word.rpartition(" ")[2]):
            word = "set CCD_EXPOSURE Alert (what is left)"
        kept.append(word)
    return kept


def _is_left_of(before_s: float, seconds: str) -> bool:
    return 0 <= before_s - float(seconds) < 1


def words(message: Element) -> str:
    """A message in short: what it does, to which property, state and values."""
    name, state = message.get("name"), message.get("state")
    if message.tag.startswith("def"):
        return f"def {name} {state}"
    if message.tag.startswith("del"):
        return f"del {name}"
    if message.tag == "setBLOBVector":
        blob = message[0]
        coded = (blob.text or "").strip()
        longer = int(blob.get("size", "0")) > (len(coded) - coded.count("\n")) * 3 // 4
        return f"set {name} {state} {blob.get('format')}{' (size above length)' * longer}"
    if not message.tag.startswith("set"):
        return message.tag
    shown = [shown for child in message if (shown := _value(message, child)) is not None]
    return f"set {name} {state} {' '.join(shown)}".rstrip()


def _value(message: Element, child: Element) -> str | None:
    text = (child.text or "").strip()
    if message.tag == "setSwitchVector":
        return child.get("name") if text == "On" else None
    if (message.get("name"), message.get("state")) in UNSTEADY:
        return None
    return f"{float(text):g}" if message.tag == "setNumberVector" else text


def differences_of_answers(
    step: str, reference: Sequence[str], ours: Sequence[str]
) -> Iterator[str]:
    """What one driver said in a step and the other did not, with what both said just before.

    Only here does a countdown become one tick: what the caller left out may have stood between two.
    """
    told, told_by_us = (
        Counter(word for word in said if word.startswith(TOLD)) for said in (reference, ours)
    )
    for text in sorted(told.keys() | told_by_us.keys()):
        if told[text] != told_by_us[text]:
            yield f"{step}: {text} {told[text]} times by the reference, {told_by_us[text]} by ours"
    reference, ours = (
        _counted_once([word for word in said if not word.startswith(TOLD)])
        for said in (reference, ours)
    )
    matcher = difflib.SequenceMatcher(a=reference, b=ours, autojunk=False)
    for change, start, end, our_start, our_end in matcher.get_opcodes():
        if change == "equal":
            continue
        after = f" (after {reference[start - 1]})" if start else ""
        for word in reference[start:end]:
            yield f"{step}: only the reference: {word}{after}"
        for word in ours[our_start:our_end]:
            yield f"{step}: only ours: {word}{after}"


def _counted_once(spoken: Sequence[str]) -> list[str]:
    """The words without the ticks of a countdown that follow its first."""
    return [
        word
        for before, word in pairwise(("", *spoken))
        if word != TICK or not before.startswith(TICK)
    ]


def differences_of_definitions(
    reference: Mapping[str, Element], ours: Mapping[str, Element]
) -> Iterator[str]:
    """What is defined in one driver alone or otherwise; limits and values with it."""
    for name in sorted(reference.keys() - ours.keys()):
        yield f"{name}: only the reference"
    for name in sorted(ours.keys() - reference.keys()):
        yield f"{name}: only ours"
    for name in sorted(reference.keys() & ours.keys()):
        for what, theirs in _traits(reference[name]).items():
            mine = _traits(ours[name]).get(what)
            if mine != theirs:
                yield f"{name} {what}: reference {theirs}, ours {mine}"
        for what in sorted(_traits(ours[name]).keys() - _traits(reference[name]).keys()):
            yield f"{name} {what}: reference None, ours {_traits(ours[name])[what]}"


def _traits(definition: Element) -> dict[str, str]:
    """Everything a definition says that does not change from moment to moment."""
    traits = {"kind": definition.tag}
    for key in ("label", "group", "perm", "rule"):
        traits[key] = repr(definition.get(key))
    traits["timeout"] = f"{float(definition.get('timeout', 0)):g}"
    traits["elements"] = " ".join(child.get("name", "") for child in definition)
    for child in definition:
        name = child.get("name", "")
        traits[f"{name} label"] = repr(child.get("label"))
        if definition.tag == "defNumberVector":
            traits[f"{name} format"] = repr(child.get("format"))
            for key in ("min", "max", "step"):
                traits[f"{name} {key}"] = f"{float(child.get(key, 'nan')):g}"
    return traits
