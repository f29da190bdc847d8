"""The same jobs where a Raspberry Pi Zero 2 would do them: 400 MB, and a quarter of one core.

Server, driver and worker run in control groups of their own (version 1 or 2, made as root) that
hold them to this; the simulated sensor is taken out again, as it stands for hardware. Slower is
fine; nothing may be lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants import OURS
from benchmarks.figures import Figure, cannot
from benchmarks.processes import MB
from benchmarks.sequences import take_fast
from benchmarks.stage import Stage, stage

MEMORY_BYTES, SHARE = 400_000_000, 0.25
PERIOD_US = 100_000
EXPOSURE_S, MS = 0.2, 1000.0
BATCH, BATCH_EXPOSURE_S = 10, 2.0
WHERE = "with 400 MB and a quarter of a core:"
_ROOT = Path("/sys/fs/cgroup")


def run(rounds: int) -> list[Figure]:
    """Hand-over, single exposures, a batch and the peak of memory, held down."""
    try:
        with _groups() as groups, stage(OURS, inside=_entering(groups)) as on_stage:
            for group in groups:
                for sensor in on_stage.family.sensors:
                    (group.parent / "cgroup.procs").write_text(str(sensor))
            return [*_single(on_stage, max(3, rounds // 4)), *_batch(on_stage), _peak(groups)]
    except OSError as fault:
        return [cannot(f"{WHERE} all", OURS.name, f"no control groups here ({fault.strerror})")]


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


def _entering(groups: list[Path]) -> list[str]:
    enter = " && ".join(f"echo $$ > '{group}/cgroup.procs'" for group in groups)
    return ["sh", "-c", f'{enter} && exec "$@"', "sh"]


def _single(on_stage: Stage, rounds: int) -> list[Figure]:
    figures = []
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
            figures.append(Figure(f"{WHERE} {what}, {wire}", OURS.name, "ms", tuple(values)))
    return figures


def _batch(on_stage: Stage) -> list[Figure]:
    taken = take_fast(on_stage, BATCH, BATCH_EXPOSURE_S)
    missed = taken[-1]["sequence"] - taken[0]["sequence"] + 1 - BATCH
    what = f"{WHERE} frames missed in a batch of {BATCH} x {BATCH_EXPOSURE_S:g} s, TCP"
    return [Figure(what, OURS.name, "", (missed,), 0)]


def _peak(groups: list[Path]) -> Figure:
    group = groups[0]
    names = ("memory.peak", "memory.max_usage_in_bytes")
    peak = next(int((group / name).read_text()) for name in names if (group / name).exists())
    return Figure(f"{WHERE} peak of memory", OURS.name, "MB", (peak / MB,), MEMORY_BYTES / MB)
