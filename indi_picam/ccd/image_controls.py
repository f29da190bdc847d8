"""What the camera's ISP is told: white balance, colours, contrast, sharpness, noise reduction.

One property for each control that this camera has, with libcamera's limits, from the tables below.
They shape the pictures that the ISP makes (formats Mono and RGB); a raw picture stays as the sensor
gave it, and whoever changes one of them then is told so. Mono sensors give raw pictures alone, so
they have none of these properties.

Exposure and gain are always set by hand, so AeExposureMode and AeMeteringMode, which steer
automatic exposure, change no picture; they are passed on to libcamera, and the answer says it.

Called by the camera device; the values travel in the order of each exposure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from indi_picam.camera.modes import (
    CameraFacts,
    CaptureFormat,
    ControlLimits,
    ControlValues,
    FrameRequest,
)
from indi_picam.fits import Card
from indi_picam.indi.device import Answer, Device, Property
from indi_picam.indi.vectors import Number, NumberVector, Switch, SwitchVector

GROUP = "Image Controls"
ELEMENT = "VALUE"


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of libcamera as a number of ours."""

    name: str
    label: str
    control: str
    keyword: str
    colours: bool = False
    """Whether it acts on colours alone, and so not on luminance."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An enumeration of libcamera as a switch, of which each option is (element, label, number)."""

    name: str
    label: str
    control: str
    keyword: str
    options: tuple[tuple[str, str, int], ...]
    automatic_exposure: bool = False
    """Whether it steers that alone, and so changes nothing."""


AMOUNTS = (
    Amount("PICAM_BRIGHTNESS", "Brightness", "Brightness", "BRIGHTNS"),
    Amount("PICAM_CONTRAST", "Contrast", "Contrast", "CONTRAST"),
    Amount("PICAM_SATURATION", "Colour saturation", "Saturation", "COLORSAT", colours=True),
    Amount("PICAM_SHARPNESS", "Sharpness", "Sharpness", "SHARPNES"),
)
CHOICES = (
    Choice(
        "PICAM_NOISE_REDUCTION",
        "Noise reduction",
        "NoiseReductionMode",
        "NOISERED",
        (
            ("OFF", "Off", 0),
            ("MINIMAL", "Minimal", 3),
            ("FAST", "Fast", 1),
            ("HIGH_QUALITY", "High quality", 2),
        ),
    ),
    Choice(
        "PICAM_EXPOSURE_MODE",
        "Automatic exposure: mode",
        "AeExposureMode",
        "",
        (("NORMAL", "Normal", 0), ("SHORT", "Short", 1), ("LONG", "Long", 2)),
        automatic_exposure=True,
    ),
    Choice(
        "PICAM_METERING",
        "Automatic exposure: metering",
        "AeMeteringMode",
        "",
        (("CENTRE", "Centre-weighted", 0), ("SPOT", "Spot", 1), ("MATRIX", "Matrix", 2)),
        automatic_exposure=True,
    ),
)
BY_HAND = "MANUAL"
WHITE_BALANCE = Choice(
    "PICAM_WHITE_BALANCE",
    "White balance",
    "AwbMode",
    "WBMODE",
    (
        (BY_HAND, "Manual: colour gains", -1),
        ("AUTO", "Automatic", 0),
        ("INCANDESCENT", "Incandescent", 1),
        ("TUNGSTEN", "Tungsten", 2),
        ("FLUORESCENT", "Fluorescent", 3),
        ("INDOOR", "Indoor", 4),
        ("DAYLIGHT", "Daylight", 5),
        ("CLOUDY", "Cloudy", 6),
    ),
)
"""By hand first: the automatic one depends on the frames before, so that no two are alike."""
COLOUR_GAINS = "PICAM_COLOUR_GAINS"
LEAST_GAIN = 0.01
"""libcamera takes 0 for a wish for automatic white balance."""

NAMES = (
    WHITE_BALANCE.name,
    COLOUR_GAINS,
    *(amount.name for amount in AMOUNTS),
    *(choice.name for choice in CHOICES),
)
"""Every property that there may be, in the order of definition."""
OF_COLOURS = {amount.name for amount in AMOUNTS if amount.colours}
OF_AUTOMATIC_EXPOSURE = {choice.name for choice in CHOICES if choice.automatic_exposure}
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


