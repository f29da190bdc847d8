"""Ctrl-C and SIGTERM, counted: the first asks to finish in order, a second to stop at once.

Frames of several cameras are taken by several threads, while Python tells signals to the main one
only; so the signals are counted here, and each wait looks.
"""

from __future__ import annotations

import signal


class Requests:
    """How often the user asked to stop."""

    def __init__(self) -> None:
        self.number = 0

    def listen(self) -> None:
        """Counts from now on what would have ended the process; main thread only."""
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGTERM, self._count)

    def _count(self, _signal: int, _frame: object) -> None:
        self.number += 1


class Stop:
    """What one thread makes of the user's requests to stop."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._followed = 0

    def follow(self) -> None:
        """The first request is being followed: only the next one interrupts a wait."""
        self._followed = 1

    def check(self) -> None:
        """Raises KeyboardInterrupt when the user asked once more than is being followed."""
        if self._requests.number > self._followed:
            raise KeyboardInterrupt
