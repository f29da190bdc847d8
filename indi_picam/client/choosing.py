"""From what was asked to what a camera offers: its sensor mode, its rectangle. Knows no INDI.

The names of modes are the driver's, ``4056x3040_12``: size and bit depth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from indi_picam.client.failure import Exit, Failure
from indi_picam.client.options import ModeWish, RoiWish

RASPISTILL_MODES: dict[tuple[int, int], dict[int, tuple[int, int]]] = {
    (2592, 1944): {
        1: (1920, 1080),
        2: (2592, 1944),
        3: (2592, 1944),
        4: (1296, 972),
        5: (1296, 730),
        6: (640, 480),
        7: (640, 480),
    },
    (3280, 2464): {
        1: (1920, 1080),
        2: (3280, 2464),
        3: (3280, 2464),
        4: (1640, 1232),
        5: (1640, 922),
        6: (1280, 720),
        7: (640, 480),
    },
    (4056, 3040): {1: (2028, 1080), 2: (2028, 1520), 3: (4056, 3040), 4: (1332, 990)},
}
"""raspistill's ``--mode`` on the V1 (OV5647), V2 (IMX219) and HQ (IMX477) cameras, by full frame.

From the Raspberry Pi documentation of the legacy camera stack. Some of its sizes no longer exist.
"""


def size(mode: str) -> tuple[int, int, int]:
    """Width, height and bits of a mode by its name; raises ValueError when it is no such name."""
    match = re.fullmatch(r"(\d+)x(\d+)_(\d+)", mode)
    if match is None:
        raise ValueError(mode)
    width, height, bits = map(int, match.groups())
    return width, height, bits


def choose_mode(asked: ModeWish | int, offered: Sequence[str]) -> str:
    """The name of the mode that was asked for, among those the camera offers.

    Raises:
        Failure: there is none; the sentence lists the modes that there are.
    """
    modes = sorted((size(name) for name in offered), reverse=True)
    known = ", ".join(f"{width}x{height}:{bits}" for width, height, bits in modes)
    if isinstance(asked, int):
        table = RASPISTILL_MODES.get(modes[0][:2])
        if table is None:
            raise Failure(
                Exit.USAGE,
                f"mode={asked}: numbers are raspistill's, for the V1, V2 and HQ cameras only. "
                f"The modes of this camera are {known}.",
            )
        wanted, bits = table.get(asked), None
    else:
        wanted, bits = (asked.width, asked.height), asked.bits
    for mode in modes:  # deepest first among equals
        if mode[:2] == wanted and bits in (None, mode[2]):
            return f"{mode[0]}x{mode[1]}_{mode[2]}"
    what = (
        f"{asked}"
        if isinstance(asked, int)
        else f"{asked.width}x{asked.height}" + (f":{bits}" if bits else "")
    )
    raise Failure(Exit.USAGE, f"This camera has no mode {what}. Its modes are {known}.")


def choose_frame(asked: RoiWish | None, width: int, height: int) -> tuple[int, int, int, int]:
    """x, y, width and height in pixels of a mode of that size; by default all of it.

    Fractions are rounded to even pixels: the order of the colours stays that of a whole frame.

    Raises:
        Failure: the rectangle reaches beyond the frame.
    """
    if asked is None:
        return 0, 0, width, height
    if asked.in_fractions:
        x, y = int(asked.x * width) // 2 * 2, int(asked.y * height) // 2 * 2
        right, bottom = (
            round((asked.x + asked.width) * width),
            round((asked.y + asked.height) * height),
        )
        frame = x, y, max(2, (right - x) // 2 * 2), max(2, (bottom - y) // 2 * 2)
    else:
        frame = int(asked.x), int(asked.y), int(asked.width), int(asked.height)
    x, y, frame_width, frame_height = frame
    if x + frame_width > width or y + frame_height > height:
        raise Failure(
            Exit.USAGE,
            f"roi={x}:{y}:{frame_width}:{frame_height} reaches beyond the frame of "
            f"{width} x {height} pixels.",
        )
    return frame
