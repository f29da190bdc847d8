"""Frame buffers: memory of others, by duplicated descriptors, and what was last put there."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from typing import Any

from .casting import instance, integer, unsigned


class _SharedFd:
    """A duplicate of a descriptor, closed when the last holder of it is gone."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd) if fd >= 0 else -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class FrameMetadata:
    """What is known of the last frame in a buffer."""

    class Status(enum.IntEnum):
        """How the capture ended."""

        Success = 0
        Error = 1
        Cancelled = 2

    class Plane:
        """Of one plane."""

        def __init__(self, bytes_used: int = 0) -> None:
            self.bytes_used = bytes_used

    def __init__(self) -> None:
        self._status: Any = FrameMetadata.Status.Success
        self._sequence = self._timestamp = 0
        self._planes: list[FrameMetadata.Plane] = []

    @property
    def status(self) -> Any:
        """A Status, or a value that the bindings have no name for (start-up frames)."""
        return self._status

    @property
    def sequence(self) -> int:
        """Number of the frame."""
        return self._sequence

    @property
    def timestamp(self) -> int:
        """Frame start in ns."""
        return self._timestamp

    @property
    def planes(self) -> list[FrameMetadata.Plane]:
        """What was used of each plane."""
        return list(self._planes)


class FrameBuffer:
    """The buffer of one stream for one request."""

    class Plane:
        """A part of a piece of memory."""

        def __init__(self, fd: int = -1, offset: int = 0, length: int = 0) -> None:
            self._fd = _SharedFd(integer(fd))
            self.offset, self.length = unsigned(offset), unsigned(length)

        @property
        def fd(self) -> int:
            """A duplicate of what was set, which stays the plane's."""
            return self._fd.fd

        @fd.setter
        def fd(self, value: int) -> None:
            self._fd = _SharedFd(integer(value))

    def __init__(self, planes: Sequence[FrameBuffer.Plane], cookie: int = 0) -> None:
        self._planes = [instance(plane, FrameBuffer.Plane) for plane in planes]
        self._cookie = unsigned(cookie)
        self._metadata = FrameMetadata()

    @property
    def planes(self) -> list[FrameBuffer.Plane]:
        """Copies of the planes, with the same descriptors."""
        return list(self._planes)

    @property
    def metadata(self) -> FrameMetadata:
        """Of the last frame in it."""
        return self._metadata

    @property
    def cookie(self) -> int:
        """A number of the application's."""
        return self._cookie

    @cookie.setter
    def cookie(self, value: int) -> None:
        self._cookie = integer(value, 64, signed=False)


STARTUP = 3
"""FrameMetadata::FrameStartup, which the Python bindings do not name."""


def finish(buffer: FrameBuffer, status: str, sequence: int = 0, timestamp: int = 0) -> None:
    """Note in a buffer how its capture ended: success, error, startup or cancelled."""
    found = buffer.metadata
    found._status = STARTUP if status == "startup" else FrameMetadata.Status[status.capitalize()]
    found._sequence, found._timestamp = sequence, timestamp
    found._planes = [FrameMetadata.Plane(plane.length) for plane in buffer.planes]
