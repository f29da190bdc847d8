"""Raw camera buffers become FITS pixels: cropped, binned, scaled, summed and written once.

The worker hands in the camera's buffer as it is (rows padded to a stride) and mapped memory
(:mod:`.frame_memory`); tiles of a few dozen rows pass through the processor's cache and are written
once, so there is no temporary of the frame's size. Reads no header and asks no camera.

Only unpacked raw is understood. The Pi 0 to 4 give n-bit words right-aligned (``SBGGR12``), the Pi
5 gives them left-aligned in 16 bits (``SBGGR16``); packed and PiSP-compressed raw is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indi_picam.camera.modes import CameraFault, Roi, SensorMode

Words = NDArray[np.uint16] | NDArray[np.uint8]

_TILE_BYTES = 256 * 1024
"""Of stored pixels: stays in the second-level cache (32 rows of 12 MP; 16 take a third longer)."""

_SIGN = np.uint16(0x8000)
"""Flipping the top bit subtracts 32768 from a 16-bit word, which BZERO undoes."""

_LANE = 4
"""Pixels in 64 bits."""

_UNPACKED = re.compile(r"(?:S([RGB]{4})|R)(8|10|12|14|16)")


@dataclass(frozen=True, slots=True)
class RawLayout:
    """How the pixels of one sensor mode lie in a camera buffer."""

    width: int
    height: int
    stride: int
    """Bytes from one row to the next; what lies behind the width is junk."""
    word_bits: int
    """8, 10, 12 or 14 right-aligned bits, or 16: then the ADC's bits are the upper ones."""
    adc_bits: int
    bayer_pattern: str | None

    def shift(self, scale_to_16_bit: bool) -> int:
        """Bits to shift a word left (negative: right) for stored values of either kind."""
        return 16 - self.word_bits if scale_to_16_bit else min(0, self.adc_bits - self.word_bits)

    def saturation(self, scale_to_16_bit: bool) -> int:
        """The highest value of one stored, unbinned pixel."""
        return ((1 << self.adc_bits) - 1) << (16 - self.adc_bits if scale_to_16_bit else 0)

    def black_level(self, on_16_bit_scale: float, scale_to_16_bit: bool) -> float:
        """A level of libcamera's 16-bit scale (SensorBlackLevels) in units of the stored values."""
        return on_16_bit_scale if scale_to_16_bit else on_16_bit_scale / (1 << (16 - self.adc_bits))


def raw_layout(mode: SensorMode, raw_format: str, stride: int) -> RawLayout:
    """The layout that a granted raw format means; raises CameraFault for packed ones."""
    match = _UNPACKED.fullmatch(raw_format)
    if match is None:
        raise CameraFault(
            f"The camera offers {mode.name} only as {raw_format}, which is packed or compressed"
            " with loss; choose another sensor mode.",
            retry=False,
        )
    word_bits = int(match[2])
    if word_bits != mode.bits and word_bits != 16:
        raise CameraFault(
            f"The camera was asked for {mode.name} and granted {raw_format}, another depth;"
            " choose another sensor mode.",
            retry=False,
        )
    return RawLayout(mode.width, mode.height, stride, word_bits, mode.bits, match[1])


def pattern_at(pattern: str | None, x: int, y: int) -> str | None:
    """The 2x2 Bayer cell at pixel (x, y) of a mosaic that begins with ``pattern``."""
    if pattern is None:
        return None
    return "".join(
        pattern[2 * ((row + y) % 2) + (column + x) % 2] for row in (0, 1) for column in (0, 1)
    )


def check_window(mode: SensorMode, roi: Roi, bin_x: int, bin_y: int) -> None:
    """Raises CameraFault when a region or binning does not fit the mode."""
    inside = (
        0 <= roi.x < roi.x + roi.width <= mode.width
        and 0 <= roi.y < roi.y + roi.height <= mode.height
    )
    if not inside or min(bin_x, bin_y) < 1 or roi.width < bin_x or roi.height < bin_y:
        raise CameraFault(
            f"A region of {roi.width} x {roi.height} at ({roi.x}, {roi.y}), binned"
            f" {bin_x} x {bin_y}, does not fit the sensor mode {mode.name}.",
            retry=False,
        )


