"""What the machine itself needs for the bytes of a frame: the limits beside the figures.

One write into fresh memory, and the way through a loopback socket over TCP to a reader that only
reads. Knows no driver.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass

MS = 1000.0


@dataclass(frozen=True, slots=True)
class Write:
    """One write, by both clocks."""

    wall_ms: float
    cpu_ms: float


def one_write(size: int) -> Write:
    """Writes so many bytes into a new memfd; their making is not timed."""
    pixels = _bytes(size)
    memory = os.memfd_create("one write")
    began, began_cpu = time.monotonic(), time.process_time()
    written = os.pwrite(memory, pixels, 0)
    took_cpu, took = time.process_time() - began_cpu, time.monotonic() - began
    os.close(memory)
    if written < size:
        raise RuntimeError(f"one write took {written} of {size} bytes")
    return Write(MS * took, MS * took_cpu)


def loopback_ms(size: int) -> float:
    """Sends so many bytes to a thread that reads them; from the first sent to the last read."""
    pixels, arrived = _bytes(size), [0.0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()

    def read() -> None:
        room, left = bytearray(1 << 20), size
        while left:
            left -= receiver.recv_into(room)
        arrived[0] = time.monotonic()

    with sender, receiver:
        reader = threading.Thread(target=read)
        reader.start()
        began = time.monotonic()
        sender.sendall(pixels)
        reader.join()
    return MS * (arrived[0] - began)


def _bytes(size: int) -> memoryview:
    return memoryview(bytearray(os.urandom(1 << 20)) * (size // (1 << 20) + 1))[:size]
