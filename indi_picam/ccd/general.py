"""What every INDI driver offers: debug messages and log file, simulation, polling period.

Names, labels and order as in INDI's DefaultDevice and Logger (defaultdevice.cpp, indilogger.cpp).
The levels that clients see and the file keeps are chosen by properties that exist only while DEBUG
is on. Called by the camera device; every sentence the device tells passes :meth:`General.tells`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from indi_picam import files
from indi_picam.indi.device import Answer, Device, Level
from indi_picam.indi.journal import note
from indi_picam.indi.vectors import (
    Number,
    NumberVector,
    Refused,
    Rule,
    Switch,
    SwitchVector,
)

OPTIONS = "Options"
POLLING_PERIOD = NumberVector(
    "POLLING_PERIOD",
    "Polling",
    OPTIONS,
    (Number("PERIOD_MS", "Period (ms)", 1000, 10, 600_000, 1000, "%.f"),),
    timeout=0,
)
DEBUG = SwitchVector(
    "DEBUG",
    "Debug",
    OPTIONS,
    (Switch("ENABLE", "Enable"), Switch("DISABLE", "Disable", True)),
    timeout=0,
)
SIMULATION = SwitchVector(
    "SIMULATION",
    "Simulation",
    OPTIONS,
    (Switch("ENABLE", "Enable"), Switch("DISABLE", "Disable", True)),
    timeout=0,
)
DEBUG_LEVEL = SwitchVector(
    "DEBUG_LEVEL",
    "Debug Levels",
    OPTIONS,
    (
        Switch("DBG_ERROR", "Errors", True),
        Switch("DBG_WARNING", "Warnings", True),
        Switch("DBG_SESSION", "Messages", True),
        Switch("DBG_DEBUG", "Driver Debug"),
    ),
    timeout=0,
    rule=Rule.ANY_OF_MANY,
)
LOGGING_LEVEL = SwitchVector(
    "LOGGING_LEVEL",
    "Logging Levels",
    OPTIONS,
    (
        Switch("LOG_ERROR", "Errors", True),
        Switch("LOG_WARNING", "Warnings", True),
        Switch("LOG_SESSION", "Messages", True),
        Switch("LOG_DEBUG", "Driver Debug"),
    ),
    timeout=0,
    rule=Rule.ANY_OF_MANY,
)
LOG_OUTPUT = SwitchVector(
    "LOG_OUTPUT",
    "Log Output",
    OPTIONS,
    (Switch("CLIENT_DEBUG", "To Client", True), Switch("FILE_DEBUG", "To Log File")),
    timeout=0,
    rule=Rule.ANY_OF_MANY,
)
LEVEL_NAMES: dict[Level, str] = {
    "ERROR": "ERROR",
    "WARNING": "WARNING",
    "INFO": "SESSION",
    "DEBUG": "DEBUG",
}
"""How the switches are called; what is told says INFO, to clients and in the file."""


class General:
    """The general options of one device."""

    def __init__(self, device: Device, executable: str, *, may_simulate: bool) -> None:
        self._device = device
        self._executable = executable
        self._file: IO[str] | None = None
        self._began_s = time.monotonic()
        self._polling = device.add(POLLING_PERIOD, from_start=True)
        self._debug = device.add(DEBUG, self._set_debug, from_start=True)
        self._simulation = device.add(SIMULATION, self._simulate, from_start=may_simulate)
        self._shown_levels = device.add(DEBUG_LEVEL)
        self._logged_levels = device.add(LOGGING_LEVEL)
        self._output = device.add(LOG_OUTPUT, self._set_output)
        device.tells = self.tells

    def restored(self) -> None:
        """Shows the levels from the start when DEBUG was saved as on."""
        if self._debug["ENABLE"]:
            self._device.define(self._shown_levels, self._logged_levels, self._output)
        if self._output["FILE_DEBUG"]:
            with contextlib.suppress(OSError):
                self._open()

    @property
    def simulates(self) -> bool:
        """Whether the next connect takes a simulated camera."""
        return bool(self._simulation["ENABLE"])

    @property
    def polling_s(self) -> float:
        """Real seconds between two steps of a countdown."""
        return float(self._polling["PERIOD_MS"]) / 1000

    def tells(self, level: Level, text: str) -> bool:
        """Writes a sentence to the log file if wanted; returns whether clients shall see it."""
        name = LEVEL_NAMES[level]
        if self._file is not None and self._logged_levels[f"LOG_{name}"]:
            passed_s = time.monotonic() - self._began_s
            self._write(f"{level}\t{passed_s:.6f} sec\t: {text}\n")
        if not self._debug["ENABLE"]:
            return level != "DEBUG"
        return bool(self._output["CLIENT_DEBUG"] and self._shown_levels[f"DBG_{name}"])

    async def _set_debug(self, asked: Mapping[str, bool]) -> Answer:
        levels = (self._shown_levels, self._logged_levels, self._output)
        if asked["ENABLE"]:
            self._device.define(*levels)
        else:
            self._device.delete(*levels)
        if asked == self._debug.values:
            return Answer()
        return Answer(message=f"Debugging is switched {'on' if asked['ENABLE'] else 'off'}.")

    async def _simulate(self, asked: Mapping[str, bool]) -> Answer:
        if asked["ENABLE"] != self.simulates and self._device["CONNECTION"]["CONNECT"]:
            raise Refused("Disconnect the camera before you switch the simulation on or off.")
        return Answer()

    async def _set_output(self, asked: Mapping[str, bool]) -> Answer:
        if not asked["FILE_DEBUG"]:
            self._close()
            return Answer()
        try:
            return Answer(message=f"The log file is {self._open()}.")
        except OSError as fault:
            raise Refused(f"The log file cannot be written: {fault}.") from None

    def _open(self) -> Path:
        """Begins a log file where INDI's own drivers write theirs; raises OSError."""
        day, now = (
            time.strftime("%Y-%m-%d", time.gmtime()),
            time.strftime("%H:%M:%S", time.gmtime()),
        )
        home = files.home()
        folder = home / ".indi" / "logs" / day / self._executable
        path = folder / f"{self._executable}_{now}.log"
        if self._file is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        return Path(self._file.name)

    def _write(self, line: str) -> None:
        try:
            if self._file is not None:
                self._file.write(line)
                self._file.flush()
        except OSError as fault:
            self._close()
            note(f"{self._device.name}: no more is written to the log file: {fault.strerror}.")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
