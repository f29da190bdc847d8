"""The exposures of one camera, one at a time: a state machine over its worker.

    state       what happens                                  leaves to
    CLOSED      no worker; the camera is free for others      IDLE (connect)
    IDLE        the worker is ready, or being replaced        ARMING (start), CLOSED (disconnect)
    ARMING      the camera is told, nothing is exposed yet    EXPOSING, IDLE (abort, failure)
    EXPOSING    the shutter is open, or the frame is read     DELIVERING, IDLE (abort, failure)
    DELIVERING  the frame is made ready and handed over       EXPOSING (more to come), IDLE
    MEASURING   frames that nobody waits for are taken        IDLE (end, or anything else is asked)
    CHANGING    the camera is stopped, or set up anew         IDLE

A worker that dies, hangs or stalls is replaced; the frame it was taking is then taken again, once,
if that still ends in good time, else the exposure is reported as failed. Knows no INDI and no FITS;
who starts an exposure is told what becomes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import traceback
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Protocol, TypeVar

from indi_picam import clock
from indi_picam.camera.modes import (
    MORE_MEMORY,
    UPRIGHT,
    CameraFacts,
    CameraFault,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    Orientation,
    Roi,
    SensorMode,
    Way,
)
from indi_picam.camera.remote import Frame, RemoteCamera
from indi_picam.capture.plan import ExposurePlan
from indi_picam.capture.storage import free_descriptors, free_memory

_PROOF_EXPOSURE_US = 1000
_SHORT_EXPOSURE_S = 10
_RETRY_SLACK_S, _RETRY_SLACK_SHORT_S = 120, 10
_REPLACING_S = 2
"""A generous guess of what a new worker costs (0.2 s here, more on a Pi)."""

Ready = TypeVar("Ready")
"""What a listener makes of a frame before it hands it over."""


class State(Enum):
    """Where the engine is; see the table above."""

    CLOSED = "closed"
    IDLE = "idle"
    ARMING = "arming"
    EXPOSING = "exposing"
    DELIVERING = "delivering"
    MEASURING = "measuring"
    CHANGING = "changing"


class DeliveryFault(Exception):
    """A frame was taken and could not be made ready; the text is a sentence for the user."""


class GaveWay(Exception):
    """Frames that nobody waited for were ended for something else."""


class Listener(Protocol[Ready]):
    """Who started an exposure and is told of it; nothing is told once it was aborted."""

    def exposure_began(self, plan: ExposurePlan, at_ns: int) -> None:
        """The exposure of the next frame began at this moment of the camera's clock."""

    async def make_ready(self, plan: ExposurePlan, frame: Frame) -> Ready:
        """Makes what can be sent of a frame, whose memory the listener owns from now on.

        It may be cancelled at any moment: a thread that reads the memory needs a duplicate of the
        descriptor, or it would read whatever gets its number next.
        Raises DeliveryFault when that cannot be done; the exposure has failed then.
        """

    def hand_over(self, plan: ExposurePlan, frame: FrameFacts, ready: Ready, left: int) -> None:
        """Sends it; when no more frames of the plan are left, the engine is idle already."""

    def exposure_failed(self, plan: ExposurePlan, sentence: str) -> None:
        """The exposure is given up; the next may be started."""


