"""Who holds the memory of a frame: locks tell, across processes and without a word.

A frame is a memfd. Whoever was given one holds an open file description of it: as a descriptor, as
a mapping, or on its way through a socket. A lock of that description (F_OFD_SETLK, fcntl(2)) stays
until the last of these is gone, in whatever process. So a frame is handed on as a description with
a shared lock, and nobody has it any more when the exclusive lock can be had. Imports nothing of
ours; driver and worker use it.
"""

from __future__ import annotations

import fcntl
import os
import struct


def hold(memory: int) -> int:
    """A new read-only description of a memory, locked; raises OSError when there are too many."""
    held = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    _lock(held, fcntl.F_RDLCK)
    return held


def is_held(memory: int) -> bool:
    """Whether anybody holds a memory; asked with a writable descriptor, which holds nothing."""
    try:
        _lock(memory, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    _lock(memory, fcntl.F_UNLCK)
    return False


def _lock(description: int, kind: int) -> None:
    """Of all bytes; raises BlockingIOError when somebody else's lock forbids it."""
    # struct flock of 64-bit Linux: kind, whence, start, length (0: all), process (0 for these).
    everything = struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(description, fcntl.F_OFD_SETLK, everything)
