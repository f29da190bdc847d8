"""Simulated cameras of a test's own, and a way to run real picamera2 on them.

The stand-in wraps functions of the standard library when it is imported, so it never comes into
the process of the tests. A script gets ``picam2``; what it puts into ``result`` comes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from indi_picam.simulator import faults, frame_log, settings

from ..processes import ended

PICAMERA2 = tuple(int(part) for part in version("picamera2").split("."))
"""Before 0.3.28 it left hiding bad frames to libcamera; 0.5.0 is the libcamera of that time."""
ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "indi_picam" / "simulator"

PRELUDE = """
import json, os, sys, time
import numpy as np
from picamera2 import Picamera2

def still(camera, mode, bits, fmt, buffers=1, **more):
    config = camera.create_still_configuration(
        main={"size": (256, 192), "format": "RGB888"}, raw={"format": fmt, "size": mode},
        sensor={"output_size": mode, "bit_depth": bits}, buffer_count=buffers, **more)
    camera.configure(config)
    return camera.camera_configuration()["raw"]

def manual(exposure_us, gain=1.0, colour=True):
    fixed = {"ExposureTime": exposure_us, "AnalogueGain": gain, "AeEnable": False,
             "FrameDurationLimits": (100, 1_000_000_000)}
    return fixed | ({"AwbEnable": False} if colour else {})

picam2 = Picamera2(0)
result = None
"""
ENDING = """
print(json.dumps(result), flush=True)
os._exit(0)  # closing takes picamera2 0.4 s
"""


class Simulation:
    """A configuration in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log_file, self.fault_file = directory / "frames.log", directory / "faults.ini"
        self._config = directory / "simulator.ini"
        self.cameras = "imx477"
        self.time_scale = 1.0
        self.configure()

    def configure(self, sky: str = "", main: str = "") -> None:
        """Write the configuration file."""
        self._config.write_text(
            "[simulator]\nlog_file = frames.log\nfault_file = faults.ini\nrun_directory = .\n"
            f"libcamera = {'0.7.1' if PICAMERA2 >= (0, 3, 28) else '0.5.0'}\n{main}\n"
            f"[sky]\n{sky}\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(STAND_IN), os.environ.get("PYTHONPATH"))))
        return os.environ | {
            "PYTHONPATH": path,
            "INDI_PICAM_SIMULATOR": self.cameras,
            "INDI_PICAM_SIMULATOR_CONFIG": str(self._config),
            "INDI_PICAM_TIME_SCALE": str(self.time_scale),
        }

    @property
    def settings(self) -> settings.Settings:
        return settings.load(self.environment)

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The log."""
        return frame_log.read(self.log_file)

    def fault(self, section: str = "faults", **values: str) -> None:
        """Switch exactly these faults on."""
        faults.write(str(self.fault_file), {section: values})

    @contextmanager
    def start(self, script: str) -> Iterator[subprocess.Popen[str]]:
        """A process that runs a plain script on the stand-in, until the block ends."""
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with ended(process):
            yield process

    def python(self, script: str, timeout: float = 40) -> tuple[int, str, str]:
        """Run a plain script on the stand-in: return code, output, errors."""
        with self.start(script) as process:
            output, errors = process.communicate(timeout=timeout)
        return process.returncode, output, errors

    def picamera2(self, script: str, timeout: float = 40) -> Any:
        """Run a script on an opened Picamera2; gives what it left in ``result``."""
        code, output, errors = self.python(PRELUDE + script + ENDING, timeout)
        assert code == 0, errors
        return json.loads(output.splitlines()[-1])


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(tmp_path)
