"""What stands for libcamera's bindings, alone in a process: its part in our worker's time.

``python -m benchmarks.stand_in FRAMES`` makes the calls that picamera2 makes of it for one single
frame of our driver after the other (start, its requests, one of them completed, metadata, stop),
and prints the processor time of each frame's calls in ms, as a JSON list. On a Pi these calls go to
libcamera itself, whose own cost nobody measured yet.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.contestants import OURS
from benchmarks.stage import HEIGHT, WIDTH, environment
from indi_picam.camera.pi import BUFFERS

EXPOSURE_US = 200_000
_SETTLING = 2
_T = TypeVar("_T")


def frames_ms(frames: int) -> tuple[float, ...]:
    """Of each frame; measured in a new process, on the sensor of our driver."""
    with tempfile.TemporaryDirectory(prefix="indi_picam-benchmark-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(frames)],
            env=environment(Path(folder), OURS),
            stdout=subprocess.PIPE,
            check=True,
        )
    return tuple(json.loads(done.stdout))


class _Timed:
    """Calls, and the processor time of those since the last frame."""

    def __init__(self) -> None:
        self.taken_s = 0.0

    def __call__(self, call: Callable[..., _T], *arguments: Any) -> _T:
        began = time.thread_time()
        try:
            return call(*arguments)
        finally:
            self.taken_s += time.thread_time() - began


def _measure(frames: int) -> list[float]:
    import libcamera

    manager = libcamera.CameraManager.singleton()
    [camera] = manager.cameras
    camera.acquire()
    requests = _set_up(libcamera, camera)
    names = {key.name: key for key in camera.controls}
    controls = {
        names["AeEnable"]: False,
        names["AwbEnable"]: False,
        names["ColourGains"]: (1.0, 1.0),
        names["ExposureTime"]: EXPOSURE_US,
        names["AnalogueGain"]: 1.0,
    }
    timed, took = _Timed(), []
    for _ in range(_SETTLING + frames):
        timed.taken_s = 0.0
        timed(camera.start, controls)
        for request in requests:
            timed(camera.queue_request, request)
        done: list[Any] = []
        while not done:
            select.select([manager.event_fd], [], [])
            done = timed(manager.get_ready_requests)
        for request in done:
            timed(lambda got: (got.metadata, got.buffers), request)
        timed(camera.stop)
        timed(manager.get_ready_requests)
        for request in requests:
            timed(request.reuse)
        took.append(1000 * timed.taken_s)
        time.sleep(0.1)
    camera.release()
    return took[_SETTLING:]


def _set_up(libcamera: Any, camera: Any) -> list[Any]:
    """The camera in the mode of our driver; its requests, with the buffers of both streams."""
    roles = [libcamera.StreamRole.StillCapture, libcamera.StreamRole.Raw]
    configuration = camera.generate_configuration(roles)
    raw = configuration.at(1)
    raw.size = libcamera.Size(WIDTH, HEIGHT)
    for stream in configuration:
        stream.buffer_count = BUFFERS
    configuration.validate()
    camera.configure(configuration)
    allocator = libcamera.FrameBufferAllocator(camera)
    requests = [camera.create_request(number) for number in range(BUFFERS)]
    for stream in (each.stream for each in configuration):
        allocator.allocate(stream)
        for request, buffer in zip(requests, allocator.buffers(stream), strict=True):
            request.add_buffer(stream, buffer)
    return requests


if __name__ == "__main__":
    from indi_picam.__main__ import SIMULATOR

    sys.path.insert(0, SIMULATOR)
    print(json.dumps(_measure(int(sys.argv[1]))))
