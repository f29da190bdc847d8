"""A camera: acquired, configured, started; requests go in, and come out completed or cancelled.

The pipeline behind it is the sensor's process (``indi_picam/simulator/sensor.py``), reached by one socket. No thread and next to no
work per frame here: CameraManager's descriptor becomes readable when the sensor has said something.

    available    acquire -> acquired            acquired     configure -> configured, release -> available
    configured   start -> running               running      stop -> configured (cancelled requests are delivered first)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indi_picam import clock
from indi_picam.simulator import wire
from indi_picam.simulator.faults import Faults
from indi_picam.simulator.settings import Camera as Plugged
from indi_picam.simulator.settings import Settings

from . import configuration as configuring
from .buffers import FrameBuffer, finish
from .capabilities import camera_controls, camera_properties
from .casting import instance, integer
from .configuration import CameraConfiguration, Stream
from .controls import ControlId, ControlInfo, control_value
from .geometry import Rectangle
from .orientation import StreamRole
from .pixel_format import raw_parts
from .request import Request

_log = logging.getLogger("libcamera")
ANSWER_S = 20.0
"""How long the sensor's process may take to answer; far more than any of its answers takes."""


def _failure(what: str, number: int) -> RuntimeError:
    """As pybind11 translates std::system_error."""
    return RuntimeError(f"Failed to {what}: {os.strerror(number)}")


