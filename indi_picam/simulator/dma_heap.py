"""A dma-heap without a kernel's: memfds, by ``os.open`` and ``fcntl.ioctl`` of its own paths.

picamera2 allocates the buffers of its requests itself, from /dev/dma_heap. So that all of its code
really runs, two functions of the standard library are wrapped; everything but these two paths and
three requests goes through untouched. Installed once, when ``libcamera`` is imported. Numbers from
linux/dma-heap.h and linux/dma-buf.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

HEAPS = ("/dev/dma_heap/vidbuf_cached", "/dev/dma_heap/linux,cma")
_HEAP_ALLOC = 0xC0184800
_BUF_SYNC = 0x40086200
_BUF_SET_NAME = 0x40086201
_ALLOCATION = struct.Struct("=QIIQ")
"""struct dma_heap_allocation_data: length, descriptor, descriptor flags, heap flags."""


def install(room: Callable[[], tuple[float, float]]) -> None:
    """Wrap os.open and fcntl.ioctl; ``room`` says for what there is memory now.

    In bytes: for how large a buffer, and for all buffers together.
    """
    real_open, real_ioctl = os.open, fcntl.ioctl
    heaps: set[tuple[int, int]] = set()
    buffers: set[tuple[int, int]] = set()

    def open_(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if path not in HEAPS:
            return real_open(path, flags, *args, **named)
        if path != HEAPS[0]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        heap = os.memfd_create("dma_heap", os.MFD_CLOEXEC)
        heaps.add(_identity(heap))
        return heap

    def ioctl(fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True) -> Any:
        # videodev2 computes the number of ALLOC as a negative one.
        number = request & 0xFFFFFFFF
        if number == _HEAP_ALLOC and isinstance(fd, int) and _identity(fd) in heaps:
            largest, heap = room()
            buffers.add(_allocate(arg, min(largest, heap - _bytes_open(buffers))))
            return 0
        asks_a_buffer = number in (_BUF_SET_NAME, _BUF_SYNC) and isinstance(fd, int)
        if asks_a_buffer and _identity(fd) in buffers:
            if number == _BUF_SYNC:
                return 0
            return arg.encode() if isinstance(arg, str) else arg
        return real_ioctl(fd, request, arg, mutate_flag)

    os.open = open_
    fcntl.ioctl = ioctl


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _bytes_open(buffers: set[tuple[int, int]]) -> int:
    """What the buffers take that this process has not closed."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            status = os.fstat(int(name))
            found[status.st_dev, status.st_ino] = status.st_size
    return sum(size for identity, size in found.items() if identity in buffers)


def _allocate(data: Any, largest: float) -> tuple[int, int]:
    """Puts a new buffer's descriptor into ``data``; returns its identity."""
    view = memoryview(data).cast("B")
    length, _, flags, heap_flags = _ALLOCATION.unpack(view)
    if length > largest:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    buffer = os.memfd_create("dma_buf", os.MFD_CLOEXEC)
    os.ftruncate(buffer, -(-length // 4096) * 4096)
    view[:] = _ALLOCATION.pack(length, buffer, flags, heap_flags)
    return _identity(buffer)