class Engine:
    """Takes exposures with one camera on one asyncio loop."""

    def __init__(self, camera: RemoteCamera, on_trouble: Callable[[str], None]) -> None:
        """``on_trouble`` is told, in sentences, what happens to the camera and is being mended."""
        self._camera = camera
        self._on_trouble = on_trouble
        self._exposure: asyncio.Task[None] | None = None
        self._left = 0
        """Frames of the running exposure not yet handed over."""
        self._frame_asked_s = 0.0
        self._repeated = 0
        """How often the next frame was taken in vain."""
        self._replacing: asyncio.Task[CameraFault | None] | None = None
        self._mode: SensorMode | None = None
        self._orientation = UPRIGHT
        self.state = State.CLOSED
        self.held = False
        """Set by what needs the camera between its exposures too: a batch, a calibration."""
        self.choose_way: Callable[[FrameRequest], Way | None] = lambda request: None
        """Asked how to take a single frame; None leaves it to the worker and its table."""
        self.on_replaced: Callable[[str], None] = lambda sentence: None
        """Told, in a sentence, of each worker that took the place of another."""
        camera.on_lost = self._lost

    @property
    def busy(self) -> bool:
        """Whether an exposure is under way or not yet handed over, or the engine is held."""
        return self.held or self.state not in (State.CLOSED, State.IDLE, State.MEASURING)

    async def connect(self, mode_name: str | None) -> tuple[CameraFacts, ModeFacts, FrameFacts]:
        """Opens the camera and proves it with one short frame.

        In the named mode if the camera has it, else in the biggest and deepest, or if that cannot
        be set up in the next that can. Raises CameraFault with a sentence; the camera is closed
        again then.
        """
        try:
            camera = await self._camera.open()
            named = tuple(mode for mode in camera.modes if mode.name == mode_name)
            mode = await self._first_that_can_be_set_up(dict.fromkeys((*named, *camera.modes)))
            self._mode = mode.mode
            self._tell_of_little_memory(mode)
            proof = await self._proof_frame(mode)
        except BaseException:
            await self._camera.close()
            raise
        self.state = State.IDLE
        return camera, mode, proof

    async def _first_that_can_be_set_up(self, modes: Iterable[SensorMode]) -> ModeFacts:
        """Not all can on a small Pi, and a client can choose another only when it is connected."""
        first_fault = None
        for mode in modes:
            try:
                facts = await self._camera.configure(mode, self._orientation)
            except CameraFault as fault:
                if fault.retry:
                    raise
                first_fault = first_fault or fault
                continue
            if first_fault is not None:
                self._on_trouble(f"{first_fault} Mode {mode.name} is set up instead.")
            return facts
        raise first_fault or CameraFault("The camera has no sensor mode.", retry=False)

    async def _proof_frame(self, mode: ModeFacts) -> FrameFacts:
        request = FrameRequest(
            mode=mode.mode,
            exposure_us=max(mode.exposure_min_us, _PROOF_EXPOSURE_US),
            gain=mode.gain_min,
            roi=Roi(0, 0, 2, 2),
            orientation=mode.orientation,
        )
        async with contextlib.aclosing(self._camera.take(request)) as frames:
            async for frame in frames:
                os.close(frame.memory)
                return frame.facts
        raise CameraFault("The camera gave no test frame: connect again.", retry=True)

    async def configure(self, mode: SensorMode, orientation: Orientation) -> ModeFacts:
        """Changes mode and orientation; after a CameraFault the old ones are set up again."""
        if self.state is State.MEASURING:
            await self.abort()
        self.state = State.CHANGING
        try:
            await self._ready()
            facts = await self._camera.configure(mode, orientation)
        except CameraFault as fault:
            self._lost(fault)
            raise
        finally:
            self.state = State.IDLE
        self._mode, self._orientation = mode, orientation
        self._tell_of_little_memory(facts)
        return facts

    def _tell_of_little_memory(self, mode: ModeFacts) -> None:
        if mode.buffers == 1:
            self._on_trouble(
                "There is contiguous (CMA) memory for one frame only: of frames without a pause at"
                f" least every second is missed. To have them all, {MORE_MEMORY}"
            )

    def start(self, plan: ExposurePlan, listener: Listener[Any]) -> None:
        """Begins an exposure; the engine must be idle. All further news goes to the listener."""
        self.state = State.ARMING
        self._left = plan.request.count
        self._exposure = asyncio.create_task(self._expose(plan, listener), name="exposure")

    def change_count(self, left: int) -> None:
        """Has so many more frames taken of the running exposure, with the one under way."""
        self._left = left

    async def measure(self, request: FrameRequest, take_up: Callable[[Frame], None]) -> None:
        """Takes frames that nobody waits for; ``take_up`` owns their memory.

        The engine must be idle. Raises CameraFault, and GaveWay when ``abort`` ended it.
        """
        self.state = State.MEASURING
        self._exposure = task = asyncio.create_task(self._measure(request, take_up), name="measure")
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        # An abort may come between the last frame and here.
        if self._exposure is not task or self.state is not State.MEASURING:
            raise GaveWay
        self.state = State.IDLE
        if isinstance(outcome, CameraFault) and outcome.retry:
            self._replace()
        if outcome is not None:
            raise outcome

    async def _measure(self, request: FrameRequest, take_up: Callable[[Frame], None]) -> None:
        await self._ready()
        async with contextlib.aclosing(self._camera.take(request)) as frames:
            async for frame in frames:
                take_up(frame)

    async def abort(self) -> None:
        """Ends the running exposure, if any; nothing of it is told or delivered any more."""
        exposure = self._exposure
        if exposure is None or self.state in (State.CLOSED, State.IDLE):
            return
        self.state = State.CHANGING
        exposure.cancel()
        # Before the cancelled task runs: its iterator, closed then, would tell the camera as well.
        await self._camera.abort()
        await asyncio.wait([exposure])
        self.state = State.IDLE

    async def disconnect(self) -> None:
        """Ends what runs, ends the worker and frees the camera; never raises."""
        await self.abort()
        if self._replacing is not None:
            self._replacing.cancel()
            self._replacing = None
        await self._camera.close()
        self.state = State.CLOSED

    async def _expose(self, plan: ExposurePlan, listener: Listener[Any]) -> None:
        self._frame_asked_s, self._repeated = clock.monotonic_s(), 0
        try:
            while self._left:
                try:
                    await self._take(plan, listener)
                except CameraFault as fault:
                    if self._repeated or not self._may_retry(plan, fault):
                        raise
                    self._repeated += 1
                    self._on_trouble(f"{fault} The exposure is taken again.")
                    self._replace()
        except CameraFault as fault:
            if fault.retry:
                self._replace()
            sentence = str(fault)
        except DeliveryFault as fault:
            sentence = str(fault)
        except Exception as fault:
            traceback.print_exc()
            sentence = f"It failed inside the driver: {fault!r}."
        else:
            return
        self.state = State.IDLE
        listener.exposure_failed(plan, sentence)

    async def _take(self, plan: ExposurePlan, listener: Listener[Any]) -> None:
        """Takes and hands over the frames that are left, or fewer; raises CameraFault.

        Frames wait with the camera while others are made ready: taking never waits for that. Only
        when memory is short it ends early, and goes on when what waits is handed over.
        """
        await self._ready()
        request = dataclasses.replace(plan.request, count=self._left)
        if request.count == 1 and request.way is None and (way := self.choose_way(request)):
            request = dataclasses.replace(request, way=way)

        def began(at_ns: int) -> None:
            self.state = State.EXPOSING
            listener.exposure_began(plan, at_ns)

        def more_to_come(frame: Frame, waiting: int) -> None:
            if waiting > 1 and _memory_is_short(frame):
                self._camera.end_take()
                self._on_trouble(
                    "The camera pauses, as memory is full: frames come faster than they go out."
                )

        async with contextlib.aclosing(self._camera.take(request, began, more_to_come)) as frames:
            async for frame in frames:
                self.state = State.DELIVERING
                facts = frame.facts
                if self._repeated:
                    facts = dataclasses.replace(facts, repeated=self._repeated)
                ready = await listener.make_ready(plan, Frame(frame.memory, facts))
                self._left, self._frame_asked_s = self._left - 1, clock.monotonic_s()
                self._repeated = 0
                # Clients answer with the next exposure at once: it must find the engine idle.
                self.state = State.EXPOSING if self._left else State.IDLE
                listener.hand_over(plan, facts, ready, self._left)
                if not self._left:
                    break

    def _may_retry(self, plan: ExposurePlan, fault: CameraFault) -> bool:
        """Whether a second try ends within the exposure + 120 s, + 10 s if it is short."""
        short = plan.exposure_s < _SHORT_EXPOSURE_S
        slack_s = _RETRY_SLACK_SHORT_S if short else _RETRY_SLACK_S
        passed_s = clock.monotonic_s() - self._frame_asked_s
        return fault.retry and passed_s + _REPLACING_S <= slack_s

    def _lost(self, fault: CameraFault) -> None:
        self._on_trouble(str(fault))
        self._replace()

    def _replace(self) -> None:
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.create_task(self._new_worker(), name="new worker")

    async def _new_worker(self) -> CameraFault | None:
        """Ends the worker and starts another in the present mode; the fault when that fails."""
        assert self._mode is not None  # noqa: S101 - only a connected camera is replaced
        began_s = clock.monotonic_s()
        await self._camera.close()
        try:
            await self._camera.open()
            await self._camera.configure(self._mode, self._orientation)
        except CameraFault as fault:
            await self._camera.close()
            self._on_trouble(str(fault))
            return fault
        took_ms = 1000 * (clock.monotonic_s() - began_s)
        self.on_replaced(
            f"The camera has a new worker in mode {self._mode.name}: {took_ms:.0f} ms."
        )
        return None

    async def _ready(self) -> None:
        """Waits for a worker in the present mode; raises CameraFault when none can be had."""
        if self._replacing is None and self._camera.alive:
            return
        if self._replacing is None or (self._replacing.done() and self._replacing.result()):
            self._replacing = None
            self._replace()
        assert self._replacing is not None  # noqa: S101 - _replace() saw to it
        fault = await asyncio.shield(self._replacing)
        self._replacing = None
        if fault is not None:
            raise fault


def _memory_is_short(frame: Frame) -> bool:
    """Whether there may be no room for another frame like this."""
    return free_memory() < os.fstat(frame.memory).st_size or free_descriptors() < 1
