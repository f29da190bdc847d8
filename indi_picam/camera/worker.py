"""The camera worker process: ``python -m indi_picam.camera.worker <fd>``; commands in, frames out.

Owns picamera2 and the pixels for one camera. One thread polls the command socket (see
:mod:`.messages`) and the camera's eventfd, so an abort is taken up and the heartbeat kept at any
time. When the driver closes the socket or dies, the worker ends at once. Standard output is never
written. Started by :mod:`.remote`.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import NoReturn

from indi_picam.camera import messages
from indi_picam.camera.messages import (
    Abort,
    Alive,
    Close,
    Configure,
    Configured,
    Failed,
    Message,
    Open,
    Opened,
    Stopped,
    Take,
)
from indi_picam.camera.modes import CameraFault
from indi_picam.camera.pi import PiCamera
from indi_picam.camera.taking import FrameTaker

SILENCE_S = 1.0
"""Real time without a heartbeat after which the driver may take us for dead."""
HEARTBEAT_S = SILENCE_S / 3
CONFIGURE_S = 15.0
"""The same while picamera2 sets up a mode: a Pi Zero takes seconds."""

_PR_SET_PDEATHSIG = 1


class Worker:
    """The loop: one command socket, one camera."""

    def __init__(self, commands: socket.socket) -> None:
        self._socket = commands
        self._camera: PiCamera | None = None
        self._taker: FrameTaker | None = None
        self._beat_at = math.inf
        self._serial: int | None = None
        """Of the last take; a fault is told with it."""
        self._poll = select.poll()
        self._poll.register(commands, select.POLLIN)

    def run(self) -> NoReturn:
        """Serves until the driver closes the socket or says Close, or something fails for good."""
        while True:
            ready = {fd for fd, _ in self._poll.poll(self._timeout_ms())}
            try:
                if self._socket.fileno() in ready:
                    self._obey(messages.decode(self._next_packet()))
                if self._camera and self._taker:
                    if self._camera.ready in ready:
                        self._taker.frames_ready()
                    self._taker.tick()
            except CameraFault as fault:
                self._fail(fault)
            if time.monotonic() >= self._beat_at:
                self._beat(SILENCE_S)

    def _timeout_ms(self) -> int | None:
        due = min(self._beat_at, self._taker.due() if self._taker else math.inf)
        return None if due == math.inf else max(0, math.ceil(1000 * (due - time.monotonic())))

    def _next_packet(self) -> bytes:
        packet = self._socket.recv(messages.MAX_BYTES)
        if not packet:
            os._exit(0)  # the driver is gone, and the kernel frees the camera
        return packet

    def _obey(self, command: Message) -> None:
        self._serial = command.serial if isinstance(command, Take) else None
        match command:
            case Open(camera_id):
                self._open(camera_id)
            case Configure(mode, orientation) if self._taker:
                self._beat(CONFIGURE_S)
                self.send(Configured(self._taker.configure(mode, orientation)))
                self._beat(SILENCE_S)
            case Take(serial, request) if self._camera and self._taker:
                set_up_s = 0.0 if self._taker.is_ready_for(request) else CONFIGURE_S
                self._beat(set_up_s + self._camera.sensor.start_silence_s(request.exposure_us))
                self._taker.begin(serial, request)  # what is told next ends the longer silence
            case Abort() if self._taker:
                self._taker.stop()
                self.send(Stopped())
            case Close():
                if self._camera:
                    self._camera.close()
                os._exit(0)
            case _:
                raise CameraFault(
                    f"The camera worker cannot do {type(command).__name__} now.", retry=True
                )

    def _open(self, camera_id: str) -> None:
        camera = PiCamera(camera_id)
        self._camera, self._taker = camera, FrameTaker(camera, self.send)
        self._poll.register(camera.ready, select.POLLIN)
        self.send(Opened(camera.facts))
        self._beat(SILENCE_S)
        # picamera2 stays: to look for garbage in it takes 20 ms, in the middle of anything.
        gc.freeze()

    def _fail(self, fault: CameraFault) -> None:
        """Tells the driver; ends when only a fresh worker helps: even a stop may hang then."""
        self.send(Failed(self._serial, str(fault), fault.retry))
        if fault.retry or self._taker is None:
            os._exit(1)
        self._taker.stop()

    def _beat(self, silence_s: float) -> None:
        self.send(Alive(silence_s))

    def send(self, message: Message, memory: int | None = None) -> None:
        """Sends a message, and with it a descriptor that stays open here."""
        if self._camera:  # what is said of a camera that runs is as good as a heartbeat
            self._beat_at = time.monotonic() + HEARTBEAT_S
        try:
            socket.send_fds(
                self._socket, [messages.encode(message)], [] if memory is None else [memory]
            )
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)


def main(descriptor: int) -> NoReturn:
    """Runs a worker on an inherited socket; it never returns and never outlives the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which decides
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = Worker(socket.socket(fileno=descriptor))
    try:
        worker.run()
    except BaseException as error:
        traceback.print_exc()
        worker.send(
            Failed(None, f"The camera worker failed: {type(error).__name__}: {error}.", True)
        )
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
