"""The books of the store: which batch has which frames, where they are and what became of them.

    a frame is   meaning                                              leaves to
    in memory    a memfd, and nothing else                            on disk, gone
    on disk      a finished file, synced; its memfd is closed         gone
    gone         acknowledged or discarded, its memory or file freed

Beside that a frame may be delivering (somebody holds an open descriptor to send it), delivered,
acknowledged. What is counted is counted as it changes: a frame costs the same in a batch of ten and
of 100000. Plain values without a disk or a loop; only the store changes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indi_picam.capture.manifest import BatchRecord, Entry, FrameRecord
from indi_picam.capture.storage import Where

_ON_THE_WAY = 4
"""Frames of a batch on disk that may be in memory at a time while the disk keeps up."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a batch is, in numbers of frames; asked for after each of them."""

    id: str
    where: Where
    count: int
    """Asked for; 0 if a damaged manifest does not tell it."""
    ended: str | None
    """How it ended; None while frames may still come, and after it was cut off."""
    taken: int
    """Counted as taken: in memory, or for a batch on disk safely there."""
    in_memory: int
    on_disk: int
    delivered: int
    acknowledged: int


@dataclass(frozen=True, slots=True)
class BatchView(Tally):
    """A batch as it stands, frame by frame: made in a time that grows with their number."""

    asked: Mapping[str, Any]
    waiting: tuple[int, ...]
    """Numbers of the frames that are there and not acknowledged, in order."""
    missing: tuple[int, ...]
    """Numbers from 1 to count that were never taken, or are damaged."""
    stored_bytes: int


@dataclass(slots=True, eq=False)
class Frame:
    """A frame of a batch."""

    number: int
    size: int
    facts: Mapping[str, Any]
    memory: int | None = None
    on_disk: bool = False
    crc32: int | None = None
    counted: bool = False
    delivering: bool = False

    @property
    def there(self) -> bool:
        """Whether it is not gone."""
        return self.on_disk or self.memory is not None

    @property
    def record(self) -> FrameRecord:
        """As its manifest has it."""
        return FrameRecord(self.number, self.size, self.crc32, self.facts)


@dataclass(slots=True, eq=False)
class Batch:
    """A batch that the store knows."""

    id: str
    asked: Mapping[str, Any]
    where: Where
    count: int
    frame_bytes: int
    folder: Path | None
    """Its directory; None as long as nothing of it is on disk."""
    running: bool
    """Whether frames are coming now."""
    ended: str | None = None
    fixed: bool = False
    """Its manifest must not, or cannot, be added to."""
    frames: dict[int, Frame] = field(default_factory=dict)
    delivered: set[int] = field(default_factory=set)
    """All that were handed out, so the acknowledged ones too."""
    acknowledged: set[int] = field(default_factory=set)
    gone_before: set[int] = field(default_factory=set)
    """Frames taken in an earlier run of the driver and no longer there."""
    lines: list[Entry] = field(default_factory=list)
    """Of the manifest, not yet written."""
    counted: int = 0
    in_memory: int = 0
    on_disk: int = 0
    disk_bytes: int = 0
    """What it takes on disk."""

    @classmethod
    def recovered(cls, record: BatchRecord, folder: Path, *, fixed: bool) -> Batch:
        """A batch found on disk."""
        batch = cls(
            id=record.id,
            asked=record.asked,
            where=Where.DISK,
            count=_number(record.asked.get("count")),
            frame_bytes=_number(record.asked.get("frame_bytes")),
            folder=folder,
            running=False,
            ended=record.ended,
            fixed=fixed or record.newer,
            delivered=record.delivered | record.acknowledged,
            acknowledged=set(record.acknowledged),
        )
        for frame in record.frames.values():
            found = Frame(frame.number, frame.size, frame.facts)
            batch.frames[frame.number] = found
            batch.is_on_disk(found, frame.crc32)
            batch.count_in(found)
        batch.gone_before = (record.acknowledged | record.discarded) - batch.frames.keys()
        return batch

    def note(self, entry: Entry) -> None:
        """Has a line added to its manifest, if there is one."""
        if self.folder is not None and not self.fixed:
            self.lines.append(entry)

    def note_all(self) -> None:
        """Has its manifest begin with what happened before there was one."""
        self.lines = []
        if self.delivered:
            self.note({"delivered": sorted(self.delivered)})
        if self.acknowledged:
            self.note({"acknowledged": sorted(self.acknowledged)})
        if self.ended is not None:
            self.note({"ended": self.ended})

    def known(self, numbers: Iterable[int]) -> set[int]:
        """Those of the numbers that were taken."""
        return {number for number in numbers if number in self.frames}

    @property
    def frames_to_come(self) -> int:
        """How many will still need memory."""
        if not self.running:
            return 0
        frames = max(0, self.count - len(self.frames) - len(self.gone_before))
        return min(frames, _ON_THE_WAY) if self.where is Where.DISK else frames

    @property
    def is_done_with(self) -> bool:
        """Whether nothing is left of it, and nothing is missing beside what was taken."""
        if self.running or self.ended is None or self.folder is not None:
            return False
        if self.in_memory or self.on_disk:
            return False
        return not self.taken or self.taken >= self.count

    @property
    def taken(self) -> int:
        """How many frames count as taken."""
        return len(self.gone_before) + self.counted

    def count_in(self, frame: Frame) -> None:
        """Counts a frame as taken."""
        self.counted += not frame.counted
        frame.counted = True

    def is_on_disk(self, frame: Frame, crc32: int | None) -> None:
        """A frame is on disk now."""
        frame.crc32, frame.on_disk = crc32, True
        self.on_disk += 1
        self.disk_bytes += frame.size

    def is_off_disk(self, frame: Frame) -> None:
        """A frame is no longer on disk, if it was."""
        if frame.on_disk:
            frame.on_disk = False
            self.on_disk -= 1
            self.disk_bytes -= frame.size

    def lose(self, frame: Frame) -> None:
        """A frame turned out to be damaged: it is missing, as if it had never been taken."""
        self.is_off_disk(frame)
        self.counted -= frame.counted
        frame.counted = False
        self.frames.pop(frame.number, None)

    def acknowledged_on_disk(self) -> list[Frame]:
        """The frames that may be pushed out, oldest first."""
        if self.fixed:
            return []
        done = (f for f in self.frames.values() if f.on_disk and f.number in self.acknowledged)
        return [frame for frame in done if not frame.delivering and frame.memory is None]

    def tally(self) -> Tally:
        """How far it is."""
        return Tally(**self._numbers())

    def view(self) -> BatchView:
        """The batch as others see it."""
        frames = self.frames.values()
        waiting = (f.number for f in frames if f.there and f.number not in self.acknowledged)
        known = self.gone_before | self.frames.keys()
        return BatchView(
            **self._numbers(),
            asked=self.asked,
            waiting=tuple(sorted(waiting)),
            missing=tuple(n for n in range(1, self.count + 1) if n not in known),
            stored_bytes=sum(frame.size for frame in frames if frame.there),
        )

    def _numbers(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "where": self.where,
            "count": self.count,
            "ended": self.ended,
            "taken": self.taken,
            "in_memory": self.in_memory,
            "on_disk": self.on_disk,
            "delivered": len(self.delivered),
            "acknowledged": len(self.acknowledged),
        }


