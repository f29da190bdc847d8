"""The files that frames end up in: their names, and writing them whole or not at all.

``astroimage00001_2026-11-23_21-45-17.fits``: a base name, a number that goes on from the highest
there, and the start of the exposure in UTC. Nothing is ever overwritten, and nothing half-written
is left behind. Knows no INDI.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from indi_picam.client.failure import Exit, Failure

_CARD = 80
_HEADER_LIMIT = 100 * 2880


def date_obs(fits: bytes | bytearray) -> datetime | None:
    """The start of the exposure in UTC (DATE-OBS) by a FITS file's header; None if not there."""
    for position in range(0, min(len(fits), _HEADER_LIMIT), _CARD):
        card = bytes(fits[position : position + _CARD])
        if card.startswith(b"END     "):
            break
        match = re.match(rb"DATE-OBS= *'([^']+)'", card)
        if match:
            try:
                return datetime.fromisoformat(match[1].decode("ascii").strip()).replace(tzinfo=UTC)
            except ValueError:
                return None
    return None


def prepare(directory: Path) -> None:
    """Makes the directory if need be, and proves that it can be written to.

    Raises:
        Failure: it cannot.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _not_saved(directory, error) from error


def check_room(directory: Path, frame_bytes: int) -> None:
    """Raises Failure when there is no room for a frame, before an exposure is wasted on it."""
    free = shutil.disk_usage(directory).free
    if free < frame_bytes:
        raise Failure(
            Exit.NOT_SAVED,
            f"The disk is full: a frame needs {frame_bytes / 1e6:.1f} MB and {directory} has "
            f"{free / 1e6:.1f} MB left.",
        )


def save(
    directory: Path, base: str, frame: bytes | bytearray, begun: datetime, suffix: str
) -> Path:
    """Writes a frame beside its place and moves it there; returns where that is.

    Raises:
        Failure: it could not be written; nothing is left of it then.
    """
    beside = directory / f".{base}-{os.getpid()}.part"
    try:
        with open(beside, "xb") as file:
            file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        return _move_to_next_number(beside, directory, base, begun, suffix)
    except OSError as error:
        raise _not_saved(directory, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _move_to_next_number(
    beside: Path, directory: Path, base: str, begun: datetime, suffix: str
) -> Path:
    number = _highest_number(directory, base) + 1
    while True:
        place = directory / f"{base}{number:05d}_{begun:%Y-%m-%d_%H-%M-%S}{suffix}"
        try:
            os.link(beside, place)  # unlike a rename, refuses to replace what is there
        except FileExistsError:
            number += 1
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            if place.exists():  # no links on FAT, as on USB sticks
                number += 1
                continue
            beside.rename(place)
            return place
        else:
            return place


def _highest_number(directory: Path, base: str) -> int:
    numbered = re.compile(re.escape(base) + r"(\d{5,})_\d{4}-\d\d-\d\d_")
    matches = (numbered.match(name) for name in os.listdir(directory))
    return max((int(match[1]) for match in matches if match), default=0)


def _not_saved(directory: Path, error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            Exit.NOT_SAVED, f"The disk is full: the frame could not be saved in {directory}."
        )
    return Failure(
        Exit.NOT_SAVED, f"The frame cannot be saved in {directory}: {error.strerror or error}."
    )
