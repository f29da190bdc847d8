"""What goes wrong on purpose: a file that tests write while the simulation runs.

An INI file with a section ``[faults]`` for all cameras and, above it, sections named by a camera's Id:

    no_memory = yes        the dma-heap has nothing left (OSError 12 from configure)
    busy = yes             somebody else has the camera
    unplugged = yes        the camera is in no list; a start fails, a running sensor falls silent
    stalled = yes          the sensor falls silent until it is started again without this
    bad_frames = yes       every frame is marked as an error
    hang = CALL            that call never returns, with the interpreter's lock held; see CALLS
    die = CALL | exposure  the process that uses the camera kills itself there, or is killed in mid-exposure

``hang`` and ``die`` happen once: the line is taken out of the file before they do, so that a restarted process is well.
No file, no faults. Imports no numpy.
"""

from __future__ import annotations

import configparser
import ctypes
import os
import signal
from pathlib import Path

CALLS = ("acquire", "configure", "start", "queue_request", "get_ready_requests", "stop", "release")
"""Where a process can be made to hang or die."""

_YES = {"1", "yes", "true", "on"}


class Faults:
    """The faults of one camera as the file says now; read again only when the file has changed."""

    def __init__(self, file: Path | None, camera_id: str) -> None:
        self._file, self._camera_id = file, camera_id
        self._seen: tuple[int, int, int] | None = None
        self._values: dict[str, str] = {}

    def _current(self) -> dict[str, str]:
        if self._file is None:
            return self._values
        try:
            status = os.stat(self._file)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                parser = _parsed(self._file)
                self._seen, self._values = seen, {}
                for section in ("faults", self._camera_id):
                    if parser.has_section(section):
                        self._values |= dict(parser[section])
        except (FileNotFoundError, configparser.Error):
            # Half written: the next look finds it whole.
            self._seen, self._values = None, {}
        return self._values

    def on(self, name: str) -> bool:
        """Whether a fault that is simply there or not is there."""
        return self._current().get(name, "").lower() in _YES

    def strike(self, call: str) -> None:
        """Hang or die here when the file says so; called at the begin of each of CALLS."""
        values = self._current()
        if values.get("die") == call:
            self.take_out("die")
            os.kill(os.getpid(), signal.SIGKILL)
        if values.get("hang") == call:
            self.take_out("hang")
            libc = ctypes.PyDLL(None)
            while True:
                # PyDLL keeps the interpreter's lock, as a call stuck in the real bindings would.
                libc.pause()

    def dies_in_exposure(self) -> bool:
        """Whether the process that uses the camera is to be killed in the middle of this exposure."""
        return self._current().get("die") == "exposure"

    def take_out(self, name: str) -> None:
        """Remove a fault that has happened from the file."""
        if self._file is None:
            return
        parser = _parsed(self._file)
        for section in ("faults", self._camera_id):
            if parser.has_section(section):
                parser.remove_option(section, name)
        scratch = self._file.with_suffix(".new")
        with scratch.open("w") as text:
            parser.write(text)
        scratch.replace(self._file)


def _parsed(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    parser.read(file)
    return parser