class Shelf(dict[str, Batch]):
    """All batches by id, and the frames in memory in the order they were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.in_memory: dict[Frame, Batch] = {}

    def in_order(self) -> list[Batch]:
        """All batches, oldest first."""
        return sorted(self.values(), key=lambda batch: order(batch.id))

    def put(self, batch: Batch, frame: Frame) -> None:
        """Takes a frame in, in the place of one with its number."""
        if (before := batch.frames.get(frame.number)) is not None:
            self.drop_memory(before)
            batch.is_off_disk(before)
            batch.counted -= before.counted
        batch.frames[frame.number] = frame
        batch.in_memory += 1
        self.in_memory[frame] = batch

    def drop_memory(self, frame: Frame) -> None:
        """Frees the memory of a frame."""
        batch = self.in_memory.pop(frame, None)
        if batch is not None and frame.memory is not None:
            batch.in_memory -= 1
            os.close(frame.memory)
            frame.memory = None

    def forget_what_is_done_with(self) -> None:
        """Strikes off what has ended and of which nothing is left."""
        for batch in [batch for batch in self.values() if batch.is_done_with]:
            self.forget(batch)

    def forget(self, batch: Batch) -> None:
        """Frees the memory of a batch and strikes it off."""
        for frame in batch.frames.values():
            self.drop_memory(frame)
        self.pop(batch.id, None)

    def frames_to_come(self) -> int:
        """How many frames of the running batches will still need memory."""
        return sum(batch.frames_to_come for batch in self.values())

    def bytes_to_come(self) -> int:
        """What the running batches will still need of the memory."""
        return sum(batch.frames_to_come * batch.frame_bytes for batch in self.values())

    def acknowledged_bytes(self) -> dict[Path, int]:
        """What may be pushed out of the disk, by the directory of its batch."""
        return {
            batch.folder: sum(frame.size for frame in batch.acknowledged_on_disk())
            for batch in self.values()
            if batch.folder is not None
        }

    def disk_bytes(self) -> int:
        """What all batches take on disk."""
        return sum(batch.disk_bytes for batch in self.values())


def order(id: str) -> int:
    """The number that a batch's id begins with: batches are in the order of it."""
    return int(id.partition("-")[0])


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
