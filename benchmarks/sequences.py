"""The duty cycle of 20 exposures of 1 s: one by one as Ekos asks for them, and as a batch.

The share of the time in which the shutter was open, for the whole sequence with its last picture
received (one by one), or from frame start to frame start by the sensor's log (a batch), in which
the delivered frames are found by their pixels. Peers do not say which frames of a sensor they send,
so that their batches are judged as what is taken one by one.
"""

from __future__ import annotations

import time

from benchmarks import batches
from benchmarks.contestants import OURS, everyone
from benchmarks.figures import Figure
from benchmarks.stage import Contestant, Stage, stage, start_fast

FRAMES, EXPOSURE_S = 20, 1.0
BATCH = f"{FRAMES} x {EXPOSURE_S:g} s as a batch (CCD_FAST_COUNT):"
LEAST_IN_A_BATCH = 99.0


def run(rounds: int) -> list[Figure]:
    """Everyone's, one by one and as a batch."""
    return [
        *map(_one_by_one, everyone()),
        *(_arriving(each) for each in everyone() if each is not OURS),
        *_batch(),
    ]


def _one_by_one(contestant: Contestant) -> Figure:
    with stage(contestant) as on_stage:
        on_stage.local.pictures(True)
        on_stage.expose(EXPOSURE_S, on_stage.local)
        shots = [on_stage.expose(EXPOSURE_S, on_stage.local) for _ in range(FRAMES)]
    share = 100 * FRAMES * EXPOSURE_S / (shots[-1].picture.at - shots[0].asked_at)
    what = f"{FRAMES} x {EXPOSURE_S:g} s one by one, shutter open"
    return Figure(what, contestant.name, "%", (share,), at_least=True)


def _arriving(contestant: Contestant) -> Figure:
    """A peer's batch, by the clock."""
    with stage(contestant) as on_stage:
        client = on_stage.tcp
        client.pictures(True)
        began = time.monotonic()
        start_fast(client, FRAMES, EXPOSURE_S)
        times = [client.picture(60).at for _ in range(FRAMES)]
    share = 100 * FRAMES * EXPOSURE_S / (times[-1] - began)
    note = "from the order to the last picture"
    return Figure(f"{BATCH} shutter open", contestant.name, "%", (share,), at_least=True, note=note)


def _batch() -> list[Figure]:
    with stage(OURS) as on_stage:
        missed, starts_s = take_fast(on_stage, FRAMES, EXPOSURE_S)
    share = 100 * EXPOSURE_S * (FRAMES - 1) / starts_s
    return [
        Figure(f"{BATCH} shutter open", OURS.name, "%", (share,), LEAST_IN_A_BATCH, at_least=True),
        Figure(f"{BATCH} frames missed", OURS.name, "", (missed,), 0),
    ]


def take_fast(on_stage: Stage, frames: int, exposure_s: float) -> tuple[int, float]:
    """Takes frames without a gap over TCP.

    Returns how many of the sensor's were missed between the first and the last delivered, and the
    seconds from the start of the one to that of the other.
    """
    client = on_stage.tcp
    client.keeps_pictures = True
    client.pictures(True)
    on_stage.log()
    start_fast(client, frames, exposure_s)
    pictures = [client.picture(60) for _ in range(frames)]
    files = [picture.file() for picture in pictures]
    delivered = batches.delivered(files, on_stage.log(), batches.settings_of(on_stage))
    return delivered.missed, delivered.taken_s
