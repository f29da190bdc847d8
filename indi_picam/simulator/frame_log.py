"""The log of what the sensor really did: one JSON line for every frame, delivered or missed.

    camera, sensor, platform, mode, hflip, vflip   what was exposed
    start                 which start of the stream, from 0
    sequence              number of the frame, counted on over all starts of a process
    exposure_start_ns, readout_start_ns, readout_end_ns        by indi_picam.clock
    completed_ns          pixels written and the request told to be done
    exposure_ns, exposure_us, frame_ns, gain, digital_gain     what the sensor really used
    request               number of the request that got it, null: missed
    cookie                of that request
    status                success, error, startup; missed
    temperature_c, lens_position, noise     what the pixels depend on besides (truth.render)
    look                  what the ISP was told (isp.Look), null: missed

Written by the sensor's process, read by tests. Imports no numpy.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class FrameLog:
    """Lines appended to a file, whole, from any number of processes."""

    def __init__(self, file: str | None) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = None if file is None else os.open(file, flags, 0o644)

    def note(self, entry: dict[str, Any]) -> None:
        """Append one frame."""
        if self._fd is not None:
            os.write(self._fd, json.dumps(entry).encode() + b"\n")


def read(file: Path) -> list[dict[str, Any]]:
    """Every frame in a log, oldest first; empty when there is no file yet."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]
