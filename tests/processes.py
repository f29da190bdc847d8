"""Programs that tests start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import AnyStr


@contextmanager
def ended(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kills a process with the block, if it still runs.

    The end of Popen's own block would wait for it, without limit: a test that fails would hang.
    """
    with process:
        try:
            yield process
        finally:
            process.kill()
