"""`picam` as a user runs it: the installed command, against a real indiserver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.processes import ended
from tests.system.server import PORTS, SIMULATOR, Server, serving, wait_until_it_listens

PROGRAM = str(Path(sys.executable).parent / "picam")
REFERENCE = "/usr/bin/indi_simulator_ccd"
"""INDI's own camera simulator: picam works with any camera, not with ours alone."""
TELESCOPE = "/usr/bin/indi_simulator_telescope"


@dataclass(frozen=True)
class Outcome:
    """How a run of picam ended."""

    status: int
    said: str
    files: list[Path]
    """In the order printed, without those that were read before."""


@dataclass(frozen=True)
class Picam:
    """Runs picam for one server; its files go into ``directory``."""

    server: Server
    directory: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`picam capture` running, which takes Ctrl-C even where we were told to ignore it."""
        where = ["-H", f"localhost:{self.server.port}", "-d", str(self.directory)]
        return start("capture", *where, *words)

    def __call__(self, *words: str) -> Outcome:
        """Runs a whole `picam capture`."""
        return finish(self.start(*words))

    def run(self, *words: str) -> tuple[int, str, str]:
        """Runs another subcommand; returns status, output and what it said."""
        with ended(start(*words, "-H", f"localhost:{self.server.port}")) as process:
            printed, said = process.communicate(timeout=40)
        return process.returncode, printed, said

    def names(self) -> list[str]:
        """Everything in the directory, hidden files too."""
        return sorted(os.listdir(self.directory)) if self.directory.exists() else []


def start(*words: str) -> subprocess.Popen[str]:
    """The running command."""
    return subprocess.Popen(
        ["env", "--default-signal=INT", PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def await_files(process: subprocess.Popen[str], count: int) -> None:
    """Waits until the command has told of so many files."""
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline(), process.communicate()


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Waits for the end of a command."""
    with ended(process):
        printed, said = process.communicate(timeout=40)
    return Outcome(process.returncode, said, [Path(line) for line in printed.splitlines()])


@dataclass
class LastingServer(Server):
    """An indiserver that starts its driver again, and that can be started again itself."""

    def kill_driver(self) -> None:
        """As a crash would."""
        os.kill(self.driver_pid(), signal.SIGKILL)

    def kill(self) -> None:
        """kill -9; its driver ends by itself."""
        driver = psutil.Process(self.driver_pid())
        self.process.kill()
        self.process.wait(10)
        driver.wait(10)

    def start_again(self) -> None:
        """On the same port."""
        self.process = _start(self.port, self.path, self.log)
        wait_until_it_listens(self)


def _start(port: int, path: str, log: Path) -> subprocess.Popen[bytes]:
    executable = Path(sys.executable).parent / SIMULATOR
    with log.open("ab") as output:
        return subprocess.Popen(
            ["indiserver", "-v", "-p", str(port), "-u", path, executable],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@dataclass
class Network:
    """A way to a server that can be cut: a port that passes everything on."""

    server_port: int
    port: int = field(default_factory=lambda: next(PORTS))
    _ways: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def open(self) -> None:
        """Lets connections through from now on."""
        program = [sys.executable, str(Path(__file__).with_name("passing_on.py"))]
        process = subprocess.Popen(
            [*program, str(self.port), str(self.server_port)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline()
        self._ways.append(process)

    def cut(self) -> None:
        """Breaks every connection."""
        for process in self._ways:
            process.kill()
            process.communicate()
        self._ways.clear()


@pytest.fixture
def picam(tmp_path: Path) -> Iterator[Picam]:
    """picam and the simulated imx477."""
    with serving(tmp_path) as server:
        yield Picam(server, tmp_path / "frames")


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[Picam]:
    """picam, INDI's own camera simulator and a telescope."""
    with serving(tmp_path, REFERENCE, None, TELESCOPE) as server:
        yield Picam(server, tmp_path / "frames")


@pytest.fixture
def lasting(tmp_path: Path, own_home: Path) -> Iterator[LastingServer]:
    """A server with the simulated imx477 that outlasts crashes."""
    port, log = next(PORTS), tmp_path / "indiserver.log"
    server = LastingServer(_start(port, f"indi_picam-{port}", log), port, f"indi_picam-{port}", log)
    try:
        wait_until_it_listens(server)
        yield server
    finally:
        with suppress(ProcessLookupError):
            server.stop()
        print(log.read_text()[-4000:])


@pytest.fixture
def network(picam: Picam) -> Iterator[Network]:
    """The network between picam and its server."""
    network = Network(picam.server.port)
    network.open()
    yield network
    network.cut()
