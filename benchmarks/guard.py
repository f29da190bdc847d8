"""A short form for every change: what a frame costs, in writes of as many bytes in the same run.

Ratios carry over from machine to machine where milliseconds do not. Each fails when it has doubled
since it was written down here; run with ``--strict``.
"""

from __future__ import annotations

import os
import statistics

from benchmarks.contestants import OURS
from benchmarks.figures import Figure
from benchmarks.hand_over import EXPOSURE_S, Contest, contests
from benchmarks.processes import frames_in_memory_mb, proportional_mb
from benchmarks.stage import stage

USUAL = {"TCP": 7.0, "local": 1.9, "driver and worker": 3.0}
"""Writes of the frame's bytes that the median took when this was measured."""
USUAL_MB = 90.0
ROUNDS = 8


def run(rounds: int) -> list[Figure]:
    """The ratios, and the memory with a frame in flight."""
    figures = []
    for contest in contests((OURS,), min(rounds, ROUNDS)):
        took = _in_writes(contest, contest.times[OURS.name])
        what = f"end of exposure to last byte, {contest.wire}, in writes"
        figures.append(Figure(what, OURS.name, "", took, 2 * USUAL[contest.wire]))
        if contest.wire == "local":
            cpu = (contest.cpu[OURS.name, kind] for kind in ("driver", "worker"))
            both = _in_writes(contest, [a + b for a, b in zip(*cpu, strict=True)])
            what = "processor time of driver and worker, in writes"
            figures.append(Figure(what, OURS.name, "", both, 2 * USUAL["driver and worker"]))
    return [*figures, _memory()]


def _in_writes(contest: Contest, values_ms: list[float]) -> tuple[float, ...]:
    one_write = statistics.median(contest.writes)
    return tuple(value / one_write for value in values_ms)


def _memory() -> Figure:
    with stage(OURS) as on_stage:
        client = on_stage.local
        client.pictures(True)
        client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
        picture = client.picture()
        family = on_stage.family
        processes = (family.driver, *family.workers)
        whole = sum(map(proportional_mb, processes))
        whole += frames_in_memory_mb((*processes, os.getpid()))
        picture.let_go()
    return Figure("memory of driver, worker and a frame", OURS.name, "MB", (whole,), 2 * USUAL_MB)
