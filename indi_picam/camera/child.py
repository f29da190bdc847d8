"""Child processes of the driver: started lean, watched by the loop, killed without waiting.

asyncio's own need a watcher thread on Python 3.11; a pidfd needs none. A child inherits nothing
but stderr, to which its stdout goes too, and at most one descriptor: the driver's stdin and stdout
belong to the INDI link. Knows nothing of cameras; called by :mod:`.remote`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_OUR_ROOT = str(Path(__file__).resolve().parents[2])


class Child:
    """A Python module run in a process of its own, on the running loop."""

    def __init__(
        self,
        arguments: Sequence[str],
        module_path: str | None,
        *,
        inherit: int | None = None,
        stdout: int = 2,
    ) -> None:
        """Starts ``python -m <arguments>``; ``module_path`` comes first on its module path.

        Raises OSError when no process can be started.
        """
        self._process = subprocess.Popen(
            # -P: what lies in the directory the server was started in is none of our modules.
            [sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            pass_fds=() if inherit is None else (inherit,),
            env=_environment(module_path),
            start_new_session=True,  # Ctrl-C in a terminal reaches the driver alone
        )
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Becomes the exit code, negative for a signal."""
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self.exited.done():
            self.exited.set_result(self._process.wait())

    def kill(self) -> None:
        """Ends it by force if it still runs; ``exited`` tells when it has ended."""
        self._process.kill()

    async def ends_within(self, limit_s: float) -> bool:
        """Waits for its end; False when the limit (real seconds) passes first."""
        done, _ = await asyncio.wait([self.exited], timeout=limit_s)
        return bool(done)


def _environment(module_path: str | None) -> dict[str, str]:
    """Ours, with the module path; our own package is found wherever the driver was started.

    libcamera writes several lines for every configuration unless it is told to only warn.
    """
    paths = (module_path, os.environ.get("PYTHONPATH"), _OUR_ROOT)
    given = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return {"LIBCAMERA_LOG_LEVELS": "*:WARN"} | os.environ | given
