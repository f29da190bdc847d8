"""The public names of libcamera's Python bindings, on simulated cameras.

Knows nothing of picamera2, which runs on it unmodified. Importing it costs no numpy: listing cameras is cheap.
"""

import sys as _sys
from pathlib import Path as _Path

# On a module path there is this directory alone; the sensors behind it are in the package around it.
_around = str(_Path(__file__).resolve().parents[3])
if _around not in _sys.path:
    _sys.path.append(_around)

from ._libcamera import *  # noqa: E402, F403
