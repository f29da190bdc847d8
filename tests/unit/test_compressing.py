"""The compressing process: what it gives back belongs to what it was given."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest
from astropy.io import fits

from indi_picam.capture.compressing import Compressor


def picture(value: int) -> int:
    """A memory with a FITS file all of one value, scaled as a 12-bit sensor's."""
    memory = os.memfd_create("picture")
    with open(memory, "wb", closefd=False) as file:
        pixels = np.full((1000, 1000), value * 16, np.uint16)
        fits.PrimaryHDU(pixels).writeto(file)
    return memory


def value_of(memory: int) -> int:
    """The one value of a compressed picture, whose memory is closed."""
    with fits.open(f"/proc/self/fd/{memory}") as hdus:
        values = np.unique(hdus[1].data)
    os.close(memory)
    assert len(values) == 1
    return int(values[0]) // 16


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.02, 0.05, 0.2])
def test_what_nobody_waits_for_is_never_taken_for_the_next(after_s: float) -> None:
    async def run() -> list[int]:
        compressor = Compressor()
        first, second = picture(100), picture(200)
        got = [value_of((await compressor.compress(first))[0])]
        before = len(os.listdir("/proc/self/fd"))
        aborted = asyncio.create_task(compressor.compress(first))
        await asyncio.wait([aborted], timeout=after_s)
        aborted.cancel()
        got.append(value_of((await compressor.compress(second))[0]))
        if not aborted.cancelled() and aborted.done():
            os.close(aborted.result()[0])
        got.append(value_of((await compressor.compress(first))[0]))
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        await compressor.close()
        os.close(first)
        os.close(second)
        return got

    assert asyncio.run(run()) == [100, 200, 100]
