"""Where a user's files lie, and how a small one is replaced.

Knows nothing of what is in them; everybody may import it, as :mod:`.clock`.
"""

from __future__ import annotations

import os
import pwd
import threading
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


def replace(path: Path, content: bytes) -> None:
    """Writes beside, flushes to the disk, renames: readers see the old file or the new.

    Makes the directory if need be; a link stays one. Raises OSError, with the old file as it was.
    """
    path = Path(os.path.realpath(path))
    beside = _write_beside(path, content, flush=True)
    try:
        os.replace(beside, path)
    except OSError:
        beside.unlink()
        raise


def replace_at_once(path: Path, content: bytes) -> None:
    """Writes beside and takes the old text's place; to flush it is left to :func:`settle`.

    Renaming over a file has ext4 write the new one out (its option auto_da_alloc), which beside
    frames takes 10 ms and more. So the old one steps aside until the new one is on the disk: where
    the power went in between, :func:`read` finds it (decisions/0017). Others who read the file may
    for a moment find none. Raises OSError, with the old file as it was.
    """
    path = Path(os.path.realpath(path))
    beside, aside = _write_beside(path, content, flush=False), _aside(path)
    with _NAMES:
        # What has the name while one is aside may not be on the disk yet: nothing to fall back on.
        steps_aside = path.is_file() and not aside.exists()
        try:
            if steps_aside:
                os.replace(path, aside)
            os.replace(beside, path)
        except OSError:
            if steps_aside and not path.exists():
                os.replace(aside, path)
            beside.unlink()
            raise


def settle(path: Path) -> None:
    """Has what :func:`replace_at_once` wrote outlast a power cut; raises OSError.

    Lasts as long as whatever else is being written to the disk, which may be frames.
    """
    path = Path(os.path.realpath(path))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        sync_directory(path.parent)
        with _NAMES:
            is_there_still = os.path.samestat(os.fstat(file.fileno()), path.stat())
            if is_there_still and not _lost(path):
                _aside(path).unlink(missing_ok=True)


def read(path: Path, most: int) -> bytes:
    """Up to ``most`` bytes of what :func:`replace_at_once` left here; raises OSError."""
    path = Path(os.path.realpath(path))
    aside = _aside(path)
    with _NAMES, (aside if aside.exists() and _lost(path) else path).open("rb") as file:
        return file.read(most)


def delete(path: Path) -> None:
    """Deletes whatever :func:`read` would find; raises OSError when that is nothing."""
    with _NAMES:
        try:
            _aside(Path(os.path.realpath(path))).unlink()
        except FileNotFoundError:
            path.unlink()
        else:
            path.unlink(missing_ok=True)


_NAMES = threading.Lock()
"""Held for as long as files change their names, never for as long as one is flushed."""


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".aside")


def _lost(path: Path) -> bool:
    """Whether there is no file, or one whose text a power cut kept from the disk."""
    try:
        content = path.read_bytes()
    except OSError:
        return True
    return not content or b"\0" in content


def _write_beside(path: Path, content: bytes, *, flush: bool) -> Path:
    path.parent.mkdir(mode=0o775, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            if flush:
                os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    return beside
