"""Raw camera buffers become FITS pixels: cropped, binned, scaled, summed and written once.

The worker hands in the camera's buffer as it is (rows padded to a stride) and a memfd whose pages
are reserved; tiles of a few dozen rows pass through the processor's cache and are written with
``pwrite``, so there is no temporary of the frame's size. Reads no header and asks no camera.

Only unpacked raw is understood. The Pi 0 to 4 give n-bit words right-aligned (``SBGGR12``), the Pi
5 gives them left-aligned in 16 bits (``SBGGR16``); packed and PiSP-compressed raw is refused.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indi_picam.camera.modes import CameraFault, Roi, SensorMode

Words = NDArray[np.uint16] | NDArray[np.uint8]

FITS_BLOCK = 2880
"""Bytes; headers and data are padded to it (FITS standard 4.0, section 3.1)."""

_TILE_BYTES = 256 * 1024
"""Of stored pixels: stays in the second-level cache (32 rows of 12 MP; 16 take a third longer)."""

_SIGN = np.uint16(0x8000)
"""Flipping the top bit subtracts 32768 from a 16-bit word, which BZERO undoes."""

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


def reserve_memory(header_room: int, width: int, height: int, pixel_bytes: int = 2) -> int:
    """A zeroed memfd with all pages reserved for header and pixels; raises CameraFault."""
    data = -(-width * height * pixel_bytes // FITS_BLOCK) * FITS_BLOCK
    memory = os.memfd_create("indi_picam frame", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(memory, 0, header_room + data)
    except OSError as error:
        os.close(memory)
        raise CameraFault(
            f"There is not enough memory for a frame of {(header_room + data) >> 20} MB"
            f" ({error.strerror}); choose a smaller sensor mode or close other programs.",
            retry=False,
        ) from error
    return memory


def store_pixels(
    raw: NDArray[np.uint8],
    layout: RawLayout,
    memory: int,
    offset: int,
    roi: Roi,
    bin_x: int,
    bin_y: int,
    scale_to_16_bit: bool,
) -> int:
    """Writes a region of a camera buffer as FITS 16-bit pixels; returns the DATASUM of them.

    ``raw`` holds the whole buffer as bytes, ``height * stride`` or more; the region lies inside
    the mode (see check_window). Binned values are sums of the stored values, clipped at 65535;
    cells that the region cuts are dropped. Raises OSError when the memory cannot be written.
    """
    width, height = roi.width // bin_x, roi.height // bin_y
    window = _words(raw, layout)[
        roi.y : roi.y + height * bin_y,
        roi.x : roi.x + width * bin_x,
    ]
    # An even number of rows: whatever the width, each tile begins on a word of the DATASUM.
    rows = min(max(32, _TILE_BYTES // (2 * width)), 128) & ~1
    native = np.zeros(rows * width + 1, np.uint16)
    tile = np.empty(rows * width, ">u2")
    prepare = _preparation(rows, width, bin_x, bin_y, layout.shift(scale_to_16_bit))
    total = 0
    for top in range(0, height, rows):
        source = window[top * bin_y : (top + rows) * bin_y]
        values = prepare(source)
        size = values.size
        np.bitwise_xor(values, _SIGN, out=native[:size].reshape(values.shape), casting="unsafe")
        native[size] = 0  # completes the last word of an odd number of pixels
        total += int(np.add.reduce(native[: size + size % 2].view(np.uint32), dtype=np.uint64))
        tile[:size] = native[:size]
        _write_all(memory, tile[:size].view(np.uint8).data, offset + 2 * top * width)
    return _ones_complement(total)


def _words(raw: NDArray[np.uint8], layout: RawLayout) -> Words:
    """The buffer as rows of pixels, padding cut off; a view, nothing is copied."""
    rows = raw[: layout.height * layout.stride].reshape(layout.height, layout.stride)
    return (rows if layout.word_bits == 8 else rows.view("<u2"))[:, : layout.width]


def _preparation(
    rows: int, width: int, bin_x: int, bin_y: int, shift: int
) -> Callable[[Words], Words | NDArray[np.uint32]]:
    """A function from source rows to stored values in native order; it reuses its buffers."""
    shifted = np.empty((rows * bin_y, width * bin_x), np.uint16)
    sums = np.empty((rows, width), np.uint32)

    def shift_values(source: Words) -> Words:
        if shift == 0:
            return source
        move = np.left_shift if shift > 0 else np.right_shift
        return move(source, abs(shift), out=shifted[: len(source)], dtype=np.uint16)

    def shift_and_bin(source: Words) -> NDArray[np.uint32]:
        values, binned = shift_values(source), sums[: len(source) // bin_y]
        binned[:] = values[::bin_y, ::bin_x]
        for i in range(1, bin_x * bin_y):
            np.add(binned, values[i // bin_x :: bin_y, i % bin_x :: bin_x], out=binned)
        return np.minimum(binned, 65535, out=binned)

    return shift_values if bin_x == bin_y == 1 else shift_and_bin


def _write_all(memory: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(memory, data, offset)
        data, offset = data[written:], offset + written


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
