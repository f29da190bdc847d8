"""The kinds of files that `picam -o` writes: FITS as it came, TIFF and PPM of 16 bit.

TIFF is written by tifffile, PPM and PGM by netpbmfile; both put the FITS header's cards into the
file as text, TIFF in its description, PPM in its comment. A mosaic stays one plane, as the sensor
gave it.
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
    cards = [card for card in header.tostring(sep="\n").splitlines() if card.strip()]
    is_colour = pixels.ndim == 3
    made = io.BytesIO()
    if format is Format.TIFF:
        import tifffile

        tifffile.imwrite(
            made,
            pixels,
            photometric="rgb" if is_colour else "minisblack",
            description="\n".join(card.rstrip() for card in cards),
            metadata=None,
            software="indi_picam",
        )
        return made.getvalue(), ".tiff"
    import netpbmfile

    # The comment is one line.
    words = "; ".join(card.rstrip() for card in cards)
    netpbmfile.imwrite(made, pixels, maxval=65535, comment=words)
    return made.getvalue(), ".ppm" if is_colour else ".pgm"


def _read(file: bytes | bytearray) -> tuple[NDArray[np.uint16], fits.Header]:
    """Pixels (height x width, or height x width x 3) and header of the picture in a FITS file."""
    import numpy as np
    from astropy.io import fits

    with fits.open(io.BytesIO(file)) as parts:
        part = next(part for part in parts if part.data is not None)
        pixels, header = np.asarray(part.data), part.header.copy()
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        pixels = np.moveaxis(pixels, 0, 2)
    is_whole = pixels.dtype.kind in "iu" or bool(np.all(pixels == np.trunc(pixels)))
    if pixels.ndim not in (2, 3) or not is_whole or pixels.min() < 0 or pixels.max() > 65535:
        raise Failure(
            Exit.NOT_SAVED,
            "This picture has values that 16 bits cannot hold: save it with -o fits.",
        )
    return np.ascontiguousarray(pixels.astype(np.uint16)), header
