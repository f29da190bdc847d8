"""A real indiserver with the simulated camera, started for a test and stopped by its process id."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.system.client import Client

PORTS = itertools.count(7624)
DEVICE = "Pi Camera Simulator"


@dataclass
class Server:
    """A running indiserver."""

    process: subprocess.Popen[bytes]
    port: int
    path: str
    log: Path
    clients: list[Client] = field(default_factory=list)

    def tcp(self) -> Client:
        """A TCP client."""
        self.clients.append(Client.tcp(self.port))
        return self.clients[-1]

    def local(self) -> Client:
        """A client on its unix socket."""
        self.clients.append(Client.local(self.path))
        return self.clients[-1]

    def driver_pid(self) -> int:
        """The process id of the driver it started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def stop(self) -> None:
        """Ends the server; its drivers end when their socket closes."""
        for client in self.clients:
            client.close()
        self.process.terminate()
        self.process.wait(10)


StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts an indiserver with a driver of ours (default: the simulator) and an environment."""
    servers: list[Server] = []

    def start(
        driver: str = "indi_picam_simulator", environment: Mapping[str, str] | None = None
    ) -> Server:
        port = next(PORTS)
        path = f"indi_picam-{port}"
        log = tmp_path / f"indiserver-{port}.log"
        executable = Path(sys.executable).parent / driver
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["indiserver", "-v", "-r", "0", "-p", str(port), "-u", path, str(executable)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | dict(environment or {}),
            )
        server = Server(process, port, path, log)
        servers.append(server)
        deadline = time.monotonic() + 10
        while True:
            try:
                server.tcp().close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, log.read_text()
                assert process.poll() is None, log.read_text()
                time.sleep(0.01)
            else:
                return server

    yield start
    for server in servers:
        server.stop()
        print(server.log.read_text()[-4000:])


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """One simulated imx477."""
    return start_server()


def connect(client: Client, device: str = DEVICE, *, blobs: bool = True) -> None:
    """Asks for the definitions, connects the camera, and waits until everything is defined."""
    client.send("<getProperties version='1.7'/>")
    client.definition("CONNECTION", device)
    if blobs:
        client.send(f"<enableBLOB device='{device}'>Also</enableBLOB>")
    client.new("Switch", device, "CONNECTION", {"CONNECT": "On"})
    client.definition("PICAM_FRAME", device)
