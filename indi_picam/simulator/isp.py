"""The processed picture that the ISP makes of a raw frame.

Plainer than a real one: each cell of 2 x 2 pixels is one colour, and values are proportional to
light, where a real tuning file bends them:

    channel    = (raw - black level) / range x digital gain x colour gain, clipped at 0 and 1
    saturation   moves the channels away from their luminance (BT.601), or to it
    contrast     stretches about the middle
    brightness   is added, and all is clipped again

Called by the sensor's process and, to know what a picture must be, by tests. Numpy alone; knows
nothing of time and requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layouts import Bytes, Layout, Words
from .picture import ROWS_A_STEP

LUMINANCE = (0.299, 0.587, 0.114)
CHANNELS = {
    "XRGB8888": (2, 1, 0, None),
    "XBGR8888": (0, 1, 2, None),
    "RGB888": (2, 1, 0),
    "BGR888": (0, 1, 2),
}
"""What the bytes of a pixel are: red 0, green 1, blue 2, or nothing. Names are of words, so memory
has them in reverse."""
FORMATS = frozenset({*CHANNELS, "YUV420", "YVU420", "NV12", "NV21"})
"""Formats that can be drawn; of those with luminance apart, the colours are left grey."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the ISP is told of a frame."""

    colour_gains: tuple[float, float] = (1.0, 1.0)
    digital_gain: float = 1.0
    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0


def look_of(logged: Mapping[str, Any]) -> Look:
    """The look of a logged frame."""
    values = dict(logged["look"])
    return Look(**(values | {"colour_gains": tuple(values["colour_gains"])}))


def developed(
    raw: Words | Bytes, order: str, black: int, top: int, look: Look
) -> NDArray[np.float32]:
    """Cells x cells x (red, green, blue) between 0 and 1, of a raw picture of ADC values."""
    light = (raw.astype(np.float32) - black) * np.float32(look.digital_gain / (top - black))
    if order == "MONO":
        red = green = blue = light[::2, ::2]
    else:
        cells = {colour: light[i // 2 :: 2, i % 2 :: 2] for i, colour in enumerate(order)}
        greens = [light[i // 2 :: 2, i % 2 :: 2] for i in range(4) if order[i] == "G"]
        red, green, blue = cells["R"], (greens[0] + greens[1]) / 2, cells["B"]
    red_gain, blue_gain = (1.0, 1.0) if order == "MONO" else look.colour_gains
    image = np.stack([red * red_gain, green, blue * blue_gain], axis=-1).astype(np.float32)
    np.clip(image, 0, 1, out=image)
    if look.saturation != 1:
        grey = (image @ np.array(LUMINANCE, np.float32))[..., None]
        image = grey + (image - grey) * np.float32(look.saturation)
    if look.contrast != 1 or look.brightness:
        middle = np.float32(0.5)
        image = (image - middle) * np.float32(look.contrast) + middle + np.float32(look.brightness)
    return np.asarray(np.clip(image, 0, 1, out=image))


def picture(raw: Words | Bytes, order: str, black: int, top: int, look: Look) -> Bytes:
    """Height x width x (red, green, blue) bytes: what a stream of the mode's size shows."""
    cells = np.rint(developed(raw, order, black, top, look) * 255).astype(np.uint8)
    return cells.repeat(2, axis=0).repeat(2, axis=1)[: raw.shape[0], : raw.shape[1]]


def luminance(image: Bytes) -> Bytes:
    """Brightness of a picture, over the full range of a byte (the Sycc colour space)."""
    return np.asarray(np.rint(image @ np.array(LUMINANCE, np.float32)).astype(np.uint8))


def draw_full(
    raw: Bytes, raw_layout: Layout, memory: Bytes, layout: Layout, black: int, look: Look
) -> Iterator[None]:
    """Draw a stream of the size of the raw one; yields between short steps.

    ``black`` on the scale of 16 bits, as SensorBlackLevels are.
    """
    source = raw[: raw_layout.stride * raw_layout.height].reshape(raw_layout.height, -1)
    words = (source if raw_layout.bits == 8 else source.view(np.uint16))[:, : raw_layout.width]
    order = "MONO" if raw_layout.format.startswith("R") else raw_layout.format[1:5]
    shift = 16 - raw_layout.bits
    rows = memory[: layout.stride * layout.height].reshape(layout.height, layout.stride)
    channels = CHANNELS.get(layout.format)
    for first in range(0, layout.height, ROWS_A_STEP):
        part = slice(first, first + ROWS_A_STEP)
        # Left-aligned values of fewer bits than 16 end a little below the top, as on a Pi 5.
        image = picture(words[part], order, black >> shift, (1 << raw_layout.bits) - 1, look)
        if channels is None:
            rows[part, : layout.width] = luminance(image)
        else:
            pixels = rows[part, : layout.width * len(channels)]
            pixels = pixels.reshape(len(image), layout.width, len(channels))
            for place, channel in enumerate(channels):
                pixels[:, :, place] = 255 if channel is None else image[:, :, channel]
        yield
    if channels is None:
        memory[layout.stride * layout.height :] = 128
