"""`picam` as a user runs it: the installed command, against a real indiserver."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.server import Server, serving

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
    """In the order printed."""


@dataclass(frozen=True)
class Picam:
    """Runs picam for one server; its files go into ``directory``."""

    server: Server
    directory: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The running command, which takes Ctrl-C even where we were told to ignore it."""
        where = ["-H", f"localhost:{self.server.port}", "-d", str(self.directory)]
        return subprocess.Popen(
            ["env", "--default-signal=INT", PROGRAM, "capture", *where, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> Outcome:
        """Runs a whole command."""
        return finish(self.start(*words))

    def names(self) -> list[str]:
        """Everything in the directory, hidden files too."""
        return sorted(os.listdir(self.directory)) if self.directory.exists() else []


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Waits for the end of a command."""
    with process:
        try:
            printed, said = process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Outcome(process.returncode, said, [Path(line) for line in printed.splitlines()])


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
