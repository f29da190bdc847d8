"""Requests that are done, between the cameras and whoever asks the CameraManager for them.

Its descriptor is an epoll over an eventfd (requests cancelled or completed while somebody else was
listening) and the sockets of the sensors. So it becomes readable when something is there to be
heard, and no thread has to listen for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .request import Request


class Inbox:
    """Shared by a manager and its cameras; ``lock`` is held by whoever listens to a sensor."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._done: list[Request] = []

    def __del__(self) -> None:
        self._poll.close()
        os.close(self._wake)

    def fileno(self) -> int:
        """Readable when there may be something."""
        return self._poll.fileno()

    def listen(self, pipeline: Pipeline) -> None:
        """What that sensor says makes the descriptor readable."""
        self._poll.register(pipeline.fileno(), select.EPOLLIN)

    def ignore(self, pipeline: Pipeline) -> None:
        """It does no more."""
        with contextlib.suppress(FileNotFoundError, OSError, ValueError):
            self._poll.unregister(pipeline.fileno())

    def put(self, request: Request) -> None:
        """A request is done."""
        self._done.append(request)
        os.eventfd_write(self._wake, 1)

    def take(self) -> list[Request]:
        """Every request that is done, in order; they are the caller's now."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        done, self._done = self._done, []
        return done
