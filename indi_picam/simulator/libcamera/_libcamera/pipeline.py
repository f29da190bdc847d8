"""The stand-in's end of a sensor: its process, and the messages to and from it.

Made by Camera when it is acquired, and imported only then: what a process costs, listing cameras
need not pay.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from indi_picam.simulator import wire

ANSWER_S = 20.0
"""How long the sensor's process may take to answer; far more than any of its answers takes."""
ROOT = __file__.rsplit("/", 5)[0]


class Pipeline:
    """One sensor's process.

    ``heard`` is called with all it says besides answers, and with ``{"event": "gone"}`` at its end.
    """

    def __init__(self, camera_id: str, heard: Callable[[wire.Message], None]) -> None:
        self._heard = heard
        self._gone = False
        self._link, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setblocking(False)
        command = [sys.executable, "-P", "-m", "indi_picam.simulator.sensor", str(there.fileno())]
        path = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
        with there:
            self._process = subprocess.Popen(
                [*command, camera_id, str(os.getpid())],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,
                # One thread: its CPU is to be told apart, and no array operation of it would use
                # more.
                env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
                # Linux shares processors between sessions first: so the others make it less late.
                start_new_session=True,
            )

    def fileno(self) -> int:
        """The descriptor that becomes readable when the sensor says something."""
        return self._link.fileno()

    def tell(self, message: wire.Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message; nothing happens when nobody is there."""
        try:
            wire.send(self._link, message, descriptors)
        except wire.Ended:
            self._gone = True

    def ask(self, message: wire.Message, *answers: str) -> wire.Message:
        """Send a message and wait for one of the answers; ``{"event": "gone"}`` when none comes."""
        self.tell(message)
        patience = time.monotonic() + ANSWER_S
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        while not self._gone and time.monotonic() < patience:
            poll.poll(1000 * ANSWER_S)
            answer = self._next()
            if answer and answer["event"] in answers:
                return answer
            if answer:
                self._heard(answer)
        return {"event": "gone"}

    def hear(self) -> None:
        """Take in everything the sensor has said, without waiting."""
        while not self._gone:
            message = self._next()
            if message is None:
                break
            self._heard(message)
        if self._gone:
            self._heard({"event": "gone"})

    def _next(self) -> wire.Message | None:
        try:
            return wire.receive(self._link)[0]
        except BlockingIOError:
            return None
        except wire.Ended:
            self._gone = True
            return None

    def close(self) -> None:
        """End the process, and wait for its end."""
        self._link.close()
        self._process.wait()