class Camera:
    """One camera of the CameraManager."""

    def __init__(
        self,
        plugged: Plugged,
        settings: Settings,
        lock: threading.RLock,
        announce: Callable[[Request], None],
        listen: Callable[[int, bool], None],
    ) -> None:
        self._plugged, self._settings = plugged, settings
        self._guard, self._announce, self._listen = lock, announce, listen
        self._faults = Faults(settings.fault_file, plugged.id)
        self._state = "available"
        self._lock_fd = -1
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[int, Request] = {}
        self._known_buffers: dict[FrameBuffer, int] = {}
        self._configuration: CameraConfiguration | None = None
        self._started_before = False
        self._controls = camera_controls(plugged, None)
        self._properties = camera_properties(plugged, None)

    @property
    def id(self) -> str:  # noqa: D102
        return self._plugged.id

    @property
    def controls(self) -> dict[ControlId, ControlInfo]:
        """Limits, of the configured mode."""
        return dict(self._controls)

    @property
    def properties(self) -> dict[ControlId, Any]:
        """What does not change, and ScalerCropMaximum."""
        return dict(self._properties)

    @property
    def streams(self) -> set[Stream]:  # noqa: D102
        return {configuring.bind(stream) for stream in self._configuration or ()}

    def __str__(self) -> str:
        return f"<libcamera.Camera '{self.id}'>"

    # Taking hold of it

    def acquire(self) -> None:
        """Take the camera for this process; RuntimeError when anybody has it."""
        self._faults.strike("acquire")
        if self._state != "available" or self._faults.on("busy") or not self._lock():
            raise _failure("acquire camera", errno.EBUSY)
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        root = Path(__file__).resolve().parents[4]
        with there:
            command = [sys.executable, "-m", "indi_picam.simulator.sensor", str(there.fileno())]
            self._process = subprocess.Popen(
                [*command, self.id, str(os.getpid())],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,
                env=os.environ | {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
            )
        here.setblocking(False)
        self._link, self._state = here, "acquired"
        self._listen(here.fileno(), True)

    def _lock(self) -> bool:
        directory = self._settings.run_directory
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"indi_picam_simulator-{zlib.crc32(self.id.encode()):08x}.lock"
        self._lock_fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_fd)
            return False
        return True

    def release(self) -> None:
        """Let go of it; RuntimeError while it runs."""
        self._faults.strike("release")
        if self._state == "running":
            raise _failure("release camera", errno.EBUSY)
        if self._state == "available":
            return
        if self._link:
            self._listen(self._link.fileno(), False)
            self._link.close()
        if self._process:
            self._process.wait()
        os.close(self._lock_fd)
        self._link, self._process, self._state = None, None, "available"

    # Setting it up

    def generate_configuration(self, roles: list[StreamRole]) -> CameraConfiguration:
        """A configuration with a stream for each role."""
        return configuring.generated(self._plugged, list(roles))

    def configure(self, config: CameraConfiguration) -> None:
        """Set the camera up as a validated configuration says."""
        self._faults.strike("configure")
        instance(config, CameraConfiguration)
        if self._state not in ("acquired", "configured"):
            raise _failure("configure camera", errno.EACCES)
        if config.validate() is not CameraConfiguration.Status.Valid:
            raise _failure("configure camera", errno.EINVAL)
        mode = configuring.granted_mode(config)
        for stream in config:
            configuring.bind(stream)
        hflip, vflip = configuring.flips(config)
        self._known_buffers.clear()
        self._configuration, self._state = config, "configured"
        self._controls = camera_controls(self._plugged, mode)
        self._properties = camera_properties(self._plugged, mode)
        self._tell({"do": "configure", "mode": mode.name, "hflip": hflip, "vflip": vflip})

    def create_request(self, cookie: int = 0) -> Request:
        """A request that is told apart by its cookie."""
        return Request(integer(cookie, 64, signed=False))

    # Running

    def start(self, controls: dict[ControlId, Any] | None = None) -> None:
        """Start the stream; the first frame is taken with these controls."""
        self._faults.strike("start")
        values = {
            instance(key, ControlId).name: _plain(control_value(value, key.type))
            for key, value in (controls or {}).items()
        }
        if self._state != "configured":
            raise _failure("start camera", errno.EACCES)
        with self._guard:
            self._tell({"do": "start", "controls": values, "first": not self._started_before})
            answer = self._wait_for("started", "failed")
        if answer["event"] == "failed":
            raise _failure("start camera", answer["errno"])
        self._state, self._started_before = "running", True

    def queue_request(self, request: Request) -> None:
        """Give a request with buffers to the camera."""
        self._faults.strike("queue_request")
        instance(request, Request)
        if self._state != "running" or request._queued or not request._buffers:
            raise _failure("queue request", errno.EACCES)
        number = next(self._numbers)
        new, descriptors, buffers = [], [], []
        for stream, buffer in request._buffers.items():
            if buffer not in self._known_buffers:
                self._known_buffers[buffer] = next(self._numbers)
                plane = buffer.planes[0]
                described = {"number": self._known_buffers[buffer], "length": plane.length}
                new.append(described | {"layout": _layout(stream)})
                descriptors.append(plane.fd)
            buffers.append(self._known_buffers[buffer])
        values = {key.name: _plain(value) for key, value in request._controls.items()}
        request._queued = True
        self._pending[number] = request
        self._tell(
            {
                "do": "queue",
                "number": number,
                "cookie": request.cookie,
                "queued_ns": clock.monotonic_ns(),
                "controls": values,
                "buffers": buffers,
                "new": new,
            },
            tuple(descriptors),
        )

    def stop(self) -> None:
        """End the stream at once; what is pending is delivered as cancelled."""
        self._faults.strike("stop")
        if self._state != "running":
            return
        with self._guard:
            self._tell({"do": "stop"})
            self._wait_for("stopped")
            self._cancel_all()
        self._state = "configured"

    # What the sensor says

    def _tell(self, message: wire.Message, descriptors: tuple[int, ...] = ()) -> None:
        if self._link is None:
            raise _failure("talk to camera", errno.ENODEV)
        with contextlib.suppress(wire.Ended):
            wire.send(self._link, message, descriptors)

    def _wait_for(self, *events: str) -> wire.Message:
        if self._link is None:
            raise _failure("talk to camera", errno.ENODEV)
        patience = time.monotonic() + ANSWER_S
        while True:
            ready = select.select([self._link], [], [], patience - time.monotonic())[0]
            try:
                message, _ = wire.receive(self._link)
            except (BlockingIOError, wire.Ended):
                if ready and self._process and self._process.poll() is None:
                    continue
                return {"event": "failed", "errno": errno.ENODEV}
            if message["event"] in events:
                return message
            self._heard(message)

    def _hear_all(self) -> None:
        """Take in everything the sensor has said, without waiting."""
        if self._link is None:
            return
        while True:
            try:
                self._heard(wire.receive(self._link)[0])
            except BlockingIOError:
                return
            except wire.Ended:
                self._lose()
                return

    def _heard(self, message: wire.Message) -> None:
        match message["event"]:
            case "frame":
                request = self._pending.pop(message["number"], None)
                if request:
                    self._complete(request, message)
            case "cancelled":
                request = self._pending.pop(message["number"], None)
                if request:
                    self._cancel(request)
            case "timeout":
                _log.error("Camera frontend has timed out!")
                self._cancel_all()

    def _complete(self, request: Request, message: wire.Message) -> None:
        metadata = message["metadata"]
        request._metadata = metadata | {"ScalerCrop": Rectangle(*self._crop())}
        request._sequence = message["sequence"]
        request._status, request._queued = Request.Status.Complete, False
        for buffer in request._buffers.values():
            finish(buffer, message["status"], message["sequence"], metadata["SensorTimestamp"])
        self._announce(request)

    def _cancel(self, request: Request) -> None:
        request._status, request._queued = Request.Status.Cancelled, False
        for buffer in request._buffers.values():
            finish(buffer, "cancelled")
        self._announce(request)

    def _cancel_all(self) -> None:
        pending, self._pending = self._pending, {}
        for request in pending.values():
            self._cancel(request)

    def _lose(self) -> None:
        """The sensor's process is gone: nothing will come any more."""
        if self._link:
            self._listen(self._link.fileno(), False)
            self._link.close()
            self._link = None
        self._cancel_all()

    def _crop(self) -> tuple[int, int, int, int]:
        if self._configuration is None:
            return (0, 0, *self._plugged.sensor.array)
        return configuring.granted_mode(self._configuration).crop


def _plain(value: Any) -> Any:
    """A control's value as JSON can hold it."""
    if isinstance(value, Rectangle):
        return [value.x, value.y, value.width, value.height]
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    return value


def _layout(stream: Stream) -> dict[str, Any]:
    found = stream.configuration
    if found is None:
        raise _failure("queue request", errno.EINVAL)
    name = str(found.pixel_format)
    parts = raw_parts(name)
    return {
        "format": name,
        "width": found.size.width,
        "height": found.size.height,
        "stride": found.stride,
        "bits": parts[1] if parts else 8,
        "packing": parts[2] if parts else "processed",
    }
