"""Who holds the memory of a frame: locks tell, across processes and without a word.

A frame is a memfd. Whoever was given one holds an open file description of it: as a descriptor, as
a mapping, or on its way through a socket. A lock (flock) stays on a description until the last of
these is gone, in whatever process. So a frame is handed on as a locked description, and its memory
is nobody's any more when the lock can be had. Imports nothing of ours; driver and worker use it.
"""

from __future__ import annotations

import fcntl
import os


def hold(memory: int) -> int:
    """A new read-only description of a memory, locked; raises OSError when there are too many."""
    held = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    keep_held(held)
    return held


def keep_held(description: int) -> None:
    """Locks a description that is there already, unless somebody is just asking for it.

    The lock is shared: the same frame may be in several hands.
    """
    try:
        fcntl.flock(description, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass


def is_held_by_others(description: int) -> bool:
    """Whether the memory has another description that is locked; ours is not locked afterwards."""
    try:
        fcntl.flock(description, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(description, fcntl.LOCK_UN)
    return False
