"""Pixels in memory: packed, padded, aligned."""

from __future__ import annotations

import numpy as np
import pytest

from indi_picam.simulator.layouts import Layout, compress_pisp, fill_padding, pack_csi2


@pytest.mark.parametrize(
    ("bits", "values", "packed"),
    [
        (12, [0xABC, 0x123], [0xAB, 0x12, 0x3C]),
        (10, [0x3FF, 0x000, 0x155, 0x2AA], [0xFF, 0x00, 0x55, 0xAA, 0b10_01_00_11]),
    ],
)
def test_csi2_packing(bits: int, values: list[int], packed: list[int]) -> None:
    assert pack_csi2(np.array([values], np.uint16), bits).tolist() == [packed]


def test_padding_is_junk_and_pixels_stay() -> None:
    memory = np.zeros(8 * 128, np.uint8)
    layout = Layout("SRGGB12", width=58, height=8, stride=128, bits=12, packing="")
    for _ in fill_padding(memory, layout):
        pass
    rows = memory.reshape(8, 128)
    assert not rows[:, :116].any()
    assert rows[:, 116:].all()


def test_pisp_words_hold_four_pixels_of_a_column_parity() -> None:
    """Decoded after the published layout of quality 3; picamera2's decoder has its own test."""
    values = (np.arange(16, dtype=np.uint16) * 256 + 2048 + 100).reshape(1, 16)
    words = compress_pisp(values).view(np.uint32).ravel()
    assert (words & 3).tolist() == [3, 3, 3, 3]
    decoded = []
    for word in words.tolist():
        for field in (word >> 2 & 0x7FFF, word >> 17 & 0x7FFF):
            decoded += [(field & 15) + 16 * ((field >> 8) // 11), (field >> 4) % 176]
    assert decoded == [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]
