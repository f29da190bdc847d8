"""Messages between the stand-in for libcamera and the process of a sensor: JSON, descriptors.

To the sensor: ``configure``, ``start``, ``queue``, ``stop``. From it: ``started``,
``stopped``, ``frame``, ``timeout``, ``failed``. A SOCK_SEQPACKET socket keeps them apart; its end
is the end of the other side.
"""

from __future__ import annotations

import json
import socket
from typing import Any

LONGEST = 1 << 16
Message = dict[str, Any]


class Ended(Exception):
    """The other side is gone."""


def send(to: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message; Ended when nobody is there any more."""
    try:
        socket.send_fds(to, [json.dumps(message).encode()], descriptors)
    except (BrokenPipeError, ConnectionResetError) as gone:
        raise Ended from gone


def receive(source: socket.socket) -> tuple[Message, list[int]]:
    """The next message and its descriptors, the caller's now; BlockingIOError, or Ended."""
    try:
        data, descriptors, _, _ = socket.recv_fds(source, LONGEST, 8)
    except ConnectionResetError as gone:
        raise Ended from gone
    if not data:
        raise Ended
    return json.loads(data), descriptors
