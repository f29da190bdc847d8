"""The process of one sensor: it free-runs, and draws frames into the buffers of requests.

``python -m indi_picam.simulator.sensor SOCKET CAMERA_ID PARENT`` is started by the stand-in for
libcamera when a camera is acquired, so that what a picture costs to draw is measured apart from the
process that uses the camera. It ends with that process, whose end of the socket then closes. One
thread: it draws in short steps, and between them looks at the clock and the socket.

    idle        start -> streaming; requests come back cancelled
    streaming   frames by ``stream.py``; stop -> idle; libcamera's time-out -> idle, and says so
"""

from __future__ import annotations

import math
import os
import random
import select
import socket
import sys
from dataclasses import asdict

from indi_picam import clock

from . import faults as faults_of
from . import settings as settings_of
from . import wire
from .drawing import Buffer, Drawing
from .faults import Faults
from .frame_log import FrameLog
from .ipa import Ipa
from .isp import Look
from .layouts import Layout
from .lens import seen_through
from .picture import Exposure, Picture, prepare
from .stream import Asked, Frame, Stream

WARMING_C, WARMING_S = 9.0, 400.0
"""How much a running sensor warms, and the time constant."""
SPIN_S = 0.0002
"""Waits end that much early and are finished by looking at the clock."""
UNWATCHED_S = 0.002
"""Frames that nobody takes are looked after that late; it would only cost to be punctual."""
PICTURES_KEPT = 8
"""Views, with what the lens makes of them, that need not be worked out again."""


class Thermometer:
    """The temperature of a sensor, which follows its running and resting with one time constant."""

    def __init__(self, ambient_c: float) -> None:
        self._ambient_c, self._warmth_c, self._since_ns = ambient_c, 0.0, clock.monotonic_ns()

    def read(self, running: bool) -> float:
        """Degrees now, to a tenth, when it has been running or resting since the last reading."""
        now = clock.monotonic_ns()
        left = math.exp(-(now - self._since_ns) * 1e-9 / WARMING_S)
        aim = WARMING_C if running else 0.0
        self._warmth_c, self._since_ns = aim + (self._warmth_c - aim) * left, now
        return round(self._ambient_c + self._warmth_c, 1)


