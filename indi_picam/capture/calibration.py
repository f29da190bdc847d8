"""What a sensor mode was measured to cost, where that is kept, and what follows for planning.

    known of a mode          way of a single frame    time of a batch
    nothing measured yet     the worker's table       from the worker's table
    measured, in short       the cheapest measured    measured; delivery as if at once
    measured in full         the cheapest measured    measured

One file for each sensor, mode and format below ``$XDG_STATE_HOME/indi_picam/calibration``, with the
versions that it holds for; under others, or damaged, it counts as not there. Plain values and
functions, no camera and no INDI; measured by :mod:`.calibrating`, used by the calibration
properties.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indi_picam import __version__, files
from indi_picam.camera import ways
from indi_picam.camera.modes import CaptureFormat, FrameRequest, ModeFacts, Way
from indi_picam.camera.sensors import sensor_named

_FORM = 1
"""Of the file; raised when an older one cannot be understood any more."""
_NOT_IN_NAMES = re.compile(r"[^\w.-]")


class CalibrationFault(Exception):
    """A saved calibration cannot be used, or none be saved; the text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a kind of sensor in a mode, giving pictures of a format."""

    model: str
    mode: str
    format: CaptureFormat

    @property
    def file_name(self) -> str:
        """Of its calibration."""
        return _NOT_IN_NAMES.sub("_", f"{self.model}_{self.mode}_{self.format.value}.json")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What planning needs of a subject; times of the camera's clock, of whole unbinned frames.

    None stands for what was not measured.
    """

    start_us: float
    """From request to start of exposure by restart, without the frames lost after a start."""
    lost_frames: int
    """After a start, each as long as a good one."""
    primer_us: float | None
    """From request to start of exposure by primer, at any exposure."""
    free_running_us: float | None
    """The longest wait for the next exposure of a sensor that ran at ``frame_us``."""
    frame_us: float
    """The shortest time from frame to frame that a run keeps up."""
    gap_us: float
    """What a frame lasts longer than its exposure, where the exposure decides."""
    readout_us: float
    """From the end of the exposure of the first row until libcamera hands the frame over."""
    finishing_us: float
    """From there to a finished FITS file in the driver."""
    frame_bytes: int
    """Of the FITS file."""
    compressed_bytes: int | None = None
    compressing_us: float | None = None
    disk_bytes_s: float | None = None
    """Of frames made safe in ``disk``."""
    disk: str = ""
    delivery_bytes_s: float | None = None
    """Of a frame until server and clients had let it go, whoever was connected then."""

    @property
    def words(self) -> str:
        """What matters most of it, in a sentence for the user."""
        lost = f"after {self.lost_frames} lost frames" if self.lost_frames else "with no frame lost"
        file_us = self.readout_us + self.finishing_us
        return (
            f"Measured: an exposure begins {self.start_us / 1e3:.0f} ms after a restart, {lost}; "
            f"its file is there {file_us / 1e3:.0f} ms after its end."
        )

    def frame_length_us(self, exposure_us: float) -> float:
        """From one frame to the next in a run of this exposure."""
        return max(exposure_us + self.gap_us, self.frame_us)

    def costs_us(self, exposure_us: float) -> dict[Way, float]:
        """From request to start of an exposure, for each way that is known.

        Free-running at its worst: the request comes when an exposure has just begun.
        """
        frame_us = self.frame_length_us(exposure_us)
        late_us = max(0.0, (self.free_running_us or 0.0) - self.frame_us)
        costs = {Way.RESTART: self.start_us + self.lost_frames * frame_us}
        if self.primer_us is not None:
            costs[Way.PRIMER] = self.primer_us
        return costs | {Way.FREE_RUNNING: frame_us + late_us}

    def run_start_us(self, exposure_us: float) -> float:
        """From request to the first exposure of a run, which begins with a start."""
        costs = self.costs_us(exposure_us)
        return min(cost for way, cost in costs.items() if way is not Way.FREE_RUNNING)

    def way(self, request: FrameRequest) -> Way | None:
        """The cheapest for a single frame; None where the worker has reasons of its own.

        That is when the lens may have to be moved, which takes frames too.
        """
        if any(name == "LensPosition" for name, _ in request.controls):
            return None
        costs = self.costs_us(request.exposure_us)
        return min(costs, key=lambda way: costs[way])


def believed(model: str, mode: ModeFacts, frame_bytes: int) -> Calibration:
    """What the table of sensors says of a mode that was never measured."""
    sensor, shortest_us = sensor_named(model), mode.frame_duration_min_us
    return Calibration(
        start_us=sensor.start_us,
        lost_frames=sensor.bad_frames,
        primer_us=ways.start_costs_us(sensor, mode, shortest_us)[Way.PRIMER],
        free_running_us=None,
        frame_us=shortest_us,
        gap_us=0.0,
        readout_us=shortest_us,
        finishing_us=0.0,
        frame_bytes=frame_bytes,
    )


# -- batches -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchOutlook:
    """A batch to be judged."""

    count: int
    exposure_us: int
    frame_bytes: int
    """Of the FITS file of one frame."""
    disk: str = ""
    """Where its frames are made safe before they count; empty for memory."""
    live: bool = True
    """Sent as they come, not after the last."""
    compressed: bool = False
    saved: bool = False
    """Written for the user too, before they are sent."""
    rate_bytes_s: float = 0.0
    """What clients are sent at most; 0 for no limit."""
    ahead_bytes: int = 0
    """What may be sent before the rate holds anything back."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a batch will take, in seconds from its request."""

    first_s: float
    """Until the first frame is taken."""
    next_s: float
    """From each to the next."""
    taken_s: float
    """Until the last is taken: finished in memory, or safe on the disk."""
    delivered_s: float
    """Until its last byte is with a client: a local one, or those that delivery was measured
    with."""


