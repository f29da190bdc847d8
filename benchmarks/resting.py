"""What the driver grows by with frames, and what it uses when nothing happens.

Growth over many frames is measured in a small mode, to have them in seconds: what could leak
(messages, tasks, descriptors) does not depend on the size. As many go before, over which Python's
heap settles: it grows by half a MB, and then no more.
"""

from __future__ import annotations

import os
import time

from benchmarks.contestants import OURS, SMALL_MODE
from benchmarks.figures import Figure
from benchmarks.processes import cpu_s, reset_peak, resident_mb
from benchmarks.stage import Stage, stage, start_fast
from benchmarks.wire import Client

EXPOSURE_S, SMALL_EXPOSURE_S = 0.2, 0.01
FRAMES, WARMING = 1000, 1000
MOST_GROWTH_MB = 0.2
LET_GO_S = 1.5
"""After the last frame: once a second the driver looks what clients have let go."""
IDLE_S, IDLE_SENSOR_S = 20.0, 11.0
"""The sensor stops 10 s after its last frame."""


def run(rounds: int) -> list[Figure]:
    """Growth, and rest."""
    with stage(OURS) as on_stage:
        on_stage.local.pictures(True)
        for _ in range(3):
            on_stage.expose(EXPOSURE_S, on_stage.local)
        figures = [_growth_of_a_frame(on_stage, rounds)]
        figures += _growth_of_many(on_stage)
        figures.append(_rest(on_stage))
    return figures


def _growth_of_a_frame(on_stage: Stage, rounds: int) -> Figure:
    grown, driver = [], on_stage.family.driver
    for _ in range(rounds):
        reset_peak(driver)
        before = resident_mb(driver)
        on_stage.expose(EXPOSURE_S, on_stage.local)
        grown.append(resident_mb(driver, "VmHWM") - before)
    return Figure("driver's growth with a 12.3 MP frame in flight", OURS.name, "MB", (*grown,), 5)


def _growth_of_many(on_stage: Stage) -> list[Figure]:
    client, family = on_stage.local, on_stage.family
    (worker,) = family.workers
    client.new("Switch", "PICAM_MODE", **{SMALL_MODE: "On"})
    client.set_of("PICAM_MODE", "Ok")
    _take_fast(client, WARMING)
    before = [resident_mb(family.driver), resident_mb(worker)]
    open_before = len(os.listdir(f"/proc/{family.driver}/fd"))
    _take_fast(client, FRAMES)
    after = [resident_mb(family.driver), resident_mb(worker)]
    left_open = len(os.listdir(f"/proc/{family.driver}/fd")) - open_before
    client.new("Switch", "CCD_FAST_TOGGLE", INDI_DISABLED="On")
    client.set_of("CCD_FAST_TOGGLE")
    what = f"growth over {FRAMES} frames ({SMALL_MODE}):"
    return [
        Figure(f"{what} driver", OURS.name, "MB", (after[0] - before[0],), MOST_GROWTH_MB),
        Figure(f"{what} worker", OURS.name, "MB", (after[1] - before[1],), MOST_GROWTH_MB),
        Figure(f"{what} descriptors of the driver", OURS.name, "", (left_open,), 0),
    ]


def _take_fast(client: Client, frames: int) -> None:
    start_fast(client, frames, SMALL_EXPOSURE_S)
    for _ in range(frames):
        client.picture().let_go()
    client.drain(LET_GO_S)


def _rest(on_stage: Stage) -> Figure:
    time.sleep(IDLE_SENSOR_S)
    driver = on_stage.family.driver
    began, before = time.monotonic(), cpu_s(driver)
    time.sleep(IDLE_S)
    percent = 100 * (cpu_s(driver) - before) / (time.monotonic() - began)
    return Figure("processor used by the idle driver", OURS.name, "%", (percent,), 1)
