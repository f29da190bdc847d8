"""Exposures as clients see them: start, countdown, abort, the picture as a BLOB, and the end.

    moment                 messages, in this order (INDI::CCD, indiccd.cpp)
    request accepted       CCD_EXPOSURE Busy, the time asked for
    while exposing         CCD_EXPOSURE Busy, whole seconds left, 0 when the readout begins
    picture finished       (its file, CCD_FILE_PATH) CCD1, CCD_EXPOSURE Ok 0
    fast: more to come     CCD_EXPOSURE Ok 0, CCD_FAST_COUNT Busy and one less, (CCD_FILE_PATH)
                           CCD1; how many are to come may be changed
    fast: the last one     CCD_EXPOSURE Ok 0, CCD_FAST_COUNT Idle 1, (CCD_FILE_PATH) CCD1
    aborted                CCD_ABORT_EXPOSURE Ok, CCD_EXPOSURE Idle 0, and nothing more of it
    fast switched off      CCD_FAST_COUNT Idle, CCD_FAST_TOGGLE Ok, CCD_EXPOSURE Idle 0 if one ran
    failed                 CCD_EXPOSURE Alert with a sentence

The engine's listener: it makes a FITS file of each frame and hands it to the link.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from indi_picam import clock
from indi_picam.camera.modes import FrameFacts, ModeFacts
from indi_picam.camera.remote import Frame
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan
from indi_picam.ccd.sending import FrameExchange, Outgoing, Sending, finished
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import (
    Blob,
    BlobVector,
    Number,
    NumberVector,
    Refused,
    Rule,
    State,
    Switch,
    SwitchVector,
)

EXPOSURE = NumberVector(
    "CCD_EXPOSURE",
    "Expose",
    "Main Control",
    (Number("CCD_EXPOSURE_VALUE", "Duration (s)", 1, 0.01, 3600, 1, "%5.2f"),),
)
ABORT = SwitchVector(
    "CCD_ABORT_EXPOSURE",
    "Abort",
    "Main Control",
    (Switch("ABORT", "Abort"),),
    rule=Rule.AT_MOST_ONE,
)
IMAGE = BlobVector("CCD1", "Image Data", "Image Info", (Blob("CCD1", "Image"),), perm="ro")
LAST_FRAME = NumberVector(
    "PICAM_FRAME",
    "Last frame",
    "Image Info",
    (
        Number("EXPOSURE", "True exposure (s)", 0, 0, 3600, 0, "%.6f"),
        Number("GAIN_TRUE", "Gain of the sensor", 0, 0, 1000, 0, "%.3f"),
        Number("SKIPPED", "Frames skipped", 0, 0, 1000, 0, "%.f"),
        Number("DROPPED", "Frames dropped", 0, 0, 1e6, 0, "%.f"),
    ),
    perm="ro",
)
FAST_TOGGLE = SwitchVector(
    "CCD_FAST_TOGGLE",
    "Fast Exposure",
    "Options",
    (Switch("INDI_ENABLED", "Enabled"), Switch("INDI_DISABLED", "Disabled", True)),
    timeout=0,
)
FAST_COUNT = NumberVector(
    "CCD_FAST_COUNT",
    "Fast Count",
    "Options",
    (Number("FRAMES", "Frames", 1, 0, 100_000, 1, "%.f"),),
    timeout=0,
)
EXPOSURE_STEP_S = 1
"""Of the number's arrows in clients; the sensor's own step is a line, some 10 us."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What exposing asks of and tells to the other groups of its device."""

    plan: Callable[[float], ExposurePlan]
    """The order for an exposure of so many seconds, as everything stands; may raise Refused."""
    polling_s: Callable[[], float]
    """Real seconds between two steps of the countdown."""
    abort_batch: Callable[[], Awaitable[None]]
    """Ends a batch that holds the camera."""


