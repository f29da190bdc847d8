"""The process of one sensor: it free-runs, draws frames into the buffers of requests and says when they are done.

``python -m indi_picam.simulator.sensor SOCKET CAMERA_ID PARENT`` is started by the stand-in for libcamera when a camera is acquired, so that
what a picture costs to draw is measured apart from the process that uses the camera. It ends with that process: its end
of the socket closes. One thread: drawing goes in short steps between which the clock and the socket are looked at.

    idle        no stream: only messages
    streaming   frames by ``stream.py``; the next frame's pixels are drawn while it is exposed
    silent      libcamera has timed out: requests are refused until a stop
"""

from __future__ import annotations

import math
import mmap
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indi_picam import clock

from . import settings as settings_of
from . import wire
from .faults import Faults
from .frame_log import FrameLog
from .ipa import Ipa
from .layouts import Layout, draw_processed, draw_raw, fill_padding
from .picture import Exposure, Picture
from .stream import Asked, Frame, Stream

WARMING_C, WARMING_S = 9.0, 400.0
"""How much a running sensor warms, and the time constant."""
SPIN_S = 0.0002
"""Waits end that much early and are finished by looking at the clock."""


class Buffer:
    """A buffer of the other process, mapped here."""

    def __init__(self, descriptor: int, length: int, layout: Layout) -> None:
        self.layout = layout
        self._map = mmap.mmap(descriptor, length)
        os.close(descriptor)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        fill_padding(self.bytes, layout, np.random.default_rng(7))


class Drawing:
    """A frame being drawn into the buffers of a request."""

    def __init__(self, frame: Frame, asked: Asked, exposure: Exposure, steps: Iterator[None]) -> None:
        self.frame, self.asked, self.exposure, self.steps = frame, asked, exposure, steps
        self.finished = False

    def step(self) -> None:
        """Draw a little more."""
        self.finished = self.finished or next(self.steps, self) is self

    def finish(self) -> None:
        """Draw all the rest."""
        while not self.finished:
            self.step()


