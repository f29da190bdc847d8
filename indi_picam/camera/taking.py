"""Taking frames: the worker's state machine between the camera and the messages to the driver.

| state   | sensor         | captures asked | left by                                           |
|---------|----------------|----------------|---------------------------------------------------|
| stopped | off            | none           | begin -> taking                                   |
| taking  | on             | 1, or 3 ahead  | last frame -> running or stopped; stop -> stopped |
| running | on, as it was  | none           | begin -> taking; 10 s, stop -> stopped            |

A frame is delivered because its metadata says that it is the one asked for
(:func:`.ways.refusal`), never because it is the n-th. Knows no sockets: it is given ``send``.
Called by :mod:`.worker`, from one thread.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from indi_picam import clock
from indi_picam.camera import images, ways
from indi_picam.camera.frame_memory import FrameMemories, FrameMemory
from indi_picam.camera.images import store_image
from indi_picam.camera.messages import Began, Finished, Message
from indi_picam.camera.modes import (
    UPRIGHT,
    CameraFault,
    CaptureFormat,
    FrameFacts,
    FrameRequest,
    Metadata,
    ModeFacts,
    Orientation,
    SensorMode,
    Settings,
    Way,
)
from indi_picam.camera.pi import Capture, PiCamera
from indi_picam.camera.pixels import check_window, pattern_at, store_pixels, write_pixels

IDLE_S = 10.0
"""A sensor that runs warms up: it is stopped after so long without use, and memory given back."""

AHEAD = 3
"""Captures asked for at a time in a run of frames: one may be late in asking by two frames."""

MARGIN_S = 2.0
"""How late a frame may be, in real time, before the camera counts as stalled."""


@dataclass(slots=True)
class _Take:
    """A request under way."""

    serial: int
    request: FrameRequest
    settings: Settings
    way: Way
    requested_ns: int
    left: int
    deadline: float
    """When the next frame is overdue, in real monotonic seconds."""
    began_ns: int | None = None
    """When the exposure of the next frame begins, until that has been told."""
    memory: FrameMemory | None = None
    """The first frame's: had at once, so that a lack of it is told before the exposure."""
    started: bool = False
    """Whether the sensor was started for it."""
    skipped: int = 0
    """Frames of the sensor before the first that was accepted: all since its start, or those that
    were refused when it ran already."""
    refusal: str = "none came"
    """Why the last frame was not accepted."""
    last: Metadata | None = None
    """Of the last accepted frame."""
    lens: float | None = None
    """Where the last frame saw the lens, accepted or not."""


