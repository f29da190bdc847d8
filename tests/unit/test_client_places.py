"""Where a frame had waited, as `picam capture -v` tells it."""

from __future__ import annotations

import pytest

from indi_picam.client.capture import place


@pytest.mark.parametrize(
    ("number", "taken", "in_memory", "on_disk", "told"),
    [
        (1, 1, 1, 0, "ram"),
        (3, 9, 6, 0, "ram"),
        (3, 20, 2, 0, "ram"),  # a late one, after others were acknowledged
        (5, 9, 0, 5, "disk"),
        # Memory ran short: frames 5 to 7 were written to disk, 8 and 9 are in memory.
        (5, 9, 2, 3, "disk"),
        (7, 9, 2, 3, "disk"),
        (8, 9, 2, 3, "ram"),
        (9, 9, 1, 3, "ram"),  # those on disk stay there, acknowledged
    ],
)
def test_a_batch_in_memory(
    number: int, taken: int, in_memory: int, on_disk: int, told: str
) -> None:
    assert place(number, taken, in_memory, on_disk, is_disk_batch=False) == told


def test_a_batch_on_disk_counts_what_is_still_being_written_as_in_memory() -> None:
    assert place(9, 9, 1, 9, is_disk_batch=True) == "disk"
    assert place(9, 9, 1, 3, is_disk_batch=True) == "disk"
