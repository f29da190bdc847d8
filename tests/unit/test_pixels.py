"""Raw buffers to FITS pixels: every layout, region and binning, against plain numpy and astropy."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from indi_picam.camera import opening, pixel_pass, pixels
from indi_picam.camera.frame_memory import FrameMemory
from indi_picam.camera.modes import FITS_BLOCK, CameraFault, Roi, SensorMode
from indi_picam.camera.pixels import (
    check_window,
    pattern_at,
    raw_layout,
    store_pixels,
    write_pixels,
)

ROOM = 2 * FITS_BLOCK


def buffer_of(values: NDArray[np.uint16], stride: int, word_bits: int) -> NDArray[np.uint8]:
    """A camera buffer: rows padded with junk to the stride."""
    height = len(values)
    rows = np.full((height, stride), 0xA5, np.uint8)
    row_bytes = values.astype("u1" if word_bits == 8 else "<u2").view(np.uint8)
    rows[:, : row_bytes.shape[1]] = row_bytes.reshape(height, -1)
    return rows.reshape(-1)


def memory_for(width: int, height: int, room: int = ROOM) -> FrameMemory:
    """For pixels of 16 bits."""
    return FrameMemory(room + -(-2 * width * height // FITS_BLOCK) * FITS_BLOCK)


def stored(memory: int, width: int, height: int) -> NDArray[np.uint16]:
    """The pixels as any FITS reader sees them."""
    data = np.frombuffer(os.pread(memory, width * height * 2, ROOM), ">i2")
    pixels = (data.astype(np.int32) + 32768).astype(np.uint16)
    image: NDArray[np.uint16] = pixels.reshape(height, width)
    return image


def expected(
    values: NDArray[np.uint16], roi: Roi, bin_x: int, bin_y: int, shift: int
) -> NDArray[np.uint16]:
    """The slow, obvious way."""
    window = values[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width].astype(np.int64)
    window = window << shift if shift >= 0 else window >> -shift
    height, width = roi.height // bin_y, roi.width // bin_x
    cells = window[: height * bin_y, : width * bin_x].reshape(height, bin_y, width, bin_x)
    summed = np.minimum(cells.sum(axis=(1, 3)), 65535)
    image: NDArray[np.uint16] = summed.astype(np.uint16)
    return image


def datasum(memory: int) -> int:
    """The sum over data and padding that astropy computes."""
    data = os.pread(memory, 1 << 28, ROOM)
    assert len(data) % FITS_BLOCK == 0
    return int(fits.PrimaryHDU()._compute_checksum(np.frombuffer(data, np.uint8)))


LAYOUTS = [
    # format, ADC bits, bits left-aligned in the words, shift scaled, shift of ADC values
    ("SBGGR12", 12, 0, 4, 0),
    ("SRGGB10", 10, 0, 6, 0),
    ("SGBRG8", 8, 0, 8, 0),
    ("R10", 10, 0, 6, 0),
    ("R8", 8, 0, 8, 0),
    ("SGRBG14", 14, 0, 2, 0),
    ("SBGGR16", 12, 4, 0, -4),
    ("R16", 10, 6, 0, -6),
    ("SRGGB16", 16, 0, 0, 0),
]
WINDOWS = [
    (Roi(0, 0, 150, 300), 1, 1),
    (Roi(1, 0, 149, 300), 1, 1),  # odd width: rows straddle the words of the DATASUM
    (Roi(0, 3, 149, 297), 1, 1),  # and an odd number of pixels in all
    (Roi(7, 5, 1, 1), 1, 1),
    (Roi(3, 1, 140, 281), 2, 2),
    (Roi(0, 0, 149, 299), 3, 3),
    (Roi(5, 5, 130, 290), 4, 4),
    (Roi(2, 2, 101, 103), 4, 1),
    (Roi(0, 1, 101, 103), 1, 3),
]


@pytest.mark.parametrize(("roi", "bin_x", "bin_y"), WINDOWS)
@pytest.mark.parametrize(("raw_format", "bits", "left", "scaled", "adc"), LAYOUTS)
def test_every_layout_and_window_is_stored_exactly(
    raw_format: str,
    bits: int,
    left: int,
    scaled: int,
    adc: int,
    roi: Roi,
    bin_x: int,
    bin_y: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pixels, "_BAND_BYTES", 1000)  # so that there is more than one
    mode = SensorMode(150, 300, bits)
    rng = np.random.default_rng([bits, roi.x, bin_x])
    values = (rng.integers(0, 1 << bits, (300, 150)) << left).astype(np.uint16)
    layout = raw_layout(mode, raw_format, 320)
    raw = buffer_of(values, 320, layout.word_bits)
    width, height = roi.width // bin_x, roi.height // bin_y
    for scale, shift in ((True, scaled), (False, adc)):
        wanted = expected(values, roi, bin_x, bin_y, shift)
        how = roi, bin_x, bin_y, scale
        for mapped in (True, False):
            memory = memory_for(width, height)
            try:
                if mapped:
                    summed = store_pixels(raw, layout, memory.map()[ROOM:], *how)
                else:
                    summed = write_pixels(raw, layout, memory.write, ROOM, *how)
                np.testing.assert_array_equal(stored(memory.descriptor, width, height), wanted)
                assert summed == datasum(memory.descriptor)
            finally:
                memory.close()


@pytest.mark.parametrize("band_bytes", [1, 100, 1500, 1 << 18])
@pytest.mark.parametrize(("width", "height"), [(33, 77), (64, 10), (301, 5), (1, 1)])
def test_bands_are_as_good_as_a_whole(
    band_bytes: int, width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of an odd width begin within a word of the sum, wherever bands are cut."""
    monkeypatch.setattr(pixels, "_BAND_BYTES", band_bytes)
    layout = raw_layout(SensorMode(width, height, 12), "SBGGR12", 2 * width)
    values = np.random.default_rng(width).integers(0, 4096, (height, width)).astype(np.uint16)
    raw, roi = buffer_of(values, 2 * width, 12), Roi(0, 0, width, height)
    memory = memory_for(width, height)
    try:
        summed = write_pixels(raw, layout, memory.write, ROOM, roi, 1, 1, True)
        assert summed == datasum(memory.descriptor)
        np.testing.assert_array_equal(stored(memory.descriptor, width, height), values << 4)
    finally:
        memory.close()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 400),
    st.sampled_from([0, 1, 32767, 32768, 65535, None]),
    st.integers(0, 2**32),
)
def test_datasum_is_right_for_any_value_and_size(
    width: int, height: int, fill: int | None, seed: int
) -> None:
    layout = raw_layout(SensorMode(width, height, 16), "R16", 2 * width)
    if fill is None:
        values = np.random.default_rng(seed).integers(0, 65536, (height, width)).astype(np.uint16)
    else:
        values = np.full((height, width), fill, np.uint16)
    memory = memory_for(width, height)
    try:
        raw = values.reshape(-1).view(np.uint8)
        roi = Roi(0, 0, width, height)
        assert store_pixels(raw, layout, memory.map()[ROOM:], roi, 1, 1, True) == datasum(
            memory.descriptor
        )
    finally:
        memory.close()


