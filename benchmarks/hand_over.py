"""The end of an exposure to the last byte at a client, and the processor time of a frame.

12.3 MP, 16 bit, by TCP and on the local socket; contestants in turn, and between them one write of
as many bytes into fresh memory, which is the limit of the machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.contestants import FLOOR, OURS, REFERENCE
from benchmarks.figures import Figure
from benchmarks.stage import FRAME_BYTES, Contestant, Shot, Stage, stage

EXPOSURE_S = 0.2
MS = 1000.0
_SETTLING = 2
"""Frames before those that count."""


def run(rounds: int, contestants: Sequence[Contestant] = (REFERENCE, FLOOR, OURS)) -> list[Figure]:
    """All figures of the hand-over."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    cpu: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    writes: list[float] = []
    with ExitStack() as stages:
        on_stage = [stages.enter_context(stage(contestant)) for contestant in contestants]
        for wire in ("TCP", "local"):
            for each in on_stage:
                _pictures_to(each, wire)
            for number in range(-_SETTLING, rounds):
                for each in on_stage:
                    shot, used = _one(each, wire)
                    if number < 0:
                        continue
                    times[wire, each.contestant.name].append(_took_ms(shot))
                    for process, seconds in used.items():
                        cpu[wire, each.contestant.name, process].append(MS * seconds)
                if number >= 0:
                    writes.append(_one_write_ms())
    return _figures(contestants, times, cpu, writes)


def _pictures_to(each: Stage, wire: str) -> None:
    for client, wanted in ((each.tcp, wire == "TCP"), (each.local, wire == "local")):
        client.pictures(wanted)
        client.drain(0.05)


def _one(each: Stage, wire: str) -> tuple[Shot, dict[str, float]]:
    before = each.family.cpu_s()
    shot = each.expose(EXPOSURE_S, each.tcp if wire == "TCP" else each.local)
    time.sleep(0.05)  # what a driver does after the last byte belongs to the frame
    after = each.family.cpu_s()
    (each.local if wire == "TCP" else each.tcp).drain()
    return shot, {process: after[process] - before[process] for process in before}


def _took_ms(shot: Shot) -> float:
    return MS * (shot.picture.at - shot.over_at)


def _one_write_ms() -> float:
    pixels = memoryview(bytes(64 << 10))
    memory = os.memfd_create("one write")
    began = time.process_time()
    for offset in range(0, FRAME_BYTES, len(pixels)):
        os.pwrite(memory, pixels, offset)
    took = time.process_time() - began
    os.close(memory)
    return MS * took


def _figures(
    contestants: Sequence[Contestant],
    times: dict[tuple[str, str], list[float]],
    cpu: dict[tuple[str, str, str], list[float]],
    writes: list[float],
) -> list[Figure]:
    figures = [
        Figure("one write of 24.7 MB into fresh memory", "the kernel", "ms", tuple(writes)),
    ]
    one_write = statistics.median(writes)
    reference = statistics.median(times["TCP", REFERENCE.name])
    floor = statistics.median(times["TCP", FLOOR.name])
    limits = {"TCP": min(0.95 * reference, floor + 15), "local": 15.0}
    for wire in ("TCP", "local"):
        what = f"end of exposure to last byte, {wire}"
        if wire == "local":
            what = "end of exposure to message and descriptor, local"
        for contestant in contestants:
            name = contestant.name
            limit = limits[wire] if name == OURS.name else None
            figures.append(Figure(what, name, "ms", tuple(times[wire, name]), limit))
    ratios = zip(times["TCP", OURS.name], times["TCP", REFERENCE.name], strict=True)
    what = f"TCP, {OURS.name} / {REFERENCE.name}, round by round"
    figures.append(Figure(what, OURS.name, "", tuple(a / b for a, b in ratios), 0.95))
    for wire in ("TCP", "local"):
        for contestant in contestants:
            figures += _cpu_figures(contestant, wire, cpu, one_write)
    return figures


def _cpu_figures(
    contestant: Contestant,
    wire: str,
    cpu: dict[tuple[str, str, str], list[float]],
    one_write: float,
) -> list[Figure]:
    name, what = contestant.name, f"processor time of a frame, {wire}:"
    used = {kind: cpu[wire, name, kind] for kind in ("driver", "worker", "server", "sensor")}
    limit = 5.0 if name == OURS.name else None
    figures = [Figure(f"{what} driver", name, "ms", tuple(used["driver"]), limit)]
    if name == OURS.name:
        both = tuple(map(sum, zip(used["driver"], used["worker"], strict=True)))
        figures.append(Figure(f"{what} driver and worker", name, "ms", both, 2 * one_write))
    figures.append(Figure(f"{what} server", name, "ms", tuple(used["server"])))
    if any(used["sensor"]):
        note = "stands for hardware, left out above"
        figures.append(Figure(f"{what} sensor", name, "ms", tuple(used["sensor"]), note=note))
    return figures
