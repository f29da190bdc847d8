"""Pictures of the ISP become FITS pixels: cropped, binned, one plane after the other, bytes.

The values of the ISP are no measure of light (its curve bends them), so a binned value is the mean
of its cell, rounded: a sum would end at 255 in a quarter of the range. Reads no header and asks no
camera; called by :mod:`.taking`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indi_picam.camera.modes import Roi
from indi_picam.camera.pixels import folded

Bytes = NDArray[np.uint8]

SATURATION = 255
"""The highest value; black is 0, as the ISP has subtracted the black level."""
_ROWS = 64
"""Binned at a time, so that no temporary has the size of the frame."""


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How a picture lies in a buffer of the main stream.

    One plane: luminance first, whatever follows (YUV420). Three: red, green, blue of each pixel
    (BGR888, as libcamera calls it).
    """

    width: int
    height: int
    stride: int
    planes: int

    def pixels(self, buffer: Bytes) -> Bytes:
        """The buffer as height x width x planes, padding cut off; nothing is copied."""
        rows = buffer[: self.height * self.stride].reshape(self.height, self.stride)
        used = rows[:, : self.width * self.planes]
        return used.reshape(self.height, self.width, self.planes)


def store_image(
    buffer: Bytes,
    layout: ImageLayout,
    out: Bytes,
    roi: Roi,
    bin_x: int,
    bin_y: int,
) -> int:
    """Writes a region of a buffer as planes of bytes into a frame's memory; returns their DATASUM.

    The region lies inside the picture, and the last block of the memory is zeroed
    (:mod:`.frame_memory`). Cells that the region cuts are dropped.
    """
    width, height = roi.width // bin_x, roi.height // bin_y
    window = layout.pixels(buffer)[
        roi.y : roi.y + height * bin_y,
        roi.x : roi.x + width * bin_x,
    ]
    planes = out[: window.shape[2] * height * width].reshape(-1, height, width)
    for number, plane in enumerate(planes):
        if bin_x == bin_y == 1:
            plane[:] = window[:, :, number]
        else:
            _bin(window[:, :, number], plane, bin_x, bin_y)
    return folded(int(np.add.reduce(out.view(">u4"), dtype=np.uint64)))


def _bin(source: Bytes, out: Bytes, bin_x: int, bin_y: int) -> None:
    cells = bin_x * bin_y
    for top in range(0, len(out), _ROWS):
        part = out[top : top + _ROWS]
        rows = source[top * bin_y : (top + len(part)) * bin_y]
        sums = np.full(part.shape, cells // 2, np.uint16)
        for i in range(cells):
            sums += rows[i // bin_x :: bin_y, i % bin_x :: bin_x]
        part[:] = sums // cells
