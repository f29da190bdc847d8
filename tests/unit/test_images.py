"""Pictures of the ISP become planes of bytes: buffers with padding, against the obvious way."""

from __future__ import annotations

import os

import numpy as np
import pytest
from numpy.typing import NDArray

from indi_picam.camera.frame_memory import FrameMemory
from indi_picam.camera.images import ImageLayout, store_image
from indi_picam.camera.modes import FITS_BLOCK, Roi

ROOM = 2 * FITS_BLOCK


def expected(values: NDArray[np.uint8], roi: Roi, bin_x: int, bin_y: int) -> NDArray[np.uint8]:
    """Each mean by itself, halves rounded up."""
    height, width = roi.height // bin_y, roi.width // bin_x
    planes = np.empty((values.shape[2], height, width), np.uint8)
    for plane, row, column in np.ndindex(*planes.shape):
        top, left = roi.y + row * bin_y, roi.x + column * bin_x
        cell = values[top : top + bin_y, left : left + bin_x, plane]
        planes[plane, row, column] = int(cell.astype(float).mean() + 0.5)
    return planes


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(
    ("roi", "bin_x", "bin_y"),
    [
        (Roi(0, 0, 54, 150), 1, 1),
        (Roi(3, 5, 33, 141), 1, 1),
        (Roi(53, 149, 1, 1), 1, 1),
        (Roi(1, 1, 53, 149), 2, 2),
        (Roi(0, 3, 54, 147), 3, 3),
        (Roi(2, 0, 51, 150), 4, 4),
        (Roi(0, 0, 54, 150), 4, 1),
    ],
)
def test_planes_are_exact_and_their_sum_too(planes: int, roi: Roi, bin_x: int, bin_y: int) -> None:
    width, height, stride = 54, 150, 192
    values = np.random.default_rng(3).integers(0, 256, (height, width, planes), np.uint8)
    rows = np.full((height + 40, stride), 0xA5, np.uint8)  # what follows luminance is not looked at
    rows[:height, : width * planes] = values.reshape(height, -1)
    layout = ImageLayout(width, height, stride, planes)
    out_width, out_height = roi.width // bin_x, roi.height // bin_y
    memory = FrameMemory(ROOM + -(-planes * out_width * out_height // FITS_BLOCK) * FITS_BLOCK)
    try:
        summed = store_image(rows.reshape(-1), layout, memory.map()[ROOM:], roi, bin_x, bin_y)
        data = os.pread(memory.descriptor, 1 << 24, ROOM)
        assert len(data) % FITS_BLOCK == 0
        assert os.pread(memory.descriptor, ROOM, 0) == bytes(ROOM)
    finally:
        memory.close()
    size = planes * out_height * out_width
    image = np.frombuffer(data[:size], np.uint8).reshape(planes, out_height, out_width)
    np.testing.assert_array_equal(image, expected(values, roi, bin_x, bin_y))
    assert not any(data[size:])
    total = sum(np.frombuffer(data, ">u4").tolist())
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    assert summed == total


def test_the_mean_of_full_cells_is_full() -> None:
    """No sum in between is too large for its type."""
    layout = ImageLayout(64, 64, 64, 1)
    memory = FrameMemory(ROOM + FITS_BLOCK)
    try:
        full = np.full(64 * 64, 255, np.uint8)
        store_image(full, layout, memory.map()[ROOM:], Roi(0, 0, 64, 64), 4, 4)
        assert os.pread(memory.descriptor, 16 * 16, ROOM) == b"\xff" * 256
    finally:
        memory.close()
