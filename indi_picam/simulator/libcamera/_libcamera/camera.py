"""A camera: acquired, configured, started; requests go in, and come out completed or cancelled.

What is behind it is the sensor's process (``pipeline.py``). No thread and next to no work per frame
here.

    available    acquire -> acquired
    acquired     configure -> configured; release -> available
    configured   start -> running; configure; release -> available
    running      stop -> configured: what is pending is delivered as cancelled before stop returns
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import zlib
from typing import TYPE_CHECKING, Any

from indi_picam import clock
from indi_picam.simulator.faults import Faults

from . import configuration as configuring
from .buffers import FrameBuffer, finish
from .capabilities import camera_controls, camera_properties
from .casting import instance, integer
from .configuration import CameraConfiguration, Stream
from .controls import ControlId, ControlInfo, control_value
from .geometry import Rectangle
from .inbox import Inbox
from .orientation import StreamRole
from .pixel_format import RAW
from .request import Request

if TYPE_CHECKING:
    from indi_picam.simulator.settings import Camera as Plugged
    from indi_picam.simulator.settings import Settings
    from indi_picam.simulator.wire import Message

    from .pipeline import Pipeline


def _failure(what: str, number: int) -> RuntimeError:
    """What pybind11 makes of std::system_error."""
    return RuntimeError(f"Failed to {what}: {os.strerror(number)}")


class Camera:
    """One camera of the CameraManager."""

    def __init__(self, plugged: Plugged, settings: Settings, inbox: Inbox) -> None:
        self._plugged, self._settings, self._inbox = plugged, settings, inbox
        self._faults = Faults(settings.fault_file, plugged.id)
        self._state = "available"
        self._lock_fd = -1
        self._pipeline: Pipeline | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[int, Request] = {}
        self._known_buffers: dict[FrameBuffer, int] = {}
        self._configuration: CameraConfiguration | None = None
        self._started_before = False
        self._controls = camera_controls(plugged, None)
        self._properties = camera_properties(plugged, None)

    @property
    def id(self) -> str:
        """How it is connected, and so which one it is."""
        return self._plugged.id

    @property
    def controls(self) -> dict[ControlId, ControlInfo]:
        """Limits, of the configured mode."""
        return dict(self._controls)

    @property
    def properties(self) -> dict[ControlId, Any]:
        """What it is, and the crop of the configured mode."""
        return dict(self._properties)

    @property
    def streams(self) -> set[Stream]:
        """The configured streams."""
        return {configuring.bind(stream) for stream in self._configuration or ()}

    def __str__(self) -> str:
        return f"<libcamera.Camera '{self.id}'>"

    def acquire(self) -> None:
        """Take the camera for this process; RuntimeError when anybody has it."""
        from .pipeline import Pipeline  # subprocess and socket, which listing cameras need not pay

        self._faults.strike("acquire")
        if self._state != "available" or self._faults.on("busy") or not self._lock():
            raise _failure("acquire camera", errno.EBUSY)
        self._pipeline = Pipeline(self.id, self._heard)
        self._inbox.listen(self._pipeline)
        self._state = "acquired"

    def _lock(self) -> bool:
        directory = self._settings.run_directory
        os.makedirs(directory, exist_ok=True)
        name = f"indi_picam_simulator-{zlib.crc32(self.id.encode()):08x}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock_fd = os.open(os.path.join(directory, name), flags, 0o666)
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
        if self._pipeline is None:
            return
        with self._inbox.lock:
            pipeline, self._pipeline = self._pipeline, None
            self._inbox.ignore(pipeline)
            pipeline.close()
        os.close(self._lock_fd)
        self._state = "available"

    def generate_configuration(self, roles: list[StreamRole]) -> CameraConfiguration:
        """A configuration with a stream for each role."""
        return configuring.generated(self._plugged, list(roles))

    def configure(self, config: CameraConfiguration) -> None:
        """Set the camera up as a validated configuration says."""
        self._faults.strike("configure")
        instance(config, CameraConfiguration)
        if self._pipeline is None or self._state == "running":
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
        message = {"do": "configure", "mode": mode.name, "hflip": hflip, "vflip": vflip}
        self._pipeline.tell(message)

    def create_request(self, cookie: int = 0) -> Request:
        """A request that is told apart by its cookie."""
        return Request(integer(cookie, 64, signed=False))

    def start(self, controls: dict[ControlId, Any] | None = None) -> None:
        """Start the stream; the first frame is taken with these controls."""
        self._faults.strike("start")
        values = {
            instance(key, ControlId).name: _plain(control_value(value, key.type))
            for key, value in (controls or {}).items()
        }
        if self._pipeline is None or self._state != "configured":
            raise _failure("start camera", errno.EACCES)
        message = {"do": "start", "controls": values, "first": not self._started_before}
        with self._inbox.lock:
            answer = self._pipeline.ask(message, "started", "failed")
        if answer["event"] != "started":
            raise _failure("start camera", errno.EREMOTEIO)
        self._state, self._started_before = "running", True

    def queue_request(self, request: Request) -> None:
        """Give a request with buffers to the camera."""
        self._faults.strike("queue_request")
        instance(request, Request)
        waits = request._queued or not request._buffers
        if self._pipeline is None or self._state != "running" or waits:
            raise _failure("queue request", errno.EACCES)
        number = next(self._numbers)
        new, descriptors = [], []
        for stream, buffer in request._buffers.items():
            if buffer not in self._known_buffers:
                self._known_buffers[buffer] = next(self._numbers)
                plane = buffer.planes[0]
                new.append(_described(self._known_buffers[buffer], plane.length, stream))
                descriptors.append(plane.fd)
        message = {
            "do": "queue",
            "number": number,
            "cookie": request.cookie,
            "queued_ns": clock.monotonic_ns(),
            "controls": {key.name: _plain(value) for key, value in request._controls.items()},
            "buffers": [self._known_buffers[buffer] for buffer in request._buffers.values()],
            "new": new,
        }
        request._queued = True
        self._pending[number] = request
        self._pipeline.tell(message, tuple(descriptors))

    def stop(self) -> None:
        """End the stream at once; what is pending is delivered as cancelled."""
        self._faults.strike("stop")
        if self._pipeline is None or self._state != "running":
            return
        with self._inbox.lock:
            self._pipeline.ask({"do": "stop"}, "stopped")
            self._cancel_all()
        self._state = "configured"

    def _listen(self) -> None:
        """Take in what the sensor has said; called by the manager, which holds the inbox's lock."""
        self._faults.strike("get_ready_requests")
        if self._pipeline:
            self._pipeline.hear()

    def _heard(self, message: Message) -> None:
        event = message["event"]
        if event == "gone":
            if self._pipeline:
                self._inbox.ignore(self._pipeline)
            self._cancel_all()
        elif event == "timeout":
            _say("Camera frontend has timed out!")
            self._cancel_all()
        elif event in ("frame", "cancelled"):
            request = self._pending.pop(message["number"], None)
            if request and event == "frame":
                self._complete(request, message)
            elif request:
                self._cancel(request)

    def _complete(self, request: Request, message: Message) -> None:
        metadata = message["metadata"]
        if self._configuration:
            crop = configuring.granted_mode(self._configuration).crop
            request._metadata = metadata | {"ScalerCrop": Rectangle(*crop)}
        request._sequence = message["sequence"]
        request._status, request._queued = Request.Status.Complete, False
        for buffer in request._buffers.values():
            finish(buffer, message["status"], message["sequence"], metadata["SensorTimestamp"])
        self._inbox.put(request)

    def _cancel(self, request: Request) -> None:
        request._status, request._queued = Request.Status.Cancelled, False
        for buffer in request._buffers.values():
            finish(buffer, "cancelled")
        self._inbox.put(request)

    def _cancel_all(self) -> None:
        pending, self._pending = self._pending, {}
        for request in pending.values():
            self._cancel(request)


def _say(sentence: str) -> None:
    """Log as libcamera does, to stderr."""
    os.write(2, f"ERROR RPI pipeline_base.cpp {sentence}\n".encode())


def _plain(value: Any) -> Any:
    """A control's value as JSON can hold it."""
    if isinstance(value, Rectangle):
        return [value.x, value.y, value.width, value.height]
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    return value


def _described(number: int, length: int, stream: Stream) -> dict[str, Any]:
    """A buffer, as the sensor's process needs to know it."""
    found = stream.configuration
    if found is None:
        raise _failure("queue request", errno.EINVAL)
    name = str(found.pixel_format)
    _, bits, packing = RAW.get(name, ("", 8, "processed"))
    layout = {
        "format": name,
        "width": found.size.width,
        "height": found.size.height,
        "stride": found.stride,
        "bits": bits,
        "packing": packing,
    }
    return {"number": number, "length": length, "layout": layout}
