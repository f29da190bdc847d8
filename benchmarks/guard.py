"""A short form for every change: fails when what a frame costs has doubled (``--strict``).

Everything is told as a multiple of one write of the frame's bytes, done in turn with the frames:
ratios carry over from machine to machine where milliseconds do not. Times are held against the time
of that write by the clock, after a pause as long as an exposure, and processor times against its
processor time. A busy machine holds up the write as it does the driver: with four programs that
never rest on two cores, frames took twice the time, but no more writes than on a quiet machine.

What counts is the best quartile of some rounds. The limit is 1.6 times the usual: a fifth below
what has doubled, a quarter above the worst of fifteen runs. Before it fails, it measures once
more and lets the better count.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.contestants import OURS
from benchmarks.figures import Figure
from benchmarks.hand_over import EXPOSURE_S, one_write_ms
from benchmarks.processes import frames_in_memory_mb, proportional_mb
from benchmarks.stage import Stage, stage
from benchmarks.wire import Client

TCP = "end of exposure to last byte, TCP"
LOCAL = "end of exposure to message and descriptor, local"
CPU = "processor time of driver and worker"
MEMORY = "memory of driver, worker and a frame"
USUAL = {TCP: 2.4, LOCAL: 0.6, CPU: 1.5, MEMORY: 98.0}
"""What this printed when it was written down: writes of the frame, and MB."""
TOO_MUCH = 1.6
ROUNDS, SETTLING = 10, 2
MS = 1000.0

Ratios = dict[str, list[float]]


def run(rounds: int) -> list[Figure]:
    """The ratios, and the memory with a frame in flight."""
    figures = _figures(min(rounds, ROUNDS))
    if all(figure.met for figure in figures):
        return figures
    again = _figures(min(rounds, ROUNDS))
    return [
        min(pair, key=lambda figure: figure.median) for pair in zip(figures, again, strict=True)
    ]


def _figures(rounds: int) -> list[Figure]:
    ratios: Ratios = defaultdict(list)
    with stage(OURS) as on_stage:
        _measure(on_stage, on_stage.tcp, TCP, rounds, ratios)
        _measure(on_stage, on_stage.local, LOCAL, rounds, ratios)
        memory_mb = _memory_mb(on_stage)
    writes = [_figure(what, "writes", _best_quartile(ratios[what])) for what in (TCP, LOCAL, CPU)]
    return [*writes, _figure(MEMORY, "MB", memory_mb)]


def _figure(what: str, unit: str, value: float) -> Figure:
    usual = USUAL[what]
    return Figure(what, OURS.name, unit, (value,), TOO_MUCH * usual, note=f"usually {usual:g}")


def _best_quartile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, method="inclusive")[0]


def _measure(on_stage: Stage, client: Client, what: str, rounds: int, ratios: Ratios) -> None:
    """Adds what frames took on one wire, in writes."""
    client.pictures(True)
    for number in range(-SETTLING, rounds):
        before = on_stage.family.cpu_s()
        shot = on_stage.expose(EXPOSURE_S, client)
        time.sleep(EXPOSURE_S)  # what a driver does after the last byte belongs to the frame
        after = on_stage.family.cpu_s()
        began = time.monotonic()
        write_cpu_ms = one_write_ms()
        write_s = time.monotonic() - began
        if number >= 0:
            cpu_s = sum(after[kind] - before[kind] for kind in ("driver", "worker"))
            ratios[what].append((shot.picture.at - shot.over_at) / write_s)
            ratios[CPU].append(MS * cpu_s / write_cpu_ms)
    client.pictures(False)


def _memory_mb(on_stage: Stage) -> float:
    client = on_stage.local
    client.pictures(True)
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
    picture = client.picture()
    family = on_stage.family
    processes = (family.driver, *family.workers)
    whole = sum(map(proportional_mb, processes))
    whole += frames_in_memory_mb((*processes, os.getpid()))
    picture.let_go()
    return whole
