"""Raw camera buffers become FITS pixels: cropped, binned, scaled, summed and written once.

The worker hands in the camera's buffer as it is (rows padded to a stride) and the memory of a
frame (:mod:`.frame_memory`), mapped or not; a compiled pass (``pixel_pass.c``) reads and writes
each pixel once, without a temporary of the frame's size. Reads no header and asks no camera.

Only unpacked raw is understood. The Pi 0 to 4 give n-bit words right-aligned (``SBGGR12``), the Pi
5 gives them left-aligned in 16 bits (``SBGGR16``); packed and PiSP-compressed raw is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indi_picam.camera.modes import CameraFault, Roi, SensorMode

_BAND_BYTES = 1 << 18
"""Written at a time into memory that is not mapped: it stays in the processor's cache."""
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
    from indi_picam.camera import pixel_pass  # so that opening can say what to do if it is missing

    word_bytes = 1 if layout.word_bits == 8 else 2
    return pixel_pass.store(
        raw,
        roi.y * layout.stride + roi.x * word_bytes,
        layout.stride,
        word_bytes,
        layout.shift(scale_to_16_bit),
        out,
        roi.width // bin_x,
        roi.height // bin_y,
        bin_x,
        bin_y,
    )


def write_pixels(
    raw: NDArray[np.uint8],
    layout: RawLayout,
    write: Callable[[NDArray[np.uint8], int], None],
    at: int,
    roi: Roi,
    bin_x: int,
    bin_y: int,
    scale_to_16_bit: bool,
) -> int:
    """The same as store_pixels in bands of lines, for memory that is not mapped.

    ``write`` is given the bytes of each, and the place where they begin: the first one's is ``at``.
    """
    width, height = roi.width // bin_x, roi.height // bin_y
    lines = max(2, _BAND_BYTES // (2 * width) & ~1)  # even: each begins with a word of the sum
    room = np.empty(2 * width * min(lines, height), np.uint8)
    total = 0
    for top in range(0, height, lines):
        count = min(lines, height - top)
        band = room[: 2 * width * count]
        window = Roi(roi.x, roi.y + top * bin_y, roi.width, count * bin_y)
        total += store_pixels(raw, layout, band, window, bin_x, bin_y, scale_to_16_bit)
        write(band, at + 2 * width * top)
    return folded(total)


def folded(total: int) -> int:
    """The ones' complement sum from a plain one: carries beyond 32 bits wrap around."""
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
