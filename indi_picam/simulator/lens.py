"""A lens that moves: where it stands frame by frame, and how it blurs stars out of focus.

A lens is sent to a position in dioptres, and libcamera moves it by at most ``SLEW`` of them with
each frame, from wherever it is known to stand. Called by ``ipa.py`` and ``picture.py``.
"""

from __future__ import annotations

import math

from .settings import Sky
from .truth import Sensor

INFINITY = 0.5
"""Dioptres at which stars are sharp: no module is made so well that it is 0."""
BLUR = 8.9
"""Pixels of the full mode that a star spreads over for each dioptre out of focus: 4.74 mm at f/1.8
and 1.4 um pixels, as in the Camera Module 3."""
WIDEST = 12.0
"""Pixels; beyond, stars do not get wider: they are lost in the sky, and would be slow to draw."""
SLEW = 2.0
"""Dioptres a frame (libcamera's tuning file of the imx708, ``max_slew``)."""
NEAREST = 15.0
"""Dioptres at which it ends (the same file, ``map``); the control says so once a mode is set up."""
AT_REST = 1.0
"""Where a lens stands before it was ever sent anywhere."""


class Lens:
    """The lens of one camera."""

    def __init__(self) -> None:
        self.position = AT_REST
        self._target: float | None = None
        self._placed = False

    def send(self, position: float) -> None:
        """Let it move there with the next frames, as far as it goes."""
        self._target = min(max(position, 0.0), NEAREST)

    def frame_passed(self) -> None:
        """Move on; the first time, from an unknown place, straight to the target."""
        if self._target is None:
            return
        step = self._target - self.position
        self.position += min(max(step, -SLEW), SLEW) if self._placed else step
        self._placed = True


def seen_through(sky: Sky, sensor: Sensor, position: float) -> Sky:
    """The sky with stars as wide as the lens makes them, if there is one that moves."""
    if not sensor.autofocus:
        return sky
    blur = min(BLUR * abs(position - INFINITY), WIDEST)
    return sky._replace(fwhm=math.hypot(sky.fwhm, blur))
