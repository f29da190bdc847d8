"""Calibration as clients see it: measure the camera, and see the figures.

    measured          when                                        gives way to
    in full           CALIBRATE is asked                          an abort
    in short          the figures are missing, and for            whatever a client asks
                      IDLE_S nobody asked anything
    not at all        the figures were kept by an earlier run     -

Figures hold for a sensor, mode and format; others are looked up when one of these changes. By them
the engine takes single frames the cheapest way, and :mod:`.estimating` judges batches. Delivery is
measured in full form alone: one real frame goes out on a BLOB property of its own, to whoever is
connected. Called by the camera device.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from indi_picam import clock, fits
from indi_picam.camera.modes import CameraFacts, CameraFault, FrameRequest, ModeFacts, Way
from indi_picam.capture import calibration
from indi_picam.capture.calibrating import (
    Cards,
    Measuring,
    exposures_us,
    request_of_whole_frames,
)
from indi_picam.capture.calibration import (
    Calibration,
    CalibrationFault,
    Subject,
)
from indi_picam.capture.compressing import Compressor
from indi_picam.capture.engine import Engine, GaveWay
from indi_picam.capture.plan import ExposurePlan
from indi_picam.ccd.uploading import Uploading
from indi_picam.holding import hold
from indi_picam.indi.device import Answer, Device, Property
from indi_picam.indi.journal import note
from indi_picam.indi.link import Link
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
    Text,
    TextVector,
)

CALIBRATION = "Calibration"
IDLE_S = 3.0
"""Real time in which nothing was asked, before the camera is measured by itself."""
DELIVERY_LIMIT_S = 30.0
"""Real time in which clients have to let a frame go."""
NOT_MEASURED = "Not measured yet: estimates are from a table of sensors."

CALIBRATE = SwitchVector(
    "CALIBRATE",
    "Measure the camera",
    CALIBRATION,
    (Switch("MEASURE", "Measure"), Switch("ABORT", "Abort")),
    rule=Rule.AT_MOST_ONE,
)
FIGURES = NumberVector(
    "CALIBRATION",
    "Measured (0: not yet)",
    CALIBRATION,
    (
        Number("RESTART", "Restart to exposure (ms)", 0, 0, 1e7, 0, "%.1f"),
        Number("PRIMER", "Primer to exposure (ms)", 0, 0, 1e7, 0, "%.1f"),
        Number("FREE_RUNNING", "Free-running to exposure (ms)", 0, 0, 1e7, 0, "%.1f"),
        Number("LOST", "Frames lost after a start", 0, 0, 100, 0, "%.f"),
        Number("FRAME", "Shortest frame (ms)", 0, 0, 1e7, 0, "%.3f"),
        Number("GAP", "Between two exposures (ms)", 0, 0, 1e7, 0, "%.3f"),
        Number("READOUT", "Readout (ms)", 0, 0, 1e7, 0, "%.1f"),
        Number("FITS", "Frame to FITS file (ms)", 0, 0, 1e7, 0, "%.1f"),
        Number("SIZE", "File (MB)", 0, 0, 1e6, 0, "%.3f"),
        Number("COMPRESSED", "Compressed file (MB)", 0, 0, 1e6, 0, "%.3f"),
        Number("COMPRESSING", "Compressing (ms)", 0, 0, 1e7, 0, "%.f"),
        Number("DISK", "Writing to disk (MB/s)", 0, 0, 1e6, 0, "%.1f"),
        Number("DELIVERY", "Delivery to clients (MB/s)", 0, 0, 1e6, 0, "%.1f"),
    ),
    perm="ro",
)
HOLDS_FOR = TextVector(
    "CALIBRATION_STATE",
    "Holds for",
    CALIBRATION,
    (
        Text("SUBJECT", "Sensor, mode, format"),
        Text("VERSIONS", "Versions"),
        Text("WORDS", "State", NOT_MEASURED),
    ),
    perm="ro",
)
IMAGE = BlobVector(
    "CALIBRATION1", "Measured frame", CALIBRATION, (Blob("CALIBRATION1", "Frame"),), perm="ro"
)
CONCERNS = ("PICAM_MODE", "CCD_CAPTURE_FORMAT", "CCD_FRAME", "CCD_FRAME_RESET", "CCD_BINNING")
"""Settings by which other figures may hold, or can be told again which."""


@dataclass(frozen=True, slots=True)
class CalibrationExchange:
    """What calibrating asks of the other groups of its device."""

    plan: Callable[[float], ExposurePlan]
    """The order for an exposure of so many seconds, as everything stands; may raise Refused."""
    cards: Cards
    refuse_while_running: Callable[[], None]
    """Raises Refused while a batch holds the camera."""
    directory: Callable[[], Path | None]
    """Of batches on disk."""
    compressor: Compressor
    """That of the pictures."""
    on_figures: Callable[[], None]
    """Told when other figures hold."""


class Calibrating:
    """The calibration properties of one camera."""

    def __init__(
        self,
        device: Device,
        engine: Engine,
        link: Link,
        uploading: Uploading,
        exchange: CalibrationExchange,
    ) -> None:
        self._device = device
        self._engine = engine
        self._link = link
        self._uploading = uploading
        self._exchange = exchange
        self._model = ""
        self._mode: ModeFacts | None = None
        self._versions: dict[str, str] = {}
        self._subject: Subject | None = None
        self._known: Calibration | None = None
        """Of the subject."""
        self._settled: set[tuple[Subject, Path | None]] = set()
        """What is not measured by itself again."""
        self._announced: Subject | None = None
        """What was last told to be measured by itself."""
        self._task: asyncio.Task[tuple[State, str]] | None = None
        self._in_full = False
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._switch = device.add(CALIBRATE, self._calibrate)
        self._figures = device.add(FIGURES)
        self._holds_for = device.add(HOLDS_FOR)
        self._image = device.add(IMAGE)
        engine.choose_way = self._way
        device.on_change.append(self._asked)

    # -- what the device tells ---------------------------------------------------------------------

    async def connected(self, camera: CameraFacts, *, simulated: bool) -> None:
        """Takes over which camera it is."""
        self._model = camera.model
        self._subject = self._known = None
        self._settled.clear()
        self._versions = await asyncio.to_thread(calibration.versions, simulated)

    def mode_changed(self, mode: ModeFacts) -> None:
        """Looks up what is known of a mode."""
        self._mode = mode
        self._look_up_soon()

    async def stop(self) -> None:
        """Ends measuring at once."""
        if self._timer is not None:
            self._timer.cancel()
        task = self._task
        if task is not None and not task.done():
            if self._in_full or not self._engine.busy:
                await self._engine.abort()
            task.cancel()
            await asyncio.wait([task])

    async def disconnected(self) -> None:
        """Ends all of it: the camera is about to be closed."""
        self._mode = None
        await self.stop()

    def refuse_while_measuring(self) -> None:
        """Raises Refused while the camera is measured because a client asked for it."""
        if self._in_full:
            raise Refused("The camera is being measured: wait for its end, or abort it first.")

    # -- what others ask ---------------------------------------------------------------------------

    def believed(self, plan: ExposurePlan) -> Calibration:
        """What is taken for true as long as nothing was measured."""
        return calibration.believed(self._model, plan.mode, plan.request.file_bytes)

    def known(self, plan: ExposurePlan) -> Calibration | None:
        """What was measured of that which an exposure needs."""
        return self._known if self._subject == self._subject_of(plan.request) else None

    def _way(self, request: FrameRequest) -> Way | None:
        if self._known is None or self._subject != self._subject_of(request):
            return None
        return self._known.way(request)

    def _asked(self, changed: Property) -> None:
        """A client's request was followed."""
        if self._task is not None and not self._in_full and self._engine.busy:
            self._task.cancel()
        if changed.name in CONCERNS:
            self._look_up_soon()
        self._wait_for_rest()

    # -- measuring ---------------------------------------------------------------------------------

    async def _calibrate(self, asked: dict[str, bool]) -> Answer:
        off = dict.fromkeys(asked, False)
        if asked["ABORT"]:
            await self.stop()
            return Answer(State.IDLE, off)
        if not asked["MEASURE"]:
            return Answer(self._switch.state, off)
        self._exchange.refuse_while_running()
        self.refuse_while_measuring()
        if self._engine.busy:
            raise Refused("A picture is being taken: wait for its end, or abort it first.")
        plan = self._whole_frames()
        await self.stop()
        self._begin(plan, full=True)
        return Answer(State.BUSY, message="The camera is measured with some short frames.")

    def _whole_frames(self) -> ExposurePlan:
        """The order to measure with; raises Refused."""
        if self._mode is None:
            raise Refused("The camera is not ready yet.")
        plan = self._exchange.plan(exposures_us(self._mode)[0] / 1e6)
        return replace(plan, request=request_of_whole_frames(plan.request, plan.mode))

    def _begin(self, plan: ExposurePlan, *, full: bool) -> None:
        if full:
            self._engine.held = self._in_full = True
        self._task = asyncio.create_task(self._measure(plan, full=full), name="calibration")
        # Told by the task itself, it would not be when the task is cancelled before it runs.
        self._task.add_done_callback(partial(self._ended, full=full))

    async def _measure(self, plan: ExposurePlan, *, full: bool) -> tuple[State, str]:
        """How it ended, with a sentence; raises GaveWay."""
        measuring = Measuring(self._engine, plan, self._exchange.cards, full=full)
        subject, directory = self._subject_of(plan.request), self._exchange.directory()
        try:
            known = await measuring.camera()
            known = await measuring.files(known, directory, self._exchange.compressor)
            if full and measuring.file is not None:
                rate = await self._delivery_bytes_s(measuring.file)
                known = replace(known, delivery_bytes_s=rate)
        except (CameraFault, OSError, ValueError) as fault:
            self._settled.add((subject, directory))
            return State.ALERT, f"The camera could not be measured: {fault}"
        except GaveWay:
            raise
        except Exception as fault:
            note(f"{self._device.name}: measuring failed.\n{traceback.format_exc()}")
            self._settled.add((subject, directory))
            return State.ALERT, f"Measuring failed inside the driver: {fault!r}."
        finally:
            measuring.close()
            if not self._uploading.compresses:
                await self._exchange.compressor.close()
        self._settled.add((subject, directory))
        self._take_over(subject, known)
        try:
            await asyncio.to_thread(
                calibration.save, calibration.state_directory(), subject, self._versions, known
            )
        except CalibrationFault as fault:
            self._device.message(str(fault), "WARNING")
        return State.OK, known.words

    def _ended(self, task: asyncio.Task[tuple[State, str]], *, full: bool) -> None:
        """Lets the camera go, and tells how measuring ended."""
        if full:
            self._engine.held = self._in_full = False
        if self._task is task:
            self._task = None
        self._wait_for_rest()
        state, sentence = State.IDLE, "Measuring was ended before it was finished."
        if not task.cancelled():
            with suppress(GaveWay):
                state, sentence = task.result()
        if full or state is not State.IDLE:
            off = {"MEASURE": False, "ABORT": False}
            self._device.set(self._switch, off, state=state, message=sentence)

    async def _delivery_bytes_s(self, file: fits.FitsFile) -> float | None:
        """From handing a frame to the server until it and its clients have let it go."""
        if not self._uploading.sends:
            return None
        try:
            async with asyncio.timeout(DELIVERY_LIMIT_S):
                return file.size / await self._delivery_s(file)
        except TimeoutError:
            self._device.message(
                f"A frame was not let go by the clients within {DELIVERY_LIMIT_S:g} s: how fast "
                "they are is not known.",
                "WARNING",
            )
            return None

    async def _delivery_s(self, file: fits.FitsFile) -> float:
        await self._link.blob_slot(self._device.name, file.size)
        began_s = clock.monotonic_s()
        memory = hold(file.memory)
        name = self._image.name
        self._device.send_blob(self._image, name, memory, size=file.size, format=".fits")
        await self._link.let_go()
        return max(1e-6, clock.monotonic_s() - began_s)

    # -- by itself ---------------------------------------------------------------------------------

    def _wait_for_rest(self) -> None:
        """Measures what is missing once nobody has asked anything for a while."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._mode is not None and self._lacks():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(IDLE_S, self._measure_by_itself)

    def _lacks(self) -> bool:
        subject, directory = self._subject, self._exchange.directory()
        if subject is None or (subject, directory) in self._settled:
            return False
        known = self._known
        return known is None or known.disk != str(directory or "") or not known.compressed_bytes

    def _measure_by_itself(self) -> None:
        self._timer = None
        if self._engine.busy or self._task is not None:
            self._wait_for_rest()
            return
        if not self._lacks():
            return  # the store was not ready when it was looked up
        try:
            plan = self._whole_frames()
        except Refused:
            return  # the settings cannot be taken as they stand: the next change comes back here
        if self._announced != self._subject:
            self._announced = self._subject
            self._device.message(
                f"Mode {plan.mode.mode.name} was not measured yet: some short frames are taken "
                "while the camera rests. They give way to whatever is asked."
            )
        self._begin(plan, full=False)

    # -- what is known and shown -------------------------------------------------------------------

    def _subject_of(self, request: FrameRequest) -> Subject:
        return Subject(self._model, request.mode.name, request.format)

    def _look_up_soon(self) -> None:
        """Has the figures looked up that hold as everything stands."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up_what_holds(), name="calibration file")

    async def _look_up_what_holds(self) -> None:
        with suppress(Refused):
            while (subject := self._subject_of(self._whole_frames().request)) != self._subject:
                await self._look_up(subject)

    async def _look_up(self, subject: Subject) -> None:
        known = None
        try:
            known = await asyncio.to_thread(
                calibration.load, calibration.state_directory(), subject, self._versions
            )
        except CalibrationFault as fault:
            self._device.message(str(fault), "WARNING")
        self._take_over(subject, known)
        self._wait_for_rest()

    def _take_over(self, subject: Subject, known: Calibration | None) -> None:
        self._subject, self._known = subject, known
        self._device.set(self._figures, _shown(known), state=State.OK if known else State.IDLE)
        texts = {
            "SUBJECT": f"{subject.model} {subject.mode} {subject.format.value}",
            "VERSIONS": ", ".join(f"{name} {version}" for name, version in self._versions.items()),
            "WORDS": known.words if known else NOT_MEASURED,
        }
        self._device.set(self._holds_for, texts, state=State.OK if known else State.IDLE)
        self._exchange.on_figures()


def _shown(known: Calibration | None) -> dict[str, float]:
    """The figures as clients see them."""
    if known is None:
        return dict.fromkeys(FIGURES.values, 0.0)
    return {
        "RESTART": known.start_us / 1e3,
        "PRIMER": (known.primer_us or 0.0) / 1e3,
        "FREE_RUNNING": (known.free_running_us or 0.0) / 1e3,
        "LOST": known.lost_frames,
        "FRAME": known.frame_us / 1e3,
        "GAP": known.gap_us / 1e3,
        "READOUT": known.readout_us / 1e3,
        "FITS": known.finishing_us / 1e3,
        "SIZE": known.frame_bytes / 1e6,
        "COMPRESSED": (known.compressed_bytes or 0) / 1e6,
        "COMPRESSING": (known.compressing_us or 0.0) / 1e3,
        "DISK": (known.disk_bytes_s or 0.0) / 1e6,
        "DELIVERY": (known.delivery_bytes_s or 0.0) / 1e6,
    }