MISFITS = [
    # offset, stride, word bytes, shift, bytes of the memory, width, height, bin x, bin y
    ("region", (2, 16, 2, 4, 128, 8, 8, 1, 1)),  # one word beyond the buffer
    ("region", (0, 16, 2, 4, 128, 4, 4, 2, 3)),  # binned rows beyond it
    ("region", (0, 14, 2, 4, 128, 8, 8, 1, 1)),  # rows longer than the stride
    ("region", (-2, 16, 2, 4, 128, 8, 8, 1, 1)),
    ("pixels do not fit", (0, 16, 2, 4, 127, 8, 8, 1, 1)),
    ("out of range", (0, 16, 2, 4, 128, 0, 8, 1, 1)),
    ("out of range", (0, 16, 2, 4, 128, 8, 8, 0, 1)),
    ("out of range", (0, 16, 2, 4, 128, 8, 2**62, 1, 1)),
    ("binned into one", (0, 16, 2, 4, 128, 1, 1, 257, 256)),
    ("15 bits", (0, 16, 2, 16, 128, 8, 8, 1, 1)),
    ("1 or 2 bytes", (0, 16, 4, 4, 128, 8, 8, 1, 1)),
]


@pytest.mark.parametrize(("reason", "numbers"), MISFITS)
def test_the_pass_stays_within_its_buffers(reason: str, numbers: tuple[int, ...]) -> None:
    offset, stride, word_bytes, shift, size, *shape = numbers
    width, height, bin_x, bin_y = shape
    out = np.full(size, 7, np.uint8)
    with pytest.raises(ValueError, match=reason):
        pixel_pass.store(
            np.zeros(128, np.uint8),
            offset,
            stride,
            word_bytes,
            shift,
            out,
            width,
            height,
            bin_x,
            bin_y,
        )
    assert (out == 7).all()