class SensorProcess:
    """Everything the process knows; ``run`` is its life."""

    def __init__(self, link: socket.socket, camera_id: str, parent: int) -> None:
        self._link, self._parent = link, parent
        settings = self._settings = settings_of.load()
        self._camera = next(camera for camera in settings.cameras if camera.id == camera_id)
        self._sensor = self._camera.sensor
        self._faults = Faults(settings.fault_file, camera_id)
        self._log = FrameLog(settings.log_file)
        self._ipa = Ipa(self._sensor)
        self._thermometer = Thermometer(settings.temperature_c)
        seed = settings.noise_seed
        self._seed = random.getrandbits(62) if seed is None else seed
        self._starts = self._earlier_frames = 0
        self._view: tuple[str, bool, bool] | None = None
        self._pictures: dict[tuple[str, bool, bool, float], Picture] = {}
        self._buffers: dict[int, Buffer] = {}
        self._stream: Stream | None = None
        self._drawing: Drawing | None = None

    def run(self) -> None:
        """Live until the other process is gone."""
        prepare()
        while True:
            if select.select([self._link], [], [], self._patience_s())[0]:
                self._take(*wire.receive(self._link))
            elif self._stream:
                self._go_on(self._stream)

    def _patience_s(self) -> float | None:
        """How long there is nothing to do but to listen, in real seconds."""
        stream = self._stream
        if not stream:
            return None
        coming, now = stream.coming(), clock.monotonic_ns()
        if coming and not (self._drawing and self._drawing.is_of(*coming)):
            self._drawing = self._new_drawing(*coming)
        wait = 0.1
        if stream.next_ns is not None:
            wait = clock.real_s((stream.next_ns - now) * 1e-9) - SPIN_S
        if self._drawing and not self._drawing.finished:
            wait = min(wait, clock.real_s((self._drawing.begins_ns - now) * 1e-9))
        least = 0.0 if coming else UNWATCHED_S
        return min(max(wait, least), 0.1)

    def _go_on(self, stream: Stream) -> None:
        drawing = self._drawing
        if drawing and not drawing.finished and drawing.begins_ns <= clock.monotonic_ns():
            drawing.step()
        next_ns = stream.next_ns
        if next_ns is not None:
            while 0 < clock.real_s((next_ns - clock.monotonic_ns()) * 1e-9) <= SPIN_S:
                pass
        self._suffer_faults(stream)
        now = clock.monotonic_ns()
        for frame in stream.advance(now):
            self._complete(frame)
        if stream.deadline_ns is not None and stream.deadline_ns <= now:
            self._end_stream(stream)
            wire.send(self._link, {"event": "timeout"})

    def _suffer_faults(self, stream: Stream) -> None:
        if self._faults.on("stalled") or self._faults.on("unplugged"):
            stream.stall()
        frame = stream.next
        if frame and stream.waiting and self._faults.dies_in_exposure():
            middle = frame.exposure_start_ns + frame.settings.exposure_ns // 2
            if middle <= clock.monotonic_ns() < frame.readout_start_ns:
                self._faults.take_out("die")
                faults_of.kill(self._parent)

    # Frames

    def _picture(self) -> Picture:
        if self._view is None:
            raise RuntimeError("the sensor is not configured")
        sky = seen_through(self._settings.sky, self._sensor, self._ipa.lens.position)
        key = (*self._view, sky.fwhm)
        if key not in self._pictures:
            name, hflip, vflip = self._view
            while len(self._pictures) >= PICTURES_KEPT:
                del self._pictures[next(iter(self._pictures))]
            mode = self._sensor.mode(name)
            self._pictures[key] = Picture(self._sensor, mode, hflip, vflip, sky)
        return self._pictures[key]

    def _new_drawing(self, frame: Frame, asked: Asked) -> Drawing:
        exposure = Exposure(
            exposure_s=frame.settings.exposure_ns * 1e-9,
            gain=frame.settings.gain,
            temperature_c=self._thermometer.read(running=True),
            noise=(self._seed, self._earlier_frames + frame.index),
            lens_position=self._ipa.lens.position,
        )
        look = self._ipa.look(asked.controls, frame.settings)
        buffers = [self._buffers[number] for number in asked.buffers]
        now_ns = clock.monotonic_ns()
        return Drawing(frame, asked, exposure, self._picture(), look, buffers, now_ns)

    def _complete(self, frame: Frame) -> None:
        asked, drawing = frame.asked, self._drawing
        if asked is None:
            temperature_c = self._thermometer.read(running=True)
            self._note(frame, "missed", temperature_c, clock.monotonic_ns())
            self._ipa.lens.frame_passed()
            return
        if drawing is None or not drawing.is_of(frame, asked):
            drawing = self._new_drawing(frame, asked)
        drawing.finish()
        self._drawing = None
        temperature_c = drawing.exposure.temperature_c
        status = "error" if self._faults.on("bad_frames") else frame.status
        lens_position = drawing.exposure.lens_position
        metadata = self._ipa.metadata(frame.settings, temperature_c, lens_position) | {
            "SensorTimestamp": frame.readout_start_ns,
            "FrameWallClock": clock.utc_ns(frame.readout_start_ns),
        }
        answer = {
            "event": "frame",
            "number": asked.number,
            "status": status,
            "sequence": frame.index,
            "metadata": metadata,
        }
        completed_ns = clock.monotonic_ns()  # before others run who were waiting for the frame
        wire.send(self._link, answer)
        os.sched_yield()  # who waited for the frame may be waiting for this processor now
        self._note(frame, status, temperature_c, completed_ns, drawing.look)
        self._ipa.lens.frame_passed()

    def _note(
        self,
        frame: Frame,
        status: str,
        temperature_c: float,
        completed_ns: int,
        look: Look | None = None,
    ) -> None:
        picture, settings, asked = self._picture(), frame.settings, frame.asked
        number = self._earlier_frames + frame.index
        self._log.note(
            {
                "camera": self._camera.id,
                "sensor": self._camera.sensor_name,
                "platform": self._camera.platform,
                "mode": picture.mode.name,
                "hflip": picture.hflip,
                "vflip": picture.vflip,
                "start": self._starts - 1,
                "sequence": number,
                "exposure_start_ns": frame.exposure_start_ns,
                "readout_start_ns": frame.readout_start_ns,
                "readout_end_ns": frame.end_ns,
                "completed_ns": completed_ns,
                "exposure_ns": settings.exposure_ns,
                "exposure_us": settings.exposure_ns // 1000,
                "frame_ns": settings.frame_ns,
                "gain": settings.gain,
                "digital_gain": settings.digital_gain,
                "request": asked.number if asked else None,
                "cookie": asked.cookie if asked else None,
                "status": status,
                "temperature_c": temperature_c,
                "lens_position": self._ipa.lens.position,
                "look": look and asdict(look),
                "noise": [self._seed, number],
            }
        )

    # Messages

    def _take(self, message: wire.Message, descriptors: list[int]) -> None:
        match message["do"]:
            case "configure":
                self._buffers.clear()
                self._view = (message["mode"], message["hflip"], message["vflip"])
            case "start":
                self._start(message)
            case "queue":
                self._queue(message, descriptors)
            case "stop":
                self._stop()

    def _start(self, message: wire.Message) -> None:
        if self._faults.on("unplugged"):
            wire.send(self._link, {"event": "failed"})
            return
        sensor, first = self._sensor, message["first"]
        self._ipa.apply(message["controls"])
        self._ipa.lens.frame_passed()
        mode = self._picture().mode
        bad = sensor.bad_first_start if first else sensor.bad_later_start
        startup = self._ipa.startup_frames() if first else 0
        self._thermometer.read(running=False)
        self._starts += 1
        _sleep(clock.real_s(sensor.start_us * 1e-6))
        self._stream = Stream(
            sensor,
            mode,
            self._ipa,
            clock.monotonic_ns(),
            bad=bad,
            startup=startup,
            drops_bad=self._settings.drops_bad_frames,
        )
        wire.send(self._link, {"event": "started"})

    def _queue(self, message: wire.Message, descriptors: list[int]) -> None:
        for new, descriptor in zip(message["new"], descriptors, strict=True):
            layout = Layout(**new["layout"])
            self._buffers[new["number"]] = Buffer(descriptor, new["length"], layout)
        if self._stream is None:
            wire.send(self._link, {"event": "cancelled", "number": message["number"]})
            return
        fields = ("number", "cookie", "queued_ns", "controls", "buffers")
        self._stream.queue(Asked(**{field: message[field] for field in fields}))

    def _stop(self) -> None:
        if self._stream:
            for frame in self._stream.advance(clock.monotonic_ns()):
                self._complete(frame)
            self._end_stream(self._stream)
        _sleep(clock.real_s(self._sensor.stop_us * 1e-6))
        wire.send(self._link, {"event": "stopped"})

    def _end_stream(self, stream: Stream) -> None:
        self._thermometer.read(running=True)
        self._earlier_frames += stream.begun + 1
        self._stream, self._drawing = None, None


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


def main(arguments: list[str]) -> None:
    """Run until the process that uses the camera closes its end."""
    descriptor, camera_id, parent = arguments
    with socket.socket(fileno=int(descriptor)) as link:
        try:
            SensorProcess(link, camera_id, int(parent)).run()
        except wire.Ended:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
