"""What the simulation is told: which cameras, and everything else from one INI file.

``INDI_PICAM_SIMULATOR`` is a comma list of ``sensor[@pi4|@pi5]``; ``INDI_PICAM_SIMULATOR_CONFIG`` names the file, else
``$XDG_CONFIG_HOME/indi_picam/simulator.ini`` when it exists. Read by the stand-in and by the sensor's process, each for
itself, and by tests that want to know the truth. Imports no numpy.
"""

from __future__ import annotations

import configparser
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .models import SENSORS
from .truth import Sensor

_I2C_ADDRESS = {"ov5647": "36", "imx219": "10"}


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera that is plugged in."""

    id: str
    sensor_name: str
    platform: str
    """``pi4`` or ``pi5``."""

    @property
    def sensor(self) -> Sensor:
        """What is true of its sensor."""
        return SENSORS[self.sensor_name]


@dataclass(frozen=True, slots=True)
class Sky:
    """What the sensors look at. Rates are electrons a second, of light that a green or mono pixel sees fully."""

    seed: int = 1
    """Of the places and brightnesses of the stars, and of the hot pixels."""
    stars: int = 400
    faintest: float = 60.0
    """Rate of the faintest star; the others follow a power law up to about 2000 times more."""
    background: float = 4.0
    """Rate of the sky in one pixel of the full mode."""
    fwhm: float = 3.0
    """Of a star, in pixels of the full mode."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a simulation is told."""

    cameras: tuple[Camera, ...]
    sky: Sky = Sky()
    noise_seed: int | None = None
    """None: other noise in every run; the log has what is needed to make a frame again."""
    ambient_c: float = 18.0
    """Where the sensor's temperature starts; it warms while it runs."""
    fault_file: Path | None = None
    log_file: Path | None = None
    run_directory: Path = Path()
    """Where a camera in use is locked: the same directory, the same cameras."""


def _cameras(specification: str) -> tuple[Camera, ...]:
    buses = {"pi4": 0, "pi5": 0}
    found = []
    for part in specification.split(","):
        name, _, platform = part.strip().partition("@")
        platform = platform or "pi4"
        if name not in SENSORS or platform not in buses:
            raise ValueError(f"no such simulated camera: {part.strip()!r}; there are {', '.join(SENSORS)}")
        bus = buses[platform]
        buses[platform] += 1
        model = SENSORS[name].model
        path = f"soc/i2c0mux/i2c@{1 - bus if bus < 2 else bus}"
        if platform == "pi5":
            path = f"axi/pcie@1000120000/rp1/i2c@{0x88000 - 0x8000 * bus:x}"
        camera_id = f"/base/{path}/{model}@{_I2C_ADDRESS.get(model, '1a')}"
        found.append(Camera(camera_id, name, platform))
    return tuple(found)


def _path(text: str | None, base: Path) -> Path | None:
    return base / os.path.expanduser(text) if text else None


def load() -> Settings:
    """The settings of this process's environment; ValueError with a sentence for what makes no sense."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    default = Path(home, "indi_picam", "simulator.ini")
    file = Path(os.environ.get("INDI_PICAM_SIMULATOR_CONFIG") or default)
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    if file.exists():
        parser.read(file)
    elif file != default:
        raise ValueError(f"the simulator's configuration {file} is not there")
    main = parser["simulator"] if parser.has_section("simulator") else {}
    sky = parser["sky"] if parser.has_section("sky") else {}
    run = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/indi_picam-{os.getuid()}"
    seed = main.get("noise_seed")
    usual = Sky()
    return Settings(
        cameras=_cameras(os.environ.get("INDI_PICAM_SIMULATOR") or main.get("cameras") or "imx477"),
        sky=Sky(
            seed=int(sky.get("seed", usual.seed)),
            stars=int(sky.get("stars", usual.stars)),
            faintest=float(sky.get("faintest", usual.faintest)),
            background=float(sky.get("background", usual.background)),
            fwhm=float(sky.get("fwhm", usual.fwhm)),
        ),
        noise_seed=int(seed) if seed else None,
        ambient_c=float(main.get("temperature", 18.0)),
        fault_file=_path(main.get("fault_file"), file.parent),
        log_file=_path(main.get("log_file"), file.parent),
        run_directory=_path(main.get("run_directory"), file.parent) or Path(run),
    )
