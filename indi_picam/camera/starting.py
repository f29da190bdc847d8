"""Starts a Python module of ours in a process of its own, as lean as can be.

A child inherits nothing but stderr, to which its stdout goes too, and at most one descriptor: the
driver's stdin and stdout belong to the INDI link. Imports nothing heavy: the driver's first act is
to have the cameras listed, while it loads itself. Called by :mod:`indi_picam.__main__` for that and
by whoever has children.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

_OUR_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def start(
    arguments: Sequence[str],
    module_path: str | None,
    *,
    inherit: int | None = None,
    stdout: int = 2,
) -> subprocess.Popen[bytes]:
    """Starts ``python -m <arguments>``; ``module_path`` comes first on its module path.

    Raises OSError when no process can be started.
    """
    return subprocess.Popen(
        # -P: what lies in the directory the server was started in is none of our modules.
        [sys.executable, "-P", "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        pass_fds=() if inherit is None else (inherit,),
        env=_environment(module_path),
        start_new_session=True,  # Ctrl-C in a terminal reaches the driver alone
    )


def start_listing(module_path: str | None) -> subprocess.Popen[bytes]:
    """Has the cameras listed, to a pipe; for :func:`indi_picam.camera.remote.list_cameras`."""
    return start(("indi_picam.camera.listing",), module_path, stdout=subprocess.PIPE)


def _environment(module_path: str | None) -> dict[str, str]:
    """Ours, with the module path; our own package is found wherever the driver was started.

    libcamera writes several lines for every configuration unless it is told to only warn.
    """
    paths = (module_path, os.environ.get("PYTHONPATH"), _OUR_ROOT)
    given = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return {"LIBCAMERA_LOG_LEVELS": "*:WARN"} | os.environ | given
