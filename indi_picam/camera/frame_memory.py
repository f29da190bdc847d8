"""The memory that frames are made in: used again when nobody holds it, made anew otherwise.

To make, map and free the pages of a 12 MP frame takes longer than to write its pixels. What was
given out is used again only when all who had it have let it go (:mod:`indi_picam.holding`); what
any of them keeps, it keeps unchanged (decision 0015). Owned by the worker's
:class:`.taking.FrameTaker`; knows no camera.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections import deque

import numpy as np
from numpy.typing import NDArray

from indi_picam.camera.modes import FITS_BLOCK, CameraFault
from indi_picam.holding import hold, is_held

KEPT = 2
"""Local clients of libindi keep a picture until the next has come: two take turns."""
MOST_BYTES = 64_000_000
"""Of those kept; one is, however large it is."""
_MADV_POPULATE_WRITE = 23
"""madvise(2), Linux 5.14; one fault for each of 6,000 pages takes three times as long."""
# mmap.madvise keeps Python's lock all the while from picamera2's threads.
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class FrameMemory:
    """A memfd that there is room for; all zero when it is new.

    Pixels are written into its mapping when it has one. Where it would serve a single frame,
    :meth:`write` costs less: pages that are written as wholes need neither be zeroed nor mapped.
    """

    def __init__(self, size: int) -> None:
        """``size`` is in bytes, whole FITS blocks; raises CameraFault when there is no memory."""
        self.size = size
        self._bytes: NDArray[np.uint8] | None = None
        self.descriptor = os.memfd_create("indi_picam frame", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(self.descriptor, 0, size)
        except OSError as error:
            os.close(self.descriptor)
            raise self._shortage(error) from error

    @property
    def is_mapped(self) -> bool:
        """Whether it can be written into without further ado."""
        return self._bytes is not None

    def map(self) -> NDArray[np.uint8]:
        """Its bytes, with all pages there; raises CameraFault when it cannot be mapped."""
        if self._bytes is None:
            try:
                mapping = mmap.mmap(self.descriptor, self.size)
            except OSError as error:
                raise self._shortage(error) from error
            self._bytes = np.frombuffer(mapping, np.uint8)
            address = self._bytes.ctypes.data
            if _madvise(address, self.size, _MADV_POPULATE_WRITE):  # an older kernel
                self._bytes[:: mmap.PAGESIZE] = 0
        return self._bytes

    def write(self, some: NDArray[np.uint8], at: int) -> None:
        """Writes bytes at a place, past the mapping; raises CameraFault when memory is short."""
        try:
            written = os.pwrite(self.descriptor, some.data, at)
        except OSError as error:
            raise self._shortage(error) from error
        if written < some.nbytes:
            raise self._shortage(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))

    def _shortage(self, error: OSError) -> CameraFault:
        return CameraFault(
            f"There is not enough memory for a frame of {self.size >> 20} MB ({error.strerror});"
            " choose a smaller sensor mode or close other programs.",
            retry=False,
        )

    def give_out(self) -> int:
        """A description for others, which shows whether they hold it; the caller closes it."""
        return hold(self.descriptor)

    def close(self) -> None:
        """Frees it, unless others hold it."""
        self._bytes = None
        os.close(self.descriptor)


class FrameMemories:
    """The memory of one camera's frames, all of one size."""

    def __init__(self) -> None:
        self._size = 0
        self._kept: deque[FrameMemory] = deque()
        """What was given out last."""

    def reserve(self, size: int) -> FrameMemory:
        """A memory that nobody else has, its last block zero; raises CameraFault for none.

        One that is used again is mapped.
        """
        if size != self._size:
            self.drop()
            self._size = size
        for memory in self._kept:
            if not is_held(memory.descriptor):
                # The pixels of the next frame may end elsewhere in the last block.
                memory.map()[-FITS_BLOCK:] = 0
                self._kept.remove(memory)
                return memory
        while len(self._kept) > 1:  # whoever still has these will not let them go soon
            self._kept.popleft().close()
        return FrameMemory(size)

    def keep(self, memory: FrameMemory) -> None:
        """Takes back the memory reserved last, whether it was given out, and is held, or not."""
        self._kept.append(memory)
        while len(self._kept) > max(1, min(KEPT, MOST_BYTES // memory.size)):
            self._kept.popleft().close()

    def drop(self) -> None:
        """Frees what is kept."""
        while self._kept:
            self._kept.popleft().close()
