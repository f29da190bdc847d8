"""A contestant on a real indiserver, with a TCP client and a local one, and the sensor's own log.

    with stage(OURS) as on_stage: shot = on_stage.expose(0.2, on_stage.tcp)

What differs between contestants is how they are made ready and how one knows that an exposure is
over: the log of the simulated sensor where there is one (the request completed), else the
countdown's 0 as it arrives here. Used by every job.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import Family
from benchmarks.wire import Client, Message

PORTS = itertools.count(7624)
BIN = Path(sys.executable).parent
WIDTH, HEIGHT = 4056, 3040
FRAME_BYTES = WIDTH * HEIGHT * 2
LONG_QUEUE = ("-m", "1024")
"""For indiserver: it cuts off a client that is 128 MB behind, which is one frame of 64 MP."""
_ALMOST_0 = 1e-6
"""indi_simulator_ccd often ends its countdown at 1.19e-08."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A driver that can be put on stage."""

    name: str
    command: str
    """As a shell runs it."""
    device: str
    make_ready: Callable[[Client], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False
    """Whether it takes its frames from our simulated sensor, which keeps a log."""
    counts_to_completion: bool = False
    """Whether its countdown reaches 0 when it has the frame, not when the exposure ends."""
    inside: tuple[str, ...] = ()
    """A command that the server's, or the driver's own, is appended to."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One exposure that became a picture; times of time.monotonic()."""

    asked_at: float
    over_at: float
    """The request completed, or the countdown's 0 arrived."""
    picture: Message
    entry: Entry
    """What the sensor's log says of the frame; empty without a log."""


@dataclass(slots=True)
class Stage:
    """A running server with its driver, and perhaps another one beside."""

    contestant: Contestant
    process: subprocess.Popen[bytes]
    home: Path
    port: int
    _read: int = 0
    _clients: list[Client] = field(default_factory=list)
    tcp: Client = field(init=False)
    local: Client = field(init=False)

    def __post_init__(self) -> None:
        self.tcp, self.local = self.tcp_client(), self.local_client()

    @property
    def family(self) -> Family:
        """The processes as they are now."""
        return Family.below(self.process.pid)

    def tcp_client(self) -> Client:
        """One more client over TCP."""
        self._clients.append(Client.tcp(self.port, self.contestant.device))
        return self._clients[-1]

    def local_client(self, device: str = "") -> Client:
        """One more client on the server's unix socket, of the contestant or of another device."""
        path = _unix_path(self.port)
        self._clients.append(Client.local(path, device or self.contestant.device))
        return self._clients[-1]

    def expose(self, seconds: float, client: Client) -> Shot:
        """Takes one picture with a client that has asked for pictures."""
        client.drain()
        self.log()
        asked_at = client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=seconds)
        over_at = asked_at

        def is_picture(message: Message) -> bool:
            nonlocal over_at
            left = message.values.get("CCD_EXPOSURE_VALUE", "1")
            if message.name == "CCD_EXPOSURE" and float(left) <= _ALMOST_0:
                over_at = message.at
            if message.name == "CCD_EXPOSURE" and message.state == "Alert":
                raise RuntimeError(f"{self.contestant.name}: {message.attributes.get('message')}")
            return message.is_picture

        picture = client.wait(is_picture, 30 + 3 * seconds)
        picture.let_go()
        if not self.contestant.simulated:
            return Shot(asked_at, over_at, picture, {})
        until = over_at if self.contestant.counts_to_completion else picture.at
        entry = self.delivered(until, seconds)
        return Shot(asked_at, entry["completed_ns"] * 1e-9, picture, entry)

    def delivered(self, until: float, seconds: float) -> Entry:
        """The log's frame behind a picture: the last good one completed until a time."""
        entries = self.log()
        for _ in range(100):  # the sensor notes a frame when it has handed it over
            for entry in reversed(entries):
                fits = abs(entry["exposure_ns"] * 1e-9 - seconds) < 0.01 * seconds
                if fits and entry["status"] == "success" and entry["completed_ns"] * 1e-9 < until:
                    return entry
            time.sleep(0.01)
            entries += self.log()
        raise RuntimeError(f"the log has no frame of {seconds} s for this picture")

    def log(self) -> list[Entry]:
        """What the sensor's log has got since it was last asked for."""
        file = self.home / "frames.log"
        if not file.exists():
            return []
        with file.open("rb") as text:
            text.seek(self._read)
            whole = text.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def stop(self) -> None:
        """Ends the server; its driver ends when its socket closes."""
        for client in self._clients:
            client.close()
        if self.process.poll() is not None:
            return
        family = self.family
        left = [os.pidfd_open(pid) for pid in (family.driver, *family.sensors)]
        self.process.terminate()
        end(self.process)
        for pidfd in left:
            _end_process(pidfd)


