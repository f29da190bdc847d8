"""The start of the driver."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_heavy_is_imported_before_the_cameras_are_being_listed() -> None:
    """Importing the driver takes 0.1 s, more on a Pi, in which the listing runs."""
    script = "import sys, indi_picam.__main__; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(ran.stdout.split())
    assert "indi_picam.camera.starting" in loaded
    assert not loaded & {"asyncio", "dataclasses", "indi_picam.driver", "indi_picam.ccd", "numpy"}
