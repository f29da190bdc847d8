"""What was measured, its limit, and how both are shown; knows nothing of how it was measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: the same thing measured a number of times."""

    what: str
    who: str
    unit: str
    values: tuple[float, ...]
    limit: float | None = None
    """What the median may be at most; ``at_least`` turns it around."""
    at_least: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        """The value that is compared."""
        return statistics.median(self.values)

    @property
    def worst(self) -> float:
        """The value furthest on the wrong side."""
        return min(self.values) if self.at_least else max(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The spread: half of all values lie between these."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, method="inclusive")
        return low, high

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.limit is None:
            return None
        return self.median >= self.limit if self.at_least else self.median <= self.limit


def cannot(what: str, who: str, why: str) -> Figure:
    """A job that a contestant cannot do; the table says so."""
    return Figure(what, who, "", (float("nan"),), note=f"cannot: {why}")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table, which reads well on a terminal too."""
    head = ("what", "who", "median", "worst", "quartiles", "n", "limit", "", "note")
    rows = [head, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _cells(figure: Figure) -> tuple[str, ...]:
    if figure.note.startswith("cannot"):
        return figure.what, figure.who, *[""] * 6, figure.note
    low, high = (_short(value) for value in figure.quartiles)
    return (
        figure.what,
        figure.who,
        f"{_short(figure.median)} {figure.unit}".rstrip(),
        _short(figure.worst),
        f"{low} to {high}" if len(figure.values) > 1 else "",
        str(len(figure.values)),
        "" if figure.limit is None else f"{'≥' if figure.at_least else '≤'} {_short(figure.limit)}",
        {True: "kept", False: "MISSED", None: ""}[figure.met],
        figure.note,
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """Where and with what the figures were taken."""
    processor = next(
        line.partition(":")[2].strip()
        for line in [*Path("/proc/cpuinfo").read_text().splitlines(), "model name: unknown"]
        if line.startswith("model name")
    )
    server = subprocess.run(["indiserver", "-h"], capture_output=True, text=True).stderr
    first = next((line for line in server.splitlines() if "Library" in line), "")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{len(os.sched_getaffinity(0))} x {processor}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("indi_picam", "picamera2", "numpy", "astropy")},
        "indiserver": first.rpartition(" ")[2].rstrip(".") or "unknown",
        "load": Path("/proc/loadavg").read_text().split()[0],
    }


def as_json(figures: Iterable[Figure], about: dict[str, str]) -> str:
    """Everything, for other programs."""
    return json.dumps({"machine": about, "figures": [_entry(f) for f in figures]}, indent=1)


def _entry(figure: Figure) -> dict[str, Any]:
    if figure.note.startswith("cannot"):
        return {"what": figure.what, "who": figure.who, "note": figure.note}
    low, high = figure.quartiles
    return {
        "what": figure.what,
        "who": figure.who,
        "unit": figure.unit,
        "median": figure.median,
        "worst": figure.worst,
        "quartiles": [low, high],
        "values": list(figure.values),
        "limit": figure.limit,
        "at_least": figure.at_least,
        "met": figure.met,
        "note": figure.note,
    }
