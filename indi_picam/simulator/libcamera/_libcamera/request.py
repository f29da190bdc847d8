"""One capture request: buffers, controls to go with it, and what came back."""

from __future__ import annotations

import enum
from typing import Any

from .buffers import FrameBuffer
from .casting import instance
from .configuration import Stream
from .controls import ControlId, control, control_value


class Request:
    """Made by Camera.create_request; its cookie says whose it is."""

    class Status(enum.Enum):
        """Where it is."""

        Pending = 0
        Complete = 1
        Cancelled = 2

    def __init__(self, cookie: int = 0) -> None:
        self._cookie = cookie
        self._status = Request.Status.Pending
        self._buffers: dict[Stream, FrameBuffer] = {}
        self._controls: dict[ControlId, Any] = {}
        self._metadata: dict[str, Any] = {}
        self._sequence = 0
        self._queued = False

    def add_buffer(self, stream: Stream, buffer: FrameBuffer) -> None:
        """The buffer for one stream; RuntimeError when that stream has one."""
        if instance(stream, Stream) in self._buffers:
            raise RuntimeError("Failed to add buffer: File exists")
        self._buffers[stream] = instance(buffer, FrameBuffer)

    @property
    def status(self) -> Request.Status:
        """Pending, complete or cancelled."""
        return self._status

    @property
    def buffers(self) -> dict[Stream, FrameBuffer]:
        """By stream."""
        return dict(self._buffers)

    @property
    def cookie(self) -> int:
        """As it was created."""
        return self._cookie

    @property
    def sequence(self) -> int:
        """Number of the frame it got."""
        return self._sequence

    @property
    def has_pending_buffers(self) -> bool:
        """Whether the camera has it."""
        return self._queued

    def set_control(self, id: ControlId, value: Any) -> None:
        """A control to take effect with this request; RuntimeError for a wrong type."""
        kind = instance(id, ControlId).type
        self._controls[id] = control_value(value, kind)

    @property
    def metadata(self) -> dict[ControlId, Any]:
        """What libcamera reported with the frame."""
        return {
            control(name): tuple(value) if isinstance(value, list) else value
            for name, value in self._metadata.items()
        }

    def reuse(self) -> None:
        """Ready to be queued again with the same buffers; controls and metadata are forgotten."""
        self._controls, self._metadata = {}, {}
        self._status = Request.Status.Pending

    def __str__(self) -> str:
        return (
            f"Request({self._sequence}:{self._status.name[0]}:{len(self._buffers)}/{self._cookie})"
        )
