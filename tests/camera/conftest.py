"""Real picamera2 in a real worker process, on simulated sensors whose truth is in a log."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indi_picam import clock
from indi_picam.camera.modes import FrameFacts, FrameRequest, ModeFacts, Roi, SensorMode
from indi_picam.camera.remote import Frame, RemoteCamera
from indi_picam.simulator import frame_log, sky, truth
from indi_picam.simulator import settings as simulator_settings
from indi_picam.simulator.settings import Settings

MODULE_PATH = str(Path(str(importlib.util.find_spec("indi_picam.simulator").origin)).parent)  # type: ignore[union-attr]


class Bench:
    """Simulated cameras of one test: what is plugged in, what goes wrong, what really happened."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self._directory, self._patch = directory, patch
        self.camera_id = ""

    def plug(self, cameras: str, *, scale: float = 1) -> None:
        """Plugs cameras in (a comma list of ``sensor[@pi4|@pi5]``) and sets the time scale."""
        configuration = self._directory / "simulator.ini"
        configuration.write_text(
            "[simulator]\nfault_file = faults.ini\nlog_file = log.jsonl\nrun_directory = .\n"
            "[sky]\nstars = 30\n"
        )
        self._patch.setenv("INDI_PICAM_SIMULATOR", cameras)
        self._patch.setenv("INDI_PICAM_SIMULATOR_CONFIG", str(configuration))
        self._patch.setenv("INDI_PICAM_TIME_SCALE", str(scale))
        self._patch.setattr(clock, "SCALE", scale)
        self.settings = simulator_settings.load()
        self.camera_id = self.settings.cameras[0].id

    def fault(self, text: str) -> None:
        """Switches faults on (one a line) from now on."""
        scratch = self._directory / "faults.new"
        scratch.write_text(f"[faults]\n{text}\n")
        scratch.replace(self._directory / "faults.ini")

    def log(self) -> list[dict[str, Any]]:
        """Every frame that the sensors really took."""
        return frame_log.read(self._directory / "log.jsonl")

    def logged(self, facts: FrameFacts) -> dict[str, Any]:
        """The log's line of a delivered frame."""
        patience = time.monotonic() + 1  # the log is written after the frame is handed over
        while True:
            for line in self.log():
                if line["readout_start_ns"] == facts.sensor_timestamp_ns:
                    return line
            assert time.monotonic() < patience, f"the sensor never took this frame: {facts}"

    @contextlib.asynccontextmanager
    async def camera(self) -> AsyncIterator[RemoteCamera]:
        """An open camera, gone again after the test."""
        remote = RemoteCamera(self.camera_id, module_path=MODULE_PATH)
        try:
            await remote.open()
            yield remote
        finally:
            await remote.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Simulated cameras in a directory of their own, with no descriptor left open afterwards."""
    before = set(os.listdir("/proc/self/fd"))
    yield Bench(tmp_path, monkeypatch)
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def run(test: Coroutine[Any, Any, None]) -> None:
    """Runs the body of a test on a loop of its own."""
    asyncio.run(test)


def request_of(mode: ModeFacts | SensorMode, exposure_us: int, **options: Any) -> FrameRequest:
    """A request for a whole frame at gain 2, unless the options say otherwise."""
    sensor_mode = mode.mode if isinstance(mode, ModeFacts) else mode
    wanted: dict[str, Any] = {"roi": sensor_mode.full_frame, "gain": 2.0} | options
    return FrameRequest(mode=sensor_mode, exposure_us=exposure_us, **wanted)


def pixels_of(frame: Frame) -> NDArray[np.uint16]:
    """The stored pixels as a FITS reader sees them; the frame's memory is given back."""
    facts = frame.facts
    data = os.pread(frame.memory, facts.width * facts.height * 2, facts.header_room)
    os.close(frame.memory)
    values = np.frombuffer(data, ">i2").astype(np.int32) + 32768
    image: NDArray[np.uint16] = values.astype(np.uint16).reshape(facts.height, facts.width)
    return image


def true_pixels(
    bench: Bench, logged: dict[str, Any], roi: Roi, binning: int, scaled: bool
) -> NDArray[np.uint16]:
    """What the stored pixels of a logged frame must be, from the simulation's truth."""
    bits = bench.settings.cameras[0].sensor.mode(logged["mode"]).bits
    adc = truth.render(logged, bench.settings).astype(np.uint32)
    values = adc[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] << (
        16 - bits if scaled else 0
    )
    height, width = roi.height // binning, roi.width // binning
    cells = values[: height * binning, : width * binning]
    summed = cells.reshape(height, binning, width, binning).sum(axis=(1, 3), dtype=np.uint32)
    image: NDArray[np.uint16] = np.minimum(summed, 65535).astype(np.uint16)
    return image


async def take(camera: RemoteCamera, request: FrameRequest) -> list[Frame]:
    """All frames of a request."""
    return [frame async for frame in camera.take(request)]


async def take_one(camera: RemoteCamera, request: FrameRequest) -> FrameFacts:
    """The facts of the only frame of a request, its pixels thrown away."""
    (frame,) = await take(camera, request)
    os.close(frame.memory)
    return frame.facts


def sharpness(image: NDArray[Any], logged: dict[str, Any], settings: Settings) -> float:
    """The light of a bright star that falls on 3 x 3 pixels, in ADU."""
    sensor = settings.cameras[0].sensor
    mode = sensor.mode(logged["mode"])
    field = sky.stars(settings.sky, sensor)
    x, y = sky.to_mode(field.x, field.y, mode, logged["hflip"], logged["vflip"])
    inside = (x > 20) & (x < mode.width - 20) & (y > 20) & (y < mode.height - 20)
    fits_well = field.rate * logged["exposure_us"] / 1e6 * logged["gain"] < sensor.silicon.full_well
    star = np.argmax(np.where(inside & fits_well, field.rate, 0))
    column, row = int(x[star]), int(y[star])
    light = image.astype(float) - np.median(image)
    return float(light[row - 1 : row + 2, column - 1 : column + 2].sum())
