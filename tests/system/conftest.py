"""A real indiserver with the simulated camera, started for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.server import SIMULATOR, serving
from tests.system.server import Server as Server

DEVICE = "Pi Camera Simulator"

StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts an indiserver with a driver of ours (default: the simulator) and an environment."""
    with ExitStack() as servers:

        def start(
            driver: str = SIMULATOR, environment: Mapping[str, str] | None = None, *others: str
        ) -> Server:
            return servers.enter_context(serving(tmp_path, driver, environment, *others))

        yield start


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