class ImageControls:
    """The controls of one camera's ISP."""

    def __init__(self, device: Device, capture_format: Callable[[], CaptureFormat]) -> None:
        """``capture_format`` tells what the pixels of the next frame are to be."""
        self._device = device
        self._format = capture_format
        self._shown: dict[str, Property] = {}

    def connected(self, camera: CameraFacts, *, has_isp_formats: bool) -> None:
        """Takes over the controls that this camera has, with its limits; keeps what was set."""
        before = {name: known.values for name, known in self._shown.items()}
        self._shown = {}
        if not has_isp_formats:
            return
        for vector in _vectors(camera):
            kept = _still_allowed(vector, before.get(vector.name, {}))
            handler = self._handler(vector.name, vector.label)
            self._shown[vector.name] = self._device.add(vector.with_values(kept), handler)

    @property
    def shown(self) -> frozenset[str]:
        """Names of the properties that this camera has."""
        return frozenset(self._shown)

    @property
    def told(self) -> ControlValues:
        """What the ISP is told with a frame that it makes, as everything stands."""
        return tuple(self._told())

    def _told(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        for amount in AMOUNTS:
            if amount.name in self._shown:
                yield amount.control, (self._shown[amount.name][ELEMENT],)
        for choice in CHOICES:
            if choice.name in self._shown:
                yield choice.control, (_number(choice, self._shown[choice.name].selected),)
        balance = self._shown.get(WHITE_BALANCE.name)
        gains = self._shown.get(COLOUR_GAINS)
        if balance is not None and balance.selected != BY_HAND:
            yield "AwbEnable", (1,)
            yield WHITE_BALANCE.control, (_number(WHITE_BALANCE, balance.selected),)
        elif gains is not None:
            yield "AwbEnable", (0,)
            yield "ColourGains", (gains["RED"], gains["BLUE"])

    def _handler(self, name: str, label: str) -> Handler:
        async def changed(asked: dict[str, Any]) -> Answer:
            values = self._shown[name].values
            if values | asked == values:
                return Answer()
            return Answer(message=self._why_not(name, label))

        return changed

    def _why_not(self, name: str, label: str) -> str | None:
        """Why a change acts on no picture as everything stands; None when it acts."""
        if name in OF_AUTOMATIC_EXPOSURE:
            return (
                "Exposure and gain are set by hand: this steers automatic exposure, which is off,"
                " and changes no picture."
            )
        capture_format = self._format()
        if capture_format is CaptureFormat.RAW:
            return (
                f"{label} does not act on raw pictures, which stay as the sensor gave them:"
                " it is kept for the formats Mono and RGB."
            )
        if name in OF_COLOURS and capture_format is CaptureFormat.MONO:
            return f"{label} does not act on the format Mono: it is kept for RGB."
        balance = self._shown.get(WHITE_BALANCE.name)
        if name == COLOUR_GAINS and balance is not None and balance.selected != BY_HAND:
            return "The colour gains are kept for the manual white balance, which is not selected."
        return None


def cards(request: FrameRequest) -> list[Card]:
    """What the ISP was told for a frame, as header cards; none for raw frames."""
    if request.format is CaptureFormat.RAW:
        return []
    told = dict(request.controls)
    found = [
        Card(amount.keyword, round(told[amount.control][0], 4), f"{amount.label} of the ISP")
        for amount in AMOUNTS
        if amount.control in told
    ]
    for choice in (*CHOICES, WHITE_BALANCE):
        labels = {number: label for _, label, number in choice.options}
        if choice.keyword and choice.control in told:
            label = labels.get(round(told[choice.control][0]))
            found.append(Card(choice.keyword, label, f"{choice.label} of the ISP"))
    if "ColourGains" in told:
        found.append(Card(WHITE_BALANCE.keyword, "Manual", "White balance of the ISP"))
    return found


def _vectors(camera: CameraFacts) -> Iterator[NumberVector | SwitchVector]:
    """The properties of the controls that a camera has."""
    for amount in AMOUNTS:
        if limits := camera.control(amount.control):
            yield _number_vector(amount.name, amount.label, ((ELEMENT, amount.label),), limits)
    for choice in (*CHOICES, WHITE_BALANCE):
        if limits := camera.control(choice.control):
            yield _switch_vector(choice, limits)
    if limits := camera.control("ColourGains"):
        elements = (("RED", "Red"), ("BLUE", "Blue"))
        yield _number_vector(COLOUR_GAINS, "Colour gains", elements, limits, LEAST_GAIN)


def _number_vector(
    name: str,
    label: str,
    elements: Iterable[tuple[str, str]],
    limits: ControlLimits,
    least: float | None = None,
) -> NumberVector:
    low = limits.min if least is None else max(limits.min, least)
    usual = 1.0 if limits.default is None else limits.default
    usual = min(max(usual, low), limits.max)
    numbers = (Number(*element, usual, low, limits.max, 0.1, "%.2f") for element in elements)
    return NumberVector(name, label, GROUP, tuple(numbers))


def _switch_vector(choice: Choice, limits: ControlLimits) -> SwitchVector:
    allowed = [option for option in choice.options if option[2] <= limits.max]
    usual = allowed[0][2] if choice is WHITE_BALANCE else round(limits.default or 0)
    switches = (Switch(name, label, number == usual) for name, label, number in allowed)
    return SwitchVector(choice.name, choice.label, GROUP, tuple(switches))


def _number(choice: Choice, element: str | None) -> int:
    """Libcamera's number of an option; the first when none is selected."""
    return next((number for name, _, number in choice.options if name == element), 0)


def _still_allowed(
    vector: NumberVector | SwitchVector, values: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Values set on an earlier connection, where this camera takes them too."""
    if isinstance(vector, SwitchVector):
        return {name: True for name, on in values.items() if on and name in vector.values}
    return {
        number.name: values[number.name]
        for number in vector.elements
        if number.min <= values.get(number.name, number.min - 1) <= number.max
    }
