"""The public names of libcamera's Python bindings, on simulated cameras.

Knows nothing of picamera2, which runs on it unmodified. Importing it costs no numpy: listing
cameras is cheap.
"""

import sys as _sys

# On a module path there is this directory alone; the sensors behind it are in the package around
# it.
_around = __file__.rsplit("/", 4)[0]
if _around not in _sys.path:
    _sys.path.append(_around)

from ._libcamera import *  # noqa: E402, F403
