"""How `picam` ends: an exit status for each kind of failure, and the exception that carries it.

Everything in the client raises :class:`Failure`; only ``__main__`` catches it.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit status of `picam`; 2 is also what argparse uses, 130 what a shell reports for Ctrl-C."""

    OK = 0
    CAMERA = 1
    USAGE = 2
    NO_SERVER = 3
    NO_DEVICE = 4
    CONNECTION_LOST = 5
    TIMED_OUT = 6
    NOT_SAVED = 7
    INTERRUPTED = 130


class Failure(Exception):
    """The command cannot go on; the text is a sentence for the user."""

    def __init__(self, exit_status: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_status = exit_status
