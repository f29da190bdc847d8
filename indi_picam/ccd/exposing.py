"""Exposures as clients see them: start, countdown, abort, the picture as a BLOB, and the end.

    moment                 messages, in this order (INDI::CCD, indiccd.cpp)
    request accepted       CCD_EXPOSURE Busy, the time asked for
    while exposing         CCD_EXPOSURE Busy, whole seconds left, 0 when the readout begins
    picture finished       CCD1 with the FITS file, CCD_EXPOSURE Ok 0; nothing is read in between
    aborted                CCD_ABORT_EXPOSURE Ok, CCD_EXPOSURE Idle 0, and nothing more of it
    failed                 CCD_EXPOSURE Alert with a sentence

The engine's listener: it makes a FITS file of each frame and hands it to the link.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Iterable, Mapping

from indi_picam import clock, fits
from indi_picam.camera.modes import FrameFacts, ModeFacts
from indi_picam.camera.remote import Frame, RemoteCamera
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.link import Link
from indi_picam.indi.vectors import (
    Blob,
    BlobVector,
    Number,
    NumberVector,
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
    ),
    perm="ro",
)
EXPOSURE_STEP_S = 1
"""Of the number's arrows in clients; the sensor's own step is a line, some 10 us."""
_TICK_S = 1.0 * clock.SCALE
"""One real second between two steps of the countdown (INDI::CCD: POLLING_PERIOD)."""


class Exposing:
    """The exposure properties of one camera, and the listener of its engine."""

    def __init__(
        self,
        device: Device,
        link: Link,
        camera: RemoteCamera,
        plan: Callable[[float], ExposurePlan],
        cards: Callable[[ExposurePlan, FrameFacts], Iterable[fits.Card]],
        on_frame: Callable[[FrameFacts], None],
    ) -> None:
        self.engine: Engine[fits.FitsFile] = Engine(camera, self)
        self._device = device
        self._link = link
        self._plan = plan
        self._cards = cards
        self._on_frame = on_frame
        self._countdown: asyncio.Task[None] | None = None
        self._exposure = device.add(EXPOSURE, self._expose, check_limits=False)
        self._abort_switch = device.add(ABORT, self._abort)
        self._image = device.add(IMAGE)
        self._last_frame = device.add(LAST_FRAME)

    def mode_changed(self, mode: ModeFacts) -> None:
        """Tells the exposure limits of a mode."""
        limits = (mode.exposure_min_us / 1e6, mode.exposure_max_us / 1e6, EXPOSURE_STEP_S)
        self._device.set(self._exposure, limits={"CCD_EXPOSURE_VALUE": limits})

    async def stop(self) -> None:
        """Ends a running exposure without a word, for a disconnect."""
        self._stop_countdown()
        await self.engine.abort()
        self._device.set(self._exposure, state=State.IDLE)

    async def _expose(self, asked: Mapping[str, float]) -> Answer:
        plan = self._plan(asked["CCD_EXPOSURE_VALUE"])
        self._stop_countdown()
        await self.engine.abort()
        self.engine.start(plan)
        return Answer(State.BUSY, {"CCD_EXPOSURE_VALUE": plan.exposure_s})

    async def _abort(self, asked: Mapping[str, bool]) -> Answer:
        if not asked["ABORT"]:
            return Answer()
        self._stop_countdown()
        await self.engine.abort()
        return Answer(values={"ABORT": False}, then=self._show_idle)

    def _show_idle(self) -> None:
        self._device.set(self._exposure, {"CCD_EXPOSURE_VALUE": 0}, state=State.IDLE)

    # -- the engine's listener ---------------------------------------------------------------------

    def exposure_began(self, plan: ExposurePlan, at_ns: int) -> None:
        """Counts down to the end of the exposure."""
        self._stop_countdown()
        end_s = at_ns * 1e-9 + plan.exposure_s
        self._countdown = asyncio.create_task(self._count_down(end_s), name="countdown")

    async def make_ready(self, plan: ExposurePlan, frame: Frame) -> fits.FitsFile:
        """Writes the header into the frame's memory and waits for its turn on the link."""
        memory = frame.memory
        try:
            file = fits.finish(memory, frame.facts, self._cards(plan, frame.facts))
            memory = file.memory
            if file.cards_moved:
                self._device.message(
                    "The FITS header outgrew its room: the picture was copied once."
                )
            await self._link.blob_slot()
        except BaseException:
            os.close(memory)
            raise
        self._on_frame(frame.facts)
        self._show_last_frame(frame.facts)
        return file

    def hand_over(self, plan: ExposurePlan, ready: fits.FitsFile, *, last: bool) -> None:
        """Sends the picture, and at the end of the exposure that it is over."""
        self._stop_countdown()
        self._device.send_blob(
            self._image, "CCD1", ready.memory, size=ready.size, format=".fits"
        )
        if last:
            self._device.set(self._exposure, {"CCD_EXPOSURE_VALUE": 0}, state=State.OK)

    def exposure_failed(self, plan: ExposurePlan, sentence: str) -> None:
        """Shows the failure with its sentence; the camera is ready for the next exposure."""
        self._stop_countdown()
        self._device.set(self._exposure, state=State.ALERT, message=sentence)

    def camera_trouble(self, sentence: str) -> None:
        """Tells what happened to the camera."""
        self._device.message(sentence, "WARNING")

    # -- what is shown -----------------------------------------------------------------------------

    async def _count_down(self, end_s: float) -> None:
        while (left_s := end_s - clock.monotonic_s()) > 0:
            next_s = max(0.0, math.ceil(left_s / _TICK_S - 1e-3) * _TICK_S - _TICK_S)
            await asyncio.sleep(clock.real_s(left_s - next_s))
            self._device.set(self._exposure, {"CCD_EXPOSURE_VALUE": next_s}, state=State.BUSY)
            if not next_s:
                return

    def _stop_countdown(self) -> None:
        if self._countdown is not None:
            self._countdown.cancel()
            self._countdown = None

    def _show_last_frame(self, facts: FrameFacts) -> None:
        shown = {
            "EXPOSURE": facts.exposure_us / 1e6,
            "GAIN_TRUE": facts.gain,
            "SKIPPED": facts.skipped,
        }
        self._device.set(self._last_frame, shown, state=State.OK)
