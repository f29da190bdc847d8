"""How a frame lies in a buffer: unpacked (to the right or the left), packed, compressed.

Called by the sensor's process. ADC values in, bytes out; knows nothing of time and requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .picture import ROWS_A_STEP, Exposure, Picture

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one stream's buffers, as it was configured."""

    format: str
    width: int
    height: int
    stride: int
    bits: int
    """Of a value in memory: 16 where it is left-aligned."""
    packing: str
    """``CSI2P``, ``PISP_COMP1`` or nothing; ``processed`` for streams that are not raw."""


def fill_padding(memory: Bytes, layout: Layout) -> Iterator[None]:
    """Put junk behind the end of each row, as in used memory; yields between short steps."""
    rows = memory[: layout.stride * layout.height].reshape(layout.height, layout.stride)
    used = used_bytes(layout)
    rng = np.random.default_rng(20_113)
    for first in range(0, layout.height, ROWS_A_STEP):
        part = rows[first : first + ROWS_A_STEP, used:]
        part[:] = rng.integers(1, 256, part.shape, np.uint8)
        yield


def used_bytes(layout: Layout) -> int:
    """Bytes of a row that are pixels."""
    if layout.packing == "CSI2P":
        return layout.width * layout.bits // 8
    if layout.packing == "PISP_COMP1":
        return -(-layout.width // 8) * 8  # whole words
    return layout.width if layout.packing or layout.bits == 8 else 2 * layout.width


def draw_raw(picture: Picture, exposure: Exposure, memory: Bytes, layout: Layout) -> Iterator[None]:
    """Draw a frame into the buffer of a raw stream; yields between short steps."""
    mode = picture.mode
    rows = memory[: layout.stride * layout.height].reshape(layout.height, layout.stride)
    if layout.bits > 8 and not layout.packing:
        yield from picture.draw(exposure, rows.view(np.uint16), layout.bits - mode.bits)
        return
    values = np.empty((mode.height, mode.width), np.uint16)
    yield from picture.draw(exposure, values)
    used = used_bytes(layout)
    for first in range(0, mode.height, ROWS_A_STEP):
        tile = values[first : first + ROWS_A_STEP]
        yield
        if layout.packing == "CSI2P":
            packed = pack_csi2(tile, mode.bits)
        elif layout.packing == "PISP_COMP1":
            packed = compress_pisp(np.left_shift(tile, np.uint16(16 - mode.bits)))
        else:
            packed = tile.astype(np.uint8)
        rows[first : first + ROWS_A_STEP, :used] = packed[:, :used]


def pack_csi2(values: Words, bits: int) -> Bytes:
    """MIPI CSI-2 packing: the upper 8 bits of a group of pixels, then a byte of all lower bits."""
    height, width = values.shape
    group, spare = (2, 4) if bits == 12 else (4, 2)
    grouped = values.reshape(height, width // group, group)
    out = np.empty((height, width // group, group + 1), np.uint8)
    out[:, :, :group] = grouped >> spare
    low = np.zeros(grouped.shape[:2], np.uint16)
    for index in range(group):
        low |= (grouped[:, :, index] & ((1 << spare) - 1)) << (index * spare)
    out[:, :, group] = low
    return out.reshape(height, -1)


PISP_OFFSET = 2048
PISP_KNEE = 94
"""Where steps of 256 become steps of 512: 256 q = 512 (q - 47)."""


def compress_pisp(values: Words) -> Bytes:
    """16-bit values as PISP_COMP1: four pixels of a colour in a word.

    Always in the coarsest of its four qualities; the hardware chooses word by word, and
    picamera2's own decompress reads either. The width is filled up to a multiple of 8.
    """
    height, width = values.shape[0], -(-values.shape[1] // 8) * 8
    values = np.pad(values, ((0, 0), (0, width - values.shape[1])))
    light = np.maximum(values.astype(np.int32) - PISP_OFFSET, 0)
    steps = np.where(light < 256 * PISP_KNEE, light >> 8, (light >> 9) + PISP_KNEE // 2)
    # Each word has four pixels of one column parity; the words of both parities follow each other.
    quads = np.minimum(steps, 175).reshape(height, width // 8, 4, 2).transpose(0, 1, 3, 2)
    first, second = (
        (((quads[..., a] >> 4) * 176 + quads[..., b]) << 4) | (quads[..., a] & 15)
        for a, b in ((0, 1), (2, 3))
    )
    words = (3 | first.astype(np.uint32) << 2 | second.astype(np.uint32) << 17).astype(np.uint32)
    return np.ascontiguousarray(words).view(np.uint8).reshape(height, width)


def draw_processed(raw: Bytes, raw_layout: Layout, memory: Bytes, layout: Layout) -> None:
    """A grey, small view of the frame for a stream that is not raw; no colours are made."""
    grey = _grey(raw, raw_layout, layout.width, layout.height)
    if layout.format in ("YUV420", "YVU420", "NV12", "NV21"):
        rows = memory[: layout.stride * layout.height].reshape(layout.height, layout.stride)
        rows[:, : layout.width] = grey
        memory[layout.stride * layout.height :] = 128
        return
    rows = memory[: layout.stride * layout.height].reshape(layout.height, layout.stride)
    channels = {"XRGB8888": 4, "XBGR8888": 4, "RGB888": 3, "BGR888": 3}.get(layout.format, 2)
    pixels = rows[:, : layout.width * channels].reshape(layout.height, layout.width, channels)
    pixels[:] = grey[:, :, None] if channels > 2 else 128
    if channels == 4:
        pixels[:, :, 3] = 255
    elif channels == 2:
        pixels[:, :, 0 if layout.format.startswith("Y") else 1] = grey


def _grey(raw: Bytes, layout: Layout, width: int, height: int) -> Bytes:
    """8-bit brightness at width x height, by taking single pixels: nobody looks at it."""
    rows = raw[: layout.stride * layout.height].reshape(layout.height, layout.stride)
    down = np.arange(height) * layout.height // height
    across = np.arange(width) * layout.width // width
    if layout.packing or layout.bits == 8:
        step = used_bytes(layout) / layout.width
        return np.asarray(rows[np.ix_(down, (across * step).astype(np.int64))])
    words = rows.view(np.uint16)[np.ix_(down, across)]
    return np.asarray((words >> (layout.bits - 8)).astype(np.uint8))