def estimate(known: Calibration, batch: BatchOutlook) -> Estimate:
    """The time of a batch; its stages work side by side, each on one frame after the other."""
    frame_s = known.frame_length_us(batch.exposure_us) / 1e6
    to_first_us = known.run_start_us(batch.exposure_us) + batch.exposure_us
    first_s = (to_first_us + known.readout_us + known.finishing_us) / 1e6
    is_measured_disk = bool(batch.disk) and batch.disk == known.disk
    taking = [_s(batch.frame_bytes, known.disk_bytes_s if is_measured_disk else None)]
    size, sending = _sending(known, batch)
    taken_s = _through(first_s, frame_s, batch.count, taking)
    if batch.live:
        delivered_s = _through(first_s, frame_s, batch.count, taking + sending)
    else:
        delivered_s = _through(taken_s, 0.0, batch.count, sending)
    held_back = max(0, batch.count * size - batch.ahead_bytes)
    rated_s = (first_s if batch.live else taken_s) + _s(held_back, batch.rate_bytes_s)
    return Estimate(
        first_s + sum(taking), max(frame_s, *taking), taken_s, max(delivered_s, rated_s)
    )


def _sending(known: Calibration, batch: BatchOutlook) -> tuple[int, list[float]]:
    """The bytes that are sent of a frame, and what preparing and delivering it take in seconds."""
    size, preparing_s = batch.frame_bytes, 0.0
    if batch.saved:
        preparing_s += _s(size, known.disk_bytes_s)
    if batch.compressed and known.compressing_us is not None and known.compressed_bytes:
        preparing_s += known.compressing_us / 1e6 * size / known.frame_bytes
        size = round(size * known.compressed_bytes / known.frame_bytes)
    return size, [preparing_s, _s(size, known.delivery_bytes_s)]


def _through(first_s: float, interval_s: float, count: int, stages: list[float]) -> float:
    """When the last of ``count`` pieces has passed all stages, the first having come then."""
    return first_s + sum(stages) + (count - 1) * max(interval_s, *stages)


def _s(size: int, bytes_s: float | None) -> float:
    return size / bytes_s if bytes_s else 0.0


# -- files -------------------------------------------------------------------------------------


def state_directory() -> Path:
    """Where calibrations are kept: ``~/.local/state/indi_picam/calibration``."""
    return files.user_directory("XDG_STATE_HOME", ".local/state") / "indi_picam" / "calibration"


def versions(simulated: bool) -> dict[str, str]:
    """What a calibration holds for; reads the package's metadata from the disk."""
    import importlib.metadata  # 20 ms that the start of the driver is spared

    try:
        picamera2 = importlib.metadata.version("picamera2")
    except importlib.metadata.PackageNotFoundError:
        picamera2 = "unknown"
    return {
        "indi_picam": __version__,
        "picamera2": picamera2,
        "libcamera": "simulated" if simulated else "of the system",
        "kernel": os.uname().release,
    }


def save(
    directory: Path, subject: Subject, versions: Mapping[str, str], known: Calibration
) -> None:
    """Keeps a calibration, all or nothing; raises CalibrationFault."""
    path = directory / subject.file_name
    content = {"form": _FORM, "versions": dict(versions), "measured": dataclasses.asdict(known)}
    try:
        files.replace(path, json.dumps(content, indent=1).encode())
    except OSError as fault:
        raise CalibrationFault(
            f"What was measured cannot be kept in {path} ({fault.strerror}): it will be measured "
            "again after the next start."
        ) from None


def load(directory: Path, subject: Subject, versions: Mapping[str, str]) -> Calibration | None:
    """A saved calibration; None when there is none.

    Raises CalibrationFault when it is damaged or holds for other versions.
    """
    path = directory / subject.file_name
    try:
        content = json.loads(path.read_text("utf-8"))
        held, known = content["versions"], _read(content["measured"])
        form = content["form"]
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise CalibrationFault(
            f"The calibration in {path} cannot be read ({fault.strerror}): the camera is measured "
            "anew."
        ) from None
    except (ValueError, TypeError, KeyError):
        raise CalibrationFault(
            f"The calibration in {path} is damaged: the camera is measured anew."
        ) from None
    if form != _FORM or held != dict(versions):
        raise CalibrationFault(
            f"The calibration in {path} holds for {_differing(held, versions)}: the camera is "
            "measured anew."
        )
    return known


def _read(values: Any) -> Calibration:
    """Raises ValueError, TypeError or KeyError for what cannot have been measured."""
    known = Calibration(**values)
    for field in dataclasses.fields(known):
        value = getattr(known, field.name)
        if field.name == "disk":
            fits = isinstance(value, str)
        elif value is None:
            fits = "None" in str(field.type)
        else:
            fits = type(value) in (int, float) and math.isfinite(value) and value >= 0
        if not fits:
            raise ValueError(f"{field.name} cannot be {value!r}")
    if not known.frame_us or not known.frame_bytes:
        raise ValueError("a frame has a size and a length")
    return known


def _differing(held: Any, versions: Mapping[str, str]) -> str:
    """What a calibration holds for, as far as it is not what there is now."""
    known = held if isinstance(held, Mapping) else {}
    others = [
        f"{name} {known.get(name, '?')}" for name in versions if known.get(name) != versions[name]
    ]
    return ", ".join(others) or "another version"
