"""Child processes of the driver, watched by the loop, killed without waiting.

asyncio's own need a watcher thread on Python 3.11; a pidfd needs none. Knows nothing of cameras;
called by :mod:`.remote` and by whoever else has children.
"""

from __future__ import annotations

import asyncio
import os
import subprocess


class Child:
    """A process that was started (:mod:`.starting`), on the running loop."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Becomes the exit code, negative for a signal."""
        self._pidfd = os.pidfd_open(process.pid)
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
