"""The list of cameras, and the descriptor that becomes readable when requests are done."""

from __future__ import annotations

import weakref

from indi_picam.simulator import settings as settings_of
from indi_picam.simulator.faults import Faults

from .camera import Camera
from .inbox import Inbox
from .request import Request

_singleton: weakref.ref[CameraManager] | None = None


class CameraManager:
    """Lives as long as somebody holds it; the list of cameras is taken once, when it is made."""

    version = "v0.7.1"

    def __init__(self) -> None:
        self._inbox = Inbox()
        settings = settings_of.load()
        self._cameras = [
            Camera(plugged, settings, self._inbox)
            for plugged in settings.cameras
            if not Faults(settings.fault_file, plugged.id).on("unplugged")
        ]

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
    def cameras(self) -> list[Camera]:
        """Every camera that was plugged in when the manager was made."""
        return list(self._cameras)

    def get(self, id: str) -> Camera | None:
        """The camera with that Id; None when there is none."""
        return next((camera for camera in self._cameras if camera.id == id), None)

    @property
    def event_fd(self) -> int:
        """Readable when get_ready_requests has something to say."""
        return self._inbox.fileno()

    def get_ready_requests(self) -> list[Request]:
        """Every request that was completed or cancelled since the last call."""
        with self._inbox.lock:
            for camera in self._cameras:
                camera._listen()
            return self._inbox.take()
