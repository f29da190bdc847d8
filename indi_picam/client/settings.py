"""`picam settings`: any setting of a camera seen and changed.

The usual ones have short names, in the table below; every other is called PROPERTY.ELEMENT.
Switches are told by the name or the label of their choices.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from indi_picam.client.device import Device, connected_device
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Asked, Property, Server

FRIENDLY = {
    "gain": "CCD_GAIN",
    "iso": "PICAM_ISO",
    "mode": "PICAM_MODE",
    "binning": "CCD_BINNING",
    "roi": "CCD_FRAME",
    "type": "CCD_FRAME_TYPE",
    "format": "CCD_CAPTURE_FORMAT",
    "values": "PICAM_VALUES",
    "mirror": "PICAM_FLIP",
    "compression": "CCD_COMPRESSION",
    "temperature": "CCD_TEMPERATURE",
    "whitebalance": "PICAM_WHITE_BALANCE",
    "colourgains": "PICAM_COLOUR_GAINS",
    "brightness": "PICAM_BRIGHTNESS",
    "contrast": "PICAM_CONTRAST",
    "saturation": "PICAM_SATURATION",
    "sharpness": "PICAM_SHARPNESS",
    "noisereduction": "PICAM_NOISE_REDUCTION",
    "exposuremode": "PICAM_EXPOSURE_MODE",
    "metering": "PICAM_METERING",
    "upload": "UPLOAD_MODE",
    "storage": "BATCH_STORAGE",
    "delivery": "BATCH_DELIVERY",
    "rate": "BATCH_RATE",
    "directory": "BATCH_DIRECTORY",
}
"""Short names of whole properties; several numbers of one are written with colons between."""

_SEPARATORS = re.compile(r"[:x,]")
_ON, _OFF = ("on", "yes", "true", "1"), ("off", "no", "false", "0")


def show_all(server: Server, name: str | None, *, is_whole: bool) -> None:
    """Prints the settings that have short names, or every property."""
    device = connected_device(server, name, "CCD_EXPOSURE")
    table = Table("name", "value", "can be")
    for short, property in FRIENDLY.items():
        if known := device.get(property):
            table.add_row(short, _value(known), _choices(known))
    if is_whole:
        for known in sorted(
            (
                p
                for (owner, _name), p in device.connection.properties.items()
                if owner == device.name
            ),
            key=lambda known: (known.group, known.name),
        ):
            for row in _element_rows(known):
                table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def show(server: Server, name: str | None, names: list[str]) -> None:
    """Prints NAME=VALUE for each name; raises Failure when there is none."""
    device = connected_device(server, name, "CCD_EXPOSURE")
    for asked in names:
        known, element = _find(device, asked)
        print(f"{asked}={_value(known) if element is None else _shown(known.values[element])}")


def change(server: Server, name: str | None, assignments: list[str]) -> None:
    """Makes changes one after the other, and prints what holds then.

    Raises:
        Failure: a name or value is wrong, or the driver refuses; changes before it stay.
    """
    device = connected_device(server, name, "CCD_EXPOSURE")
    for assignment in assignments:
        asked_for, equals, text = assignment.partition("=")
        if not equals:
            raise Failure(Exit.USAGE, f"{assignment!r} is not NAME=VALUE.")
        known, element = _find(device, asked_for)
        if not known.is_writable:
            raise Failure(Exit.USAGE, f"{asked_for} can only be read: it is {_value(known)}.")
        asked = _asked(known, element, text.strip())
        taken = device.change(known.name, asked)
        device.connection.wait_for_quiet(0.1, 1)
        taken = device.get(known.name) or taken
        print(f"{asked_for}={_value(taken) if element is None else _shown(taken.values[element])}")
        device.pass_on()


def _find(device: Device, asked: str) -> tuple[Property, str | None]:
    """A property, and one element of it if only that was named."""
    name, _dot, element = asked.strip().partition(".")
    name = FRIENDLY.get(name.lower(), name.upper())
    known = device.get(name)
    if known is None:
        short = [short for short, property in FRIENDLY.items() if device.get(property)]
        raise Failure(
            Exit.USAGE,
            f"{device.name} has no setting {asked!r}. Short names are {', '.join(short)}; "
            "picam settings list --all shows every one.",
        )
    if not element:
        return known, None
    if (match := _named(known, element)) is None:
        raise Failure(Exit.USAGE, f"{name} has no element {element!r}: {', '.join(known.values)}.")
    return known, match


def _named(known: Property, text: str) -> str | None:
    """The element that is called so, by name or label, or by the last part of its name."""

    def plain(words: str) -> str:
        return re.sub(r"[^a-z0-9]", "", words.lower())

    wanted = plain(text)
    names = list(known.values)
    labels = [known.labels.get(name, "") for name in names]
    ends = [name.rpartition("_")[2] for name in names]
    for spelled in (names, labels, ends):
        for name, words in zip(names, spelled, strict=True):
            if wanted and plain(words) == wanted:
                return name
    return None


def _asked(known: Property, element: str | None, text: str) -> Asked:
    """What to send for a value as it was written; raises Failure when it cannot be meant."""
    kind = type(next(iter(known.values.values()), ""))
    if kind is bool:
        return _asked_switches(known, element, text)
    elements = [element] if element is not None else list(known.values)
    if kind is float:
        return _asked_numbers(known, elements, text)
    if len(elements) > 1:
        names = ", ".join(f"{known.name}.{one}" for one in elements)
        raise Failure(Exit.USAGE, f"{known.name} has several texts: name one of {names}.")
    return {elements[0]: text}


def _asked_numbers(known: Property, elements: list[str], text: str) -> Mapping[str, float]:
    parts = _SEPARATORS.split(text) if len(elements) > 1 else [text]
    if len(parts) == 1:
        parts *= len(elements)
    between = ", with : between" if len(elements) > 1 else ""
    wrong = Failure(
        Exit.USAGE, f"{known.name}={text} is refused: it takes {_choices(known)}{between}."
    )
    if len(parts) != len(elements):
        raise wrong
    try:
        return {name: float(part) for name, part in zip(elements, parts, strict=True)}
    except ValueError:
        raise wrong from None


def _asked_switches(known: Property, element: str | None, text: str) -> Asked:
    wrong = Failure(Exit.USAGE, f"{known.name}={text} is refused: it takes {_choices(known)}.")
    if element is not None:
        if text.lower() in _ON:
            return {element: True}
        if text.lower() in _OFF and known.has_many:
            return {element: False}
        raise Failure(Exit.USAGE, f"{known.name}.{element}={text}: say on, or choose another one.")
    if known.has_many:
        parts = [] if text.lower() in (*_OFF, "none") else text.split("+")
        chosen = [_named(known, part) for part in parts]
        if None in chosen:
            raise wrong
        return {name: name in chosen for name in known.values}
    if text.lower() in _ON or text.lower() in _OFF:
        enabled = "INDI_ENABLED" if text.lower() in _ON else "INDI_DISABLED"
        if enabled in known.values:
            return enabled
    found = _named(known, text)
    if found is None:
        raise wrong
    return found


# -- showing ---------------------------------------------------------------------------------------


def _shown(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else value


def _value(known: Property) -> str:
    values = list(known.values.items())
    if values and isinstance(values[0][1], bool):
        chosen = [known.labels.get(name) or name for name, is_on in values if is_on]
        return "+".join(chosen) or "none"
    return ":".join(_shown(value) for _name, value in values)


def _choices(known: Property) -> str:
    if not known.is_writable:
        return "(read only)"
    if known.limits:
        ranges = [f"{name} {low:g} to {high:g}" for name, (low, high) in known.limits.items()]
        return ", ".join(ranges) if len(ranges) > 1 else ranges[0].partition(" ")[2]
    if any(isinstance(value, bool) for value in known.values.values()):
        return ", ".join(known.labels.get(name) or name for name in known.values)
    return "text"


def _element_rows(known: Property) -> Iterator[tuple[str, str, str]]:
    for name, value in known.values.items():
        limits = known.limits.get(name)
        can_be = f"{limits[0]:g} to {limits[1]:g}" if limits and known.is_writable else ""
        if not known.is_writable:
            can_be = "(read only)"
        yield f"{known.name}.{name}", _shown(value), can_be
