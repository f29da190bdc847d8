"""What `picam capture` shows while it works: bars on a terminal, nothing into a file or a pipe.

One camera has two bars, frames taken and frames here (one by one: a countdown); of several cameras
each has one line.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


def bars(console: Console) -> Progress:
    """The bars of all cameras; to be entered as a context."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )


class Row:
    """The bars of one camera; for several cameras ``name`` says which."""

    def __init__(self, progress: Progress, name: str = "") -> None:
        self._progress = progress
        self._name = name
        self._tasks: dict[str, TaskID] = {}
        self._arrivals: list[tuple[float, int]] = []

    def countdown(self, number: int, count: int, shutter_s: float, left_s: float) -> None:
        """One exposure of several."""
        left = f"{left_s:.1f} s left" if left_s > 0 else "reading out"
        self._show(f"Frame {number} of {count}", shutter_s - left_s, shutter_s, left, "frame")

    def batch(self, taken: int, here: int, count: int, left_s: float) -> None:
        """A batch: frames taken, frames here, seconds until the last is taken."""
        if count < 1:
            return
        if not self._arrivals or self._arrivals[-1][1] != here:
            self._arrivals.append((time.monotonic(), here))
        here_s = max(left_s, self._delivery_s(count - here))
        if self._name:
            self._show(f"{taken} taken, {here} here of {count}", here, count, _left(here_s), "here")
            return
        self._show(f"Taken {taken} of {count}", taken, count, _left(left_s), "taken")
        self._show(f"Here  {here} of {count}", here, count, _left(here_s), "here")

    def _delivery_s(self, missing: int) -> float:
        """How long so many frames take to come, by those that have come."""
        first_at, first = self._arrivals[:2][-1]  # from the first that came while we watched
        last_at, last = self._arrivals[-1]
        return missing * (last_at - first_at) / (last - first) if last > first else 0

    def _show(self, words: str, done: float, total: float, left: str, bar: str) -> None:
        if bar not in self._tasks:
            self._tasks[bar] = self._progress.add_task("", total=total, left="")
        self._progress.update(
            self._tasks[bar],
            description=f"{self._name}  {words}" if self._name else words,
            completed=done,
            total=total,
            left=left,
        )


def _left(seconds: float) -> str:
    if seconds <= 0:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"
