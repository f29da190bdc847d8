"""Finished frames waiting for their clients: in memory first, on disk when told or needed.

    event                        what the store does
    put, batch kept in memory    counts the frame; nothing else while memory lasts
    put, batch kept on disk      writes it in the background, counts it when it is safe there
    memory runs short            writes the oldest frames that are not being delivered
    acknowledge                  frees the memory; a file stays until the keep limit pushes it out
    disk full                    pushes out acknowledged frames, else frames wait in memory
    memory full as well          ``room`` waits: the camera pauses until there is room
    use                          takes up what an earlier run left on disk, to be offered again

A frame is never given up unless it is acknowledged, or the user discards it. Taking never waits for
the disk. The loop's thread alone touches the books (:mod:`.shelf`); the disk work is done by
:mod:`.writing`, its form is :mod:`.manifest`'s, the choice of place :mod:`.storage`'s. Knows no
INDI, no camera and no FITS; the batch properties own one per device, in a directory of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indi_picam.capture import manifest, storage
from indi_picam.capture.shelf import Batch, BatchView, Frame, Shelf, Tally, order
from indi_picam.capture.storage import StoragePlan, StoreFault, Where, Wish
from indi_picam.capture.writing import Listener, Writing
from indi_picam.holding import hold

KEEP_BYTES = 4_000_000_000
_ROOM_POLL_S = 0.05
"""Others take and free memory too, and do not tell."""
_BATCH = re.compile(r"(\d{6,})-\d{8}T\d{6}-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class OpenFrame:
    """A frame to be sent; whoever holds it closes the descriptor."""

    descriptor: int
    """Read-only, a file description of its own; a frame in memory is held by it."""
    number: int
    size: int
    facts: Mapping[str, Any]


class Store:
    """The frames of one camera; needs a running loop."""

    def __init__(
        self,
        listener: Listener,
        *,
        keep_bytes: int = KEEP_BYTES,
        free_memory: Callable[[], int] = storage.free_memory,
        free_descriptors: Callable[[], int] = storage.free_descriptors,
        free_disk: Callable[[Path], int] = storage.free_disk,
    ) -> None:
        self._listener = listener
        self._free_memory = free_memory
        self._free_descriptors = free_descriptors
        self._free_disk = free_disk
        self._shelf = Shelf()
        self._writing = Writing(
            self._shelf, listener, keep_bytes, free_memory, free_descriptors, free_disk
        )
        self._directory_fault = StoreFault("No directory for batches was chosen yet.")
        self._locks: dict[Path, int] = {}
        self._last = 0
        """The number of the last batch begun."""

    # -- where -----------------------------------------------------------------------------------

    @property
    def directory(self) -> Path | None:
        """Where new batches are kept on disk, if that is possible at present."""
        return self._writing.directory

    @property
    def keep_bytes(self) -> int:
        """The keep limit: acknowledged frames beyond it are pushed out, oldest first."""
        return self._writing.keep_bytes

    @keep_bytes.setter
    def keep_bytes(self, size: int) -> None:
        self._writing.keep_bytes = size
        self._writing.wake()

    async def use(self, directory: Path) -> list[str]:
        """Keeps new batches in this directory, and offers those that lie in it.

        Returns sentences about what is wrong there. Raises StoreFault when it cannot be used; the
        directory before stays in use then. One that cannot be written is taken if batches lie in
        it: they can be delivered, but no batch can be kept on disk.
        """
        try:
            lock, fault, batches, sentences = await asyncio.to_thread(self._take, directory)
        except StoreFault as refusal:
            if self.directory is None:
                self._directory_fault = refusal
            raise
        self._locks[directory] = lock
        self._shelf.update((batch.id, batch) for batch in batches)
        self._writing.directory = None if fault else directory
        self._directory_fault = fault or self._directory_fault
        self._leave_unused_directories(directory)
        self._writing.wake()
        return [str(fault), *sentences] if fault else sentences

    def _leave_unused_directories(self, used: Path) -> None:
        """Gives those back in which no batch lies that we know of."""
        lying = {batch.folder.parent for batch in self._shelf.values() if batch.folder}
        for directory in self._locks.keys() - lying - {used}:
            os.close(self._locks.pop(directory))

    def _take(self, directory: Path) -> tuple[int, StoreFault | None, list[Batch], list[str]]:
        """In a thread."""
        if directory in self._locks:
            if fault := storage.writing_fault(directory):
                raise fault
            return self._locks[directory], None, [], []
        lock, fault = storage.take_directory(directory)
        try:
            batches, sentences = _found(directory, fixed=fault is not None)
            if fault is not None and not batches:
                raise fault
        except BaseException:
            os.close(lock)
            raise
        return lock, fault, batches, sentences

    async def plan(self, count: int, frame_bytes: int, wish: Wish) -> StoragePlan:
        """Where a batch would be kept now; raises StoreFault with the numbers if nowhere.

        Acknowledged frames count as free disk: they are pushed out when it is needed.
        """
        free_disk = 0
        if self.directory is not None:
            try:
                free_disk = await asyncio.to_thread(
                    self._room_on_disk, self.directory, self._shelf.acknowledged_bytes()
                )
            except OSError as fault:
                raise storage.write_fault(self.directory, fault) from None
        elif wish is Wish.DISK:
            raise self._directory_fault
        return storage.plan_storage(
            count, frame_bytes, self._free_memory(), self._free_descriptors(), free_disk, wish
        )

    def _room_on_disk(self, directory: Path, acknowledged: Mapping[Path, int]) -> int:
        """In a thread: what is free, and what can be pushed out of the same disk."""
        return self._free_disk(directory) + sum(
            size for folder, size in acknowledged.items() if storage.share_a_disk(folder, directory)
        )

    # -- batches ---------------------------------------------------------------------------------

    @property
    def batches(self) -> tuple[BatchView, ...]:
        """All that is known, oldest first."""
        return tuple(batch.view() for batch in self._shelf.in_order())

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """How far all are, oldest first."""
        return tuple(batch.tally() for batch in self._shelf.in_order())

    def tally(self, id: str) -> Tally:
        """How far a batch is, however many frames it has; raises StoreFault if there is none."""
        return self._known(id).tally()

    def batch(self, id: str) -> BatchView:
        """One batch as it stands; raises StoreFault if there is none."""
        return self._known(id).view()

    async def begin(
        self, count: int, frame_bytes: int, where: Where, asked: Mapping[str, Any]
    ) -> str:
        """Opens a batch and returns its id; ``asked`` is kept in its manifest (JSON values).

        Raises StoreFault when its directory cannot be made. Those before of which nothing is left
        are forgotten: until then their last numbers can be asked for.
        """
        self._last = 1 + max(map(order, self._shelf), default=self._last)
        self._shelf.forget_what_is_done_with()
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        # Clocks of a Pi without a network repeat themselves: the number orders, the end is unique.
        id = f"{self._last:06d}-{stamp}-{os.urandom(2).hex()}"
        asked = {**asked, "count": count, "frame_bytes": frame_bytes}
        batch = Batch(id, asked, where, count, frame_bytes, folder=None, running=True)
        if where is Where.DISK:
            if self.directory is None:
                raise self._directory_fault
            try:
                await self._writing.make_folder(batch)
            except OSError as fault:
                raise storage.write_fault(self.directory, fault) from None
        self._shelf[id] = batch
        return id

    def resume(self, id: str) -> None:
        """Opens a batch again that ended or was cut off; its missing frames may be put."""
        batch = self._known(id)
        if batch.fixed:
            raise StoreFault(f"Batch {id} cannot be added to: start a new one.")
        batch.running, batch.ended = True, None
        batch.note({"ended": None})
        self._writing.wake()

    def put(
        self, id: str, number: int, memory: int, size: int, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Takes over a finished frame, never waiting; ``facts`` go into the manifest (JSON values).

        Await ``room`` after it before the next frame is taken.
        """
        batch = self._known(id)
        frame = Frame(number, size, facts or {}, memory)
        self._shelf.put(batch, frame)
        if batch.where is Where.MEMORY:
            self._writing.count(batch, frame)
        self._writing.wake()

    async def room(self, frame_bytes: int) -> None:
        """Returns at once unless memory is full and the disk does not relieve it; waits else."""
        waited = False
        while self.is_full(frame_bytes):
            if not waited:
                waited = True
                why = (
                    self._writing.trouble
                    or "frames come faster than they can be written or delivered."
                )
                self._listener.store_news(f"The camera pauses, as memory is full: {why}")
                self._writing.wake()
            await asyncio.sleep(_ROOM_POLL_S)
        if waited:
            self._listener.store_news("There is room for frames again: the camera goes on.")

    def is_full(self, frame_bytes: int) -> bool:
        """Whether ``room`` would wait now."""
        return bool(self._shelf.in_memory) and (
            self._free_memory() < frame_bytes or self._free_descriptors() < 1
        )

    def end(self, id: str, how: str) -> None:
        """No more frames come; ``how`` is a word for the manifest: complete, aborted, failed."""
        batch = self._known(id)
        batch.running, batch.ended = False, how
        batch.note({"ended": how})
        self._writing.wake()

    # -- delivering --------------------------------------------------------------------------------

    async def open(self, id: str, number: int) -> OpenFrame:
        """A frame to be sent; it counts as being delivered until ``delivered`` or ``release``.

        Raises StoreFault when it is not there, or is damaged on disk (checksum).
        """
        batch = self._known(id)
        frame = batch.frames.get(number)
        if frame is None or not frame.there:
            raise StoreFault(f"Frame {number} of batch {id} is not in the store.")
        if frame.memory is not None:
            try:
                descriptor = hold(frame.memory)
            except OSError as fault:
                raise StoreFault(
                    f"Frame {number} of batch {id} cannot be opened ({fault.strerror})."
                ) from None
            frame.delivering = True
        else:
            frame.delivering = True
            descriptor = await self._writing.open_file(batch, frame)
        return OpenFrame(descriptor, number, frame.size, frame.facts)

    def release(self, id: str, number: int) -> None:
        """It was not delivered after all."""
        if (frame := self._known(id).frames.get(number)) is not None:
            frame.delivering = False
            self._writing.wake()

    def delivered(self, id: str, numbers: Iterable[int]) -> None:
        """Frames were handed to the server; they stay, and may be opened again."""
        batch = self._known(id)
        numbers = batch.known(numbers)
        for number in numbers:
            batch.frames[number].delivering = False
        self._note(batch, "delivered", numbers - batch.delivered, batch.delivered)

    def acknowledge(self, id: str, numbers: Iterable[int]) -> None:
        """A client has these frames safely; numbers that were never taken are passed over."""
        batch = self._known(id)
        numbers = batch.known(numbers)
        for number in numbers:
            frame = batch.frames[number]
            frame.delivering = False
            if batch.where is Where.MEMORY and not frame.on_disk:
                self._shelf.drop_memory(frame)
        batch.delivered |= numbers
        self._note(batch, "acknowledged", numbers - batch.acknowledged, batch.acknowledged)

    async def discard(self, id: str) -> None:
        """Deletes a batch, delivered or not; raises StoreFault if there is none or it cannot be."""
        batch = self._known(id)
        try:
            await self._writing.discard(batch)
        except OSError as fault:
            raise storage.write_fault(batch.folder or Path("the store"), fault) from None

    async def all_counted(self, id: str) -> None:
        """Waits until every frame put into a batch counts as taken; with a full disk maybe never.

        Others may wait for other disks meanwhile.
        """
        await self._writing.all_counted(self._known(id))

    async def settled(self) -> None:
        """Waits until all that must be written is; with a full disk that may be never."""
        await self._writing.settled()

    async def close(self, limit_s: float = 5.0) -> None:
        """Writes what batches on disk still have in memory, in so many seconds, and ends."""
        for batch in self._shelf.values():
            batch.running = False
        self._writing.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._writing.settled()
        await self._writing.stop()
        for batch in list(self._shelf.values()):
            self._shelf.forget(batch)
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()
        self._writing.directory = None

    # -- the books ---------------------------------------------------------------------------------

    def _known(self, id: str) -> Batch:
        try:
            return self._shelf[id]
        except KeyError:
            raise StoreFault(f"There is no batch {id} in the store.") from None

    def _note(self, batch: Batch, what: str, new: set[int], known: set[int]) -> None:
        if new:
            known |= new
            batch.note({what: sorted(new)})
        self._writing.wake()


def _found(directory: Path, *, fixed: bool) -> tuple[list[Batch], list[str]]:
    """In a thread: the batches in a directory, and sentences about what is wrong with them."""
    batches, told = [], []
    for folder in sorted(directory.iterdir()):
        if not _BATCH.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            record, sentences = manifest.read(folder)
        except OSError as fault:
            told.append(f"The batch in {folder} cannot be read: {fault.strerror}.")
            continue
        told += sentences
        if record is not None:
            batches.append(Batch.recovered(record, folder, fixed=fixed))
    return batches, told
