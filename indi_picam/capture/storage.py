"""Where the frames of a batch can be kept: free memory, free disk, and the choice between them.

    wish     fits in memory    fits on disk    the batch is kept
    AUTO     yes               -               in memory
    AUTO     no                yes             on disk
    MEMORY   yes               -               in memory
    DISK     -                 yes             on disk
    else                                       nowhere: StoreFault with the numbers

Each frame in memory also needs a descriptor, of which a process has only so many: many small frames
are limited by these. Free is what may be used: a reserve of memory for camera, worker and server,
of descriptors for all else, and of the disk for the system, is taken off already. Knows no batch;
called by the store.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import re
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from indi_picam.files import user_directory

MEMORY_RESERVE_BYTES = 128 << 20
MEMORY_RESERVE_SHARE = 0.1
"""Of all memory; the larger holds. For the frames in the making, the worker's and the server's."""
DISK_RESERVE_BYTES = 1_000_000_000
DISK_RESERVE_SHARE = 0.05
DESCRIPTOR_RESERVE = 128
"""For frames on their way, workers, the server, and the files of the moment."""
_OPEN = "/proc/self/fd"
_MEMINFO = re.compile(rb"^(MemTotal|MemAvailable|CmaFree): +(\d+) kB$", re.MULTILINE)


class StoreFault(Exception):
    """Frames cannot be kept, or given out; the text is a sentence that says what to do."""


class Wish(StrEnum):
    """Where the user wants a batch to be kept."""

    AUTO = "auto"
    MEMORY = "memory"
    DISK = "disk"


class Where(StrEnum):
    """Where a batch is kept."""

    MEMORY = "memory"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class StoragePlan:
    """Where a batch will be kept, and why, in a sentence for the user."""

    where: Where
    reason: str


def size_text(size: int) -> str:
    """A number of bytes as people read it: ``24.7 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * factor:
            figure = size / factor
            return f"{figure:.0f} {unit}" if figure >= 999.5 else f"{figure:.3g} {unit}"
    return f"{size} bytes"