class FrameTaker:
    """One camera and what is being taken with it."""

    def __init__(self, camera: PiCamera, send: Callable[[Message, int | None], None]) -> None:
        """``send`` takes a message and a descriptor that stays ours, or None."""
        self._camera = camera
        self._send = send
        self._facts: ModeFacts | None = None
        self._format = CaptureFormat.RAW
        """What the camera is set up for, when it is."""
        self._lens: float | None = None
        """Where the lens was sent last."""
        self._take: _Take | None = None
        self._runs: Settings | None = None
        """What the sensor runs with; None when it is stopped."""
        self._seen: Metadata | None = None
        """Of the last frame that it gave with these settings."""
        self._memories = FrameMemories()
        self._idle_at = math.inf

    def configure(
        self,
        mode: SensorMode,
        orientation: Orientation = UPRIGHT,
        capture_format: CaptureFormat | None = None,
    ) -> ModeFacts:
        """Sets up a mode; raises CameraFault, then no mode is set up.

        Without a format any will do: the one that is set up stays when nothing else changes.
        """
        if self._facts is None or not self._is_ready_for(mode, orientation, capture_format):
            self.stop()
            self._facts = None
            self._format = capture_format or CaptureFormat.RAW
            self._facts = self._camera.configure(mode, orientation, self._format)
        return self._facts

    def is_ready_for(self, request: FrameRequest) -> bool:
        """Whether the camera need not be set up anew to take it, which lasts."""
        return self._is_ready_for(request.mode, request.orientation, request.format)

    def _is_ready_for(
        self, mode: SensorMode, orientation: Orientation, capture_format: CaptureFormat | None
    ) -> bool:
        facts = self._facts
        return (
            facts is not None
            and (facts.mode, facts.orientation) == (mode, orientation)
            and capture_format in (None, self._format)
        )

    def begin(self, serial: int, request: FrameRequest) -> None:
        """Starts taking the frames of a request; raises CameraFault when it cannot be done."""
        requested_ns = clock.monotonic_ns()
        if self._take is not None:
            raise CameraFault("The camera is already taking a picture.", retry=False)
        granted = self.configure(request.mode, request.orientation, request.format)
        settings = _settings(request, granted)
        way, wait_us = self._choose(request, settings)
        take = _Take(serial, request, settings, way, requested_ns, request.count, math.inf)
        self._take, self._idle_at = take, math.inf
        if way is not Way.FREE_RUNNING or wait_us == math.inf:
            wait_us = self._start(way, settings)
            take.started = True
        for _ in range(min(AHEAD, take.left) if way is Way.FREE_RUNNING else 1):
            self._camera.ask()
        take.began_ns = clock.monotonic_ns() + int(1000 * wait_us)
        self._expect(wait_us)
        self.tick()
        take.memory = self._memories.reserve(request.file_bytes)
        take.memory.map()  # while nothing waits for it

    def _choose(self, request: FrameRequest, settings: Settings) -> tuple[Way, float]:
        """The way to take, and how long until the next exposure of a sensor that runs so, in us."""
        facts, sensor = self._mode_facts(), self._camera.sensor
        starts = ways.start_costs_us(sensor, facts, settings.exposure_us)
        wait_us = math.inf
        if self._runs == settings and self._seen is not None:
            wait_us = ways.wait_us(self._seen, clock.monotonic_ns())
        if request.way is not None:
            return request.way, wait_us
        if request.count > 1:
            return Way.FREE_RUNNING, math.inf  # with a start: it takes as long as was foretold
        if wait_us < min(starts.values()):
            return Way.FREE_RUNNING, wait_us
        return self._start_way(settings), wait_us

    def _start_way(self, settings: Settings) -> Way:
        if settings.lens_position not in (None, self._lens):
            return Way.PRIMER  # libcamera moves a lens over several frames: short ones
        return ways.start_way(self._camera.sensor, self._mode_facts(), settings.exposure_us)

    def _start(self, way: Way, settings: Settings) -> float:
        """Starts the sensor anew; returns how long until the exposure begins, in us."""
        facts, sensor = self._mode_facts(), self._camera.sensor
        self.stop_sensor()
        if way is Way.FREE_RUNNING:
            way = self._start_way(settings)
        if way is Way.PRIMER:
            short = dataclasses.replace(settings, exposure_us=facts.exposure_min_us)
            self._camera.start(facts, short)
            self._camera.change(facts, settings)
        else:
            self._camera.start(facts, settings)
        self._runs, self._lens = settings, settings.lens_position
        return ways.start_costs_us(sensor, facts, settings.exposure_us)[way] - sensor.start_us

    def frames_ready(self) -> None:
        """Takes up what the camera has finished; raises CameraFault when memory is short."""
        for capture in self._camera.finished():
            try:
                self._take_up(capture)
            finally:
                capture.release()

    def _take_up(self, capture: Capture) -> None:
        take, got = self._take, capture.metadata
        if take is None:
            return
        facts = self._mode_facts()
        reason = ways.refusal(take.settings, take.requested_ns, got, self._camera.sensor, facts)
        if reason is None and ways.lens_moves(take.settings, got, take.lens):
            reason = "taken while the lens moved"
        take.lens = got.lens_position
        if reason is not None or not capture.good:
            take.skipped += take.last is None
            take.refusal = f"the last one was {reason or 'marked as bad'}"
            self._camera.ask()
            return
        if take.left > AHEAD and take.way is Way.FREE_RUNNING:
            self._camera.ask()
        if take.started and take.last is None:
            take.skipped = capture.number
        self._deliver(take, capture)
        take.left -= 1
        take.last = self._seen = got
        take.skipped = 0
        if take.left:
            self._go_on(take, got)
        else:
            self._end(take, facts)

    def _deliver(self, take: _Take, capture: Capture) -> None:
        request = take.request
        memory = take.memory or self._memories.reserve(request.file_bytes)
        take.memory = None
        try:
            datasum = self._store(request, capture, memory)
            given = memory.give_out()
            try:
                self._send(Finished(take.serial, self._frame_facts(take, capture, datasum)), given)
            finally:
                os.close(given)
        finally:
            self._memories.keep(memory)

    def _store(self, request: FrameRequest, capture: Capture, memory: FrameMemory) -> int:
        """Writes the pixels of a frame into its memory; returns their DATASUM."""
        room, roi, bin_x, bin_y = request.header_room, request.roi, request.bin_x, request.bin_y
        if request.format is not CaptureFormat.RAW:
            with capture.buffer("main") as image:
                out = memory.map()[room:]
                return store_image(image, self._camera.image, out, roi, bin_x, bin_y)
        layout, scaled = self._camera.layout, request.scale_to_16_bit
        with capture.buffer("raw") as raw:
            if memory.is_mapped:
                out = memory.map()[room:]
                return store_pixels(raw, layout, out, roi, bin_x, bin_y, scaled)
            return write_pixels(raw, layout, memory.write, room, roi, bin_x, bin_y, scaled)

    def _frame_facts(self, take: _Take, capture: Capture, datasum: int) -> FrameFacts:
        request, got, layout = take.request, capture.metadata, self._camera.layout
        scaled, raw = request.scale_to_16_bit, request.format is CaptureFormat.RAW
        mosaic = raw and request.bin_x * request.bin_y == 1
        told = request.bayer_pattern or layout.bayer_pattern
        pattern = pattern_at(told, request.roi.x, request.roi.y)
        return FrameFacts(
            exposure_us=got.exposure_us,
            gain=got.gain,
            digital_gain=got.digital_gain,
            frame_duration_us=got.frame_duration_us,
            sensor_timestamp_ns=got.sensor_timestamp_ns,
            completed_ns=capture.completed_ns,
            temperature_c=got.temperature_c,
            black_level=layout.black_level(got.black_level, scaled) if raw else 0.0,
            saturation=layout.saturation(scaled) if raw else images.SATURATION,
            width=request.roi.width // request.bin_x,
            height=request.roi.height // request.bin_y,
            bayer_pattern=pattern if mosaic else None,
            header_room=request.header_room,
            datasum=datasum,
            way=take.way,
            skipped=take.skipped,
            dropped=_lost_between(take.last, got) if take.last is not None else 0,
            format=request.format,
            lens_position=got.lens_position,
            colour_gains=None if raw else got.colour_gains,
            colour_temperature_k=None if raw else got.colour_temperature_k,
            corrects_defects=self._camera.corrects_defects,
        )

    def _go_on(self, take: _Take, got: Metadata) -> None:
        """To the next frame of a run, which began when this one was read out."""
        if take.way is not Way.FREE_RUNNING:
            self._camera.ask()
        next_ns = got.exposure_began_ns + 1000 * got.frame_duration_us
        take.began_ns = next_ns
        self._expect(max(0.0, (next_ns - clock.monotonic_ns()) / 1000))
        self.tick()

    def _end(self, take: _Take, facts: ModeFacts) -> None:
        self._take = None
        runs_on = take.request.way is Way.FREE_RUNNING
        if take.request.way is None:
            runs_on = ways.stays_running(self._camera.sensor, facts, take.settings.exposure_us)
        if runs_on:
            self._camera.forget()
        else:
            self.stop_sensor()
        self._idle_at = time.monotonic() + IDLE_S

    def _expect(self, wait_us: float) -> None:
        """Sets when the next frame is overdue: exposure, readout, start and the margin from now."""
        take, facts = self._take, self._mode_facts()
        if take is not None:
            length_us = take.settings.exposure_us + 2 * facts.frame_duration_min_us
            whole_us = wait_us + length_us + self._camera.sensor.start_us
            take.deadline = time.monotonic() + clock.real_s(whole_us / 1e6) + MARGIN_S

    def tick(self) -> None:
        """Does what is due by the clock; raises CameraFault when a frame is overdue."""
        take, now = self._take, time.monotonic()
        if take is not None and take.began_ns is not None and clock.monotonic_ns() >= take.began_ns:
            self._send(Began(take.serial, take.began_ns), None)
            take.began_ns = None
        if take is not None and now > take.deadline:
            raise CameraFault(
                f"The camera gave no frame as asked for in time ({take.refusal}): check its cable"
                " and power supply.",
                retry=True,
            )
        if now > self._idle_at:
            self.stop_sensor()
            self._memories.drop()
            self._idle_at = math.inf

    def due(self) -> float:
        """When ``tick`` is next needed, in real monotonic seconds; infinity when never."""
        take = self._take
        if take is None:
            return self._idle_at
        if take.began_ns is None:
            return take.deadline
        until_s = clock.real_s((take.began_ns - clock.monotonic_ns()) / 1e9)
        return min(take.deadline, time.monotonic() + until_s)

    def stop(self) -> None:
        """Ends what is being taken, in the middle of an exposure too, and stops the sensor."""
        take, self._take = self._take, None
        self.stop_sensor()
        if take is not None and take.memory is not None:
            self._memories.keep(take.memory)
        self._idle_at = time.monotonic() + IDLE_S

    def stop_sensor(self) -> None:
        """Stops the sensor if it runs."""
        if self._runs is not None:
            self._camera.stop()
        self._runs = self._seen = None

    def _mode_facts(self) -> ModeFacts:
        if self._facts is None:
            raise CameraFault("No sensor mode is set up.", retry=True)
        return self._facts


def _settings(request: FrameRequest, facts: ModeFacts) -> Settings:
    """What the sensor is told for a request; raises CameraFault for one that it cannot fulfil."""
    check_window(request.mode, request.roi, request.bin_x, request.bin_y)
    if request.count < 1:
        raise CameraFault(f"A run of {request.count} frames cannot be taken.", retry=False)
    if not facts.exposure_min_us <= request.exposure_us <= facts.exposure_max_us:
        raise CameraFault(
            f"The sensor mode {request.mode.name} exposes from"
            f" {facts.exposure_min_us / 1e6:g} s to {facts.exposure_max_us / 1e6:g} s,"
            f" not {request.exposure_us / 1e6:g} s.",
            retry=False,
        )
    gain = min(max(request.gain, facts.gain_min), facts.gain_max)
    return Settings(request.exposure_us, gain, request.controls)


def _lost_between(before: Metadata, after: Metadata) -> int:
    """Frames of the free-running sensor that nobody got, from its timestamps."""
    between_us = (after.sensor_timestamp_ns - before.sensor_timestamp_ns) / 1000
    return max(0, round(between_us / max(1, before.frame_duration_us)) - 1)
