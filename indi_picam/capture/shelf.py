"""The books of the store: which batch has which frames, where they are and what became of them.

    a frame is   meaning                                              leaves to
    in memory    a memfd, and nothing else                            on disk, gone
    on disk      a finished file, synced; its memfd is closed         gone
    gone         acknowledged or discarded, its memory or file freed

Beside that a frame may be delivering (somebody holds an open descriptor to send it), delivered,
acknowledged. Plain values without a disk or a loop; only the store changes them.
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
class BatchView:
    """A batch as it stands; all but the first fields count frames."""

    id: str
    asked: Mapping[str, Any]
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
    acknowledged: set[int] = field(default_factory=set)
    gone_before: set[int] = field(default_factory=set)
    """Frames taken in an earlier run of the driver and no longer there."""
    lines: list[Entry] = field(default_factory=list)
    """Of the manifest, not yet written."""

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
            delivered=set(record.delivered),
            acknowledged=set(record.acknowledged),
        )
        for frame in record.frames.values():
            batch.frames[frame.number] = Frame(
                frame.number, frame.size, frame.facts, None, True, frame.crc32, counted=True
            )
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
    def disk_bytes(self) -> int:
        """What it takes on disk."""
        return sum(frame.size for frame in self.frames.values() if frame.on_disk)

    def acknowledged_on_disk(self) -> list[Frame]:
        """The frames that may be pushed out, oldest first."""
        if self.fixed:
            return []
        done = (f for f in self.frames.values() if f.on_disk and f.number in self.acknowledged)
        return [frame for frame in done if not frame.delivering and frame.memory is None]

    def view(self) -> BatchView:
        """The batch as others see it."""
        frames = self.frames.values()
        taken = self.gone_before | {frame.number for frame in frames if frame.counted}
        waiting = (f.number for f in frames if f.there and f.number not in self.acknowledged)
        known = self.gone_before | self.frames.keys()
        return BatchView(
            id=self.id,
            asked=self.asked,
            where=self.where,
            count=self.count,
            ended=self.ended,
            taken=len(taken),
            in_memory=sum(frame.memory is not None for frame in frames),
            on_disk=sum(frame.on_disk for frame in frames),
            delivered=len(self.delivered | self.acknowledged),
            acknowledged=len(self.acknowledged),
            waiting=tuple(sorted(waiting)),
            missing=tuple(n for n in range(1, self.count + 1) if n not in known),
            stored_bytes=sum(frame.size for frame in frames if frame.there),
        )


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
        batch.frames[frame.number] = frame
        self.in_memory[frame] = batch

    def drop_memory(self, frame: Frame) -> None:
        """Frees the memory of a frame."""
        self.in_memory.pop(frame, None)
        if frame.memory is not None:
            os.close(frame.memory)
            frame.memory = None

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

    def disk_bytes(self) -> int:
        """What all batches take on disk."""
        return sum(batch.disk_bytes for batch in self.values())


def order(id: str) -> int:
    """The number that a batch's id begins with: batches are in the order of it."""
    return int(id.partition("-")[0])


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
