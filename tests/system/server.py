"""A real indiserver with one driver, ended with a block, by its process id."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.client import Client

SIMULATOR = "indi_picam_simulator"
PORTS = itertools.count(7624)


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


@contextmanager
def serving(
    directory: Path,
    driver: str = SIMULATOR,
    environment: Mapping[str, str] | None = None,
    *others: str,
) -> Iterator[Server]:
    """An indiserver with a driver of ours, or one given by its whole path, and other drivers beside
    it; its log goes into the directory."""
    port = next(PORTS)
    path = f"indi_picam-{port}"
    log = directory / f"indiserver-{port}.log"
    executable = Path(sys.executable).parent / driver
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["indiserver", "-v", "-r", "0", "-p", str(port), "-u", path, executable, *others],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | dict(environment or {}),
        )
    server = Server(process, port, path, log)
    try:
        wait_until_it_listens(server)
        yield server
    finally:
        server.stop()
        print(log.read_text()[-4000:])


def wait_until_it_listens(server: Server) -> None:
    """Returns when clients can connect, over TCP and, which comes last, on the machine."""
    deadline = time.monotonic() + 10
    while True:
        try:
            Client.tcp(server.port).close()
            Client.local(server.path).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, server.log.read_text()
            assert server.process.poll() is None, server.log.read_text()
            time.sleep(0.01)
        else:
            return
