"""The two executables: the listing of the cameras is started, then the driver is loaded and run.

Importing the driver takes as long as the listing: they run side by side. So the driver is imported
where it is used.
"""

from __future__ import annotations

import os

from indi_picam.camera.starting import start_listing

SIMULATOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "simulator")


def main() -> None:
    """``indi_picam``: all cameras that libcamera lists on this machine."""
    _serve("Pi Camera", "indi_picam", None, simulator_path=SIMULATOR, names_by_model=True)


def simulator_main() -> None:
    """``indi_picam_simulator``: the same driver on simulated sensors."""
    name, executable = "Pi Camera Simulator", "indi_picam_simulator"
    _serve(name, executable, SIMULATOR, simulator_path=None, names_by_model=False)


def _serve(
    name: str,
    executable: str,
    module_path: str | None,
    *,
    simulator_path: str | None,
    names_by_model: bool,
) -> None:
    listing = start_listing(module_path)

    import asyncio

    from indi_picam.ccd.identity import DriverFacts
    from indi_picam.driver import DriverSettings, run
    from indi_picam.files import user_directory
    from indi_picam.indi.link import take_stdio

    read_fd, write_fd = take_stdio()
    state = user_directory("XDG_STATE_HOME", ".local/state")
    settings = DriverSettings(
        driver=DriverFacts(name, executable, module_path, simulator_path),
        names_by_model=names_by_model,
        first_name=os.environ.get("INDIDEV"),
        only_camera=os.environ.get("INDI_PICAM_CAMERA"),
        names_file=state / "indi_picam" / f"{executable}-names.json",
    )
    asyncio.run(run(settings, listing, read_fd, write_fd))


if __name__ == "__main__":
    main()
