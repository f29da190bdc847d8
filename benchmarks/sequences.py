"""The duty cycle of 20 exposures of 1 s: one by one as Ekos asks for them, and as a batch.

The share of the time in which the shutter was open, for the whole sequence with its last picture
received (one by one), or from frame start to frame start by the sensor's log (a batch).
"""

from __future__ import annotations

from benchmarks.contestants import OURS, PEER, REFERENCE, peer_is_there
from benchmarks.figures import Figure
from benchmarks.stage import Contestant, Stage, stage

FRAMES, EXPOSURE_S = 20, 1.0
LEAST_IN_A_BATCH = 99.0


def run(rounds: int) -> list[Figure]:
    """Ours and the peers' one by one; ours as a batch."""
    contestants = (REFERENCE, *((PEER,) if peer_is_there() else ()), OURS)
    return [*map(_one_by_one, contestants), *_batch()]


def _one_by_one(contestant: Contestant) -> Figure:
    with stage(contestant) as on_stage:
        on_stage.local.pictures(True)
        on_stage.expose(EXPOSURE_S, on_stage.local)
        shots = [on_stage.expose(EXPOSURE_S, on_stage.local) for _ in range(FRAMES)]
    share = 100 * FRAMES * EXPOSURE_S / (shots[-1].picture.at - shots[0].asked_at)
    what = f"{FRAMES} x {EXPOSURE_S:g} s one by one, shutter open"
    return Figure(what, contestant.name, "%", (share,), at_least=True)


def _batch() -> list[Figure]:
    with stage(OURS) as on_stage:
        taken = take_fast(on_stage, FRAMES, EXPOSURE_S)
    starts = [entry["exposure_start_ns"] * 1e-9 for entry in taken]
    share = 100 * EXPOSURE_S * (len(starts) - 1) / (starts[-1] - starts[0])
    what = f"{FRAMES} x {EXPOSURE_S:g} s as a batch (CCD_FAST_COUNT):"
    missed = taken[-1]["sequence"] - taken[0]["sequence"] + 1 - FRAMES
    return [
        Figure(f"{what} shutter open", OURS.name, "%", (share,), LEAST_IN_A_BATCH, at_least=True),
        Figure(f"{what} frames missed", OURS.name, "", (missed,), 0),
    ]


def take_fast(on_stage: Stage, frames: int, exposure_s: float) -> list[dict[str, float]]:
    """Takes frames without a gap over TCP; returns the log's entries of those delivered."""
    client = on_stage.tcp
    client.pictures(True)
    client.new("Switch", "CCD_FAST_TOGGLE", INDI_ENABLED="On")
    client.new("Number", "CCD_FAST_COUNT", FRAMES=frames)
    client.set_of("CCD_FAST_COUNT", "Ok")
    on_stage.log()
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=exposure_s)
    for _ in range(frames):
        client.picture(60)
    good = [
        entry
        for entry in on_stage.log()
        if entry["status"] == "success" and abs(entry["exposure_ns"] * 1e-9 / exposure_s - 1) < 0.01
    ]
    return good[:frames]
