"""What goes wrong on purpose: a file that tests write while the simulation runs.

An INI file with a section ``[faults]`` for all cameras and sections named by a camera's Id, which
count for more:

    no_memory = yes        the dma-heap is empty (OSError 12 from configure), for all cameras
    largest_buffer = BYTES ... or has no memory for a larger one
    heap = BYTES           ... or has so much for all buffers of one process together
    busy = yes             somebody else has the camera
    unplugged = yes        the camera is in no list; a start fails, a running sensor falls silent
    stalled = yes          the sensor falls silent until it is started again without this
    bad_frames = yes       every frame is marked as an error
    hang = CALL            that call never returns, with the interpreter's lock held; see CALLS
    die = CALL             the process that uses the camera is killed in that call,
    die = exposure         ... or in the middle of the next exposure that a request waits for

``hang`` and ``die`` happen once: the line is taken out of the file before they do, so that a
restarted process is well. No file, no faults. Imports no numpy.
"""

from __future__ import annotations

import os

from .settings import ini

CALLS = ("acquire", "configure", "start", "queue_request", "get_ready_requests", "stop", "release")
"""Where a process can be made to hang or die."""


class Faults:
    """The faults of one camera as the file says now; read again only when the file has changed."""

    def __init__(self, file: str | None, camera_id: str) -> None:
        self._file, self._camera_id = file, camera_id
        # Together, as threads look at the same time: picamera2's own, and who calls it.
        self._read: tuple[tuple[int, int, int] | None, dict[str, str]] = None, {}

    def _current(self) -> dict[str, str]:
        known, values = self._read
        if self._file is None:
            return values
        try:
            status = os.stat(self._file)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != known:
                sections = ini(self._file)
                values = sections.get("faults", {}) | sections.get(self._camera_id, {})
                self._read = seen, values
        except FileNotFoundError:
            values = {}
            self._read = None, values
        except ValueError:
            # Caught half written; the next look finds it whole.
            self._read = None, values
        return values

    def on(self, name: str) -> bool:
        """Whether a fault that is simply there or not is there."""
        return self._current().get(name, "").lower() in ("1", "yes", "true", "on")

    @property
    def largest_buffer(self) -> float:
        """Bytes of the largest buffer that there is memory for."""
        if self.on("no_memory"):
            return 0
        return float(self._current().get("largest_buffer", "inf"))

    @property
    def heap(self) -> float:
        """Bytes that there are for all buffers of this process together."""
        return float(self._current().get("heap", "inf"))

    def strike(self, call: str) -> None:
        """Hang or die here when the file says so; called at the begin of each of CALLS."""
        values = self._current()
        if values.get("die") == call:
            self.take_out("die")
            kill(os.getpid())
        if values.get("hang") == call:
            self.take_out("hang")
            _hang()

    def dies_in_exposure(self) -> bool:
        """Whether the process that uses the camera is to be killed in the middle of an exposure."""
        return self._current().get("die") == "exposure"

    def take_out(self, name: str) -> None:
        """Remove a fault that has happened from the file."""
        if self._file is None:
            return
        sections = ini(self._file)
        for section in ("faults", self._camera_id):
            sections.get(section, {}).pop(name, None)
        write(self._file, sections)


def write(file: str, sections: dict[str, dict[str, str]]) -> None:
    """Put faults into a file in one go, so that nobody reads half of it."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""]
    scratch = f"{file}.{os.getpid()}.new"
    with open(scratch, "w") as text:
        text.write("\n".join(lines))
    os.replace(scratch, file)


def kill(process: int) -> None:
    """End a process without any last word."""
    import signal

    os.kill(process, signal.SIGKILL)


def _hang() -> None:
    import ctypes

    # PyDLL keeps the interpreter's lock, as a call that is stuck in the real bindings would.
    libc = ctypes.PyDLL(None)
    while True:
        libc.pause()
