"""The driver process once it has loaded what it needs later."""

from __future__ import annotations

import subprocess
import sys

LOADED = "import gc; from indi_picam import driver; driver._prepare(); print(len(gc.get_objects()))"


def test_what_was_loaded_is_not_looked_through_for_garbage() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOADED], stdout=subprocess.PIPE, check=True)
    assert int(loaded.stdout) < 1000
