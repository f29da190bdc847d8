"""The properties of batches, as clients see them; what they do stands in :mod:`.batches`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from indi_picam.capture.store import KEEP_BYTES
from indi_picam.indi.vectors import (
    Blob,
    BlobVector,
    Number,
    NumberVector,
    Refused,
    Rule,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)

BATCH = "Batch"
LONGEST_BATCH = 100_000
START = NumberVector(
    "BATCH_START",
    "Take a batch",
    BATCH,
    (
        Number("COUNT", "Frames", 10, 1, LONGEST_BATCH, 1, "%.f"),
        Number("EXPOSURE", "Exposure of each (s)", 1, 0, 3600, 1, "%.3f"),
    ),
)
CONTROL = SwitchVector(
    "BATCH_CONTROL",
    "Running batch",
    BATCH,
    (Switch("PAUSE", "Pause"), Switch("RESUME", "Go on"), Switch("ABORT", "Abort")),
    rule=Rule.AT_MOST_ONE,
)
STORAGE = SwitchVector(
    "BATCH_STORAGE",
    "Keep frames",
    BATCH,
    (
        Switch("AUTO", "Where they fit", True),
        Switch("MEMORY", "In memory"),
        Switch("DISK", "On disk"),
    ),
)
DELIVERY = SwitchVector(
    "BATCH_DELIVERY",
    "Send frames",
    BATCH,
    (Switch("LIVE", "As they come", True), Switch("AFTER", "After the last")),
)
RATE = NumberVector(
    "BATCH_RATE",
    "Sending rate",
    BATCH,
    (Number("RATE", "MB/s (0: no limit)", 0, 0, 10_000, 1, "%.1f"),),
)
KEEP = NumberVector(
    "BATCH_KEEP",
    "Keep received frames",
    BATCH,
    (Number("SIZE", "On disk up to (GB)", KEEP_BYTES / 1e9, 0, 100_000, 1, "%.1f"),),
)
DIRECTORY = TextVector(
    "BATCH_DIRECTORY", "Directory of batches", BATCH, (Text("DIRECTORY", "Directory"),)
)
ACKNOWLEDGE = TextVector(
    "BATCH_ACKNOWLEDGE",
    "Received",
    BATCH,
    (Text("BATCH", "Batch"), Text("FRAMES", "Frames (1-5,8)")),
)
REDELIVER = TextVector(
    "BATCH_REDELIVER",
    "Send again",
    BATCH,
    (Text("BATCH", "Batch"), Text("FRAMES", "Frames (empty: all)")),
)
CONTINUE = TextVector("BATCH_CONTINUE", "Take what is missing", BATCH, (Text("BATCH", "Batch"),))
DISCARD = TextVector("BATCH_DISCARD", "Discard", BATCH, (Text("BATCH", "Batch"),))
PROGRESS = NumberVector(
    "BATCH_PROGRESS",
    "Progress",
    BATCH,
    (
        Number("ASKED", "Asked for", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("TAKEN", "Taken", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("IN_MEMORY", "In memory", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("ON_DISK", "On disk", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("DELIVERED", "Delivered", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("ACKNOWLEDGED", "Acknowledged", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("MADE_UP", "Made up for", 0, 0, LONGEST_BATCH, 0, "%.f"),
        Number("TIME_LEFT", "Time left (s)", 0, 0, 1e9, 0, "%.0f"),
        Number("DUTY_CYCLE", "Duty cycle (%)", 0, 0, 100, 0, "%.1f"),
    ),
    perm="ro",
)
STATUS = TextVector(
    "BATCH_STATUS",
    "Status",
    BATCH,
    (Text("BATCH", "Batch"), Text("WORDS", "What is going on", "No batch is being taken.")),
    perm="ro",
)
STORED = TextVector(
    "BATCH_LIST",
    "In the store",
    BATCH,
    (Text("BATCHES", "id taken/asked delivered acknowledged"),),
    perm="ro",
)
IMAGE = BlobVector("BATCH1", "Frame of a batch", BATCH, (Blob("BATCH1", "Frame"),), perm="ro")


def numbers_of(text: str, count: int) -> list[int]:
    """The numbers in ``1-5,8``, each from 1 to ``count``; raises Refused with a sentence."""
    numbers: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise Refused(f"Frames {text[:40]!r} are refused: write them as 1-5,8.")
        begin, end = int(first), int(last or first)
        if not 1 <= begin <= end <= count:
            raise Refused(f"Frames {part[:40]} are refused: the batch has 1 to {count}.")
        numbers += range(begin, end + 1)
    return numbers


def words_of(numbers: Iterable[int]) -> str:
    """Numbers in the form that :func:`numbers_of` reads: ``1-5,8``."""
    runs = groupby(enumerate(sorted(numbers)), lambda entry: entry[1] - entry[0])
    ends = ([number for _, number in run] for _, run in runs)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in ends)
