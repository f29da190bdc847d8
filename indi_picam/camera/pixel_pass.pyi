"""The one pass over a raw frame, compiled from pixel_pass.c."""

import numpy as np
from numpy.typing import NDArray

def store(
    raw: NDArray[np.uint8],
    offset: int,
    stride: int,
    word_bytes: int,
    shift: int,
    out: NDArray[np.uint8],
    width: int,
    height: int,
    bin_x: int,
    bin_y: int,
    /,
) -> int:
    """Writes ``height`` lines of ``width`` FITS pixels; returns their DATASUM.

    The first word of the region lies ``offset`` bytes into ``raw``, its rows ``stride`` bytes
    apart; words of 1 or 2 bytes are shifted left (negative: right) by up to 15 bits, and cells of
    ``bin_x`` x ``bin_y`` summed and clipped at 65535. Words that straddle the last pixel count as
    if zeros followed. The buffers must not overlap. Other threads run meanwhile. Raises ValueError,
    and writes nothing, when the region or the pixels do not fit the buffers.
    """
