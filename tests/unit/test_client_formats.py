"""Pictures as TIFF and PPM: every pixel, 16 bit, the header's facts; or a sentence why not."""

from __future__ import annotations

import io

import netpbmfile
import numpy as np
import pytest
import tifffile
from astropy.io import fits

from indi_picam.client import files
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.formats import Format, converted

RANDOM = np.random.default_rng(7)
MOSAIC = RANDOM.integers(0, 65536, (30, 42), dtype=np.uint16)
MOSAIC[0, :2] = 0, 65535
COLOUR = RANDOM.integers(0, 65536, (3, 30, 42), dtype=np.uint16)


def fits_file(pixels: np.ndarray, *, compressed: bool = False) -> bytes:
    header = fits.Header()
    header["BATCHID"] = "000007-20261123T214517-ab12"
    header["BATCHNUM"] = 3
    header["DATE-OBS"] = "2026-11-23T21:45:17.123456"
    header["OBSERVER"] = "O'Neill; Sons"
    made = io.BytesIO()
    if compressed:
        parts = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, header)])
        parts.writeto(made)
    else:
        fits.PrimaryHDU(pixels, header).writeto(made)
    return made.getvalue()


def read(file: bytes, suffix: str) -> np.ndarray:
    source = io.BytesIO(file)
    return tifffile.imread(source) if suffix == ".tiff" else netpbmfile.imread(source)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("pixels", "format", "suffix"),
    [
        (MOSAIC, Format.TIFF, ".tiff"),
        (MOSAIC, Format.PPM, ".pgm"),
        (COLOUR, Format.TIFF, ".tiff"),
        (COLOUR, Format.PPM, ".ppm"),
    ],
)
def test_every_pixel_survives(
    pixels: np.ndarray, format: Format, suffix: str, compressed: bool
) -> None:
    file, made = converted(fits_file(pixels, compressed=compressed), format)
    assert made == suffix
    picture = read(bytes(file), suffix)
    wanted = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, 2)
    assert (picture.dtype.kind, picture.dtype.itemsize, picture.shape) == ("u", 2, wanted.shape)
    assert np.array_equal(picture, wanted)
    assert files.batch_frame(file) == ("000007-20261123T214517-ab12", 3)


def test_8_bits_fill_16() -> None:
    pixels = np.array([[0, 1], [254, 255]], np.uint8)
    file, _ = converted(fits_file(pixels), Format.PPM)
    with netpbmfile.NetpbmFile(io.BytesIO(file)) as picture:
        assert (picture.maxval, picture.asarray().tolist()) == (65535, [[0, 257], [65278, 65535]])


def test_the_description_has_the_header() -> None:
    file, _ = converted(fits_file(MOSAIC), Format.TIFF)
    with tifffile.TiffFile(io.BytesIO(file)) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        cards = fits.Header.fromstring(page.description, sep="\n")
    assert (cards["BATCHNUM"], cards["OBSERVER"]) == (3, "O'Neill; Sons")


def test_fits_stays_as_it_came() -> None:
    file = fits_file(MOSAIC)
    assert converted(file, Format.FITS) == (file, ".fits")


@pytest.mark.parametrize("value", [-1.0, 65536.0, 0.5])
@pytest.mark.parametrize("format", [Format.TIFF, Format.PPM])
def test_what_16_bits_cannot_hold_is_refused(value: float, format: Format) -> None:
    with pytest.raises(Failure, match="16 bits cannot hold") as caught:
        converted(fits_file(np.full((4, 4), value, np.float32)), format)
    assert caught.value.exit_status == Exit.NOT_SAVED


@pytest.mark.parametrize("compressed", [False, True])
def test_batch_and_time_of_a_frame(compressed: bool) -> None:
    file = fits_file(MOSAIC, compressed=compressed)
    assert files.batch_frame(file) == ("000007-20261123T214517-ab12", 3)
    begun = files.date_obs(file)
    assert begun is not None and f"{begun:%H:%M:%S.%f %Z}" == "21:45:17.123456 UTC"
