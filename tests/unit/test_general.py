"""Levels of what is told, and the log file in INDI's own format."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from indi_picam.ccd.general import General
from indi_picam.indi.device import Device, Level
from indi_picam.indi.messages import Message, Outgoing

LEVELS: tuple[Level, ...] = ("ERROR", "WARNING", "INFO", "DEBUG")
LINE = re.compile(r"([A-Z]+)\t([0-9]+\.[0-9]{6}) sec\t: (.*)")
"""As Logger::print writes it for the one device of a process (indilogger.cpp)."""


class Rig:
    """A device whose log file is open, and what it told its clients."""

    def __init__(self, *, debug: bool, chosen: Mapping[str, bool]) -> None:
        self.sent: list[Outgoing] = []
        self.device = Device("Cam", self.sent.append)
        self.general = General(self.device, "driver", may_simulate=False)
        switches = {"ENABLE" if debug else "DISABLE": True, "FILE_DEBUG": True, **chosen}
        for name in ("DEBUG", "DEBUG_LEVEL", "LOGGING_LEVEL", "LOG_OUTPUT"):
            known = self.device[name]
            self.device.set(known, {k: on for k, on in switches.items() if k in known.values})
        self.general.restored()

    def told(self) -> list[str]:
        """The levels that clients saw of a sentence of each."""
        self.sent.clear()
        for level in LEVELS:
            self.device.message(f"Of level {level}.", level)
        texts = [message.message for message in self.sent if isinstance(message, Message)]
        assert all(re.fullmatch(r"\[([A-Z]+)\] Of level \1\.", text) for text in texts)
        return [text[1 : text.index("]")] for text in texts]


@contextmanager
def rig(*, debug: bool, chosen: Mapping[str, bool]) -> Iterator[Rig]:
    """One whose log file is closed at the end."""
    made = Rig(debug=debug, chosen=chosen)
    yield made
    made.general._close()


def logged(home: Path) -> list[tuple[str, float, str]]:
    """Tag, seconds and text of each line."""
    (log,) = home.glob(".indi/logs/*/driver/driver_*.log")
    lines = [LINE.fullmatch(line) for line in log.read_text().splitlines()]
    return [(line[1], float(line[2]), line[3]) for line in lines if line is not None]


@pytest.mark.parametrize(
    ("debug", "switches", "seen", "kept"),
    [
        (False, {}, "ERROR WARNING INFO", "ERROR WARNING INFO"),
        (True, {}, "ERROR WARNING INFO", "ERROR WARNING INFO"),
        (True, {"DBG_DEBUG": True}, "ERROR WARNING INFO DEBUG", "ERROR WARNING INFO"),
        (True, {"LOG_DEBUG": True}, "ERROR WARNING INFO", "ERROR WARNING INFO DEBUG"),
        (True, {"DBG_SESSION": False}, "ERROR WARNING", "ERROR WARNING INFO"),
        (True, {"LOG_SESSION": False, "LOG_ERROR": False}, "ERROR WARNING INFO", "WARNING"),
        (True, {"CLIENT_DEBUG": False}, "", "ERROR WARNING INFO"),
    ],
)
def test_levels_choose_what_clients_see_and_what_the_file_keeps(
    own_home: Path, debug: bool, switches: dict[str, bool], seen: str, kept: str
) -> None:
    with rig(debug=debug, chosen=switches) as told_by:
        assert told_by.told() == seen.split()
    assert [(tag, text) for tag, _, text in logged(own_home)] == [
        (level, f"Of level {level}.") for level in kept.split()
    ]


def test_times_in_the_log_count_from_the_start_of_the_driver(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [987_654.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with rig(debug=True, chosen={}) as told_by:
        for passed_s in (0.0, 0.25, 3600.5):
            now[0] = 987_654.0 + passed_s
            told_by.device.message("Told.")
    assert logged(own_home) == [("INFO", s, "Told.") for s in (0.0, 0.25, 3600.5)]
