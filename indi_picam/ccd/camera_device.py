"""One camera as one INDI device: connects it, shows its properties, wires its groups.

    CONNECTION   what is defined                                        the camera
    Off          CONNECTION, DRIVER_INFO, CONFIG_PROCESS                free for other programs
    Busy         the same; the worker opens the camera and takes a
                 short frame that proves it and tells its temperature   being opened
    On           everything                                             held by the worker

Knows what a client sees and in which order; what each property does stands in its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indi_picam import __version__, clock, fits
from indi_picam.camera.modes import (
    CameraFacts,
    CameraFault,
    CameraId,
    CaptureFormat,
    FrameFacts,
    ModeFacts,
)
from indi_picam.camera.remote import RemoteCamera
from indi_picam.camera.sensors import sensor_named
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan, ordered
from indi_picam.ccd import image_controls
from indi_picam.ccd.batches import Batches, BatchExchange
from indi_picam.ccd.calibrating import Calibrating, CalibrationExchange
from indi_picam.ccd.controls import Controls
from indi_picam.ccd.estimating import EstimateExchange, Estimating
from indi_picam.ccd.exposing import Exchange, Exposing
from indi_picam.ccd.focuser_device import FocuserDevice
from indi_picam.ccd.general import General
from indi_picam.ccd.heading import Heading
from indi_picam.ccd.identity import CCD_INTERFACE, CONNECTION, DriverFacts, driver_info
from indi_picam.ccd.image_controls import ImageControls
from indi_picam.ccd.imaging import Imaging
from indi_picam.ccd.saving import Saving
from indi_picam.ccd.sending import FrameExchange, Sending
from indi_picam.ccd.sensor_state import SensorState
from indi_picam.ccd.snooped import Snooped
from indi_picam.ccd.uploading import Uploading
from indi_picam.indi.device import Answer, Device, Property
from indi_picam.indi.link import Link
from indi_picam.indi.messages import Incoming
from indi_picam.indi.vectors import Refused, State

DEFINITION_ORDER = (
    "CCD_EXPOSURE",
    "CCD_ABORT_EXPOSURE",
    "CCD_FRAME",
    "CCD_FRAME_RESET",
    "CCD_BINNING",
    "FITS_HEADER",
    "CCD_TEMPERATURE",
    "CCD_CAPTURE_FORMAT",
    "CCD_TRANSFER_FORMAT",
    "CCD_INFO",
    "CCD_COMPRESSION",
    "CCD1",
    "CCD_FRAME_TYPE",
    "CCD_CFA",
    "SCOPE_INFO",
    "WCS_CONTROL",
    "CCD_ROTATION",
    "UPLOAD_MODE",
    "UPLOAD_SETTINGS",
    "CCD_FAST_TOGGLE",
    "CCD_FAST_COUNT",
    "CCD_GAIN",
    "PICAM_ISO",
    "PICAM_MODE",
    "PICAM_FLIP",
    "PICAM_VALUES",
    *image_controls.NAMES,
    "PICAM_DEFECTS",
    "PICAM_ADC",
    "PICAM_FRAME",
    "BATCH_START",
    "BATCH_CONTROL",
    "BATCH_STORAGE",
    "BATCH_DELIVERY",
    "BATCH_RATE",
    "BATCH_KEEP",
    "BATCH_DIRECTORY",
    "BATCH_ACKNOWLEDGE",
    "BATCH_REDELIVER",
    "BATCH_CONTINUE",
    "BATCH_DISCARD",
    "BATCH_PROGRESS",
    "BATCH_STATUS",
    "BATCH_LIST",
    "BATCH1",
    "CALIBRATE",
    "CALIBRATION",
    "CALIBRATION_STATE",
    "ESTIMATE_FOR",
    "ESTIMATE",
    "CALIBRATION1",
)
"""What a client sees once connected: INDI::CCD's order, then the driver's own."""

OF_EACH_ORDER = (
    "CCD_FRAME",
    "CCD_FRAME_RESET",
    "CCD_BINNING",
    "CCD_CAPTURE_FORMAT",
    "CCD_FRAME_TYPE",
    "CCD_CFA",
    "CCD_GAIN",
    "PICAM_ISO",
    "PICAM_VALUES",
    *image_controls.NAMES,
)
"""Settings that frames are ordered with."""

ONLY_AT_TIMES = ("CCD_FILE_PATH",)
"""Shown by their groups when another setting asks for them."""


class CameraDevice:
    """The INDI device of one camera."""

    def __init__(self, name: str, camera: CameraId, driver: DriverFacts, link: Link) -> None:
        self.indi = Device(name, link.send)
        self._camera_id = camera.id
        self._driver = driver
        self._camera = RemoteCamera(camera.id, module_path=driver.module_path)
        self._connection = self.indi.add(CONNECTION, self._connect_or_not, from_start=True)
        self.indi.add(driver_info(driver, CCD_INTERFACE), from_start=True)
        has_lens = sensor_named(camera.model).has_lens
        self._focuser = FocuserDevice(name, driver, link.send, from_start=has_lens)
        self._general = General(
            self.indi, driver.executable, may_simulate=driver.simulator_path is not None
        )
        self._saving = Saving(self.indi)
        self._snooped = Snooped(self.indi)
        self._heading = Heading(self.indi, self._snooped)
        self._uploading = Uploading(self.indi)
        self._controls = Controls(self.indi)
        self._engine = Engine(self._camera, lambda trouble: self.indi.message(trouble, "WARNING"))
        self._engine.on_replaced = lambda told: self.indi.message(told, "DEBUG")
        self._sending = Sending(self.indi, link, self._uploading)
        self._imaging = Imaging(self.indi, self._engine, self._mode_changed)
        self._image_controls = ImageControls(self.indi, lambda: self._imaging.format)
        self._sensor_state = SensorState(self.indi)
        frames = FrameExchange(
            cards=self._cards, began=self._heading.exposure_began, taken=self._frame_taken
        )
        self._batches = Batches(
            self.indi,
            self._engine,
            self._sending,
            frames,
            BatchExchange(
                plan=self._plan,
                plan_again=self._plan_again,
                rate_mb_s=link.pacing.rate_mb_s,
                set_rate=lambda rate: setattr(link.pacing, "rate_mb_s", rate),
                checked_folder=self._uploading.checked_folder,
                expected=lambda plan, count, where: self._estimating.expected(plan, count, where),
            ),
        )
        self._calibrating = Calibrating(
            self.indi,
            self._engine,
            link,
            self._uploading,
            CalibrationExchange(
                plan=self._plan_as_set,
                cards=self._cards,
                refuse_while_running=self._batches.refuse_while_running,
                directory=lambda: self._batches.directory,
                compressor=self._sending.compressor,
                on_figures=lambda: self._estimating.refresh(),
            ),
        )
        self._estimating = Estimating(
            self.indi,
            link,
            self._uploading,
            EstimateExchange(
                plan=self._plan_as_set,
                known=self._calibrating.known,
                believed=self._calibrating.believed,
                place=self._batches.place,
                directory=lambda: self._batches.directory,
                sends_live=lambda: self._batches.sends_live,
            ),
        )
        self._exposing = Exposing(
            self.indi,
            self._engine,
            self._sending,
            frames,
            Exchange(
                plan=self._plan,
                polling_s=lambda: self._general.polling_s,
                abort_batch=self._end_what_holds_the_camera,
            ),
        )
        self.indi.guard = self._refuse_while_a_batch_runs
        self.indi.on_change.append(self._tell_when_it_holds)
        self._mode_name: str | None = None
        self._saving.restore()
        self._general.restored()
        self._snooped.follow()

    async def receive(self, message: Incoming) -> None:
        """Takes one message of the server, for the camera or for its lens."""
        await self.indi.receive(message)
        if self._focuser.shown:
            await self._focuser.indi.receive(message)

    async def close(self) -> None:
        """Ends the worker and frees the camera; what is in the store stays there."""
        await self._batches.close()
        await self._calibrating.disconnected()
        await self._engine.disconnect()
        await self._sending.close()

    # -- connection --------------------------------------------------------------------------------

    async def _connect_or_not(self, asked: Mapping[str, bool]) -> Answer:
        if asked["CONNECT"] == self._is_connected:
            return Answer(State.OK if asked["CONNECT"] else State.IDLE)
        return await (self._connect() if asked["CONNECT"] else self._disconnect())

    @property
    def _is_connected(self) -> bool:
        return bool(self._connection["CONNECT"])

    async def _connect(self) -> Answer:
        # Slow cameras take seconds: clients shall see that something happens (Ekos gives up after
        # 10 s).
        self.indi.set(self._connection, state=State.BUSY)
        self._focuser.camera_opens()
        if self._general.simulates:
            self._camera.turn_to("", self._driver.simulator_path)
        else:
            self._camera.turn_to(self._camera_id, self._driver.module_path)
        try:
            camera, mode, proof = await self._engine.connect(self._mode_name)
        except CameraFault as fault:
            self._focuser.camera_gone()
            return Answer(State.ALERT, {"DISCONNECT": True}, str(fault))
        self._imaging.connected(camera, mode)
        has_isp_formats = self._imaging.has_isp_formats
        self._image_controls.connected(camera, has_isp_formats=has_isp_formats)
        self._sensor_state.connected(camera)
        simulated = self._general.simulates or self._driver.module_path is not None
        await self._calibrating.connected(camera, simulated=simulated)
        self._mode_changed(mode)
        await self._batches.connected()
        return Answer(then=lambda: self._show_all(camera, proof))

    def _show_all(self, camera: CameraFacts, proof: FrameFacts) -> None:
        self._imaging.frame_taken(proof)
        self._controls.frame_taken(proof)
        shown = (name for name in DEFINITION_ORDER if self._is_shown(name, proof))
        self.indi.define(*(self.indi[name] for name in shown))
        self._uploading.connected()
        self._focuser.camera_opened(camera)

    def _is_shown(self, name: str, proof: FrameFacts) -> bool:
        if name == "CCD_CFA":
            return self._imaging.is_mosaic
        if name == "CCD_ROTATION":
            return self._snooped.shows_rotation
        if name in image_controls.NAMES:
            return name in self._image_controls.shown
        if name == "PICAM_DEFECTS":
            return self._sensor_state.shown
        return name != "CCD_TEMPERATURE" or proof.temperature_c is not None

    async def _disconnect(self) -> Answer:
        await self._end_what_holds_the_camera()
        await self._batches.disconnected()
        await self._calibrating.disconnected()
        await self._exposing.stop()
        await self._engine.disconnect()
        await self._sending.close()
        return Answer(State.IDLE, then=self._hide_all)

    def _hide_all(self) -> None:
        names = (*DEFINITION_ORDER, *ONLY_AT_TIMES)
        self.indi.delete(*(self.indi[name] for name in names if self.indi.shows(name)))
        self._exposing.hidden()
        self._focuser.camera_gone()

    # -- what the groups need of each other --------------------------------------------------------

    async def _end_what_holds_the_camera(self) -> None:
        await self._batches.stop()
        await self._calibrating.stop()

    def _plan(self, exposure_s: float) -> ExposurePlan:
        self._batches.refuse_while_running()
        self._calibrating.refuse_while_measuring()
        plan = self._plan_as_set(exposure_s)
        self._heading.ordered(clock.monotonic_ns())
        return plan

    def _refuse_while_a_batch_runs(self, known: Property, asked: Mapping[str, Any]) -> None:
        changes = any(known.vector.values[name] != value for name, value in asked.items())
        if changes and known.name in OF_EACH_ORDER:
            self._batches.refuse_while_running()

    def _tell_when_it_holds(self, changed: Property) -> None:
        """Fast frames are all alike, as they were ordered at once."""
        if changed.name in OF_EACH_ORDER and self._exposing.takes_several:
            self.indi.message(
                f"{changed.vector.label} ({changed.name}) holds for the next order: the frames "
                "being taken stay as they were ordered."
            )

    def _plan_as_set(self, exposure_s: float) -> ExposurePlan:
        by_isp = self._imaging.format is not CaptureFormat.RAW
        controls = self._focuser.told + (self._image_controls.told if by_isp else ())
        return self._imaging.plan(exposure_s, self._controls.gain, controls)

    async def _plan_again(self, order: Mapping[str, Any]) -> ExposurePlan:
        """The order of an earlier batch, as :meth:`ExposurePlan.order` wrote it."""
        try:
            request, frame_type = ordered(order)
            mode = await self._engine.configure(request.mode, request.orientation)
        except (CameraFault, ValueError) as fault:
            raise Refused(str(fault)) from None
        if (mode.mode.name, mode.orientation) != (self._mode_name, self._imaging.orientation):
            self._mode_changed(mode)
        return ExposurePlan(request, mode, frame_type)

    def _mode_changed(self, mode: ModeFacts) -> None:
        self._mode_name = mode.mode.name
        self._imaging.mode_changed(mode)
        self._exposing.mode_changed(mode)
        self._controls.mode_changed(mode)
        self._calibrating.mode_changed(mode)

    def _frame_taken(self, facts: FrameFacts) -> None:
        read_ms = (facts.completed_ns - facts.sensor_timestamp_ns) / 1e6
        ready_ms = (clock.monotonic_ns() - facts.completed_ns) / 1e6
        self.indi.message(
            f"A frame: {facts.way.value}, {facts.skipped} skipped, {facts.dropped} dropped; "
            f"libcamera had it {read_ms:.0f} ms after its exposure, and it left {ready_ms:.0f} ms "
            "later.",
            "DEBUG",
        )
        self._imaging.frame_taken(facts)
        self._controls.frame_taken(facts)
        self._sensor_state.frame_taken(facts)
        if self._is_connected and facts.temperature_c is not None:
            self.indi.define(self.indi["CCD_TEMPERATURE"])

    def _cards(self, plan: ExposurePlan, facts: FrameFacts) -> list[fits.Card]:
        return [
            fits.Card("INSTRUME", self.indi.name, "INDI device"),
            fits.Card("SENSOR", self._imaging.model, "model of the sensor"),
            fits.Card("FRAME", plan.frame_type.value, "type of frame"),
            fits.Card("IMAGETYP", f"{plan.frame_type.value} Frame", "type of frame"),
            *fits.exposure_cards(plan.request, facts, plan.mode),
            *image_controls.cards(plan.request),
            *self._focuser.cards(facts),
            fits.Card("SWCREATE", f"indi_picam {__version__}", "software"),
            *self._heading.cards(plan, facts),
        ]
