"""What a simulated sensor truly is and does: the laws by which it exposes, amplifies and reads out.

Types and arithmetic only; the figures of each sensor are in ``models.py``, the pixels in
``picture.py``. Truth here, belief in ``indi_picam/camera/sensors.py``: neither may read the other.
Called by the stand-in for libcamera (limits), by the sensor's process (timing) and by tests
(:func:`render`). Imports no numpy, and named tuples rather than dataclasses: listing cameras must
be quick, and dataclasses alone cost it 10 ms.

Sources: lines, margins, gain codes and delays as in libcamera's camera helpers for the Raspberry
Pi.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .settings import Settings


class Mode(NamedTuple):
    """One readout mode. ``crop`` is (x, y, width, height) on the array as it is read, unturned."""

    width: int
    height: int
    bits: int
    crop: tuple[int, int, int, int]
    binning: int
    line_us: float
    """Length of the shortest line."""
    line_max_us: float
    """Lines are stretched up to this when the frame gets too long for the counter of lines."""
    frame_min_lines: int
    frame_max_lines: int
    exposure_min_lines: int
    sensitivity: float = 1.0
    """Signal of a pixel of this mode against one of the full mode."""

    @property
    def name(self) -> str:
        """``4056x3040_12``."""
        return f"{self.width}x{self.height}_{self.bits}"

    @property
    def readout_ns(self) -> int:
        """From the frame start to the last line."""
        return round(self.height * self.line_us * 1000)


class GainLaw(NamedTuple):
    """Which analogue gains there are: ``kind`` says how a register code means a gain.

    ``ratio``: scale / (scale - code); ``linear``: code / scale; ``decibel``: steps of ``scale`` dB.
    """

    kind: str
    scale: float
    code_min: int
    code_max: int
    reported_max: float | None = None
    """What libcamera says the limit is, where that is not what the code can do."""

    def gain(self, code: int) -> float:
        """The gain of a register code."""
        if self.kind == "ratio":
            return self.scale / (self.scale - code)
        if self.kind == "linear":
            return code / self.scale
        return float(10 ** (code * self.scale / 20))

    def code(self, gain: float) -> int:
        """The greatest code that gives no more than this gain, within the register."""
        if self.kind == "ratio":
            code = self.scale - self.scale / max(gain, 1e-6)
        elif self.kind == "linear":
            code = gain * self.scale
        else:
            code = 20 * math.log10(max(gain, 1e-6)) / self.scale
        # A gain that is exactly on a step must not fall to the one below by rounding.
        return min(max(int(code + 1e-6), self.code_min), self.code_max)

    @property
    def limits(self) -> tuple[float, float]:
        """As libcamera reports them."""
        return self.gain(self.code_min), self.reported_max or self.gain(self.code_max)


class Silicon(NamedTuple):
    """What light and heat do in a pixel of the full-resolution mode. Charges in electrons."""

    full_well: float
    adc_full: float
    """Charge at which the ADC ends at gain 1; above the full well, pictures saturate below the
    ADC's top."""
    read_noise: float
    """At gain 1."""
    read_noise_high_gain: float
    """What is left of it when the gain is high."""
    dark_current: float
    """Per second at 20 degrees; doubles every 6 degrees."""
    hot_pixels: float
    """Fraction of pixels with a dark current far above that."""


