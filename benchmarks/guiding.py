"""Guiding: 640 x 480 pixels at 0.1 s, one by one as PHD2 asks, and without a gap (CCD_FAST_*)."""

from __future__ import annotations

from benchmarks.contestants import OURS, everyone
from benchmarks.figures import Figure
from benchmarks.stage import Contestant, Stage, stage, start_fast

EXPOSURE_S, MS = 0.1, 1000.0
WIDTH, HEIGHT = 640, 480
SLACK_MS = 90
FAST_FRAMES, LEAST_A_SECOND = 100, 9.5


def run(rounds: int) -> list[Figure]:
    """Everyone's."""
    return [figure for each in everyone() for figure in figures(each, rounds)]


def figures(contestant: Contestant, rounds: int) -> list[Figure]:
    """The cycle of single exposures, and the rate of fast ones; the limits are ours."""
    with stage(contestant) as on_stage:
        client = on_stage.local
        client.new("Number", "CCD_FRAME", X=1700, Y=1280, WIDTH=WIDTH, HEIGHT=HEIGHT)
        client.set_of("CCD_FRAME", "Ok")
        client.pictures(True)
        on_stage.expose(EXPOSURE_S, client)
        cycles, readout_ms = [], 0.0
        for _ in range(max(rounds, 3)):
            shot = on_stage.expose(EXPOSURE_S, client)
            cycles.append(MS * (shot.picture.at - shot.asked_at))
            if shot.entry:
                readout = shot.entry["readout_end_ns"] - shot.entry["readout_start_ns"]
                readout_ms = readout / 1e6
        rate = _fast(on_stage)
    ours = contestant.name == OURS.name
    limit = MS * EXPOSURE_S + 2 * readout_ms + SLACK_MS if ours else None
    least = LEAST_A_SECOND if ours else None
    what = f"guiding, {WIDTH} x {HEIGHT} at {EXPOSURE_S} s:"
    return [
        Figure(f"{what} a cycle, one by one", contestant.name, "ms", tuple(cycles), limit),
        Figure(f"{what} fast", contestant.name, "frames/s", (rate,), least, at_least=True),
    ]


def _fast(on_stage: Stage) -> float:
    client = on_stage.local
    start_fast(client, FAST_FRAMES, EXPOSURE_S)
    times = []
    for _ in range(FAST_FRAMES):
        picture = client.picture()
        picture.let_go()
        times.append(picture.at)
    return (len(times) - 1) / (times[-1] - times[0])
