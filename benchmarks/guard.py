"""A short form for every change: fails when what a frame costs has doubled (``--strict``).

Everything is told as a multiple of one write of the frame's bytes, done in turn with the frames:
ratios carry over from machine to machine better than milliseconds do. Times are held against the
time of that write by the clock, after a pause as long as an exposure, and processor times, of each
wire for itself, against its processor time. A busy machine holds up the write more than the
driver: with four programs that never rest on two cores, frames took half as many writes by the
clock as on a quiet machine, so there only processor times and memory tell of a doubling.

What counts is the best quartile of some rounds. The limit is 1.6 times the usual of ten runs, on
two quiet cores, on busy ones and right after all tests: the worst of them lay a quarter below it or
more, and the best processor time, doubled, above. Before it fails, it measures once more and lets
the better count.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.contestants import OURS
from benchmarks.figures import Figure
from benchmarks.hand_over import EXPOSURE_S
from benchmarks.limits import one_write
from benchmarks.memory import in_flight_mb
from benchmarks.stage import FRAME_BYTES, Stage, stage
from benchmarks.wire import Client

TCP = "end of exposure to last byte, TCP"
LOCAL = "end of exposure to message and descriptor, local"
CPU = "processor time of driver and worker,"
MEMORY = "memory of driver, worker and a frame"
USUAL = {TCP: 4.5, LOCAL: 0.95, f"{CPU} TCP": 1.45, f"{CPU} local": 1.45, MEMORY: 95.0}
"""What this printed when it was written down: writes of the frame, and MB."""
TOO_MUCH = 1.6
ROUNDS, SETTLING = 10, 2
MS = 1000.0

Ratios = dict[str, list[float]]


def run(rounds: int) -> list[Figure]:
    """The ratios, and the memory with a frame in flight."""
    figures = _figures(min(rounds, ROUNDS))
    if all(figure.met for figure in figures):
        return figures
    again = _figures(min(rounds, ROUNDS))
    return [
        min(pair, key=lambda figure: figure.median) for pair in zip(figures, again, strict=True)
    ]


def _figures(rounds: int) -> list[Figure]:
    ratios: Ratios = defaultdict(list)
    with stage(OURS) as on_stage:
        _measure(on_stage, on_stage.tcp, (TCP, f"{CPU} TCP"), rounds, ratios)
        _measure(on_stage, on_stage.local, (LOCAL, f"{CPU} local"), rounds, ratios)
        on_stage.local.pictures(True)
        memory_mb = sum(in_flight_mb(on_stage))
    writes = [_figure(what, "writes", _best_quartile(values)) for what, values in ratios.items()]
    return [*writes, _figure(MEMORY, "MB", memory_mb)]


def _figure(what: str, unit: str, value: float) -> Figure:
    usual = USUAL[what]
    return Figure(what, OURS.name, unit, (value,), TOO_MUCH * usual, note=f"usually {usual:g}")


def _best_quartile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, method="inclusive")[0]


def _measure(
    on_stage: Stage, client: Client, names: tuple[str, str], rounds: int, ratios: Ratios
) -> None:
    """Adds what frames took on one wire, by the clock and of the processor, in writes."""
    times, cpu_times = names
    client.pictures(True)
    for number in range(-SETTLING, rounds):
        before = on_stage.family.cpu_s()
        shot = on_stage.expose(EXPOSURE_S, client)
        time.sleep(EXPOSURE_S)  # what a driver does after the last byte belongs to the frame
        after = on_stage.family.cpu_s()
        write = one_write(FRAME_BYTES)
        if number >= 0:
            cpu_s = sum(after[kind] - before[kind] for kind in ("driver", "worker"))
            ratios[times].append(MS * (shot.picture.at - shot.over_at) / write.wall_ms)
            ratios[cpu_times].append(MS * cpu_s / write.cpu_ms)
    client.pictures(False)
