"""The same jobs where a Raspberry Pi Zero 2 would do them: 400 MB, and a quarter of one core.

Server, driver and worker run in control groups of their own (version 1 or 2, made as root) that
hold them to this; the simulated sensor is taken out again, as it stands for hardware. Slower is
fine, so other jobs' limits do not count here; nothing may be lost. Left out are what takes more
than one camera or client, what rests, and long runs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks import answering, compressing, guiding, memory, recovering, starting
from benchmarks.contestants import OURS
from benchmarks.figures import Figure, cannot
from benchmarks.processes import MB, is_sensor
from benchmarks.sequences import take_fast
from benchmarks.stage import Contestant, stage

MEMORY_BYTES, SHARE = 400_000_000, 0.25
PERIOD_US = 10_000
"""Short, or a frame would be handed over at full speed before the share is used up."""
EXPOSURE_S, MS = 0.2, 1000.0
BATCH, BATCH_EXPOSURE_S = 10, 2.0
WHERE = "with 400 MB and a quarter of a core:"
_ROOT = Path("/sys/fs/cgroup")
_LOOK_S = 0.05


def run(rounds: int) -> list[Figure]:
    """Every job that a single camera and client can do, held down."""
    with ExitStack() as made:
        try:  # around the groups alone: a driver that dies in a job is no lack of groups
            groups = made.enter_context(_groups())
        except OSError as fault:
            return [cannot(f"{WHERE} all", OURS.name, f"no control groups here ({fault.strerror})")]
        made.enter_context(_sensors_out(groups))
        held = replace(OURS, inside=_entering(groups))
        few = max(3, rounds // 4)
        jobs: tuple[Callable[[], list[Figure]], ...] = (
            lambda: starting.figures((held,), few),
            lambda: _single(held, few),
            lambda: _batch(held),
            lambda: guiding.figures(held, few),
            lambda: recovering.aborts(held, few),
            lambda: [answering.figure(held, answering.FULL_RATE)],
            lambda: compressing.figures(held, few),
            lambda: memory.many(held),
        )
        figures = [figure for job in jobs for figure in _held(groups, job)]
        return [*figures, _peak(groups)]


def _held(groups: list[Path], job: Callable[[], list[Figure]]) -> list[Figure]:
    """The figures of a job, of whose limits only those stay that say nothing may be lost."""
    periods, held = _periods(groups)
    figures = job()
    periods_after, held_after = _periods(groups)
    note = f"held back in {held_after - held} of {periods_after - periods} periods"
    note += f" of {PERIOD_US // 1000} ms"
    return [
        replace(
            figure,
            what=f"{WHERE} {figure.what}",
            limit=figure.limit if figure.limit == 0 else None,
            note="; ".join(filter(None, (figure.note, note))),
        )
        for figure in figures
    ]


def _periods(groups: list[Path]) -> tuple[int, int]:
    """In how many periods anything ran so far, and in how many it had to wait for the next."""
    lines = (groups[-1] / "cpu.stat").read_text().splitlines()
    counts = {name: int(value) for name, value in map(str.split, lines)}
    return counts["nr_periods"], counts["nr_throttled"]


@contextmanager
def _sensors_out(groups: list[Path]) -> Iterator[None]:
    """Takes each simulated sensor out of the groups as soon as it is there."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            for group in groups:
                for pid in (group / "cgroup.procs").read_text().split():
                    if is_sensor(int(pid)):
                        with suppress(ProcessLookupError):
                            (group.parent / "cgroup.procs").write_text(pid)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


@contextmanager
def _groups() -> Iterator[list[Path]]:
    """The groups that hold to the limits, one for version 2, two for version 1."""
    quota_us = int(SHARE * PERIOD_US)
    if (_ROOT / "cgroup.controllers").exists():
        limits = {"": {"memory.max": str(MEMORY_BYTES), "cpu.max": f"{quota_us} {PERIOD_US}"}}
    else:
        limits = {
            "memory": {"memory.limit_in_bytes": str(MEMORY_BYTES)},
            "cpu": {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)},
        }
    groups = []
    try:
        for controller, values in limits.items():
            group = _ROOT / controller / _own_group(controller) / f"indi_picam-{os.getpid()}"
            group.mkdir()
            groups.append(group)
            for name, value in values.items():
                (group / name).write_text(value)
        yield groups
    finally:
        time.sleep(0.2)  # the kernel's own bookkeeping of processes that have just ended
        for group in groups:
            group.rmdir()


def _own_group(controller: str) -> str:
    """Ours of a version 1 controller; groups of version 2 hold either processes or groups."""
    for line in Path("/proc/self/cgroup").read_text().splitlines() if controller else ():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.strip("/")
    return ""


def _entering(groups: list[Path]) -> tuple[str, ...]:
    enter = " && ".join(f"echo $$ > '{group}/cgroup.procs'" for group in groups)
    return "sh", "-c", f'{enter} && exec "$@"', "sh"


def _single(contestant: Contestant, rounds: int) -> list[Figure]:
    figures = []
    with stage(contestant) as on_stage:
        for wire, client in (("TCP", on_stage.tcp), ("local", on_stage.local)):
            client.pictures(True)
            times, overheads = [], []
            for number in range(rounds + 1):
                shot = on_stage.expose(EXPOSURE_S, client)
                time.sleep(0.5)
                if number:
                    entry = shot.entry
                    inherent_ns = entry["readout_end_ns"] - entry["exposure_start_ns"]
                    times.append(MS * (shot.picture.at - shot.over_at))
                    overheads.append(MS * (shot.picture.at - shot.asked_at) - inherent_ns / 1e6)
            client.pictures(False)
            for what, values in (
                ("end of exposure to last byte", times),
                ("order to picture less exposure and readout", overheads),
            ):
                figures.append(Figure(f"{what}, {wire}", contestant.name, "ms", tuple(values)))
    return figures


def _batch(contestant: Contestant) -> list[Figure]:
    with stage(contestant) as on_stage:
        missed, _ = take_fast(on_stage, BATCH, BATCH_EXPOSURE_S)
    what = f"frames missed in a batch of {BATCH} x {BATCH_EXPOSURE_S:g} s, TCP"
    return [Figure(what, contestant.name, "", (missed,), 0)]


def _peak(groups: list[Path]) -> Figure:
    group = groups[0]
    names = ("memory.peak", "memory.max_usage_in_bytes")
    peak = next(int((group / name).read_text()) for name in names if (group / name).exists())
    note = "cached files too, which give way at 400"
    return Figure(f"{WHERE} peak of memory", OURS.name, "MB", (peak / MB,), note=note)
