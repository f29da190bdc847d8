"""Where a user's files lie, and how a small one is replaced.

Knows nothing of what is in them; everybody may import it, as :mod:`.clock`.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's home; ``/`` for one without (a service may run as a bare number)."""
    if os.path.isabs(given := environment.get("HOME", "")):
        return Path(given)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir or "/")
    except KeyError:
        return Path("/")


def user_directory(variable: str, below_home: str) -> Path:
    """What an ``XDG_*_HOME`` names, else the place below the home that stands for it.

    A relative path there is to be ignored (XDG base directory specification).
    """
    given = os.environ.get(variable, "")
    return Path(given) if os.path.isabs(given) else home() / below_home


def sync_directory(directory: Path) -> None:
    """Has what was made, renamed or deleted in a directory outlast a power cut; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Has a file outlast a power cut under the name it has now; raises OSError.

    Lasts as long as whatever else is being written to the disk, which may be frames.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(Path(os.path.realpath(path)).parent)


def replace(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Writes beside, flushes to the disk, renames: readers see the old file or the new.

    Without flushing, :func:`sync` is to follow. Makes the directory if need be; a link stays one.
    Raises OSError, with the old file as it was.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(mode=0o775, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
