"""Batches as clients see them: order equal frames, watch, fetch, keep or drop them.

    BATCH_START          what happens
    Busy                 frames are taken without a gap, or the batch is paused
    Ok                   all are taken; they wait in the store until they are acknowledged
    Idle                 aborted: what is taken stays in the store and goes out on request only
    Alert                could not be started, or failed: the sentence says why

Frames go out on BATCH1, never on CCD1, so that no other client takes them for its own; each has the
batch's id and its number in the header. While a batch runs the camera is held: exposures and
settings that touch it are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indi_picam.capture.calibration import Estimate
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan
from indi_picam.capture.storage import StoragePlan, StoreFault, Where, Wish, default_directory
from indi_picam.capture.store import Store
from indi_picam.ccd import batch_properties
from indi_picam.ccd.batch_delivery import BatchDelivery
from indi_picam.ccd.batch_properties import numbers_of, words_of
from indi_picam.ccd.batch_run import BatchOrder, BatchRun
from indi_picam.ccd.sending import FrameExchange, Sending
from indi_picam.ccd.uploading import clean_name
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import Refused, State

SAFE_LIMIT_S = 60.0
"""Real time in which the last frames of a batch have to be safe on the disk."""
_MOMENT_S = 0.1
"""Real time in which they usually are."""
ENDS = {"complete": State.OK, "aborted": State.IDLE, "failed": State.ALERT}
"""The state of BATCH_START when a batch is over."""


@dataclass(frozen=True, slots=True)
class BatchExchange:
    """What batches ask of and tell to the other groups of their device."""

    plan: Callable[[float], ExposurePlan]
    """The order for an exposure of so many seconds, as everything stands; may raise Refused."""
    plan_again: Callable[[Mapping[str, Any]], Awaitable[ExposurePlan]]
    """The order of an earlier batch, with its sensor mode set up again; may raise Refused."""
    rate_mb_s: float
    """What clients are sent at first, in MB/s; 0 for no limit."""
    set_rate: Callable[[float], None]
    """Limits what clients are sent, in MB/s; 0 for no limit."""
    checked_folder: Callable[[str], Path]
    """The real directory that a client names; may raise Refused."""
    expected: Callable[[ExposurePlan, int, Where], Estimate]
    """How long a batch will take that begins now."""


class Batches:
    """The batch properties of one camera, and the listener of its engine for their frames."""

    def __init__(
        self,
        device: Device,
        engine: Engine,
        sending: Sending,
        frames: FrameExchange,
        exchange: BatchExchange,
    ) -> None:
        self._device = device
        self._engine = engine
        self._taking = frames
        self._exchange = exchange
        self._store = Store(self)
        self._changed: set[str] = set()
        """Batches of which the progress will be told in a moment."""
        self._run: BatchRun | None = None
        self._ending: asyncio.Task[None] | None = None
        self._start = device.add(batch_properties.START, self._begin_batch)
        device.add(batch_properties.CONTROL, self._control)
        self._storage = device.add(batch_properties.STORAGE)
        self._delivery_mode = device.add(batch_properties.DELIVERY)
        device.add(batch_properties.RATE.with_values({"RATE": exchange.rate_mb_s}), self._set_rate)
        device.add(batch_properties.KEEP, self._set_keep)
        folder = default_directory() / clean_name(device.name)
        self._directory = device.add(
            batch_properties.DIRECTORY.with_values({"DIRECTORY": str(folder)}), self._set_directory
        )
        device.add(batch_properties.ACKNOWLEDGE, self._acknowledge)
        device.add(batch_properties.REDELIVER, self._redeliver)
        device.add(batch_properties.CONTINUE, self._continue)
        device.add(batch_properties.DISCARD, self._discard)
        self._progress = device.add(batch_properties.PROGRESS)
        self._status = device.add(batch_properties.STATUS)
        self._stored = device.add(batch_properties.STORED)
        image = device.add(batch_properties.IMAGE)
        self._delivery = BatchDelivery(device, self._store, sending, image, self._show)

    @property
    def running(self) -> bool:
        """Whether a batch holds the camera."""
        return self._run is not None

    @property
    def directory(self) -> Path | None:
        """Where new batches are kept on disk, if that is possible at present."""
        return self._store.directory

    @property
    def sends_live(self) -> bool:
        """Whether frames are sent as they come."""
        return bool(self._delivery_mode["LIVE"])

    async def place(self, count: int, frame_bytes: int) -> StoragePlan:
        """Where a batch would be kept as everything stands; may raise StoreFault."""
        wish = Wish((self._storage.selected or "AUTO").lower())
        return await self._store.plan(count, frame_bytes, wish)

    async def connected(self) -> None:
        """Takes up what an earlier run left in the store, and offers it."""
        await self._use(Path(self._directory["DIRECTORY"]))
        self._show_stored()

    async def _use(self, folder: Path) -> None:
        try:
            for sentence in await self._store.use(folder):
                self._device.message(sentence, "WARNING")
        except StoreFault as fault:
            self._device.message(str(fault), "WARNING")
        waiting = [batch for batch in self._store.batches if batch.waiting]
        if waiting and not self.running:
            frames = sum(len(batch.waiting) for batch in waiting)
            self._device.message(
                f"{frames} frames of {len(waiting)} batches wait in {folder}: ask for them with "
                "Send again, or discard them."
            )

    async def stop(self) -> None:
        """Ends a running batch; what is taken stays in the store."""
        if self._run is not None and self._ending is not None:
            await self._run.abort()
            await asyncio.wait([self._ending], timeout=_MOMENT_S)

    async def disconnected(self) -> None:
        """Ends a running batch and sends no more; what is in the store waits to be asked for."""
        await self.stop()
        self._delivery.close()

    async def close(self) -> None:
        """The same for the end of the driver; frames on disk are safe."""
        await self.disconnected()
        await self._store.close()

    # -- what clients ask --------------------------------------------------------------------------

    async def _begin_batch(self, asked: Mapping[str, float]) -> Answer:
        self._refuse_while_busy()
        wanted = self._start.values | dict(asked)
        count = round(wanted["COUNT"])
        plan = self._exchange.plan(wanted["EXPOSURE"])
        size = plan.request.file_bytes
        try:
            place = await self.place(count, size)
            batch = await self._store.begin(count, size, place.where, plan.order())
        except StoreFault as fault:
            raise Refused(str(fault)) from None
        self._device.message(f"Batch {batch}: {place.reason}")
        return Answer(State.BUSY, message=self._started(batch, plan, range(1, count + 1), count))

    async def _continue(self, asked: Mapping[str, str]) -> Answer:
        self._refuse_while_busy()
        try:
            batch = self._store.batch(asked["BATCH"])
            if not batch.missing:
                raise Refused(f"Batch {batch.id} is complete: nothing is missing.")
            plan = await self._exchange.plan_again(batch.asked)
            self._store.resume(batch.id)
        except StoreFault as fault:
            raise Refused(str(fault)) from None
        self._device.set(self._start, state=State.BUSY)
        return Answer(message=self._started(batch.id, plan, batch.missing, batch.count))

    def refuse_while_running(self) -> None:
        """Raises Refused with a sentence while a batch holds the camera."""
        if self._run is not None:
            raise Refused(
                f"Batch {self._run.order.id} is being taken: wait for its end, or abort it first."
            )

    def _refuse_while_busy(self) -> None:
        self.refuse_while_running()
        if self._ending is not None and not self._ending.done():
            raise Refused("The frames of an aborted batch are being made safe: wait a moment.")
        if self._engine.busy:
            raise Refused("A picture is being taken: wait for its end, or abort it first.")

    async def _control(self, asked: Mapping[str, bool]) -> Answer:
        off = dict.fromkeys(asked, False)
        run = self._run
        if run is None:
            raise Refused("No batch is being taken.")
        if asked["ABORT"]:
            await self.stop()
            return Answer(values=off)
        if asked["PAUSE"]:
            run.pause()
            return Answer(values=off, message="The batch pauses after the frame being taken.")
        run.go_on()
        return Answer(values=off)

    async def _set_rate(self, asked: Mapping[str, float]) -> Answer:
        self._exchange.set_rate(asked["RATE"])
        return Answer()

    async def _set_keep(self, asked: Mapping[str, float]) -> Answer:
        self._store.keep_bytes = round(asked["SIZE"] * 1e9)
        return Answer()

    async def _set_directory(self, asked: Mapping[str, str]) -> Answer:
        if self._run is not None:
            raise Refused("The directory cannot be changed while a batch is being taken.")
        folder = Path(self._directory["DIRECTORY"])
        if asked["DIRECTORY"] != str(folder):  # the one in use may lie where clients cannot choose
            folder = self._exchange.checked_folder(asked["DIRECTORY"])
        try:
            sentences = await self._store.use(folder)
        except StoreFault as fault:
            raise Refused(str(fault)) from None
        message = " ".join(sentences) or None
        return Answer(values={"DIRECTORY": str(folder)}, message=message, then=self._show_stored)

    async def _acknowledge(self, asked: Mapping[str, str]) -> Answer:
        batch, numbers = self._frames(asked)
        self._store.acknowledge(batch, numbers)
        return Answer(values=asked, then=lambda: self._show(batch))

    async def _redeliver(self, asked: Mapping[str, str]) -> Answer:
        batch, numbers = self._frames(asked)
        there = set(self._store.batch(batch).waiting)
        due = sorted(there & set(numbers))
        self._delivery.add(batch, due)
        message = f"{len(due)} frames of batch {batch} are sent again."
        sent = {"BATCH": batch, "FRAMES": words_of(due)}
        return Answer(values=sent, message=message, then=lambda: self._show(batch))

    async def _discard(self, asked: Mapping[str, str]) -> Answer:
        batch = asked["BATCH"]
        if self._run is not None and self._run.order.id == batch:
            raise Refused(f"Batch {batch} is being taken: abort it first.")
        self._delivery.drop(batch)
        try:
            await self._store.discard(batch)
        except StoreFault as fault:
            raise Refused(str(fault)) from None
        return Answer(values=asked, message=f"Batch {batch} is discarded.", then=self._show_stored)

    def _frames(self, asked: Mapping[str, str]) -> tuple[str, list[int]]:
        """The batch and the frames that a client names; no frames mean all."""
        id, text = asked.get("BATCH", ""), asked.get("FRAMES", "")
        try:
            count = self._store.tally(id).count
            # A damaged manifest does not tell how many; to ask all frames lasts.
            waiting = () if text and count else self._store.batch(id).waiting
        except StoreFault as fault:
            raise Refused(str(fault)) from None
        return id, numbers_of(text, max((count, *waiting))) if text else list(waiting)

    # -- taking ------------------------------------------------------------------------------------

    def _started(self, batch: str, plan: ExposurePlan, numbers: Iterable[int], count: int) -> str:
        """Begins to take frames; returns a sentence with the estimate."""
        live = bool(self._delivery_mode["LIVE"])
        order = BatchOrder(batch, plan, count, tuple(numbers), live)
        where = self._store.batch(batch).where
        self._run = BatchRun(
            order,
            self._engine,
            self._store,
            self._taking,
            lambda frames: self._exchange.expected(plan, frames, where),
            progressed=lambda: self._show_soon(batch),
            tell=self._tell,
            warn=lambda sentence: self._device.message(sentence, "WARNING"),
        )
        self._ending = asyncio.create_task(self._end(self._run), name="end of the batch")
        self._show_stored()
        self._show(batch)
        frames = len(order.numbers)
        expected = self._exchange.expected(plan, frames, where)
        return (
            f"Batch {batch}: {frames} frames will be taken in about {expected.taken_s:.1f} s, and "
            f"be with a client on the Pi after {expected.delivered_s:.1f} s."
        )

    async def _end(self, run: BatchRun) -> None:
        how = await run.over()
        self._run = None
        try:
            async with asyncio.timeout(SAFE_LIMIT_S):
                await self._store.all_counted(run.order.id)
        except TimeoutError:
            self._device.message("Not all frames are safe on the disk yet.", "WARNING")
        try:
            batch = self._store.batch(run.order.id)
        except StoreFault:  # discarded meanwhile
            self._device.set(self._start, state=ENDS[how])
            self._tell(f"Batch {run.order.id} was discarded.")
            return
        self._store.end(batch.id, how)
        words = f"Batch {batch.id} {how}: {batch.taken} of {batch.count} frames taken."
        if how != "complete":
            self._delivery.drop(batch.id)
            words += " They stay in the store: ask for them with Send again."
        elif not run.order.live:
            self._delivery.add(batch.id, batch.waiting)
        self._device.set(self._start, state=ENDS[how], message=run.fault)
        self._show(batch.id)
        # Last: all that is told of its end is known to who knows this.
        self._tell(words)

    # -- the store's listener ----------------------------------------------------------------------

    def frame_counted(self, batch: str, number: int) -> None:
        """A frame is safe: it goes out now if those of the running batch are sent as they come."""
        run = self._run
        if run is not None and run.order.id == batch and run.order.live and not run.is_aborted:
            self._delivery.add(batch, [number])
        self._show_soon(batch)

    def frames_pushed_out(self, batch: str) -> None:
        """Tells how many are left, if it is the batch that the progress is of."""
        if batch == self._status["BATCH"]:
            self._show(batch)

    def store_news(self, sentence: str) -> None:
        """Tells what the store says: room is short, or there is room again."""
        self._device.message(sentence, "WARNING")

    # -- what is shown -----------------------------------------------------------------------------

    def _show_soon(self, id: str) -> None:
        """Tells the progress once for all that happens at this moment."""
        if id not in self._changed:
            self._changed.add(id)
            asyncio.get_running_loop().call_soon(self._show_if_changed, id)

    def _show_if_changed(self, id: str) -> None:
        if id in self._changed:
            self._show(id)

    def _show(self, id: str) -> None:
        """Tells the progress of a batch; while one is taken, of that alone."""
        self._changed.discard(id)
        try:
            batch = self._store.tally(id)
        except StoreFault:
            return
        run = self._run if self._run is not None and self._run.order.id == id else None
        if run is None:
            self._show_stored()
            if self._run is not None:
                return
        shown: dict[str, float] = {
            "ASKED": batch.count,
            "TAKEN": batch.taken,
            "IN_MEMORY": batch.in_memory,
            "ON_DISK": batch.on_disk,
            "DELIVERED": batch.delivered,
            "ACKNOWLEDGED": batch.acknowledged,
        }
        if run is not None:
            shown["MADE_UP"] = run.made_up
            shown["DUTY_CYCLE"] = 100 * run.duty_cycle
        shown["TIME_LEFT"] = run.time_left_s if run else 0
        self._device.set(self._progress, shown, state=State.BUSY if run else State.OK)

    def _tell(self, words: str) -> None:
        batch = self._run.order.id if self._run else self._status["BATCH"]
        state = State.BUSY if self._run else State.OK
        self._device.set(self._status, {"BATCH": batch, "WORDS": words}, state=state)

    def _show_stored(self) -> None:
        """Tells what is in the store, for ``picam batches``."""
        lines = (
            f"{b.id} {b.taken}/{b.count} {b.delivered} {b.acknowledged} {b.where.value}"
            for b in self._store.tallies
        )
        self._device.set(self._stored, {"BATCHES": "; ".join(lines)}, state=State.OK)