def start_fast(client: Client, frames: int, exposure_s: float) -> None:
    """Begins frames without a gap between them (CCD_FAST_*)."""
    client.new("Switch", "CCD_FAST_TOGGLE", INDI_ENABLED="On")
    client.new("Number", "CCD_FAST_COUNT", FRAMES=frames)
    client.set_of("CCD_FAST_COUNT", "Ok")
    client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=exposure_s)


def end(process: subprocess.Popen[bytes]) -> None:
    """Waits for the end of a process that has been told to, and kills it if there is none."""
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_process(pidfd: int) -> None:
    """The same for one that is not our child: indi-pylibcamera outlives its server."""
    if not select.select([pidfd], [], [], 3)[0]:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], 3)
    os.close(pidfd)


def _unix_path(port: int) -> str:
    return f"indi_picam-benchmark-{port}"


def environment(home: Path, contestant: Contestant) -> dict[str, str]:
    """Of a contestant: a home of its own, and a simulated sensor that keeps a log."""
    settings = home / "simulator.ini"
    settings.write_text("[simulator]\nlog_file = frames.log\nrun_directory = .\n")
    # What is installed has its bytecode: without, each start would compile the driver anew.
    unwanted = ("INDI", "XDG_", "PYTHONDONTWRITEBYTECODE")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    own = {"HOME": str(home), "INDI_PICAM_SIMULATOR_CONFIG": str(settings)}
    return clean | own | dict(contestant.environment)


@contextmanager
def stage(contestant: Contestant, *options: str, beside: str = "") -> Iterator[Stage]:
    """Puts a contestant on stage, connected and ready; ``options`` are indiserver's.

    ``beside`` is the command of a second driver.
    """
    port = next(PORTS)
    with tempfile.TemporaryDirectory(prefix="indi_picam-benchmark-") as folder:
        home = Path(folder)
        drivers = [_launcher(home / "driver", contestant.command)]
        if beside:
            drivers.append(_launcher(home / "beside", beside))
        server = home / "server"  # by another name: desktops that clean up end every indiserver
        server.symlink_to(shutil.which("indiserver") or "/usr/bin/indiserver")
        command = [str(server), "-r", "0", "-p", str(port), "-u", _unix_path(port), *options]
        with (home / "indiserver.log").open("wb") as output:
            process = subprocess.Popen(
                [*contestant.inside, *command, *drivers],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(home, contestant),
            )
        _wait_until_it_listens(port, process)
        on_stage = Stage(contestant, process, home, port)
        try:
            contestant.make_ready(on_stage.tcp)
            on_stage.local.send("<getProperties version='1.7'/>")
            on_stage.local.definition("CCD_EXPOSURE")
            yield on_stage
        except BaseException:
            print((home / "indiserver.log").read_text()[-3000:], file=sys.stderr)
            print(f"indiserver's exit status: {process.poll()}", file=sys.stderr)
            raise
        finally:
            on_stage.stop()


def _launcher(path: Path, command: str) -> str:
    """A driver as indiserver starts one: it gives none of them arguments."""
    path.write_text(f"#!/bin/sh\nexec {command}\n")
    path.chmod(0o755)
    return str(path)


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            Client.tcp(port, "").close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.01)
        else:
            return
