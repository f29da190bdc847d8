"""The memory that frames are made in: made before they come, used again when nobody holds them.

To make, map and free the pages of a 12 MP frame takes longer than to write its pixels. What was
given out is used again only when all who had it have let it go (:mod:`indi_picam.holding`); what
any of them keeps, it keeps unchanged (decision 0015). In a run a thread makes new memory ahead; it
touches nothing else. Owned by the worker's :class:`.taking.FrameTaker`; knows no camera.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

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
# mmap.madvise keeps Python's lock all the while from the thread that takes frames.
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class FrameMemory:
    """A memfd whose pages are all there and mapped, and zero when it is new."""

    def __init__(self, size: int) -> None:
        """``size`` is in bytes, whole FITS blocks; raises CameraFault when there is no memory."""
        self.size = size
        self.descriptor = os.memfd_create("indi_picam frame", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(self.descriptor, 0, size)
            mapping = mmap.mmap(self.descriptor, size)
        except OSError as error:
            os.close(self.descriptor)
            raise CameraFault(
                f"There is not enough memory for a frame of {size >> 20} MB ({error.strerror});"
                " choose a smaller sensor mode or close other programs.",
                retry=False,
            ) from error
        self.bytes: NDArray[np.uint8] = np.frombuffer(mapping, np.uint8)
        # Their first touch can last ten times as long as to write pixels, on a virtual machine.
        if _madvise(self.bytes.ctypes.data, size, _MADV_POPULATE_WRITE):  # an older kernel
            self.bytes[:: mmap.PAGESIZE] = 0

    def give_out(self) -> int:
        """A description for others, which shows whether they hold it; the caller closes it."""
        return hold(self.descriptor)

    def close(self) -> None:
        """Frees it, unless others hold it."""
        del self.bytes
        os.close(self.descriptor)


class FrameMemories:
    """The memory of one camera's frames, all of one size."""

    def __init__(self) -> None:
        self._maker = ThreadPoolExecutor(1, "frame memory")
        self._size = 0
        self._prepared: Future[FrameMemory] | None = None
        """Made ahead. It may take longer than a short exposure: a third camera buffer bridges that.
        """
        self._kept: deque[FrameMemory] = deque()
        """What was given out last."""

    def prepare(self, size: int) -> None:
        """Has new memory made for the next frame, unless one that is kept will do."""
        self._only_of(size)
        if self._prepared is None and all(is_held(memory.descriptor) for memory in self._kept):
            while len(self._kept) > 1:  # whoever still has these will not let them go soon
                self._kept.popleft().close()
            self._prepared = self._maker.submit(FrameMemory, size)

    def reserve(self, size: int) -> FrameMemory:
        """A memory that nobody else has, its last block zero; raises CameraFault for none."""
        self._only_of(size)
        for memory in self._kept:
            if not is_held(memory.descriptor):
                self._kept.remove(memory)
                # The pixels of the next frame may end elsewhere in the last block.
                memory.bytes[-FITS_BLOCK:] = 0
                return memory
        made, self._prepared = self._prepared, None
        if made is not None:
            with suppress(CameraFault):  # there may be enough by now
                return made.result()
        return FrameMemory(size)

    def _only_of(self, size: int) -> None:
        if size != self._size:
            self.drop()
            self._size = size

    def keep(self, memory: FrameMemory) -> None:
        """Takes back the memory reserved last, whether it was given out, and is held, or not."""
        self._kept.append(memory)
        while len(self._kept) > max(1, min(KEPT, MOST_BYTES // memory.size)):
            self._kept.popleft().close()

    def drop(self) -> None:
        """Frees what is kept and prepared."""
        made, self._prepared = self._prepared, None
        if made is not None and not made.cancel():
            with suppress(CameraFault):
                made.result().close()
        while self._kept:
            self._kept.popleft().close()
