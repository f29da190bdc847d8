"""Memory of driver and worker: with one frame in flight, and with ten that nobody takes.

The proportional set size of the processes, and the memfds of frames, which no process maps, each
counted once wherever it is held. The camera's own buffers are left out, as is the sensor's process.
"""

from __future__ import annotations

import os
import time

from benchmarks.contestants import OURS, everyone
from benchmarks.figures import Figure, cannot
from benchmarks.processes import frames_in_memory_mb, proportional_mb
from benchmarks.stage import Contestant, Stage, stage, start_fast

EXPOSURE_S = 0.2
ONE_MB, MANY = 110.0, 10
FURTHER_MB = 24.7 + 1
"""A frame, and 1 MB for the rest of the process that is not the same twice."""
LEFT = "it leaves frames to the server and the sockets, where they cannot be counted"
MANY_WHAT = f"memory with {MANY} frames that nobody takes"


def run(rounds: int) -> list[Figure]:
    """Ours and the peers' with one frame, ours with ten."""
    figures = [one(each, rounds) for each in everyone()]
    return [
        *figures,
        *(cannot(MANY_WHAT, each.name, LEFT) for each in everyone() if each is not OURS),
        *many(OURS),
    ]


def one(contestant: Contestant, rounds: int) -> Figure:
    """Looked at when a picture has just arrived and its descriptor is still held."""
    whole, frames_mb = [], 0.0
    with stage(contestant) as on_stage:
        client = on_stage.local
        client.pictures(True)
        on_stage.expose(EXPOSURE_S, client)
        for _ in range(min(rounds, 10)):
            processes_mb, frames_mb = in_flight_mb(on_stage)
            whole.append(processes_mb + frames_mb)
            client.drain(0.1)
    limit = ONE_MB if contestant.name == OURS.name else None
    note = f"{frames_mb:.1f} MB of it the frame" if frames_mb else ""
    what = "memory of driver and worker with a frame in flight"
    return Figure(what, contestant.name, "MB", tuple(whole), limit, note=note)


def in_flight_mb(on_stage: Stage) -> tuple[float, float]:
    """The same as now_mb when a picture has just arrived at the local client, which holds it."""
    on_stage.local.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
    picture = on_stage.local.picture()
    found_mb = now_mb(on_stage)
    picture.let_go()
    return found_mb


def now_mb(on_stage: Stage) -> tuple[float, float]:
    """Of driver and workers, and of the frames that they or we hold."""
    family = on_stage.family
    processes = (family.driver, *family.workers)
    return (
        sum(map(proportional_mb, processes)),
        frames_in_memory_mb((*processes, family.server, os.getpid())),
    )


def many(contestant: Contestant) -> list[Figure]:
    """Taken without a gap by a client that reads nothing until all are taken."""
    with stage(contestant) as on_stage:
        client = on_stage.local
        client.pictures(True)
        on_stage.expose(EXPOSURE_S, client)
        one_mb = sum(in_flight_mb(on_stage))
        client.drain(0.1)
        start_fast(client, MANY, EXPOSURE_S)
        time.sleep(MANY * EXPOSURE_S + 2)
        processes_mb, frames_mb = now_mb(on_stage)
        for _ in range(MANY):
            client.picture().let_go()
    note = f"{frames_mb:.1f} MB of it frames"
    further_mb = (processes_mb + frames_mb - one_mb) / (MANY - 1)
    return [
        Figure(MANY_WHAT, contestant.name, "MB", (processes_mb + frames_mb,), note=note),
        Figure("for each frame beyond one", contestant.name, "MB", (further_mb,), FURTHER_MB),
    ]