class Sensor(NamedTuple):
    """Everything true of a kind of sensor."""

    model: str
    array: tuple[int, int]
    pixel_nm: int
    order: str
    """Native Bayer order, ``RGGB``, or ``MONO``."""
    rotation: int
    """How its module is mounted; 180: libcamera turns the image, and the Bayer order with it."""
    modes: tuple[Mode, ...]
    gains: GainLaw
    silicon: Silicon
    black_level: int
    """On the scale of 16 bits."""
    margin_lines: int
    """A frame is at least this much longer than the exposure in it."""
    delay_frames: int
    """From the frame start at which new settings are written to the frame that has them: the
    slowest of all."""
    bad_first_start: int = 0
    bad_later_start: int = 0
    """Frames after a start that libcamera marks as errors."""
    mistrusted: int = 0
    """Frames after a start whose statistics it does not use."""
    exposure_offset_us: float = 0.0
    shift_max: int = 0
    """Frame lengths beyond 65,500 lines are counted in steps of up to 2 ** shift_max lines."""
    reports_exposure_max: bool = True
    thermometer: bool = False
    autofocus: bool = False
    start_us: int = 20_000
    """What starting takes before the first exposure begins (not verified on hardware)."""
    stop_us: int = 5_000
    """What stopping it takes (not verified on hardware)."""

    def mode(self, name: str) -> Mode:
        """The mode of that name; KeyError when there is none."""
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise KeyError(name)

    def black(self, bits: int) -> int:
        """Black level in ADC units of that depth."""
        return self.black_level >> (16 - bits)

    def electrons_per_adu(self, mode: Mode, gain: float) -> float:
        """Of a pixel of that mode, at that analogue gain."""
        span = (1 << mode.bits) - 1 - self.black(mode.bits)
        # Binned pixels share the charge of several; their average is what is converted.
        return self.silicon.adc_full * mode.binning**2 / mode.sensitivity / span / gain

    def read_noise(self, mode: Mode, gain: float) -> float:
        """In electrons, of a pixel of that mode."""
        high, low = self.silicon.read_noise_high_gain, self.silicon.read_noise
        return math.sqrt(high**2 + (low**2 - high**2) / gain**2) * mode.binning

    def saturation(self, mode: Mode, gain: float) -> int:
        """The highest ADC value there is: the ADC's top, or that of a full well."""
        charge = self.silicon.full_well * mode.binning**2
        well = int(self.black(mode.bits) + charge / self.electrons_per_adu(mode, gain) + 0.5)
        return min(well, (1 << mode.bits) - 1)

    def dark_current(self, temperature_c: float) -> float:
        """In electrons a second, of a pixel of the full mode."""
        return float(self.silicon.dark_current * 2 ** ((temperature_c - 20) / 6))

    def exposure_limits_us(self, mode: Mode) -> tuple[int, int]:
        """Least and greatest exposure of a mode, in whole microseconds."""
        longest = (mode.frame_max_lines - self.margin_lines) * mode.line_max_us
        shortest = mode.exposure_min_lines * mode.line_us
        return int(shortest + self.exposure_offset_us), int(longest + self.exposure_offset_us)

    def frame_limits_us(self, mode: Mode) -> tuple[int, int]:
        """Least and greatest frame length of a mode, in whole microseconds."""
        return int(mode.frame_min_lines * mode.line_us), int(
            mode.frame_max_lines * mode.line_max_us
        )


class Registers(NamedTuple):
    """What a frame is taken with, once everything is rounded to what the sensor can do."""

    exposure_ns: int
    frame_ns: int
    line_ns: float
    gain: float
    digital_gain: float


def order_after(order: str, hflip: bool, vflip: bool) -> str:
    """The Bayer order (``MONO`` stays) of an image that is mirrored."""
    if order == "MONO":
        return order
    cells = [order[:2], order[2:]]
    cells = cells[::-1] if vflip else cells
    return "".join(pair[::-1] if hflip else pair for pair in cells)


SHIFT_LINES = 65_500


def registers(
    sensor: Sensor, mode: Mode, exposure_us: float, gain: float, frame_us: tuple[float, float]
) -> Registers:
    """What libcamera programs for a wish.

    ``frame_us`` are the limits of the frame length; they clip the exposure without a word.
    """
    low_us, high_us = sensor.frame_limits_us(mode)
    shortest, longest = (min(max(limit, low_us), high_us) for limit in frame_us)
    line_us = mode.line_us
    wanted = min(exposure_us, longest)
    if wanted > mode.frame_max_lines * line_us:
        line_us = min(
            line_us * (wanted / (mode.frame_max_lines * line_us)) * 1.0001, mode.line_max_us
        )
    least = max(round(shortest / line_us), mode.frame_min_lines)
    most = min(max(int(longest / line_us + 1e-9), least), mode.frame_max_lines)
    lines = int((exposure_us - sensor.exposure_offset_us) / line_us + 1e-9)
    lines = max(min(lines, most - sensor.margin_lines), mode.exposure_min_lines)
    frame = min(max(lines + sensor.margin_lines, least), most)
    shift = 0
    while frame >> shift > SHIFT_LINES and shift < sensor.shift_max:
        shift += 1
    if shift:
        frame = frame >> shift << shift
        lines = min(lines, frame - sensor.margin_lines)
    analogue = sensor.gains.gain(sensor.gains.code(gain))
    return Registers(
        exposure_ns=round((lines * line_us + sensor.exposure_offset_us) * 1000),
        frame_ns=round(frame * line_us * 1000),
        line_ns=line_us * 1000,
        gain=analogue,
        digital_gain=min(max(gain / analogue, 1.0), 4.0),
    )


def render(logged: Mapping[str, Any], settings: Settings) -> NDArray[np.uint16]:
    """The pixels of a frame of the log as the ADC gave them: (height, width), as delivered.

    ``logged`` is a line of the log (frame_log.read), ``settings`` those the camera ran with.
    Exactly equal to what was written into the request's buffer, before packing.
    """
    from . import picture  # numpy, which listing cameras must not cost

    return picture.render(logged, settings)
