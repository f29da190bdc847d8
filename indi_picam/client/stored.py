"""What lies in a camera's store, by its property BATCH_LIST."""

from __future__ import annotations

import re
from dataclasses import dataclass

from indi_picam.client.device import Device

_LINE = re.compile(r"(\S+) (\d+)/(\d+) (\d+) (\d+) (\S+)")


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch in the store of a camera; all but id and place count frames."""

    id: str
    taken: int
    asked: int
    delivered: int
    acknowledged: int
    where: str


def stored_batches(device: Device) -> list[StoredBatch]:
    """What is in a camera's store, oldest first."""
    lines = device.text("BATCH_LIST", "BATCHES").split("; ")
    matches = (_LINE.fullmatch(line) for line in lines)
    return [
        StoredBatch(m[1], int(m[2]), int(m[3]), int(m[4]), int(m[5]), m[6]) for m in matches if m
    ]
