"""The two executables: what the environment says, the rooms that follow from it, and run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from indi_picam.driver import DriverSettings, run
from indi_picam.indi.link import take_stdio


def main() -> None:
    """``indi_picam``: all cameras that libcamera lists on this machine."""
    _serve("indi_picam", "Pi Camera", names_by_model=True)


def simulator_main() -> None:
    """``indi_picam_simulator``: the same driver on simulated sensors."""
    simulator = Path(__file__).parent / "simulator"
    _serve("indi_picam_simulator", "Pi Camera Simulator", module_path=str(simulator))


def _serve(
    executable: str, name: str, *, names_by_model: bool = False, module_path: str | None = None
) -> None:
    read_fd, write_fd = take_stdio()
    environment = os.environ
    state = Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    settings = DriverSettings(
        executable=executable,
        default_name=name,
        names_by_model=names_by_model,
        module_path=module_path,
        first_name=environment.get("INDIDEV"),
        only_camera=environment.get("INDI_PICAM_CAMERA"),
        names_file=state / "indi_picam" / f"{executable}-names.json",
    )
    asyncio.run(run(settings, read_fd, write_fd))


if __name__ == "__main__":
    main()
