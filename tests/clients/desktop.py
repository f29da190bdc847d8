"""A desktop for one program: a display that nobody looks at and a message bus of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageGrab

OURS = "INDI_PICAM_"


@contextmanager
def running(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path, *passed: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, ended with the block together with all that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=passed,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


@contextmanager
def announcing(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """A program that writes a line to a descriptor (its last argument) when it is ready: that
    line."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as ready:
        try:
            with running((*command, str(writing)), environment, log, writing):
                os.close(writing)
                yield ready.readline().strip()
        finally:
            with suppress(OSError):
                os.close(writing)


@dataclass(frozen=True, slots=True)
class Desktop:
    """Where a program with windows can run."""

    environment: Mapping[str, str]
    log: Path

    def photograph(self, file: Path) -> None:
        """Saves what is on the display, as PNG."""
        ImageGrab.grab(xdisplay=self.environment["DISPLAY"]).save(file)


@contextmanager
def desktop(home: Path) -> Iterator[Desktop]:
    """A display and a message bus for programs whose home this directory is."""
    runtime = home / "run"
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Nothing of the user's own desktop gets in, but what tests tell a driver that is started on it.
    environment = {name: value for name, value in os.environ.items() if name.startswith(OURS)} | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "XDG_RUNTIME_DIR": str(runtime),
        "TMPDIR": str(runtime),
        "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
    }
    log = home / "desktop.log"
    screen = ("Xvfb", "-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-displayfd")
    bus = (
        "dbus-daemon",
        "--session",
        "--nofork",
        f"--address=unix:abstract=indi_picam-{os.getpid()}",
        "--print-address",
    )
    with announcing(screen, environment, log) as display:
        environment["DISPLAY"] = f":{display}"
        with announcing(bus, environment, log) as address:
            environment["DBUS_SESSION_BUS_ADDRESS"] = address
            yield Desktop(environment, log)
