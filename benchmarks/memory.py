"""Memory of driver and worker: with one frame in flight, and with ten that nobody takes.

The proportional set size of the processes, and the memfds of frames, which no process maps, each
counted once wherever it is held. The camera's own buffers are left out, as is the sensor's process.
"""

from __future__ import annotations

import os
import time

from benchmarks.contestants import OURS, PEER, REFERENCE, peer_is_there
from benchmarks.figures import Figure
from benchmarks.processes import frames_in_memory_mb, proportional_mb
from benchmarks.stage import Contestant, Stage, stage

EXPOSURE_S = 0.2
ONE_MB, FURTHER_MB, MANY = 110.0, 24.7, 10


def run(rounds: int) -> list[Figure]:
    """Ours and the peers' with one frame, ours with ten."""
    figures = [_one(OURS, rounds, ONE_MB), _one(REFERENCE, rounds)]
    if peer_is_there():
        figures.append(_one(PEER, rounds))
    return [*figures, _many()]


def _one(contestant: Contestant, rounds: int, limit: float | None = None) -> Figure:
    """Looked at when a picture has just arrived and its descriptor is still held."""
    whole, frames_mb = [], 0.0
    with stage(contestant) as on_stage:
        client = on_stage.local
        client.pictures(True)
        on_stage.expose(EXPOSURE_S, client)
        for _ in range(min(rounds, 10)):
            client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
            picture = client.picture()
            processes_mb, frames_mb = now_mb(on_stage)
            whole.append(processes_mb + frames_mb)
            picture.let_go()
            client.drain(0.1)
    note = f"{frames_mb:.1f} MB of it the frame" if frames_mb else ""
    what = "memory of driver and worker with a frame in flight"
    return Figure(what, contestant.name, "MB", tuple(whole), limit, note=note)


def now_mb(on_stage: Stage) -> tuple[float, float]:
    """Of driver and workers, and of the frames that they or we hold."""
    family = on_stage.family
    processes = (family.driver, *family.workers)
    return (
        sum(map(proportional_mb, processes)),
        frames_in_memory_mb((*processes, family.server, os.getpid())),
    )


def _many() -> Figure:
    """Taken without a gap by a client that reads nothing until all are taken."""
    with stage(OURS) as on_stage:
        client = on_stage.local
        client.pictures(True)
        client.new("Switch", "CCD_FAST_TOGGLE", INDI_ENABLED="On")
        client.new("Number", "CCD_FAST_COUNT", FRAMES=MANY)
        client.set_of("CCD_FAST_COUNT", "Ok")
        client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
        time.sleep(MANY * EXPOSURE_S + 2)
        processes_mb, frames_mb = now_mb(on_stage)
        for _ in range(MANY):
            client.picture().let_go()
    limit = ONE_MB + (MANY - 1) * FURTHER_MB
    note = f"{frames_mb:.1f} MB of it frames"
    what = f"the same with {MANY} frames that nobody takes"
    return Figure(what, OURS.name, "MB", (processes_mb + frames_mb,), limit, note=note)
