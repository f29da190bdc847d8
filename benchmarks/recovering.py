"""How soon an abort ends an exposure, and how soon a lost worker is noticed and replaced.

abort       in the middle of a long exposure: to CCD_EXPOSURE Idle at the client, and to the start
            of the next exposure, asked for at once (by the sensor's log)
killed      the worker, in the middle of an exposure: to the message that says so
stopped     the same with SIGSTOP
ready       from that message to the start of the exposure that is taken again
"""

from __future__ import annotations

import os
import signal
import time

from benchmarks.contestants import OURS
from benchmarks.figures import Figure
from benchmarks.stage import Stage, stage

MS = 1000.0
LONG_S, NEXT_S, RETRIED_S = 20.0, 0.2, 2.0


def run(rounds: int) -> list[Figure]:
    """All figures of aborts and lost workers."""
    with stage(OURS) as on_stage:
        on_stage.local.pictures(True)
        aborted, restarted, plain = [], [], []
        for _ in range(rounds):
            idle_ms, next_ms = _abort(on_stage)
            aborted.append(idle_ms)
            restarted.append(next_ms)
            plain.append(_plain_start(on_stage))
        losses = {
            name: [_lose(on_stage, kind) for _ in range(max(3, rounds // 4))]
            for name, kind in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP))
        }
    who = OURS.name
    figures = [
        Figure("abort to Idle", who, "ms", tuple(aborted), 50),
        Figure("an order to the start of its exposure", who, "ms", tuple(plain)),
        Figure("the same right after an abort", who, "ms", tuple(restarted)),
    ]
    for name, limit in (("killed", 0.1), ("stopped", 1.5)):
        noticed, ready = zip(*losses[name], strict=True)
        figures.append(Figure(f"worker {name}, to its notice", who, "s", noticed, limit))
        figures.append(Figure(f"worker {name}, from notice to ready", who, "s", ready, 1.0))
    return figures


def _abort(on_stage: Stage) -> tuple[float, float]:
    client = on_stage.local
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=LONG_S)
    client.drain(0.5)
    asked = client.new("Switch", "CCD_ABORT_EXPOSURE", ABORT="On")
    idle = client.set_of("CCD_EXPOSURE", "Idle")
    return MS * (idle.at - asked), _plain_start(on_stage)


def _plain_start(on_stage: Stage) -> float:
    shot = on_stage.expose(NEXT_S, on_stage.local)
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
