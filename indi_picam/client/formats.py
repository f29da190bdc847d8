"""The kinds of files that `picam -o` writes: FITS as it came, TIFF and PPM of 16 bit.

TIFF is written by tifffile, with all cards of the FITS header in its description; PPM (PGM if it
has one plane) by netpbmfile, whose one short comment has room for the main ones. A mosaic stays one
plane, as the sensor gave it; pixels of 8 bits fill 16, so that viewers show them as bright.
"""

from __future__ import annotations

import importlib.util
import io
from enum import StrEnum
from typing import TYPE_CHECKING

from indi_picam.client.failure import Exit, Failure

if TYPE_CHECKING:
    import numpy as np
    from astropy.io import fits
    from numpy.typing import NDArray


class Format(StrEnum):
    """What kind of files to write."""

    FITS = "fits"
    TIFF = "tiff"
    PPM = "ppm"


_IN_COMMENTS = ("BATCHID", "BATCHNUM", "EXPTIME", "DATE-OBS")
_NEEDED: dict[Format, tuple[str, ...]] = {
    Format.FITS: (),
    Format.TIFF: ("astropy", "tifffile"),
    Format.PPM: ("astropy", "netpbmfile"),
}


def check(format: Format) -> None:
    """Raises Failure when what writes this kind of file is not installed."""
    for name in _NEEDED[format]:
        if importlib.util.find_spec(name) is None:
            raise Failure(
                Exit.USAGE,
                f"{name} is missing, which -o {format} needs: pip install 'indi_picam[client]'",
            )


def converted(file: bytes | bytearray, format: Format) -> tuple[bytes | bytearray, str]:
    """A whole FITS file in another format, and the suffix for its name.

    Raises:
        Failure: its pixels are not whole numbers from 0 to 65535.
    """
    if format is Format.FITS:
        return file, ".fits"
    pixels, header = _read(file)
    is_colour = pixels.ndim == 3
    made = io.BytesIO()
    if format is Format.TIFF:
        import tifffile

        tifffile.imwrite(
            made,
            pixels,
            photometric="rgb" if is_colour else "minisblack",
            description=_cards(header),
            metadata=None,
            software="indi_picam",
        )
        return made.getvalue(), ".tiff"
    import netpbmfile

    words = " ".join(f"{name}={header[name]!r}" for name in _IN_COMMENTS if name in header)
    netpbmfile.imwrite(made, pixels, maxval=65535, comment=words)
    return made.getvalue(), ".ppm" if is_colour else ".pgm"


def _cards(header: fits.Header) -> str:
    lines = (line.rstrip() for line in header.tostring(sep="\n").splitlines())
    return "\n".join(line for line in lines if line)


def _read(file: bytes | bytearray) -> tuple[NDArray[np.uint16], fits.Header]:
    """Pixels (height x width, or height x width x 3) and header of the picture in a FITS file."""
    import numpy as np
    from astropy.io import fits

    with fits.open(io.BytesIO(file)) as parts:
        part = next(part for part in parts if part.data is not None)
        pixels, header = np.asarray(part.data), part.header.copy()
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.dtype.itemsize == 1:
        pixels = pixels.astype(np.uint16) * 257
    is_whole = pixels.dtype.kind in "iu" or bool(np.all(pixels == np.trunc(pixels)))
    if pixels.ndim not in (2, 3) or not is_whole or pixels.min() < 0 or pixels.max() > 65535:
        raise Failure(
            Exit.NOT_SAVED,
            "This picture has values that 16 bits cannot hold: save it with -o fits.",
        )
    return np.ascontiguousarray(pixels.astype(np.uint16)), header
