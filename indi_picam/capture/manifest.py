"""One batch on disk: a directory with its frames as FITS files, and a manifest beside them.

    line of the manifest (JSON)                        meaning
    {"manifest": 1, "batch": "...", "asked": {...}}    the first
    {"taken": 3, "size": ..., "crc32": ..., ...}       000003.fits is whole and on the disk
    {"delivered": [3]}                                 it was handed to the server
    {"acknowledged": [3]}                              a client has it safely on its own disk
    {"discarded": [3]}                                 its file is deleted, or about to be
    {"discarded": "all"}                               the batch is deleted, or about to be
    {"ended": "complete"}                              nothing more is taken; null: it goes on

The manifest is only added to. A frame is written beside its place, synced, renamed, and noted last,
so that a power cut or a kill costs the frame being written and nothing else: a line without its end
is cut off, a file without its line is taken up again. A manifest with unreadable lines is put aside
and written anew from the readable ones; one of a newer version is left alone. Neither costs a file.

Everything here blocks: the store calls it in a thread. Raises OSError.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indi_picam.files import replace, sync_directory

VERSION = 1
NAME = "manifest.jsonl"
ASIDE = "manifest.damaged"
_FRAME = re.compile(r"(\d{6,})\.fits")
_PART = re.compile(rf"\.\d{{6,}}\.fits\.part|{re.escape(NAME)}\.\d+\.new")
_OURS = re.compile(rf"{_FRAME.pattern}|{_PART.pattern}|{re.escape(NAME)}|{ASIDE}(\.\d+)?")
_PIECE_BYTES = 1 << 20

Entry = Mapping[str, Any]
"""A line of the manifest."""


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """A frame on disk."""

    number: int
    size: int
    crc32: int | None
    """Of the whole file; None where no line of the manifest tells it."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class BatchRecord:
    """A batch as its directory shows it."""

    id: str
    asked: Mapping[str, Any] = field(default_factory=dict)
    frames: dict[int, FrameRecord] = field(default_factory=dict)
    """Whose files are there."""
    delivered: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    discarded: set[int] = field(default_factory=set)
    all_discarded: bool = False
    ended: str | None = None
    newer: bool = False
    """Written by a later version of this program: it may be read and deleted, not added to."""


def frame_path(folder: Path, number: int) -> Path:
    """The file of a frame."""
    return folder / f"{number:06d}.fits"


def create(folder: Path, asked: Mapping[str, Any]) -> None:
    """Makes the directory of a new batch, with the first line of its manifest.

    After an OSError it may be called again: it goes on where it failed.
    """
    folder.mkdir(mode=0o755, exist_ok=True)
    manifest = folder / NAME
    if not manifest.exists() or not manifest.stat().st_size:
        append(folder, [_head(folder.name, asked)])
    sync_directory(folder)
    sync_directory(folder.parent)


