"""The end of an exposure to the last byte at a client, and the processor time of a frame.

12.3 MP, 16 bit, by TCP and on the local socket; contestants in turn, and between them one write of
as many bytes into fresh memory, and what goes over the wire through a loopback socket, which are
the limits of the machine. The simulated sensor's processor time is left out; what stands for
libcamera inside our worker is counted, as libcamera would be, and told apart. indi-pylibcamera has
a contest of its own with us: its sensor runs on between frames and would disturb the others.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import stand_in
from benchmarks.contestants import FLOOR, OURS, PEER, REFERENCE, peer_is_there
from benchmarks.figures import Figure, cannot
from benchmarks.limits import loopback_ms, one_write
from benchmarks.stage import FRAME_BYTES, Contestant, Stage, stage

EXPOSURE_S = 0.2
MS = 1000.0
WIRES = {
    "TCP": "end of exposure to last byte, TCP",
    "local": "end of exposure to message and descriptor, local",
}
STAND_IN = "processor time of a frame: the calls to libcamera alone"
ON_THE_WIRE = {FRAME_BYTES: "a frame's bytes", -(-FRAME_BYTES // 3) * 4: "a frame in base64"}
_SETTLING = 2
"""Frames before those that count."""


@dataclass(slots=True)
class Contest:
    """What was measured of some contestants on one wire, in ms, round by round."""

    wire: str
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By contestant."""
    cpu: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By contestant and kind of process."""
    writes: list[float] = field(default_factory=list)
    """Processor time of one write of the frame's bytes each."""
    loopback: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By how many bytes went through a loopback socket."""


def run(rounds: int) -> list[Figure]:
    """All figures of the hand-over."""
    figures = []
    for contest in contests((REFERENCE, FLOOR, OURS), rounds):
        figures += _figures(contest, REFERENCE, 0.95)
    note = "counted in the worker above, where limits hold with it"
    took = stand_in.frames_ms(rounds)
    figures.append(Figure(STAND_IN, "stand-in", "ms", took, note=note))
    if not peer_is_there():
        return [*figures, cannot(WIRES["TCP"], PEER.name, "it is not installed (make bench)")]
    for contest in contests((PEER, OURS), max(3, rounds // 2)):
        figures += _figures(contest, PEER, 0.2)
    return figures


def contests(contestants: Sequence[Contestant], rounds: int) -> list[Contest]:
    """Measures contestants against each other, on both wires."""
    with ExitStack() as stages:
        on_stage = [stages.enter_context(stage(contestant)) for contestant in contestants]
        return [_contest(on_stage, wire, rounds) for wire in WIRES]


def _contest(on_stage: Sequence[Stage], wire: str, rounds: int) -> Contest:
    contest = Contest(wire)
    for each in on_stage:
        for client, wanted in ((each.tcp, wire == "TCP"), (each.local, wire == "local")):
            client.pictures(wanted)
            client.drain(0.05)
    for number in range(-_SETTLING, rounds):
        for each in on_stage:
            took_ms, cpu_ms = _one(each, wire)
            if number >= 0:
                name = each.contestant.name
                contest.times[name].append(took_ms)
                for process, used in cpu_ms.items():
                    contest.cpu[name, process].append(used)
        if number >= 0:
            contest.writes.append(one_write(FRAME_BYTES).cpu_ms)
            for size in ON_THE_WIRE if wire == "TCP" else ():
                contest.loopback[size].append(loopback_ms(size))
    return contest


def _one(each: Stage, wire: str) -> tuple[float, dict[str, float]]:
    before = each.family.cpu_s()
    shot = each.expose(EXPOSURE_S, each.tcp if wire == "TCP" else each.local)
    time.sleep(0.1)  # what a driver does after the last byte belongs to the frame
    after = each.family.cpu_s()
    (each.local if wire == "TCP" else each.tcp).drain()
    cpu_ms = {process: MS * (after[process] - before[process]) for process in before}
    return MS * (shot.picture.at - shot.over_at), cpu_ms


def _figures(contest: Contest, other: Contestant, ratio: float) -> list[Figure]:
    """Of a contest; ``ratio`` is how much of the other's time we may take by TCP."""
    times, what = contest.times, WIRES[contest.wire]
    figures = []
    for name, took in times.items():
        limit = _limit_ms(contest, ratio * statistics.median(times[other.name]))
        figures.append(Figure(what, name, "ms", (*took,), limit if name == OURS.name else None))
    if contest.wire == "TCP":
        pairs = zip(times[OURS.name], times[other.name], strict=True)
        against = f"{what}, round by round, of {other.name}'s"
        figures.append(Figure(against, OURS.name, "", tuple(a / b for a, b in pairs), ratio))
    if FLOOR.name in times:
        writes = (*contest.writes,)
        figures.append(Figure("one write of 24.7 MB into fresh memory", "kernel", "ms", writes))
        for size, took in contest.loopback.items():
            rate = size / 1e3 / statistics.median(took)
            row = f"{ON_THE_WIRE[size]}, {size / 1e6:.1f} MB, through a loopback socket"
            figures.append(Figure(row, "kernel", "ms", (*took,), note=f"{rate:.0f} MB/s"))
    for name in times:
        figures += _cpu_figures(contest, name)
    return figures


def _limit_ms(contest: Contest, of_the_other: float) -> float:
    if contest.wire == "local":
        return 15.0
    if FLOOR.name not in contest.times:
        return of_the_other
    return min(of_the_other, statistics.median(contest.times[FLOOR.name]) + 15)


def _cpu_figures(contest: Contest, name: str) -> list[Figure]:
    what = f"processor time of a frame, {contest.wire}:"
    driver, worker, server, sensor = (
        tuple(contest.cpu[name, kind]) for kind in ("driver", "worker", "server", "sensor")
    )
    ours = name == OURS.name
    figures = [Figure(f"{what} driver", name, "ms", driver, 5.0 if ours else None)]
    if ours:
        both = tuple(map(sum, zip(driver, worker, strict=True)))
        limit = 2 * statistics.median(contest.writes)
        figures.append(Figure(f"{what} driver and worker", name, "ms", both, limit))
    figures.append(Figure(f"{what} server", name, "ms", server))
    if any(sensor):
        note = "stands for hardware, left out above"
        figures.append(Figure(f"{what} sensor", name, "ms", sensor, note=note))
    return figures
