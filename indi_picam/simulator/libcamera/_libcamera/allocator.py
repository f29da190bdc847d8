"""Buffers from libcamera itself, for those who bring none of their own."""

from __future__ import annotations

import os

from .buffers import FrameBuffer
from .camera import Camera
from .casting import instance
from .configuration import Stream


class FrameBufferAllocator:
    """Holds the buffers it has allocated, by stream."""

    def __init__(self, camera: Camera) -> None:
        self._camera = instance(camera, Camera)
        self._buffers: dict[Stream, list[FrameBuffer]] = {}

    def allocate(self, stream: Stream) -> int:
        """As many buffers as the stream is configured for; RuntimeError when it is not."""
        found = instance(stream, Stream).configuration
        if found is None:
            raise RuntimeError("Failed to allocate buffers: Invalid argument")
        self._buffers[stream] = [_buffer(found.frame_size) for _ in range(found.buffer_count)]
        return len(self._buffers[stream])

    @property
    def allocated(self) -> bool:
        """Whether there are any."""
        return bool(self._buffers)

    def buffers(self, stream: Stream) -> list[FrameBuffer]:
        """Those of one stream."""
        return list(self._buffers.get(instance(stream, Stream), []))


def _buffer(length: int) -> FrameBuffer:
    memory = os.memfd_create("libcamera", os.MFD_CLOEXEC)
    os.ftruncate(memory, length)
    buffer = FrameBuffer([FrameBuffer.Plane(memory, 0, length)])
    os.close(memory)
    return buffer
