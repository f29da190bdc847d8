"""From the start of the driver to its first definition, and from CONNECT to Ok; caches are warm.

The driver is started as indiserver does it, with one unix socket as its fd 0 and 1. CONNECT comes
as soon as there is a CONNECTION to set, as clients do it that connect by themselves, while the
driver is still busy importing; the test frame is part of it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.contestants import OURS
from benchmarks.figures import Figure
from benchmarks.stage import environment
from benchmarks.wire import Client

REFERENCE_PROGRAM = "/usr/bin/indi_simulator_ccd"


def run(rounds: int) -> list[Figure]:
    """Both figures; the first start, with cold caches perhaps, does not count."""
    defined, ready, reference = [], [], []
    for number in range(rounds + 1):
        first, connected = _start_and_connect()
        other = _start_to_definition(REFERENCE_PROGRAM, "CCD Simulator")
        if number:
            defined.append(first)
            ready.append(connected)
            reference.append(other)
    what = "start of the driver to first definition"
    return [
        Figure(what, "indi_simulator_ccd", "s", tuple(reference)),
        Figure(what, OURS.name, "s", tuple(defined), 0.3),
        Figure("CONNECT to Ok, with its test frame", OURS.name, "s", tuple(ready), 1.0),
    ]


def _start_and_connect() -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="indi_picam-benchmark-") as folder:
        surroundings = environment(Path(folder), OURS)
        began = time.monotonic()
        driver, client = _start(OURS.command, OURS.device, surroundings)
        client.send("<getProperties version='1.7'/>")
        first = client.wait(lambda m: m.tag.startswith("def")).at - began
        asked = client.new("Switch", "CONNECTION", CONNECT="On")
        connected = client.set_of("CONNECTION", "Ok").at - asked
        client.close()
        driver.wait(10)
    return first, connected


def _start_to_definition(command: str, device: str) -> float:
    began = time.monotonic()
    driver, client = _start(command, device, dict(os.environ))
    client.send("<getProperties version='1.7'/>")
    first = client.wait(lambda m: m.tag.startswith("def")).at - began
    client.close()
    driver.wait(10)
    return first


def _start(
    command: str, device: str, surroundings: dict[str, str]
) -> tuple[subprocess.Popen[bytes], Client]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with theirs:
        driver = subprocess.Popen(
            [command],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            env=surroundings,
        )
    return driver, Client(ours, device)
