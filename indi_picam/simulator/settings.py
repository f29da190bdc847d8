"""What the simulation is told: which cameras, and everything else from one INI file.

``INDI_PICAM_SIMULATOR`` is a comma list of ``sensor[@pi4|@pi5]``; ``INDI_PICAM_SIMULATOR_CONFIG``
names the file, else ``$XDG_CONFIG_HOME/indi_picam/simulator.ini`` when it exists. All its keys,
with their defaults; paths count from the directory of the file:

    [simulator]
    cameras = imx477        # where the variable is not set
    temperature = 18        # of the resting sensor, degrees C; it warms by up to 9 while it runs
    libcamera = 0.7.1       # before 0.5.1 bad frames after a start are dropped unseen; the request
                            # stays, where later versions hand it out marked as an error
    noise_seed =            # a number: the same noise in every run, and after every restart
    log_file =              # see frame_log.py
    fault_file =            # see faults.py
    run_directory =         # where a camera in use is locked; else $XDG_RUNTIME_DIR, else where
                            # the usual configuration file is

    [sky]                   # rates are electrons a second
    seed = 1                # of places and brightnesses, and of the hot pixels
    stars = 400
    faintest = 60           # rate of the faintest star; the brightest: up to 2000 times more
    background = 4          # rate of the sky in a green or mono pixel of the full mode
    fwhm = 3.0              # of a star, in pixels of the full mode

Read by the stand-in and by the sensor's process, each for itself, and by tests that want to know
the truth. Imports no numpy, and what a plain start does not need only when needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from .models import SENSORS
from .truth import Sensor

_I2C_ADDRESS = {"ov5647": "36", "ov64a40": "36", "imx219": "10"}


class Camera(NamedTuple):
    """One camera that is plugged in."""

    id: str
    sensor_name: str
    platform: str
    """``pi4`` or ``pi5``."""

    @property
    def sensor(self) -> Sensor:
        """What is true of its sensor."""
        return SENSORS[self.sensor_name]


class Sky(NamedTuple):
    """What the sensors look at; the fields are the keys of the file."""

    seed: int = 1
    stars: int = 400
    faintest: float = 60.0
    background: float = 4.0
    fwhm: float = 3.0


class Settings(NamedTuple):
    """Everything a simulation is told; None for files that there are not."""

    cameras: tuple[Camera, ...]
    run_directory: str
    sky: Sky = Sky()
    libcamera: str = "0.7.1"
    noise_seed: int | None = None
    temperature_c: float = 18.0
    fault_file: str | None = None
    log_file: str | None = None

    @property
    def drops_bad_frames(self) -> bool:
        """Whether this libcamera keeps bad frames to itself."""
        return tuple(int(part) for part in self.libcamera.split(".")) < (0, 5, 1)


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of an environment; RuntimeError with a sentence for what makes no sense.

    The sentence goes to clients as it is: an INDI message has room for 254 bytes.
    """
    home = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):  # a relative one is to be ignored (XDG specification)
        home = os.path.expanduser("~/.config")
    default = os.path.join(home, "indi_picam", "simulator.ini")
    file = environment.get("INDI_PICAM_SIMULATOR_CONFIG") or default
    if file != default and not os.path.exists(file):
        raise RuntimeError(
            f"The configuration file that INDI_PICAM_SIMULATOR_CONFIG names is not there: {file}"
        )
    try:
        sections = ini(file) if os.path.exists(file) else {}
    except (OSError, ValueError) as wrong:
        raise RuntimeError(f"The simulator's settings cannot be read: {wrong}") from wrong
    main, sky = sections.get("simulator", {}), sections.get("sky", {})
    run = environment.get("XDG_RUNTIME_DIR") or os.path.dirname(default)

    def path(key: str) -> str | None:
        text = main.get(key)
        return os.path.join(os.path.dirname(file), os.path.expanduser(text)) if text else None

    named = environment.get("INDI_PICAM_SIMULATOR")
    cameras = _cameras(
        named or main.get("cameras") or "imx477",
        told_by="INDI_PICAM_SIMULATOR" if named else f"cameras in {file}",
    )
    usual = Sky()
    try:
        return Settings(
            cameras=cameras,
            run_directory=path("run_directory") or run,
            sky=Sky(*(type(value)(sky.get(key, value)) for key, value in usual._asdict().items())),
            libcamera=main.get("libcamera", "0.7.1"),
            noise_seed=int(main["noise_seed"]) if main.get("noise_seed") else None,
            temperature_c=float(main.get("temperature", 18.0)),
            fault_file=path("fault_file"),
            log_file=path("log_file"),
        )
    except ValueError as wrong:
        raise RuntimeError(f"The simulator's settings are wrong: {wrong}, in {file}") from wrong


def ini(file: str) -> dict[str, dict[str, str]]:
    """The sections of an INI file; FileNotFoundError, or ValueError for what is none."""
    import configparser  # 8 ms, which listing the cameras of a plain start need not pay

    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    with open(file) as text:
        try:
            parser.read_file(text)
        except configparser.Error as wrong:
            reason = str(wrong).partition("\n")[0]
            raise ValueError(f"{file} is no INI file: {reason}") from wrong
    return {name: dict(parser[name]) for name in parser.sections()}


def _cameras(specification: str, told_by: str) -> tuple[Camera, ...]:
    counted = {"pi4": 0, "pi5": 0}
    found = []
    for part in specification.split(","):
        name, _, platform = part.strip().partition("@")
        platform = platform or "pi4"
        if name not in SENSORS or platform not in counted:
            raise RuntimeError(
                f"There is no simulated sensor {ascii(part.strip())[:30]}, only"
                f" {', '.join(SENSORS)}, each also with @pi4 or @pi5; it is asked for by {told_by}."
            )
        number = counted[platform]
        counted[platform] += 1
        # The buses as on a Pi with its one or two connectors; further ones, behind a multiplexer,
        # are our invention.
        if platform == "pi4":
            path = f"soc/i2c0mux/i2c@{(1, 0)[number] if number < 2 else number}"
        else:
            path = f"axi/pcie@1000120000/rp1/i2c@{0x88000 - 0x8000 * number:x}"
        model = SENSORS[name].model
        camera_id = f"/base/{path}/{model}@{_I2C_ADDRESS.get(model, '1a')}"
        found.append(Camera(camera_id, name, platform))
    return tuple(found)