def store_pixels(
    raw: NDArray[np.uint8],
    layout: RawLayout,
    out: NDArray[np.uint8],
    roi: Roi,
    bin_x: int,
    bin_y: int,
    scale_to_16_bit: bool,
) -> int:
    """Writes a region of a camera buffer as FITS 16-bit pixels; returns the DATASUM of them.

    ``raw`` holds the whole buffer as bytes, ``height * stride`` or more, ``out`` those of the file
    from its first pixel on; the region lies inside the mode (see check_window). Binned values are
    sums of the stored values, clipped at 65535; cells that the region cuts are dropped.
    """
    width, height = roi.width // bin_x, roi.height // bin_y
    window = _words(raw, layout)[
        roi.y : roi.y + height * bin_y,
        roi.x : roi.x + width * bin_x,
    ]
    # An even number of rows: whatever the width, each tile begins on a word of the DATASUM.
    rows = min(max(32, _TILE_BYTES // (2 * width)), 128) & ~1
    lanes = np.empty(rows * width // _LANE + 2, np.uint64)
    upper_words = np.empty_like(lanes)
    native = lanes.view(np.uint16)
    stored = out.view(">u2")
    prepare = _preparation(native, rows, width, bin_x, bin_y, layout.shift(scale_to_16_bit))
    total = 0
    for top in range(0, height, rows):
        size = prepare(window[top * bin_y : (top + rows) * bin_y]) * width
        np.bitwise_xor(native[:size], _SIGN, out=native[:size])
        native[size : size + _LANE] = 0  # completes the last lane of the sum
        total += _sum_of_words(lanes[: -(-size // _LANE)], upper_words)
        first = top * width
        stored[first : first + size] = native[:size]
    return _ones_complement(total)


def _words(raw: NDArray[np.uint8], layout: RawLayout) -> Words:
    """The buffer as rows of pixels, padding cut off; a view, nothing is copied."""
    rows = raw[: layout.height * layout.stride].reshape(layout.height, layout.stride)
    return (rows if layout.word_bits == 8 else rows.view("<u2"))[:, : layout.width]


def _preparation(
    native: NDArray[np.uint16], rows: int, width: int, bin_x: int, bin_y: int, shift: int
) -> Callable[[Words], int]:
    """A function that puts the stored values of source rows into ``native`` and counts their rows.

    It reuses its buffers. Shifts up are multiplications: those are vectorized (numpy 2.4, x86).
    """
    sums = np.empty((rows, width), np.uint32)
    shifted = np.empty((rows * bin_y, width * bin_x), np.uint16)

    def shift_into(source: Words, out: NDArray[np.uint16]) -> None:
        if shift > 0:
            np.multiply(source, np.uint16(1 << shift), out=out, dtype=np.uint16)
        elif shift < 0:
            np.right_shift(source, -shift, out=out, dtype=np.uint16)
        else:
            out[:] = source

    def shift_alone(source: Words) -> int:
        shift_into(source, native[: source.size].reshape(source.shape))
        return len(source)

    def shift_and_bin(source: Words) -> int:
        height = len(source) // bin_y
        values, binned = shifted[: len(source)], sums[:height]
        shift_into(source, values)
        binned[:] = values[::bin_y, ::bin_x]
        for i in range(1, bin_x * bin_y):
            np.add(binned, values[i // bin_x :: bin_y, i % bin_x :: bin_x], out=binned)
        np.minimum(binned, 65535, out=binned)
        native[: height * width].reshape(height, width)[:] = binned
        return height

    return shift_alone if bin_x == bin_y == 1 else shift_and_bin


def _sum_of_words(lanes: NDArray[np.uint64], upper_words: NDArray[np.uint64]) -> int:
    """The exact sum of the 32-bit words in lanes of two; ``upper_words`` is room to work in.

    Adding lanes of 64 bits is five times as fast as adding words to a wider sum. What overflows is
    known from the upper words, which are added once more by themselves.
    """
    np.right_shift(lanes, np.uint64(32), out=upper_words[: lanes.size])
    upper = int(np.add.reduce(upper_words[: lanes.size]))
    wrapped = int(np.add.reduce(lanes))
    lower = (wrapped - (upper << 32)) & 0xFFFF_FFFF_FFFF_FFFF
    return upper + lower


def _ones_complement(total: int) -> int:
    """The ones' complement sum of big-endian words from a sum of words of native 16-bit halves.

    On a little-endian machine the halves of each word are exchanged. That is a rotation by 16 bits,
    and so is its effect on a sum whose carries wrap around.
    """
    total = folded(total)
    if sys.byteorder == "little":
        total = (total & 0xFFFF) << 16 | total >> 16
    return total


def folded(total: int) -> int:
    """The ones' complement sum from a plain one: carries beyond 32 bits wrap around."""
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
