"""The two executables: what the environment says, the rooms that follow from it, and run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from indi_picam.ccd.identity import DriverFacts
from indi_picam.driver import DriverSettings, run
from indi_picam.files import user_directory
from indi_picam.indi.link import take_stdio

SIMULATOR = str(Path(__file__).parent / "simulator")


def main() -> None:
    """``indi_picam``: all cameras that libcamera lists on this machine."""
    driver = DriverFacts("Pi Camera", "indi_picam", module_path=None, simulator_path=SIMULATOR)
    _serve(driver, names_by_model=True)


def simulator_main() -> None:
    """``indi_picam_simulator``: the same driver on simulated sensors."""
    driver = DriverFacts(
        "Pi Camera Simulator", "indi_picam_simulator", module_path=SIMULATOR, simulator_path=None
    )
    _serve(driver, names_by_model=False)


def _serve(driver: DriverFacts, *, names_by_model: bool) -> None:
    read_fd, write_fd = take_stdio()
    environment = os.environ
    state = user_directory("XDG_STATE_HOME", ".local/state")
    settings = DriverSettings(
        driver=driver,
        names_by_model=names_by_model,
        first_name=environment.get("INDIDEV"),
        only_camera=environment.get("INDI_PICAM_CAMERA"),
        names_file=state / "indi_picam" / f"{driver.executable}-names.json",
    )
    asyncio.run(run(settings, read_fd, write_fd))


if __name__ == "__main__":
    main()
