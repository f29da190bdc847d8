"""What was asked with ``-c``: ``shutter=1,ISO=100,...`` becomes a frozen, validated wish.

The names are raspistill's where it had one, so that old command lines still run; the shutter is in
seconds. What only ever changed raspistill's JPEG pictures is accepted, left alone, and said to be.
Knows no INDI.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from indi_picam.client.failure import Exit, Failure

WORKING = {
    "shutter": "exposure time in seconds, decimals allowed; must be given",
    "ISO": "analogue gain as ISO, 100 is gain 1",
    "analoggain": "analogue gain; wins over ISO",
    "mode": "sensor mode as WxH:bits, or raspistill's number on the V1, V2 and HQ cameras",
    "roi": "part of the frame, x:y:w:h in fractions 0 to 1 as in raspistill, or in pixels",
}
"""The options that change a raw frame, and what they mean."""

_EXPOSURES = (
    "off auto night nightpreview backlight spotlight sports snow beach verylong fixedfps antishake "
    "fireworks"
)
_BALANCES = "off auto sun cloud shade tungsten fluorescent incandescent flash horizon greyworld"

WITHOUT_EFFECT = {
    "exposure": _EXPOSURES,
    "metering": "average spot backlit matrix",
    "awb": _BALANCES,
    "drc": "off low med high",
    "flicker": "off auto 50hz 60hz",
    **dict.fromkeys(
        "awbgains brightness colfx contrast digitalgain ev hflip imxfx quality raw rotation "
        "saturation sharpness vflip vstab".split(),
        "",
    ),
}
"""Options of raspistill that do nothing here, and the values it knew ("": any)."""


@dataclass(frozen=True, slots=True)
class ModeWish:
    """A sensor mode as asked: ``bits`` None takes the deepest of that size."""

    width: int
    height: int
    bits: int | None


@dataclass(frozen=True, slots=True)
class RoiWish:
    """A rectangle as asked: fractions of the mode's frame, or its unbinned pixels."""

    x: float
    y: float
    width: float
    height: float
    in_fractions: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """One kind of frame as asked; None leaves the camera as it is."""

    shutter_s: float
    gain: float | None = None
    iso: float | None = None
    """None also where a gain was asked for, which wins."""
    mode: ModeWish | int | None = None
    """A number is one of raspistill's."""
    roi: RoiWish | None = None
    """None: the whole frame of the mode."""
    notes: tuple[str, ...] = ()
    """Sentences about what was asked in vain."""
    idle: tuple[str, ...] = ()
    """Options that do nothing; what to say of them is known with the format (``idle_note``)."""


def parse(text: str) -> Wish:
    """The wish that ``text`` (``name=value,name=value``) spells out.

    Raises:
        Failure: a name or value is wrong; the sentence lists the right ones.
    """
    given = _split(text)
    idle = tuple(name for name in given if name in WITHOUT_EFFECT)
    for name in idle:
        _check_known_value(name, given[name])
    shutter = _positive("shutter", given)
    if shutter is None:
        raise _wrong("shutter is missing: say for how many seconds to expose, as in -c shutter=1")
    notes = []
    gain = _positive("analoggain", given)
    iso = _positive("ISO", given)
    if gain is not None and iso is not None:
        notes.append(f"analoggain={given['analoggain']} wins over ISO={given['ISO']}.")
        iso = None
    mode, roi = _mode(given.get("mode")), _roi(given.get("roi"))
    return Wish(shutter, gain, iso, mode, roi, tuple(notes), idle)


def idle_note(idle: Sequence[str], *, is_raw: bool) -> str:
    """What to say of options that do nothing, before frames in this kind of format."""
    verb = "does" if len(idle) == 1 else "do"
    reason = (
        "raw frames come as the sensor gave them"
        if is_raw
        else "what the camera's processor does is set with picam settings"
    )
    return f"{_listed(idle)} {verb} nothing here: {reason}."


def _wrong(sentence: str) -> Failure:
    return Failure(Exit.USAGE, sentence)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _split(text: str) -> dict[str, str]:
    right = {name.lower(): name for name in (*WORKING, *WITHOUT_EFFECT)}
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        known = right.get(name.strip().lower())
        if known is None:
            raise _wrong(
                f"There is no option {name.strip()!r}. Right ones are {', '.join(WORKING)}; "
                "accepted from raspistill, without effect: "
                f"{', '.join(WITHOUT_EFFECT)}."
            )
        if known in given:
            raise _wrong(f"{known} is given twice.")
        if known in WORKING and not (equals and value.strip()):
            raise _wrong(f"{known} needs a value: {known}=..., {WORKING[known]}.")
        given[known] = value.strip()
    return given


def _check_known_value(name: str, value: str) -> None:
    values = WITHOUT_EFFECT[name].split()
    if values and value.lower() not in values:
        raise _wrong(
            f"{name}={value} is unknown. Right ones are {', '.join(values)}; "
            "none of them changes a frame."
        )


def _positive(name: str, given: dict[str, str]) -> float | None:
    if name not in given:
        return None
    try:
        number = float(given[name])
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise _wrong(f"{name}={given[name]} is not a number above 0; {name} is {WORKING[name]}.")
    return number


def _mode(text: str | None) -> ModeWish | int | None:
    if text is None:
        return None
    if re.fullmatch(r"\d{1,2}", text):
        return int(text) or None  # raspistill's 0 leaves the choice to the camera
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})(?:[:_](\d{1,2}))?", text)
    if match is None:
        raise _wrong(f"mode={text} is not understood; mode is {WORKING['mode']}: 4056x3040:12.")
    width, height, bits = match.groups()
    return ModeWish(int(width), int(height), None if bits is None else int(bits))


def _roi(text: str | None) -> RoiWish | None:
    if text is None:
        return None
    refusal = _wrong(
        f"roi={text} is not understood; roi is {WORKING['roi']}: "
        "0.25:0.25:0.5:0.5 or 100:200:640:480."
    )
    try:
        x, y, width, height = (float(number) for number in text.split(":"))
    except ValueError:
        raise refusal from None
    numbers = (x, y, width, height)
    if (
        not all(math.isfinite(number) and number >= 0 for number in numbers)
        or width == 0
        or height == 0
    ):
        raise refusal
    in_fractions = max(numbers) <= 1
    if not in_fractions and any(number != int(number) for number in numbers):
        raise refusal
    if in_fractions and (x + width > 1 or y + height > 1):
        raise _wrong(f"roi={text} reaches beyond the frame: x+w and y+h must not pass 1.")
    return RoiWish(x, y, width, height, in_fractions)