class SensorProcess:
    """Everything the process knows; ``run`` is its life."""

    def __init__(self, link: socket.socket, camera_id: str, parent: int) -> None:
        self._link, self._parent = link, parent
        self._settings = settings_of.load()
        self._camera = next(camera for camera in self._settings.cameras if camera.id == camera_id)
        self._sensor = self._camera.sensor
        self._faults = Faults(self._settings.fault_file, camera_id)
        self._log = FrameLog(self._settings.log_file)
        self._ipa = Ipa(self._sensor)
        seed = self._settings.noise_seed
        self._seed = random.getrandbits(63) if seed is None else seed
        self._sequence = 0
        self._starts = -1
        self._picture: Picture | None = None
        self._pictures: dict[tuple[str, bool, bool], Picture] = {}
        self._buffers: dict[int, Buffer] = {}
        self._stream: Stream | None = None
        self._silent = False
        self._drawing: Drawing | None = None
        self._turned = (False, False)
        self._warmth_c, self._warmth_ns = 0.0, clock.monotonic_ns()

    def run(self) -> None:
        """Live until the other process is gone."""
        wire.send(self._link, {"event": "ready"})
        while True:
            readable, _, _ = select.select([self._link], [], [], self._patience_s())
            if readable:
                self._take(*wire.receive(self._link))
                continue
            if self._stream:
                self._advance(self._stream)

    def _patience_s(self) -> float | None:
        """How long there is nothing to do but to listen, in real seconds."""
        if not self._stream:
            return None
        self._begin_drawing(self._stream)
        if self._drawing and not self._drawing.finished:
            return 0.0
        next_ns = self._stream.next_ns
        if next_ns is None:
            return 0.05
        wait = clock.real_s((next_ns - clock.monotonic_ns()) * 1e-9)
        # Frames that nobody takes need no punctual start; a message still wakes us.
        least = 0.0 if self._stream.waiting or self._drawing else 0.002
        return min(max(wait - SPIN_S, least), 0.1)

    def _advance(self, stream: Stream) -> None:
        if self._drawing and not self._drawing.finished:
            self._drawing.step()
        next_ns = stream.next_ns
        if next_ns is not None:
            while 0 < clock.real_s((next_ns - clock.monotonic_ns()) * 1e-9) <= SPIN_S:
                pass
        self._check_faults(stream)
        now = clock.monotonic_ns()
        for frame in stream.advance(now):
            self._deliver(stream, frame)
        deadline = stream.deadline_ns
        if deadline is not None and deadline <= now:
            self._silent, self._stream, self._drawing = True, None, None
            wire.send(self._link, {"event": "timeout"})

    def _check_faults(self, stream: Stream) -> None:
        if self._faults.on("stalled") or self._faults.on("unplugged"):
            stream.stall()
            stream.reading.clear()
        frame = stream.next
        if frame and stream.waiting and self._faults.dies_in_exposure():
            middle = frame.exposure_start_ns + frame.settings.exposure_ns // 2
            if middle <= clock.monotonic_ns() <= frame.readout_start_ns:
                self._faults.take_out("die")
                os.kill(self._parent, signal.SIGKILL)

    # Drawing

    def _begin_drawing(self, stream: Stream) -> None:
        coming = stream.coming()
        if coming is None:
            return
        frame, asked = coming
        if self._drawing and self._drawing.frame is frame and self._drawing.asked is asked:
            return
        exposure = Exposure(
            frame.settings.exposure_ns * 1e-9,
            frame.settings.gain,
            round(self._temperature_c(), 1),
            (self._seed, self._sequence + frame.index),
        )
        self._drawing = Drawing(frame, asked, exposure, self._draw(exposure, asked))

    def _draw(self, exposure: Exposure, asked: Asked) -> Iterator[None]:
        buffers = [self._buffers[number] for number in asked.buffers]
        raw = next((buffer for buffer in buffers if buffer.layout.packing != "processed"), None)
        if raw is None or self._picture is None:
            return
        yield from draw_raw(self._picture, exposure, raw.bytes, raw.layout)
        for buffer in buffers:
            if buffer is not raw:
                yield
                draw_processed(raw.bytes, raw.layout, buffer.bytes, buffer.layout)

    def _temperature_c(self) -> float:
        """Now; it follows the running and the standing still with one time constant."""
        now = clock.monotonic_ns()
        aim = WARMING_C if self._stream else 0.0
        passed = math.exp(-(now - self._warmth_ns) * 1e-9 / WARMING_S)
        self._warmth_c, self._warmth_ns = aim + (self._warmth_c - aim) * passed, now
        return self._settings.ambient_c + self._warmth_c

    def _deliver(self, stream: Stream, frame: Frame) -> None:
        drawing, asked = self._drawing, frame.asked
        exposure = None
        if asked:
            if drawing is None or drawing.frame is not frame or drawing.asked is not asked:
                self._drawing = None
                self._begin_drawing_of(frame, asked)
                drawing = self._drawing
            if drawing:
                drawing.finish()
                exposure = drawing.exposure
            self._drawing = None
        status = frame.status if asked else "missed"
        if asked and self._faults.on("bad_frames"):
            status = "error"
        temperature = exposure.temperature_c if exposure else round(self._temperature_c(), 1)
        completed_ns = clock.monotonic_ns()
        if asked:
            metadata = self._ipa.metadata(frame.settings, temperature)
            metadata["SensorTimestamp"] = frame.readout_start_ns
            metadata["FrameWallClock"] = clock.utc_ns(frame.readout_start_ns)
            wire.send(
                self._link,
                {
                    "event": "frame",
                    "number": asked.number,
                    "status": status,
                    "sequence": self._sequence + frame.index,
                    "metadata": metadata,
                },
            )
        self._note(frame, status, temperature, completed_ns)

    def _begin_drawing_of(self, frame: Frame, asked: Asked) -> None:
        exposure = Exposure(
            frame.settings.exposure_ns * 1e-9,
            frame.settings.gain,
            round(self._temperature_c(), 1),
            (self._seed, self._sequence + frame.index),
        )
        self._drawing = Drawing(frame, asked, exposure, self._draw(exposure, asked))

    def _note(self, frame: Frame, status: str, temperature: float, completed_ns: int) -> None:
        picture, settings = self._picture, frame.settings
        if picture is None:
            return
        self._log.note(
            {
                "camera": self._camera.id,
                "sensor": self._camera.sensor_name,
                "platform": self._camera.platform,
                "mode": picture.mode.name,
                "hflip": self._turned[0],
                "vflip": self._turned[1],
                "start": self._starts,
                "sequence": self._sequence + frame.index,
                "exposure_start_ns": frame.exposure_start_ns,
                "readout_start_ns": frame.readout_start_ns,
                "completed_ns": completed_ns,
                "exposure_ns": settings.exposure_ns,
                "exposure_us": settings.exposure_ns // 1000,
                "frame_ns": settings.frame_ns,
                "gain": settings.gain,
                "digital_gain": settings.digital_gain,
                "request": frame.asked.number if frame.asked else None,
                "cookie": frame.asked.cookie if frame.asked else None,
                "status": status,
                "temperature_c": temperature,
                "noise": [self._seed, self._sequence + frame.index],
            }
        )

    # Messages

    def _take(self, message: wire.Message, descriptors: list[int]) -> None:
        match message["do"]:
            case "configure":
                self._configure(message)
            case "start":
                self._start(message)
            case "queue":
                self._queue(message, descriptors)
            case "stop":
                self._stop()

    def _configure(self, message: wire.Message) -> None:
        self._buffers.clear()
        mode = self._sensor.mode(message["mode"])
        self._turned = (message["hflip"], message["vflip"])
        key = (mode.name, *self._turned)
        if key not in self._pictures:
            self._pictures[key] = Picture(self._sensor, mode, *self._turned, self._settings.sky)
        self._picture = self._pictures[key]

    def _start(self, message: wire.Message) -> None:
        if self._picture is None or self._faults.on("unplugged"):
            wire.send(self._link, {"event": "failed", "errno": 121})
            return
        sensor = self._sensor
        self._ipa.apply(message["controls"])
        self._starts += 1
        first = message["first"]
        bad = sensor.bad_first_start if first else sensor.bad_later_start
        startup = self._ipa.startup_frames() if first else 0
        _sleep(clock.real_s(sensor.start_us * 1e-6))
        now = clock.monotonic_ns()
        self._temperature_c()
        self._stream = Stream(sensor, self._picture.mode, self._ipa, now, bad, startup)
        wire.send(self._link, {"event": "started"})

    def _queue(self, message: wire.Message, descriptors: list[int]) -> None:
        for new, descriptor in zip(message["new"], descriptors, strict=True):
            layout = Layout(**new["layout"])
            self._buffers[new["number"]] = Buffer(descriptor, new["length"], layout)
        number = message["number"]
        if self._stream is None:
            wire.send(self._link, {"event": "cancelled", "number": number})
            return
        self._stream.queue(
            Asked(
                number, message["cookie"], message["queued_ns"], message["controls"], message["buffers"]
            )
        )

    def _stop(self) -> None:
        if self._stream:
            for frame in self._stream.advance(clock.monotonic_ns()):
                self._deliver(self._stream, frame)
            self._sequence += self._stream.next.index + 1 if self._stream.next else 1_000
            self._temperature_c()
        self._stream, self._drawing, self._silent = None, None, False
        _sleep(clock.real_s(self._sensor.stop_us * 1e-6))
        wire.send(self._link, {"event": "stopped"})


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


def main(arguments: list[str]) -> None:
    """Run until the process that uses the camera closes its end."""
    descriptor, camera_id, parent = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(descriptor)) as link:
        try:
            SensorProcess(link, camera_id, int(parent)).run()
        except wire.Ended:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
