"""What goes to stderr, where indiserver puts it into its log.

indiserver reads a driver's stderr into 1024 bytes and closes the pipe for good when a line does
not end within them (indiserver 1.9.9), so every line written here is short, and a closed pipe is
nobody's error. Anybody may call it.
"""

from __future__ import annotations

import contextlib
import sys

_LINE_BYTES = 900


def note(text: str) -> None:
    """Write text to stderr in lines of at most 900 bytes."""
    lines = [
        line[start : start + _LINE_BYTES]
        for line in text.encode("ascii", "backslashreplace").decode().splitlines()
        for start in range(0, len(line) or 1, _LINE_BYTES)
    ]
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
