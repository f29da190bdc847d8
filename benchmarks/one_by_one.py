"""Exposures as Ekos and PHD2 ask for them: the next one when the last picture has come.

Measured is what the exposure and the readout do not explain: from the order to the picture at a
local client, less both (by the sensor's log). Where a sensor's first frames after a start are bad,
six of its shortest frames are allowed for them; to the ov64a40, which starts slowly, what its start
takes.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contestants import OURS, PEER, on_sensors, peer_is_there
from benchmarks.figures import Figure
from benchmarks.stage import LONG_QUEUE, Contestant, Stage, stage
from indi_picam.simulator.models import SENSORS as MODELS

MS = 1000.0
EXPOSURES_S = (0.1, 1.0, 10.0)
ONLY_S = {"ov5647": (0.1, 0.96)}
"""Of a sensor that does not reach all of them."""
SENSORS = ("imx477", "imx477-trixie", "imx290", "ov5647", "imx219", "imx708", "imx296", "imx283")
WITH_BAD_FRAMES = ("imx290", "ov5647", "imx283")
SLOW_TO_START = "ov64a40"
SLOW_NOTE = "400 ms of it: the registers that its Linux driver writes at a start (estimated)"
ALLOWED_MS, ALLOWED_FRAMES = 90, 6


def run(rounds: int) -> list[Figure]:
    """The overhead of each sensor at each exposure."""
    figures = [figure for sensor in SENSORS for figure in _figures(OURS, sensor, rounds)]
    figures += _figures(OURS, SLOW_TO_START, max(3, rounds // 4))
    if peer_is_there():
        for sensor in ("imx477", "imx290"):
            figures += _figures(PEER, sensor, max(3, rounds // 4))
    return figures


def _figures(contestant: Contestant, sensor: str, rounds: int) -> list[Figure]:
    with stage(on_sensors(contestant, sensor), *LONG_QUEUE) as on_stage:
        on_stage.local.pictures(True)
        shortest_ms = min((entry["frame_ns"] for entry in on_stage.log()), default=0) / 1e6
        limit = ALLOWED_MS + (ALLOWED_FRAMES * shortest_ms if sensor in WITH_BAD_FRAMES else 0)
        exposures = ONLY_S.get(sensor, EXPOSURES_S)
        figures = [_figure(on_stage, sensor, seconds, rounds) for seconds in exposures]
    if contestant is not OURS:
        return figures
    if sensor == SLOW_TO_START:
        start_ms = MODELS[sensor].start_us / 1000
        return [replace(figure, limit=limit + start_ms, note=SLOW_NOTE) for figure in figures]
    return [replace(figure, limit=limit) for figure in figures]


def _figure(on_stage: Stage, sensor: str, exposure_s: float, rounds: int) -> Figure:
    if exposure_s <= 1:
        on_stage.expose(exposure_s, on_stage.local)
    overheads = []
    for _ in range(min(rounds, _most_frames(exposure_s))):
        shot = on_stage.expose(exposure_s, on_stage.local)
        entry = shot.entry
        inherent_ns = entry["readout_end_ns"] - entry["exposure_start_ns"]
        overheads.append(MS * (shot.picture.at - shot.asked_at) - inherent_ns / 1e6)
    what = f"order to picture less exposure and readout, {sensor} at {exposure_s:g} s"
    return Figure(what, on_stage.contestant.name, "ms", tuple(overheads))


def _most_frames(exposure_s: float) -> int:
    """Few long ones, but more than three: on a busy machine two of three have been held up."""
    if exposure_s < 0.5:
        return 20
    return 5 if exposure_s < 5 else 2
