"""The disk work of the store: one task while there is some, one piece at a time, in threads.

    piece of work, most urgent first                      when
    write the oldest frame of the batches kept on disk    at once
    write the oldest frame that is not being delivered    memory runs short
    add lines to manifests                                at once
    delete acknowledged frames, oldest first              the keep limit is passed, the disk is full

A disk that fails is tried again every second, or when something changed; frames wait in memory
meanwhile, and what belongs on another disk is done. Called by the store alone, whose books it
keeps.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from indi_picam.capture import manifest, storage
from indi_picam.capture.shelf import Batch, Frame, Shelf
from indi_picam.capture.storage import StoreFault, Where, size_text

_RETRY_S = 1.0
"""Real time between two tries of a disk that failed."""
_LOOK_AGAIN_S = 5.0
"""Real time between two looks at the free memory while frames wait there and nothing happens."""


class Listener(Protocol):
    """Who is told what happens in the store."""

    def frame_counted(self, batch: str, number: int) -> None:
        """A frame counts as taken: it is in memory, or safe on disk if the batch is kept there."""

    def frames_pushed_out(self, batch: str) -> None:
        """Acknowledged frames were deleted to make room on the disk."""

    def store_news(self, sentence: str) -> None:
        """Something that the user should know."""


class Writing:
    """Brings frames to the disk and off it; needs a running loop."""

    def __init__(
        self,
        shelf: Shelf,
        listener: Listener,
        keep_bytes: int,
        free_memory: Callable[[], int],
        free_descriptors: Callable[[], int],
        free_disk: Callable[[Path], int],
    ) -> None:
        self._shelf = shelf
        self._listener = listener
        self._free_memory = free_memory
        self._free_descriptors = free_descriptors
        self._free_disk = free_disk
        self._work: asyncio.Task[None] | None = None
        self._look_again: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._counted = asyncio.Event()
        self._disk = asyncio.Lock()
        self._over_limit = False
        self.keep_bytes = keep_bytes
        self.directory: Path | None = None
        """Where new batches go, if that is possible at present."""
        self._failing: dict[Path, OSError] = {}
        """The directories, or batches in them, that failed since all were last tried."""
        self.trouble = ""
        """The sentence about disks that fail now."""

    def wake(self) -> None:
        """Has it look for work."""
        self._news.set()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._work_off(), name="store")

    async def settled(self) -> None:
        """Waits until all work is done."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def stop(self) -> None:
        """Leaves what is not done."""
        if self._look_again is not None:
            self._look_again.cancel()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    async def all_counted(self, batch: Batch) -> None:
        """Waits until every frame of a batch counts as taken."""
        while batch.counted < len(batch.frames):
            self._counted.clear()
            await self._counted.wait()

    async def make_folder(self, batch: Batch) -> None:
        """Makes the directory of a batch, with its manifest; raises OSError."""
        assert self.directory is not None  # noqa: S101 - asked before
        folder = self.directory / batch.id
        await asyncio.to_thread(manifest.create, folder, batch.asked)
        batch.folder = folder
        batch.note_all()

    async def discard(self, batch: Batch) -> None:
        """Deletes all of a batch; raises OSError."""
        async with self._disk:
            if batch.folder is not None:
                with suppress(FileNotFoundError):  # its disk was taken out
                    await asyncio.to_thread(manifest.delete_batch, batch.folder)
            self._shelf.forget(batch)
        batch.frames.clear()
        self._counted.set()  # nobody needs to wait for them any more
        self.wake()

    def count(self, batch: Batch, frame: Frame) -> None:
        """Counts a frame as taken."""
        batch.count_in(frame)
        self._counted.set()
        self._listener.frame_counted(batch.id, frame.number)

    async def _work_off(self) -> None:
        while True:
            self._news.clear()
            self._failing = {}
            while await self._step():
                pass
            self._tell_trouble()
            if not self._failing:
                self._plan_another_look()
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._news.wait()

    def _plan_another_look(self) -> None:
        """Others may take the memory in which frames wait."""
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        if self._shelf.in_memory:
            loop = asyncio.get_running_loop()
            self._look_again = loop.call_later(_LOOK_AGAIN_S, self.wake)

    def _tell_trouble(self) -> None:
        faults = (str(storage.write_fault(where, why)) for where, why in self._failing.items())
        sentence = " ".join(faults)
        if sentence and sentence != self.trouble:
            self._listener.store_news(f"{sentence} Frames wait in memory: make room there.")
        self.trouble = sentence

    async def _step(self) -> bool:
        """Does the most urgent piece of disk work that can be; False if there is none."""
        async with self._disk:
            if (frame := self._next_to_write()) is not None:
                batch = self._shelf.in_memory[frame]
                return await self._tried(batch, self._write(batch, frame))
            if (noted := self._next_to_note()) is not None:
                return await self._tried(noted, self._append(noted))
            return await self._push_out(self._beyond_limit())

    async def _tried(self, batch: Batch, work: Awaitable[None]) -> bool:
        """Always True; a directory that fails is left alone for a while."""
        try:
            await work
        except OSError as fault:
            # That of one batch may have been removed by hand.
            gone = batch.folder if fault.errno == errno.ENOENT else None
            if (directory := gone or self._directory_of(batch)) is not None:
                self._failing[directory] = fault
        return True

    def _fails(self, batch: Batch) -> bool:
        return bool(self._failing.keys() & {batch.folder, self._directory_of(batch)})

    def _directory_of(self, batch: Batch) -> Path | None:
        """Where a batch is kept, or would be now; None if nowhere."""
        return batch.folder.parent if batch.folder is not None else self.directory

    def _next_to_write(self) -> Frame | None:
        """The oldest frame that belongs on disk, or has to go there as memory is short."""
        if not self._shelf.in_memory:
            return None
        short = self._free_memory() < max(1, self._shelf.bytes_to_come())
        short = short or self._free_descriptors() < max(1, self._shelf.frames_to_come())
        due = any(b.in_memory for b in self._shelf.values() if short or b.where is Where.DISK)
        if not due:
            return None
        for frame, batch in self._shelf.in_memory.items():
            if self._directory_of(batch) is None or self._fails(batch):
                continue
            if batch.where is Where.DISK or (short and not frame.delivering):
                return frame
        return None

    def _next_to_note(self) -> Batch | None:
        for batch in self._shelf.values():
            if batch.folder is not None and batch.lines and not self._fails(batch):
                return batch
        return None

    async def _append(self, batch: Batch) -> None:
        assert batch.folder is not None  # noqa: S101 - asked before
        lines = list(batch.lines)
        await asyncio.to_thread(manifest.append, batch.folder, lines)
        del batch.lines[: len(lines)]

    async def _write(self, batch: Batch, frame: Frame) -> None:
        if batch.folder is None:
            await self.make_folder(batch)
            if batch.where is Where.MEMORY:
                self._listener.store_news(
                    f"Memory runs short: frames of batch {batch.id} are written to {batch.folder}."
                )
        assert batch.folder is not None  # noqa: S101 - just made
        if await asyncio.to_thread(self._free_disk, batch.folder) < frame.size:
            if not await self._push_out(frame.size, batch.folder):
                raise OSError(errno.ENOSPC, "No space left on device")
            return
        if frame.memory is None:
            return  # acknowledged meanwhile
        lines = list(batch.lines)
        # A copy for the thread: ours may be closed meanwhile, and its number used again.
        memory = os.dup(frame.memory)
        record = await asyncio.to_thread(_write_frame, batch.folder, frame, memory, lines)
        del batch.lines[: len(lines)]
        batch.is_on_disk(frame, record.crc32)
        self._shelf.drop_memory(frame)
        if not frame.counted:
            self.count(batch, frame)

    def _beyond_limit(self) -> int:
        return max(0, self._shelf.disk_bytes() - self.keep_bytes)

    async def _push_out(self, size: int, disk_of: Path | None = None) -> bool:
        """Deletes acknowledged frames of one batch, oldest first, up to a size; False if none.

        Of all disks, or of that on which a directory lies.
        """
        if not size:
            self._over_limit = False
            return False
        for batch in self._shelf.in_order():
            folder, frames = batch.folder, _oldest(batch.acknowledged_on_disk(), size)
            if not frames or folder is None or self._fails(batch):
                continue
            if disk_of is None or await asyncio.to_thread(storage.share_a_disk, disk_of, folder):
                return await self._tried(batch, self._delete(batch, folder, frames))
        if not self._over_limit and self._beyond_limit():
            self._over_limit = True
            self._listener.store_news(
                f"The store holds more than its limit of {size_text(self.keep_bytes)}, and no "
                "client has acknowledged that: fetch these frames, or discard batches."
            )
        return False

    async def _delete(self, batch: Batch, folder: Path, frames: list[Frame]) -> None:
        numbers = [frame.number for frame in frames]
        left = batch.in_memory + batch.on_disk > len(frames)
        if left or batch.running or batch.ended is None:
            await asyncio.to_thread(manifest.delete_frames, folder, numbers)
        else:
            await asyncio.to_thread(manifest.delete_batch, folder)
            batch.folder = None
            batch.lines.clear()
        for frame in frames:
            batch.is_off_disk(frame)
        self._listener.frames_pushed_out(batch.id)

    async def open_file(self, batch: Batch, frame: Frame) -> int:
        """A descriptor of a frame's file, checked; raises StoreFault when it is damaged.

        A damaged one counts as missing from then on; its file stays until it is taken again.
        """
        assert batch.folder is not None  # noqa: S101 - it is on disk
        path = manifest.frame_path(batch.folder, frame.number)
        opening = asyncio.ensure_future(asyncio.to_thread(_open_checked, path, frame.record))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            frame.delivering = False
            raise
        except OSError as fault:
            frame.delivering = False
            if fault.errno == errno.EBADMSG:
                batch.lose(frame)
            raise StoreFault(
                f"Frame {frame.number} of batch {batch.id} cannot be read "
                f"({fault.strerror or fault}): its file is {path}."
            ) from None


def _oldest(frames: list[Frame], size: int) -> list[Frame]:
    """The first of some frames that have so many bytes together, or all."""
    some: list[Frame] = []
    for frame in frames:
        if size <= 0:
            break
        size -= frame.size
        some.append(frame)
    return some


def _write_frame(
    folder: Path, frame: Frame, memory: int, lines: list[manifest.Entry]
) -> manifest.FrameRecord:
    """In a thread; closes the memory."""
    try:
        return manifest.write_frame(folder, frame.number, memory, frame.size, frame.facts, lines)
    finally:
        os.close(memory)


def _open_checked(path: Path, record: manifest.FrameRecord) -> int:
    """In a thread: a descriptor of a frame's file; raises OSError when it is damaged."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not manifest.check_frame(descriptor, record):
            raise OSError(errno.EBADMSG, "it is damaged: its checksum is another")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _close_opened(opening: asyncio.Future[int]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())