def plan_storage(
    count: int,
    frame_bytes: int,
    free_memory: int,
    free_descriptors: int,
    free_disk: int,
    wish: Wish,
) -> StoragePlan:
    """Chooses where a batch of so many frames of that size is kept; free are bytes and a number.

    Raises StoreFault with the numbers when it fits nowhere that the wish allows.
    """
    if count < 1 or frame_bytes < 1:
        raise StoreFault(f"A batch of {count} frames cannot be taken: ask for 1 or more.")
    frames = "1 frame" if count == 1 else f"{count} frames"
    needed = f"{frames} of {size_text(frame_bytes)} need {size_text(count * frame_bytes)}"
    in_memory, on_disk = free_memory // frame_bytes, free_disk // frame_bytes
    memory = f"{size_text(free_memory)} of memory are free"
    if free_descriptors < in_memory:
        in_memory, memory = free_descriptors, f"{free_descriptors} file descriptors are free"
    disk = f"{size_text(free_disk)} of disk are free"
    if wish is not Wish.DISK and count <= in_memory:
        lost = "What is not delivered is lost if the driver ends."
        return StoragePlan(Where.MEMORY, f"Kept in memory: {needed}, and {memory}. {lost}")
    if wish is Wish.MEMORY:
        other = "storage AUTO or DISK" if count <= on_disk else "smaller ones, or deliver them LIVE"
        raise StoreFault(
            f"The batch does not fit in memory: {needed}, but {memory}. "
            f"Take at most {in_memory} frames, or choose {other}."
        )
    if count <= on_disk:
        why = "as was asked for" if wish is Wish.DISK else f"as only {memory}"
        return StoragePlan(Where.DISK, f"Kept on disk, {why}: {needed}, and {disk}.")
    free, most = (disk, on_disk)
    if wish is Wish.AUTO:
        free, most = f"{memory} and {disk}", max(in_memory, on_disk)
    raise StoreFault(
        f"The batch fits nowhere: {needed}, but {free}. "
        f"Take at most {most} frames, discard old batches, or choose a larger disk."
    )


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that frames may take now.

    What the kernel calls available less CmaFree, which the camera's own buffers need, and less the
    reserve.
    """
    with open(meminfo, "rb") as file:
        size = {name: int(kilobytes) << 10 for name, kilobytes in _MEMINFO.findall(file.read())}
    available = size[b"MemAvailable"] - size.get(b"CmaFree", 0)
    reserve = max(MEMORY_RESERVE_BYTES, int(MEMORY_RESERVE_SHARE * size[b"MemTotal"]))
    return max(0, available - reserve)


def raise_descriptor_limit() -> None:
    """Lets this process have as many descriptors as the system allows: one for each frame."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # no limit at all is not always granted
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_descriptors() -> int:
    """How many more frames may be in memory as far as descriptors go."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    # Linux 6.2 and later tell the number as the size; before, it is 0.
    used = os.stat(_OPEN).st_size or len(os.listdir(_OPEN))
    return max(0, limit - used - DESCRIPTOR_RESERVE)


def free_disk(directory: Path) -> int:
    """Bytes that frames may take on the disk of a directory: 1 GB or 5 % of it stays free."""
    disk = os.statvfs(directory)
    reserve = max(DISK_RESERVE_BYTES, int(DISK_RESERVE_SHARE * disk.f_blocks * disk.f_frsize))
    return max(0, disk.f_bavail * disk.f_frsize - reserve)


def share_a_disk(one: Path, other: Path) -> bool:
    """Whether two directories lie in one file system; False when one is not there."""
    try:
        return os.stat(one).st_dev == os.stat(other).st_dev
    except OSError:
        return False


def default_directory() -> Path:
    """Where batches are kept unless told otherwise: ``~/.local/share/indi_picam``."""
    return user_directory("XDG_DATA_HOME", ".local/share") / "indi_picam"


def take_directory(path: Path) -> tuple[int, StoreFault | None]:
    """Makes a directory ours until the descriptor that is returned is closed.

    Beside it a fault when nothing can be written there: what lies in it can still be read. Raises
    StoreFault when it cannot even be used for that: a link, another's, no directory, in use.
    """
    choose = "choose another directory"
    if not path.is_absolute():
        raise StoreFault(f"The directory {path} is refused: give a whole path, from / on.")
    try:
        if path.is_symlink():
            real = os.readlink(path)
            raise StoreFault(f"{path} is a link to {real}: name that directory itself.")
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as fault:
        raise StoreFault(f"{path} cannot be used, {_why(fault)}: {choose}.") from None
    try:
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            raise StoreFault(
                f"{path} belongs to {_user(owner)}, not to {_user(os.geteuid())}, who runs the "
                f"driver: {choose}, or give it away with chown."
            )
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreFault(f"{path} is in use by another driver: {choose}.") from None
    except StoreFault:
        os.close(descriptor)
        raise
    except OSError:
        pass  # a file system without locks
    return descriptor, writing_fault(path)


def writing_fault(path: Path) -> StoreFault | None:
    """Why nothing can be written in a directory; found out by writing a few bytes."""
    import tempfile  # 10 ms that the start of the driver is spared

    try:
        with tempfile.NamedTemporaryFile(prefix=".indi_picam-", dir=path) as trial:
            trial.write(b"x" * 4096)
    except OSError as fault:
        return StoreFault(
            f"Nothing can be written in {path}, {_why(fault)}: mend that, or choose another "
            "directory."
        )
    return None


def _why(fault: OSError) -> str:
    return {
        errno.EROFS: "its disk is read-only",
        errno.ENOSPC: "its disk is full",
        errno.EDQUOT: "the user's quota is used up",
        errno.EACCES: "the driver's user may not write there",
        errno.EPERM: "the driver's user may not write there",
        errno.EEXIST: "it is no directory",
        errno.ENOTDIR: "it is no directory, or lies in none",
        errno.EIO: "its disk reports errors",
    }.get(fault.errno or 0, fault.strerror or str(fault))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def write_fault(path: Path, fault: OSError) -> StoreFault:
    """What to tell when writing in a directory failed."""
    return StoreFault(f"Nothing can be written in {path}, {_why(fault)}.")
