"""What processes use, from the kernel: processor time to the nanosecond, memory by its owner."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MB = 1e6
_APART = ("/memfd:dma_buf", "/dmabuf", "/memfd:indi_picam frame")
"""Mappings of the camera's own buffers, and of frames, counted by their descriptors."""


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, ended threads included; 0 when it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED of a pid
    except OSError:
        return 0.0


def children(pid: int) -> list[int]:
    """The child processes of all threads of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except FileNotFoundError:
            continue
    return found


def is_sensor(pid: int) -> bool:
    """Whether a process is a simulated sensor."""
    return "indi_picam.simulator.sensor" in _module(pid)


def _module(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Family:
    """The processes of one driver under its server; the simulated sensors stand apart."""

    server: int
    driver: int
    workers: tuple[int, ...]
    sensors: tuple[int, ...]
    others: tuple[int, ...]
    """Such as the one that compresses."""

    @classmethod
    def below(cls, server: int) -> Family:
        """The family of a server with one driver."""
        driver = children(server)[0]
        below: list[int] = []
        front = [driver]
        while front:
            front = [child for pid in front for child in children(pid)]
            below += front
        sensors = tuple(filter(is_sensor, below))
        workers = tuple(pid for pid in below if "indi_picam.camera.worker" in _module(pid))
        others = tuple(pid for pid in below if pid not in workers + sensors)
        return cls(server, driver, workers, sensors, others)

    def cpu_s(self) -> dict[str, float]:
        """Processor time so far of each kind of process."""
        return {
            "server": cpu_s(self.server),
            "driver": cpu_s(self.driver),
            "worker": sum(map(cpu_s, self.workers)),
            "sensor": sum(map(cpu_s, self.sensors)),
            "others": sum(map(cpu_s, self.others)),
        }


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory (``VmHWM``: its peak) of a process, in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / MB
    raise ValueError(f"process {pid} has no {field}")


def reset_peak(pid: int) -> None:
    """Lets VmHWM begin anew at what is resident now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def proportional_mb(pid: int) -> float:
    """Proportional set size without the camera's buffers and the frames, in 10^6 bytes."""
    total, ours = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            ours = not any(name in line for name in _APART)
        elif first == "Pss:" and ours:
            total += int(line.split()[1]) * 1024
    return total / MB


def frames_in_memory_mb(pids: Iterable[int]) -> float:
    """Memory behind the memfds of frames that processes hold open, each counted once."""
    seen: dict[int, int] = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(link).startswith("/memfd:") and "frame" in os.readlink(link):
                    status = link.stat()
                    seen[status.st_ino] = status.st_blocks * 512
            except FileNotFoundError:
                continue
    return sum(seen.values()) / MB