class Exposing:
    """The exposure properties of one camera, and the listener of its engine."""

    def __init__(
        self,
        device: Device,
        engine: Engine,
        sending: Sending,
        frames: FrameExchange,
        exchange: Exchange,
    ) -> None:
        self._device = device
        self._engine = engine
        self._sending = sending
        self._frames = frames
        self._exchange = exchange
        self._countdown: asyncio.TimerHandle | None = None
        self._fast_left = 0
        """Frames to come of the fast exposure that runs, with the one under way; 0 if none does."""
        self._told_of_fast = False
        self._end_s = 0.0
        """When the exposure that is counted down ends, on the camera's clock."""
        self._limits_s = (0.0, 0.0)
        self._exposure = device.add(EXPOSURE, self._expose, check_limits=False)
        self._abort_switch = device.add(ABORT, self._abort)
        self._image = device.add(IMAGE)
        self._fast = device.add(FAST_TOGGLE, self._set_fast)
        self._fast_count = device.add(FAST_COUNT, self._set_fast_count)
        self._last_frame = device.add(LAST_FRAME)

    def mode_changed(self, mode: ModeFacts) -> None:
        """Tells the exposure limits of a mode."""
        self._limits_s = mode.exposure_min_us / 1e6, mode.exposure_max_us / 1e6
        limits = (*self._limits_s, EXPOSURE_STEP_S)
        self._device.set(self._exposure, limits={"CCD_EXPOSURE_VALUE": limits})

    async def stop(self) -> None:
        """Ends a running exposure without a word, for a disconnect."""
        self._stop_countdown()
        await self._engine.abort()

    def hidden(self) -> None:
        """Nothing runs any more, for the next time that the properties are shown."""
        self._fast_left = 0
        self._device.set(self._exposure, state=State.IDLE)
        self._device.set(self._fast_count, state=State.IDLE)

    async def _expose(self, asked: Mapping[str, float]) -> Answer:
        try:
            plan = self._exchange.plan(asked["CCD_EXPOSURE_VALUE"])
        except Refused as refusal:
            raise self._not_started(asked, str(refusal)) from None
        fast_left = 0
        if self._fast["INDI_ENABLED"]:
            fast_left = max(1, round(self._fast_count["FRAMES"]))
            plan = plan.repeated(fast_left)
        self._stop_countdown()
        await self._engine.abort()
        self._fast_left = fast_left
        self._device.message(f"Ordered: {plan}.", "DEBUG")
        self._engine.start(plan, self)
        return Answer(State.BUSY, {"CCD_EXPOSURE_VALUE": plan.exposure_s})

    def _not_started(self, asked: Mapping[str, float], sentence: str) -> Refused:
        """The refusal of an exposure: its value is kept unless it lies outside the limits."""
        if self._exposure.state is State.BUSY:
            # The one that runs goes on: Ekos would take an Alert for its end and order another,
            # which would end it indeed.
            return Refused(sentence, State.BUSY)
        low, high = self._limits_s
        allowed = low <= asked["CCD_EXPOSURE_VALUE"] <= high
        return Refused(sentence, values=asked if allowed else None)

    async def _abort(self, asked: Mapping[str, bool]) -> Answer:
        if not asked["ABORT"]:
            return Answer()
        self._stop_countdown()
        await self._exchange.abort_batch()
        await self._engine.abort()
        self._end_fast()
        return Answer(values={"ABORT": False}, then=self._show_idle)

    def _show_idle(self) -> None:
        self._device.set(self._exposure, {"CCD_EXPOSURE_VALUE": 0}, state=State.IDLE)

    async def _set_fast(self, asked: Mapping[str, bool]) -> Answer:
        if asked["INDI_ENABLED"]:
            if not self._told_of_fast:
                self._told_of_fast = True
                self._device.message(
                    "Fast exposure is experimental: each frame begins as the one before ends, and "
                    "waits here for a client that is slow.",
                    "WARNING",
                )
            return Answer()
        self._device.set(self._fast_count, state=State.IDLE)
        was_on = self._fast["INDI_ENABLED"]  # what is off already touches no exposure
        if not was_on or self._exposure.state is not State.BUSY:
            return Answer()
        self._fast_left = 0
        self._stop_countdown()
        await self._engine.abort()
        return Answer(then=self._show_idle)

    async def _set_fast_count(self, asked: Mapping[str, float]) -> Answer:
        frames = round(asked["FRAMES"])
        if self._fast_left:
            self._fast_left = max(1, frames)
            self._engine.change_count(self._fast_left)
        return Answer(values={"FRAMES": frames})

    @property
    def takes_several(self) -> bool:
        """Whether frames are taken that were ordered at once."""
        return self._fast_left > 1

    def _end_fast(self) -> None:
        self._fast_left = 0
        if self._fast_count.state is State.BUSY:
            self._device.set(self._fast_count, {"FRAMES": 1}, state=State.IDLE)

    # -- the engine's listener ---------------------------------------------------------------------

    def exposure_began(self, plan: ExposurePlan, at_ns: int) -> None:
        """Counts down to the end of the exposure."""
        self._frames.began(at_ns)
        self._stop_countdown()
        self._end_s = at_ns * 1e-9 + plan.exposure_s
        self._count_down_to(self._end_s)

    async def make_ready(self, plan: ExposurePlan, frame: Frame) -> Outgoing:
        """Makes a FITS file of a frame, saves it if wanted, and waits for its turn on the link."""
        # In a run the next frame may be counted down already.
        if self._end_s < frame.facts.sensor_timestamp_ns * 1e-9 + plan.exposure_s / 2:
            self._stop_countdown()
        file = finished(frame, self._frames.cards(plan, frame.facts))
        if file.cards_moved:
            self._device.message("The FITS header outgrew its room: the picture was copied.")
        return await self._sending.prepare(file.memory, file.size)

    def hand_over(self, plan: ExposurePlan, frame: FrameFacts, ready: Outgoing, left: int) -> None:
        """Sends the picture, and tells that its exposure is over."""
        if not left:
            self._stop_countdown()
        is_fast = self._fast_left > 0
        self._fast_left = left if is_fast else 0
        over = {"CCD_EXPOSURE_VALUE": 0}
        if is_fast:
            self._device.set(self._exposure, over, state=State.OK)
            state = State.BUSY if left else State.IDLE
            self._device.set(self._fast_count, {"FRAMES": max(1, left)}, state=state)
            if left:  # the next has begun, as its first tick will tell
                self._device.set(self._exposure, state=State.BUSY, tell=False)
        self._sending.send(self._image, ready)
        if not is_fast:
            self._device.set(self._exposure, over, state=State.OK)
        self._frames.taken(frame)
        self._show_last_frame(frame)

    def exposure_failed(self, plan: ExposurePlan, sentence: str) -> None:
        """Shows the failure with its sentence; the camera is ready for the next exposure."""
        self._stop_countdown()
        self._end_fast()
        self._device.set(self._exposure, state=State.ALERT, message=sentence)

    # -- what is shown -----------------------------------------------------------------------------

    def _count_down_to(self, end_s: float) -> None:
        """Tells what is left at the next whole step before the end, and so on."""
        step_s = self._exchange.polling_s() * clock.SCALE
        left_s = end_s - clock.monotonic_s()
        if left_s > 0:
            then_left_s = max(0.0, math.ceil(left_s / step_s - 1e-3) * step_s - step_s)
            delay_s = clock.real_s(left_s - then_left_s)
            loop = asyncio.get_running_loop()
            self._countdown = loop.call_later(delay_s, self._tick, end_s, then_left_s)

    def _tick(self, end_s: float, left_s: float) -> None:
        self._countdown = None
        self._device.set(self._exposure, {"CCD_EXPOSURE_VALUE": left_s}, state=State.BUSY)
        if left_s:
            self._count_down_to(end_s)

    def _stop_countdown(self) -> None:
        if self._countdown is not None:
            self._countdown.cancel()
            self._countdown = None

    def _show_last_frame(self, facts: FrameFacts) -> None:
        shown = {
            "EXPOSURE": facts.exposure_us / 1e6,
            "GAIN_TRUE": facts.gain,
            "SKIPPED": facts.skipped,
            "DROPPED": facts.dropped,
        }
        self._device.set(self._last_frame, shown, state=State.OK)
