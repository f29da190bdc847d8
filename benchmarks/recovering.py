"""How soon an abort ends an exposure, and how soon a lost worker is noticed and replaced.

abort       in the middle of a long exposure: to CCD_EXPOSURE Idle at the client, and to the start
            of the next exposure, asked for at once (by the sensor's log)
killed      the worker, in the middle of an exposure: to the message that says so
stopped     the same with SIGSTOP
ready       from that message to the start of the exposure that is taken again
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import time

from benchmarks.contestants import OURS, PEER, REFERENCE
from benchmarks.figures import Figure, cannot
from benchmarks.stage import Contestant, Stage, stage

MS = 1000.0
LONG_S, NEXT_S, RETRIED_S = 20.0, 0.2, 2.0
TO_IDLE = "abort to Idle"
AS_SOON_MS = 15.0
"""What the start of an exposure after an abort may be later than another's."""


def run(rounds: int) -> list[Figure]:
    """All figures of aborts and lost workers."""
    figures = [figure for each in (REFERENCE, OURS) for figure in aborts(each, rounds)]
    figures.append(cannot(TO_IDLE, PEER.name, "it says Ok, never Idle, before it has stopped"))
    with stage(OURS) as on_stage:
        on_stage.local.pictures(True)
        losses = {
            name: [_lose(on_stage, kind) for _ in range(max(3, rounds // 4))]
            for name, kind in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP))
        }
    who = OURS.name
    for name, limit in (("killed", 0.1), ("stopped", 1.5)):
        noticed, ready = zip(*losses[name], strict=True)
        figures.append(Figure(f"worker {name}, to its notice", who, "s", noticed, limit))
        figures.append(Figure(f"worker {name}, from notice to ready", who, "s", ready, 1.0))
    return figures


def aborts(contestant: Contestant, rounds: int) -> list[Figure]:
    """To Idle, and to the next exposure where a log tells of its start; the limits are ours."""
    with stage(contestant) as on_stage:
        on_stage.local.pictures(True)
        aborted, restarted, plain = [], [], []
        for _ in range(rounds):
            aborted.append(_abort(on_stage))
            restarted.append(_plain_start(on_stage))
            plain.append(_plain_start(on_stage))
    who, ours = contestant.name, contestant.name == OURS.name
    idle = Figure(TO_IDLE, who, "ms", tuple(aborted), 50 if ours else None)
    if not contestant.simulated:
        return [idle]
    limit = statistics.median(plain) + AS_SOON_MS
    return [
        idle,
        Figure("an order to the start of its exposure", who, "ms", tuple(plain)),
        Figure("the same right after an abort", who, "ms", tuple(restarted), limit),
    ]


def _abort(on_stage: Stage) -> float:
    client = on_stage.local
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=LONG_S)
    client.drain(0.5)
    asked = client.new("Switch", "CCD_ABORT_EXPOSURE", ABORT="On")
    idle = client.set_of("CCD_EXPOSURE", "Idle")
    return MS * (idle.at - asked)


def _plain_start(on_stage: Stage) -> float:
    shot = on_stage.expose(NEXT_S, on_stage.local)
    if not shot.entry:
        return math.nan
    return MS * (float(shot.entry["exposure_start_ns"]) * 1e-9 - shot.asked_at)


def _lose(on_stage: Stage, kind: signal.Signals) -> tuple[float, float]:
    client = on_stage.local
    on_stage.log()
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=RETRIED_S)
    client.drain(0.7)
    (worker,) = on_stage.family.workers
    lost = time.monotonic()
    os.kill(worker, kind)
    noticed = client.wait(lambda m: "worker" in m.attributes.get("message", ""))
    picture = client.picture(20)
    picture.let_go()
    entry = on_stage.delivered(picture.at, RETRIED_S)
    client.drain(0.5)
    return noticed.at - lost, entry["exposure_start_ns"] * 1e-9 - noticed.at
