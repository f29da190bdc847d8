"""The one clock of driver, worker and simulated sensor: all agree when time is scaled.

``INDI_PICAM_TIME_SCALE=100`` makes a 250 s exposure take 2.5 s: every duration and timestamp of
ours stays in the camera's seconds, and only a real wait is divided by the scale. With the scale at
1 (always on a Pi) these are the plain clocks of the system. Imports nothing of ours; everybody may
import it.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time

_VARIABLE = "INDI_PICAM_TIME_SCALE"


def _scale() -> float:
    """The scale of the environment; 1 for nonsense, and a sentence about it on stderr."""
    text = os.environ.get(_VARIABLE) or "1"
    with contextlib.suppress(ValueError):
        scale = float(text)
        if math.isfinite(scale) and scale > 0:
            return scale
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # a closed stderr is nobody's error
            sys.stderr.write(
                f"{_VARIABLE}={text[:40]!a} is no number above 0: time is not scaled.\n"
            )
            sys.stderr.flush()
    os.environ[_VARIABLE] = "1"  # our children need not tell it again
    return 1.0


SCALE = _scale()
"""How many seconds of the camera pass in one real second."""


def monotonic_ns() -> int:
    """The camera's monotonic time in ns; comparable with SensorTimestamp and between processes."""
    now = time.monotonic_ns()
    return now if SCALE == 1 else int(now * SCALE)


def monotonic_s() -> float:
    """The camera's monotonic time in seconds."""
    return monotonic_ns() * 1e-9


def utc_ns(at_monotonic_ns: int) -> int:
    """The UTC time, in ns since 1970, of a moment of the camera's monotonic clock."""
    # Whoever is held up between the two readings gets too small a difference.
    ahead_ns = max(time.time_ns() - time.monotonic_ns() for _ in range(3))
    return ahead_ns + at_monotonic_ns


def real_s(seconds: float) -> float:
    """How long to really wait for a time of the camera, in seconds."""
    return seconds / SCALE
