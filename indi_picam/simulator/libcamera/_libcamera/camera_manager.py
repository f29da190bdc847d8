"""The list of cameras, and the descriptor that becomes readable when requests are done."""

from __future__ import annotations

import os
import select
import threading
import weakref

from indi_picam.simulator import settings as settings_of
from indi_picam.simulator.faults import Faults

from .camera import Camera
from .request import Request

_singleton: weakref.ref[CameraManager] | None = None


class CameraManager:
    """Lives as long as somebody holds it or one of its cameras; the list is taken once, when it is made."""

    version = "v0.7.1"

    def __init__(self) -> None:
        self._settings = settings_of.load()
        # Requests that were cancelled here are announced by the eventfd, completed ones by the sensors' sockets: one
        # epoll descriptor stands for all, so no thread has to wait for them.
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._ready: list[Request] = []
        self._lock = threading.RLock()
        self._listened: dict[int, int] = {}
        self._cameras: list[Camera] = []
        for plugged in self._settings.cameras:
            if not Faults(self._settings.fault_file, plugged.id).on("unplugged"):
                self._cameras.append(Camera(plugged, self._settings, self._lock, self._announce, self._listen))

    def __del__(self) -> None:
        self._poll.close()
        os.close(self._wake)

    @staticmethod
    def singleton() -> CameraManager:
        """The one manager of the process."""
        global _singleton
        manager = _singleton() if _singleton else None
        if manager is None:
            manager = CameraManager()
            _singleton = weakref.ref(manager)
        return manager

    @property
    def cameras(self) -> list[Camera]:  # noqa: D102
        return list(self._cameras)

    def get(self, id: str) -> Camera | None:
        """The camera with that Id; None when there is none."""
        return next((camera for camera in self._cameras if camera.id == id), None)

    @property
    def event_fd(self) -> int:
        """Readable when get_ready_requests has something to say."""
        return self._poll.fileno()

    def get_ready_requests(self) -> list[Request]:
        """Every request that was completed or cancelled since the last call."""
        for camera in self._cameras:
            camera._faults.strike("get_ready_requests")
        with self._lock:
            for camera in self._cameras:
                camera._hear_all()
            try:
                os.eventfd_read(self._wake)
            except BlockingIOError:
                pass
            ready, self._ready = self._ready, []
            return ready

    def _announce(self, request: Request) -> None:
        """A request is done; called under the lock."""
        self._ready.append(request)
        os.eventfd_write(self._wake, 1)

    def _listen(self, descriptor: int, on: bool) -> None:
        """Whether a sensor's socket is to make the descriptor readable."""
        if on:
            self._poll.register(descriptor, select.EPOLLIN)
        else:
            self._poll.unregister(descriptor)
