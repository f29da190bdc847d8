"""One batch while it is taken: from its first exposure to the last frame that is safe in the store.

    the camera stops          and goes on
    paused by the user        when told to
    the store has no room     when it has
    an exposure failed        with a fresh worker; the batch is given up after three in a row
    every frame is taken      the end: complete
    aborted                   the end: what is taken stays in the store

The engine's listener for the frames of the batch; made and asked by the batch properties.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from indi_picam import clock, fits
from indi_picam.camera.modes import FrameFacts
from indi_picam.camera.remote import Frame
from indi_picam.capture.calibration import Estimate
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan
from indi_picam.capture.store import Store
from indi_picam.ccd.sending import FrameExchange, finished

MOST_FAILURES = 3
"""In a row; each was tried again with a fresh worker before."""

End = Literal["complete", "aborted", "failed"]


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What is to be taken."""

    id: str
    plan: ExposurePlan
    asked: int
    numbers: tuple[int, ...]
    """Of the frames to be taken, from 1 to ``asked``; not all if the batch is continued."""
    live: bool
    """Whether each is sent as soon as it is safe, not all after the last."""


class BatchRun:
    """A batch being taken."""

    def __init__(
        self,
        order: BatchOrder,
        engine: Engine,
        store: Store,
        frames: FrameExchange,
        expected: Callable[[int], Estimate],
        progressed: Callable[[], None],
        tell: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        """``expected`` says how long so many frames will take that are asked for now.

        ``progressed`` is called when figures have changed. ``tell`` gets sentences about what is
        going on, ``warn`` about what went wrong.
        """
        self.order = order
        self.made_up = 0
        """Frames of the sensor that were lost or bad, and taken once more."""
        self.fault: str | None = None
        """Why the batch was given up."""
        self._engine = engine
        self._store = store
        self._frames = frames
        self._expected = expected
        self._progressed = progressed
        self._tell = tell
        self._warn = warn
        self._pending = deque(order.numbers)
        self._frame_bytes = order.plan.request.file_bytes
        self._began_s = clock.monotonic_s()
        self._expect()
        self._exposed_s = 0.0
        self._failures = 0
        self._begun = 0
        """Frames whose exposure began and that were not handed over yet; two in a run."""
        self._aborted = asyncio.Event()
        self._may_go = asyncio.Event()
        self._may_go.set()
        self._stopped = asyncio.Event()
        engine.held = True
        self._task = asyncio.create_task(self._take(), name="batch")

    @property
    def time_left_s(self) -> float:
        """Until the last frame is taken, if nothing comes between."""
        if self._pending and not self._may_go.is_set():
            return self._expected(len(self._pending)).taken_s
        return max(0.0, self._due_s - clock.monotonic_s())

    def _expect(self) -> None:
        """Sets when the last frame will be taken, as the camera is told now to take all."""
        expected = self._expected(len(self._pending))
        self._next_s, self._due_s = expected.next_s, clock.monotonic_s() + expected.taken_s

    @property
    def duty_cycle(self) -> float:
        """The share of the time since the start in which the sensor was exposed, 0 to 1."""
        return min(1.0, self._exposed_s / max(1e-6, clock.monotonic_s() - self._began_s))

    def pause(self) -> None:
        """Takes no more after the frame that is being taken."""
        self._may_go.clear()

    def go_on(self) -> None:
        """Ends a pause."""
        self._may_go.set()

    @property
    def is_aborted(self) -> bool:
        """Whether it was told to take no more."""
        return self._aborted.is_set()

    async def abort(self) -> None:
        """Takes no more, at once."""
        self._aborted.set()
        self._may_go.set()
        self._stopped.set()
        await self._task

    async def over(self) -> End:
        """Waits for the end."""
        await asyncio.shield(self._task)
        if self.fault is not None:
            return "failed"
        return "aborted" if self.is_aborted else "complete"

    async def _take(self) -> None:
        try:
            while self._pending and not self._aborted.is_set() and self.fault is None:
                await self._take_while_possible()
            if not self._pending:
                await self._unless_aborted(self._store.all_counted(self.order.id))
        except Exception as fault:
            traceback.print_exc()
            self.fault = f"The batch failed inside the driver: {fault!r}."
        finally:
            self._engine.held = False

    async def _unless_aborted(self, work: Coroutine[Any, Any, None]) -> None:
        """Waits for something that may last for ever, or for an abort."""
        waiting = asyncio.create_task(work), asyncio.create_task(self._aborted.wait())
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in waiting:
                task.cancel()

    async def _take_while_possible(self) -> None:
        if not self._may_go.is_set():
            taken = self.order.asked - len(self._pending)
            self._tell(f"Paused: {taken} of {self.order.asked} frames taken.")
            await self._may_go.wait()
        await self._unless_aborted(self._store.room(self._frame_bytes))
        if self._aborted.is_set():
            return
        self._stopped.clear()
        await self._engine.abort()  # what was measured meanwhile
        self._expect()
        self._begun = 0
        self._engine.start(self.order.plan.repeated(len(self._pending)), self)
        await self._stopped.wait()
        await self._engine.abort()

    # -- the engine's listener ---------------------------------------------------------------------

    def exposure_began(self, plan: ExposurePlan, at_ns: int) -> None:
        """Tells which frame is being taken."""
        self._frames.began(at_ns)
        if not self._begun:  # after a start, which lasts: more time is left than was expected
            self._progressed()
        self._begun = min(self._begun + 1, 2, len(self._pending))
        frame = f"frame {self._pending[self._begun - 1]} of {self.order.asked}"
        self._tell(f"Taking {frame}, {plan.exposure_s:g} s.")

    async def make_ready(self, plan: ExposurePlan, frame: Frame) -> None:
        """Makes a FITS file of a frame and puts it into the store."""
        number = self._pending[0]
        cards = [
            *self._frames.cards(plan, frame.facts),
            fits.Card("BATCHID", self.order.id, "batch"),
            fits.Card("BATCHNUM", number, "number in the batch, from 1"),
            fits.Card("BATCHCNT", self.order.asked, "frames asked for"),
        ]
        file = finished(frame, cards)
        facts = {"exposure_us": frame.facts.exposure_us, "gain": frame.facts.gain}
        self._store.put(self.order.id, number, file.memory, file.size, facts)

    def hand_over(self, plan: ExposurePlan, frame: FrameFacts, ready: None, left: int) -> None:
        """Counts a frame; the camera stops when all are taken, for a pause, or for lack of room."""
        self._pending.popleft()
        self._begun = max(0, self._begun - 1)
        self._due_s = clock.monotonic_s() + len(self._pending) * self._next_s
        self._exposed_s += frame.exposure_us / 1e6
        self.made_up += frame.dropped
        self._failures = 0
        self._frames.taken(frame)
        self._progressed()
        if not left or not self._may_go.is_set() or self._store.is_full(self._frame_bytes):
            self._stopped.set()

    def exposure_failed(self, plan: ExposurePlan, sentence: str) -> None:
        """Tries again, or gives the batch up."""
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            self.fault = sentence
        else:
            self._warn(f"{sentence} The batch goes on.")
        self._stopped.set()