def test_a_missing_compiled_part_is_told_when_a_camera_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "indi_picam.camera.pixel_pass", None)
    with pytest.raises(CameraFault, match=r"compiled part .* install it again") as told:
        opening._import_compiled_part()
    assert not told.value.retry


def test_large_bins_are_clipped_not_wrapped() -> None:
    raw = np.full(2 * 256 * 256, 0xFF, np.uint8)
    out = np.zeros(2, np.uint8)
    assert pixel_pass.store(raw, 0, 512, 2, 0, out, 1, 1, 256, 256) == 0x7FFF_0000
    assert bytes(out) == b"\x7f\xff"


def test_memory_is_a_valid_fits_file_once_a_header_is_in_its_room() -> None:
    layout = raw_layout(SensorMode(33, 77, 12), "SBGGR12", 96)
    values = np.arange(33 * 77, dtype=np.uint16).reshape(77, 33) % 4096
    memory = memory_for(33, 77, FITS_BLOCK)
    raw = buffer_of(values, 96, 12)
    store_pixels(raw, layout, memory.map()[FITS_BLOCK:], Roi(0, 0, 33, 77), 1, 1, False)
    header = fits.Header({"SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": 33, "NAXIS2": 77})
    header.update({"BSCALE": 1, "BZERO": 32768})
    os.pwrite(memory.descriptor, header.tostring().encode(), 0)
    data = os.pread(memory.descriptor, 1 << 20, 0)
    memory.close()
    with fits.open(io.BytesIO(data)) as file:
        file.verify("exception")
        np.testing.assert_array_equal(file[0].data, values)


@pytest.mark.parametrize(
    "raw_format", ["SBGGR12_CSI2P", "BGGR_PISP_COMP1", "MONO_PISP_COMP1", "YUV420", "SBGGR10", ""]
)
def test_packed_compressed_and_other_formats_are_refused(raw_format: str) -> None:
    with pytest.raises(CameraFault, match="choose another sensor mode") as refused:
        raw_layout(SensorMode(4056, 3040, 12), raw_format, 8128)
    assert not refused.value.retry


@pytest.mark.parametrize(
    ("x", "y", "cell"), [(0, 0, "BGGR"), (1, 0, "GBRG"), (0, 1, "GRBG"), (3, 5, "RGGB")]
)
def test_odd_origins_turn_the_bayer_cell(x: int, y: int, cell: str) -> None:
    assert pattern_at("BGGR", x, y) == cell
    assert pattern_at(None, x, y) is None


@pytest.mark.parametrize(
    ("raw_format", "scaled", "saturation", "black"),
    [
        ("SBGGR12", True, 65520, 4096.0),
        ("SBGGR12", False, 4095, 256.0),
        ("SBGGR16", True, 65520, 4096.0),
        ("SBGGR16", False, 4095, 256.0),
    ],
)
def test_levels_are_the_same_on_every_pi(
    raw_format: str, scaled: bool, saturation: int, black: float
) -> None:
    layout = raw_layout(SensorMode(4056, 3040, 12), raw_format, 8128)
    assert layout.saturation(scaled) == saturation
    assert layout.black_level(4096, scaled) == black


@pytest.mark.parametrize(
    ("roi", "bin_x", "bin_y"),
    [
        (Roi(0, 0, 151, 300), 1, 1),
        (Roi(-1, 0, 10, 10), 1, 1),
        (Roi(0, 299, 10, 2), 1, 1),
        (Roi(0, 0, 0, 10), 1, 1),
        (Roi(0, 0, 10, 3), 1, 4),
        (Roi(0, 0, 10, 10), 0, 1),
    ],
)
def test_regions_outside_the_mode_are_refused(roi: Roi, bin_x: int, bin_y: int) -> None:
    with pytest.raises(CameraFault, match="does not fit the sensor mode 150x300_12"):
        check_window(SensorMode(150, 300, 12), roi, bin_x, bin_y)
