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
_DATE_OBS = re.compile(rb"DATE-OBS= *'([^']+)'")
_BATCH = re.compile(rb"BATCHID *= *'([^']+)'")
_NUMBER = re.compile(rb"BATCHNUM *= *(\d+)")


def date_obs(fits: bytes | bytearray) -> datetime | None:
    """The start of the exposure in UTC (DATE-OBS) by a FITS file's header; None if not there."""
    match = _DATE_OBS.search(_header(fits))
    try:
        begun = match and datetime.fromisoformat(match[1].decode("ascii").strip())
    except ValueError:
        return None
    return begun.replace(tzinfo=UTC) if begun else None


def _header(fits: bytes | bytearray) -> bytes:
    """All cards up to END; of a compressed file those of the picture, too."""
    for position in range(0, min(len(fits), _HEADER_LIMIT), _CARD):
        if fits[position : position + 8] == b"END     ":
            block = -(-(position + _CARD) // 2880) * 2880
            extension = bytes(fits[block : block + _HEADER_LIMIT])
            is_compressed = extension.startswith(b"XTENSION= 'BINTABLE'")
            return bytes(fits[:position]) + (extension if is_compressed else b"")
    return bytes(fits[:_HEADER_LIMIT])


def batch_frame(file: bytes | bytearray) -> tuple[str, int] | None:
    """Id of the batch and number in it, by the header's cards in a file; None if not of a batch.

    Works for all formats that are written here, as all have the cards in them as text.
    """
    head = bytes(file[:_HEADER_LIMIT])
    batch, number = _BATCH.search(head), _NUMBER.search(head)
    return (batch[1].decode("ascii").strip(), int(number[1])) if batch and number else None


def frames_here(directory: Path, base: str, batch: str) -> dict[int, int]:
    """The numbers of a batch's frames that are saved in a directory, and those of their files."""
    here = {}
    for number, path in _numbered(directory, base):
        with path.open("rb") as file:
            known = batch_frame(file.read(_HEADER_LIMIT))
        if known is not None and known[0] == batch:
            here[known[1]] = number
    return here


def next_number(directory: Path, base: str) -> int:
    """The number of the next file."""
    return max((number for number, _path in _numbered(directory, base)), default=0) + 1


def _numbered(directory: Path, base: str) -> list[tuple[int, Path]]:
    pattern = re.compile(re.escape(base) + r"(\d{5,})_\d{4}-\d\d-\d\d_")
    matches = ((pattern.match(path.name), path) for path in directory.iterdir())
    return [(int(match[1]), path) for match, path in matches if match]


def prepare(directory: Path) -> None:
    """Makes the directory if need be, proves that it can be written to, and cleans up in it.

    Raises:
        Failure: it cannot.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        for part in directory.glob(".*-*.part"):  # of a picam that was killed while it wrote
            writer = part.stem.rpartition("-")[2]
            # We write nothing yet: what has our own id is of another container's life.
            is_ours = writer == str(os.getpid())
            if is_ours or (writer.isdecimal() and not Path(f"/proc/{writer}").exists()):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise _not_saved(directory, error) from error


def check_room(directory: Path, frame_bytes: int, count: int = 1) -> None:
    """Raises Failure when there is no room for so many frames, before one is exposed in vain."""
    free = shutil.disk_usage(directory).free
    if free < count * frame_bytes:
        need = "a frame needs" if count == 1 else f"{count} frames need"
        raise Failure(
            Exit.NOT_SAVED,
            f"The disk is full: {need} {count * frame_bytes / 1e6:.1f} MB and {directory} has "
            f"{free / 1e6:.1f} MB left.",
        )


def save(
    directory: Path,
    base: str,
    frame: bytes | bytearray,
    begun: datetime,
    suffix: str,
    number: int | None = None,
) -> Path:
    """Writes a frame beside its place and moves it there; returns where that is.

    It has that number if no other file has, else the next. When it returns, the disk has it all.

    Raises:
        Failure: it could not be written; nothing is left of it then.
    """
    beside = directory / f".{base}-{os.getpid()}.part"
    try:
        with open(beside, "xb") as file:
            file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        place = _move(beside, directory, base, begun, suffix, number)
        _sync(directory)
    except OSError as error:
        raise _not_saved(directory, error) from error
    finally:
        beside.unlink(missing_ok=True)
    return place


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(
    beside: Path, directory: Path, base: str, begun: datetime, suffix: str, number: int | None
) -> Path:
    if number is None or number in dict(_numbered(directory, base)):
        number = next_number(directory, base)
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


def _not_saved(directory: Path, error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            Exit.NOT_SAVED, f"The disk is full: the frame could not be saved in {directory}."
        )
    return Failure(
        Exit.NOT_SAVED, f"The frame cannot be saved in {directory}: {error.strerror or error}."
    )