def append(folder: Path, entries: Iterable[Entry]) -> None:
    """Adds lines, all or none, and waits until they are on the disk."""
    text = _lines(entries)
    manifest = os.open(folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        before = os.fstat(manifest).st_size
        try:
            _write_all(manifest, memoryview(text))
        except OSError:
            os.ftruncate(manifest, before)  # half a line would spoil the next
            raise
        os.fdatasync(manifest)
    finally:
        os.close(manifest)


def write_frame(
    folder: Path,
    number: int,
    memory: int,
    size: int,
    facts: Mapping[str, Any],
    entries: Iterable[Entry] = (),
) -> FrameRecord:
    """Writes a finished file from memory to the disk; the frame is safe when this returns.

    ``entries`` go into the manifest with it, which saves the disk a sync each. One pass copies and
    sums: CPU as with sendfile and a second pass (16 ms for 24.7 MB), and what is summed is what was
    written.
    """
    path = frame_path(folder, number)
    beside = folder / f".{path.name}.part"
    try:
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            crc32 = _copy(memory, file, size)
            os.fsync(file)
        finally:
            os.close(file)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(folder)
    record = FrameRecord(number, size, crc32, facts)
    append(folder, [*entries, _taken(record)])
    return record


def check_frame(file: int, record: FrameRecord) -> bool:
    """Whether an open file is still what was written; so it is also read into the page cache."""
    if os.fstat(file).st_size != record.size:
        return False
    return record.crc32 in (None, _copy(file, None, record.size))


def read(folder: Path) -> tuple[BatchRecord | None, list[str]]:
    """What a batch's directory holds, with sentences for the user about what is wrong in it.

    Cleans up after a kill where it may write: parts are removed, a deletion is ended. None when
    nothing is left of the batch.
    """
    record = BatchRecord(folder.name)
    taken, damaged, torn = _read_manifest(folder, record)
    files = _files(folder)
    sentences = []
    if record.newer:
        sentences.append(
            f"Batch {record.id} in {folder} was written by a newer version: its "
            f"{len(files)} frames are offered, its manifest is left as it is."
        )
    elif record.all_discarded or (
        not (taken or files or record.acknowledged or damaged)
        # One that was cut off before its first frame can still be taken.
        and (record.ended is not None or not record.asked)
    ):
        with suppress(OSError):  # on a read-only disk: told when the directory was taken
            delete_batch(folder)
        return None, []
    for number, size in files.items():
        if number in record.discarded:
            continue
        known = taken.get(number, FrameRecord(number, size, None))
        if known.size != size:
            sentences.append(
                f"Frame {number} of batch {record.id} is damaged: {frame_path(folder, number)} "
                f"has {size} bytes, not {known.size}. It is left there, but not delivered."
            )
            continue
        record.frames[number] = known
    gone = sorted(set(taken) - set(files) - record.discarded)
    if gone:
        numbers = ", ".join(map(str, gone))
        sentences.append(f"Frame {numbers} of batch {record.id} is gone from {folder}.")
    if damaged:
        sentences.append(
            f"The manifest of batch {record.id} is damaged or gone: its {len(record.frames)} "
            f"frames are offered; what is left of it is kept in {folder}."
        )
    if not record.newer:
        with suppress(OSError):
            _clean_up(folder, record, taken, damaged=damaged, torn=torn)
    return record, sentences


def delete_frames(folder: Path, numbers: Iterable[int]) -> None:
    """Deletes frames; noted first, so that none counts as lost after a kill."""
    numbers = list(numbers)
    append(folder, [{"discarded": numbers}])
    for number in numbers:
        frame_path(folder, number).unlink(missing_ok=True)


def delete_batch(folder: Path) -> None:
    """Deletes a batch with its directory, unless somebody has put files of his own in it."""
    if (folder / NAME).exists():
        append(folder, [{"discarded": "all"}])
    names = [name for name in os.listdir(folder) if _OURS.fullmatch(name)]
    for name in sorted(names, key=lambda name: name == NAME):
        (folder / name).unlink(missing_ok=True)
    if not os.listdir(folder):
        folder.rmdir()
        sync_directory(folder.parent)


# -- reading ---------------------------------------------------------------------------------------


def _read_manifest(folder: Path, record: BatchRecord) -> tuple[dict[int, FrameRecord], int, bool]:
    """The frames noted, the number of unreadable lines, and whether the last is not whole."""
    taken: dict[int, FrameRecord] = {}
    try:
        *lines, rest = (folder / NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        # Killed before its first line when there are no frames either; else somebody took it away.
        return taken, int(bool(_files(folder))), True
    damaged = int(not lines and bool(_files(folder)))
    for position, line in enumerate(lines):
        try:
            entry = json.loads(line)
            if position == 0:
                record.newer = entry["manifest"] > VERSION
                if record.newer:
                    return {}, 0, False
                record.asked = dict(entry["asked"])
            else:
                _apply(entry, record, taken)
        except (ValueError, TypeError, KeyError, AttributeError):
            damaged += 1
    return taken, damaged, bool(rest) or not lines


def _apply(entry: Any, record: BatchRecord, taken: dict[int, FrameRecord]) -> None:
    match entry:
        case {"taken": int(number), "size": int(size), "crc32": int() | None as crc32}:
            taken[number] = FrameRecord(number, size, crc32, dict(entry.get("facts", {})))
        case {"delivered": list(numbers)}:
            record.delivered |= _numbers(numbers)
        case {"acknowledged": list(numbers)}:
            record.acknowledged |= _numbers(numbers)
        case {"discarded": "all"}:
            record.all_discarded = True
        case {"discarded": list(numbers)}:
            record.discarded |= _numbers(numbers)
        case {"ended": str() | None as how}:
            record.ended = how
        case _:
            raise ValueError


def _numbers(numbers: list[Any]) -> set[int]:
    return {int(number) for number in numbers}


def _files(folder: Path) -> dict[int, int]:
    """Sizes of the frames whose files are there; an empty file is none."""
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = _FRAME.fullmatch(entry.name)
            if name and entry.is_file(follow_symlinks=False) and (size := entry.stat().st_size):
                found[int(name[1])] = size
    return dict(sorted(found.items()))


def _clean_up(
    folder: Path,
    record: BatchRecord,
    taken: Mapping[int, FrameRecord],
    *,
    damaged: int,
    torn: bool,
) -> None:
    """Ends what a kill cut off."""
    for name in os.listdir(folder):
        if _PART.fullmatch(name):
            (folder / name).unlink()
    for number in record.discarded:
        frame_path(folder, number).unlink(missing_ok=True)
    if damaged:
        used = sum(name.startswith(ASIDE) for name in os.listdir(folder))
        with suppress(FileNotFoundError):
            aside = folder / (f"{ASIDE}.{used}" if used else ASIDE)
            aside.write_bytes((folder / NAME).read_bytes())
    if damaged or torn:
        _write_anew(folder, record, {**taken, **record.frames})
        return
    unknown = [record.frames[number] for number in record.frames.keys() - taken.keys()]
    if unknown:
        append(folder, map(_taken, unknown))


def _write_anew(folder: Path, record: BatchRecord, taken: Mapping[int, FrameRecord]) -> None:
    """Replaces a manifest by what was readable of it."""
    entries: list[Entry] = [_head(record.id, record.asked)]
    entries += map(_taken, taken.values())
    for name in ("delivered", "acknowledged", "discarded"):
        numbers: set[int] = getattr(record, name)
        if numbers:
            entries.append({name: sorted(numbers)})
    entries.append({"ended": record.ended})
    replace(folder / NAME, _lines(entries))
    sync_directory(folder)


# -- writing ---------------------------------------------------------------------------------------


def _head(batch: str, asked: Mapping[str, Any]) -> Entry:
    return {"manifest": VERSION, "batch": batch, "asked": asked}


def _taken(record: FrameRecord) -> Entry:
    return {
        "taken": record.number,
        "size": record.size,
        "crc32": record.crc32,
        "facts": record.facts,
    }


def _lines(entries: Iterable[Entry]) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _copy(source: int, target: int | None, size: int) -> int:
    """Copies a file's first bytes, if there is a target, and returns their CRC-32."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    done = crc32 = 0
    while done < size:
        count = os.preadv(source, [buffer[: min(_PIECE_BYTES, size - done)]], done)
        if not count:
            raise OSError(0, f"the file ends after {done} of {size} bytes")
        crc32 = zlib.crc32(buffer[:count], crc32)
        if target is not None:
            _write_all(target, buffer[:count])
        done += count
    return crc32
