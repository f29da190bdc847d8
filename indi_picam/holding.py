"""Who holds the memory of a frame: locks tell, across processes and without a word.

A frame is a memfd. Whoever was given one holds an open file description of it: as a descriptor, as
a mapping, or on its way through a socket. A lock of that description (F_OFD_SETLK, fcntl(2)) stays
until the last of these is gone, in whatever process. So a frame is handed on as a description with
a shared lock, and nobody has it any more when an exclusive one could be had. Imports nothing of
ours; driver and worker use it.
"""

from __future__ import annotations

import fcntl
import os
import struct

_EVERYTHING = "hhqqi4x"
"""struct flock of 64-bit Linux: kind, whence, start, length (0: all), process (0 for these)."""


def hold(memory: int) -> int:
    """A new read-only description of a memory, locked; raises OSError when there are too many.

    Duplicates hold as it does (``os.dup``, sent to another process); what is opened anew does not.
    """
    held = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lock = struct.pack(_EVERYTHING, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, lock)
    except BaseException:
        os.close(held)
        raise
    return held


def is_held(memory: int) -> bool:
    """Whether anybody but the description asked with, which locks nothing, holds a memory."""
    wanted = struct.pack(_EVERYTHING, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    in_the_way = fcntl.fcntl(memory, fcntl.F_OFD_GETLK, wanted)
    return bool(struct.unpack(_EVERYTHING, in_the_way)[0] != fcntl.F_UNLCK)
