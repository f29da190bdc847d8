"""Guiding: 640 x 480 pixels at 0.1 s, one by one as PHD2 asks, and without a gap (CCD_FAST_*)."""

from __future__ import annotations

from benchmarks.contestants import OURS
from benchmarks.figures import Figure
from benchmarks.stage import Stage, stage

EXPOSURE_S, MS = 0.1, 1000.0
WIDTH, HEIGHT = 640, 480
SLACK_MS = 90
FAST_FRAMES, LEAST_A_SECOND = 100, 9.5


def run(rounds: int) -> list[Figure]:
    """The cycle of single exposures, and the rate of fast ones."""
    with stage(OURS) as on_stage:
        client = on_stage.local
        client.new("Number", "CCD_FRAME", X=1700, Y=1280, WIDTH=WIDTH, HEIGHT=HEIGHT)
        client.set_of("CCD_FRAME", "Ok")
        client.pictures(True)
        on_stage.expose(EXPOSURE_S, client)
        cycles, readout_ms = [], 0.0
        for _ in range(max(rounds, 3)):
            shot = on_stage.expose(EXPOSURE_S, client)
            cycles.append(MS * (shot.picture.at - shot.asked_at))
            readout = shot.entry["readout_end_ns"] - shot.entry["readout_start_ns"]
            readout_ms = readout / 1e6
        rate = _fast(on_stage)
    limit = MS * EXPOSURE_S + 2 * readout_ms + SLACK_MS
    what = f"guiding, {WIDTH} x {HEIGHT} at {EXPOSURE_S} s:"
    return [
        Figure(f"{what} a cycle, one by one", OURS.name, "ms", tuple(cycles), limit),
        Figure(f"{what} fast", OURS.name, "frames/s", (rate,), LEAST_A_SECOND, at_least=True),
    ]


def _fast(on_stage: Stage) -> float:
    client = on_stage.local
    client.new("Switch", "CCD_FAST_TOGGLE", INDI_ENABLED="On")
    client.new("Number", "CCD_FAST_COUNT", FRAMES=FAST_FRAMES)
    client.set_of("CCD_FAST_COUNT", "Ok")
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
    times = []
    for _ in range(FAST_FRAMES):
        picture = client.picture()
        picture.let_go()
        times.append(picture.at)
    return (len(times) - 1) / (times[-1] - times[0])
