"""From the start of the driver to its first definition, and from CONNECT to Ok; caches are warm.

The driver is started as indiserver does it, with one unix socket as its fd 0 and 1. CONNECT comes
as soon as there is a CONNECTION to set, as clients do it that connect by themselves, while the
driver is still busy importing; the test frame is part of it.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import OURS, everyone
from benchmarks.figures import Figure
from benchmarks.stage import Contestant, end, environment
from benchmarks.wire import Client


def run(rounds: int) -> list[Figure]:
    """Both figures of everyone."""
    return figures(everyone(), rounds)


def figures(contestants: Sequence[Contestant], rounds: int) -> list[Figure]:
    """Both figures; the first start, with cold caches perhaps, does not count."""
    defined: dict[str, list[float]] = {each.name: [] for each in contestants}
    ready: dict[str, list[float]] = {each.name: [] for each in contestants}
    for number in range(rounds + 1):
        for each in contestants:
            first, connected = _start_and_connect(each)
            if number:
                defined[each.name].append(first)
                ready[each.name].append(connected)
    found = []
    for what, values, limit in (
        ("start of the driver to first definition", defined, 0.3),
        ("CONNECT to Ok, with a test frame if there is one", ready, 1.0),
    ):
        for name, seconds in values.items():
            limit_or_none = limit if name == OURS.name else None
            found.append(Figure(what, name, "s", tuple(seconds), limit_or_none))
    return found


def _start_and_connect(contestant: Contestant) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="indi_picam-benchmark-") as folder:
        surroundings = environment(Path(folder), contestant)
        began = time.monotonic()
        driver, client = _start(contestant, surroundings)
        client.send("<getProperties version='1.7'/>\n")
        first = client.wait(lambda m: m.tag.startswith("def")).at - began
        client.drain(0.02)
        asked = client.new("Switch", "CONNECTION", CONNECT="On")
        connected = client.set_of("CONNECTION", "Ok").at - asked
        client.close()
        end(driver)
    return first, connected


def _start(
    contestant: Contestant, surroundings: dict[str, str]
) -> tuple[subprocess.Popen[bytes], Client]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with theirs:
        driver = subprocess.Popen(
            [*contestant.inside, contestant.command],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            env=surroundings,
        )
    return driver, Client(ours, contestant.device)
