"""A camera through picamera2: its dictionaries end here, our own types begin.

The only importer of picamera2. Everything is set by hand: raw unpacked, auto-exposure and white
balance off, exposure, gain and frame duration together and before every start. What libcamera
grants is read back, never assumed. Knows no commands and no memfds; called by :mod:`.taking`, in
the worker process, from one thread.

picamera2's own thread only notes that a request completed: it appends to a queue and sets an
eventfd.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indi_picam import clock
from indi_picam.camera.modes import (
    CameraFacts,
    CameraFault,
    Metadata,
    ModeFacts,
    SensorMode,
    Settings,
)
from indi_picam.camera.pixels import RawLayout, raw_layout
from indi_picam.camera.sensors import INT32_MAX, Sensor, exposure_limits_us, line_us, sensor_named

if TYPE_CHECKING:
    from picamera2 import CompletedRequest, Picamera2
    from picamera2.job import Job

BUFFERS = 2
"""Enough to keep every frame of a free-running sensor; one misses a fifth, more only add delay."""


class Capture:
    """One completed request: metadata and pixels, until its buffer is given back."""

    def __init__(self, request: CompletedRequest, completed_ns: int) -> None:
        self._request = request
        self.completed_ns = completed_ns
        """When libcamera handed the request over."""
        self.metadata = _metadata(request.get_metadata())

    @property
    def good(self) -> bool:
        """False for start-up frames, which picamera2 before 0.3.28 hands over too."""
        buffers = self._request.request.buffers.values()
        return all(buffer.metadata.status.name == "Success" for buffer in buffers)

    @contextmanager
    def raw(self) -> Iterator[NDArray[np.uint8]]:
        """The camera's own buffer as bytes; it must not be used after the block."""
        from picamera2 import MappedArray

        with MappedArray(self._request, "raw", reshape=False, write=False) as mapped:
            yield mapped.array

    def release(self) -> None:
        """Gives the buffer back to the camera; controls that wait are sent with it."""
        self._request.release()


class PiCamera:
    """One open camera; opening raises CameraFault with a sentence that says what to do."""

    def __init__(self, camera_id: str) -> None:
        self._picam2 = _open(camera_id)
        self.ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when ``finished`` has something."""
        self._finished: deque[tuple[Job[CompletedRequest], int]] = deque()
        self._unpacked: dict[SensorMode, str] = {}
        self._configured: ModeFacts | None = None
        self.layout: RawLayout
        properties = self._picam2.camera_properties
        self.sensor: Sensor = sensor_named(str(properties.get("Model", "")))
        self.facts = self._camera_facts(properties)

    def _camera_facts(self, properties: dict[str, Any]) -> CameraFacts:
        limits: dict[SensorMode, int] = {}
        for bits, size, unpacked, exposures in _raw_modes(self._picam2):
            mode = SensorMode(*size, bits)
            if mode not in limits:
                self._unpacked[mode] = unpacked
                # picamera2 leaves zeros out of the three: with two, the maximum may be missing.
                reported = exposures if len(exposures) == 3 else ()
                limits[mode] = exposure_limits_us(self.sensor, reported, 0)[1]
        if not limits:
            raise CameraFault(
                "The camera has no raw mode; only cameras with raw frames can be used.", retry=False
            )
        modes = sorted(limits, key=lambda mode: (mode.width * mode.height, mode.bits), reverse=True)
        largest = (modes[0].width, modes[0].height)
        return CameraFacts(
            camera_id=str(self._picam2.camera.id),
            model=str(properties.get("Model", "unknown")),
            pixel_size_um=self._pixel_size_um(1, 1),
            pixel_array=_pair(properties.get("PixelArraySize")) or largest,
            modes=tuple(modes),
            has_temperature=self.sensor.has_temperature,
            exposure_max_us=tuple(
                limits[mode] if limits[mode] < INT32_MAX else 0 for mode in modes
            ),
        )

    def _pixel_size_um(self, binned_x: int, binned_y: int) -> tuple[float, float]:
        cell = _pair(self._picam2.camera_properties.get("UnitCellSize"))
        width, height = (
            (cell[0] / 1000, cell[1] / 1000) if cell else (self.sensor.pixel_size_um,) * 2
        )
        return width * binned_x, height * binned_y

    def configure(self, mode: SensorMode) -> ModeFacts:
        """Sets up a mode on a stopped camera, reads back what was granted; raises CameraFault."""
        if self._configured is not None and self._configured.mode == mode:
            return self._configured
        if mode not in self._unpacked:
            names = ", ".join(known.name for known in self.facts.modes)
            raise CameraFault(
                f"The camera has no sensor mode {mode.name}; it has {names}.", retry=False
            )
        self._configured = None
        try:
            self._set_up(mode, BUFFERS)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            self._set_up_with_less(mode)
        raw = self._picam2.camera_configuration()["raw"]
        if tuple(raw["size"]) != (mode.width, mode.height):
            raise CameraFault(
                f"The camera was asked for {mode.name} and granted {raw['size']}.", retry=False
            )
        self.layout = raw_layout(mode, raw["format"], raw["stride"])
        self._configured = self._mode_facts(mode, raw["format"])
        return self._configured

    def _set_up_with_less(self, mode: SensorMode) -> None:
        """One buffer still takes single frames where contiguous memory is short."""
        try:
            self._set_up(mode, 1)
        except OSError as error:
            raise CameraFault(
                "There is not enough contiguous (CMA) memory for the sensor mode"
                f" {mode.name}: choose a smaller mode, or raise it in /boot/firmware/config.txt"
                " (dtoverlay=vc4-kms-v3d,cma-512) and reboot.",
                retry=False,
            ) from error

    def _set_up(self, mode: SensorMode, buffers: int) -> None:
        size = (mode.width, mode.height)
        try:
            self._picam2.configure(
                self._picam2.create_still_configuration(
                    main={"format": "YUV420", "size": _main_size(mode)},
                    raw={"format": self._unpacked[mode], "size": size},
                    sensor={"output_size": size, "bit_depth": mode.bits},
                    buffer_count=buffers,
                    queue=False,
                )
            )
        except RuntimeError as error:
            raise CameraFault(
                f"The camera refused the sensor mode {mode.name}: {error}.", retry=True
            ) from error

    def _mode_facts(self, mode: SensorMode, raw_format: str) -> ModeFacts:
        controls = self._picam2.camera_controls
        frame_min_us, frame_max_us = (
            int(value or 0) for value in controls["FrameDurationLimits"][:2]
        )
        low, high = exposure_limits_us(self.sensor, controls["ExposureTime"], frame_max_us)
        gain_min, gain_max = controls["AnalogueGain"][:2]
        crop = (
            controls["ScalerCrop"][1]
            if "ScalerCrop" in controls
            else (0, 0, mode.width, mode.height)
        )
        return ModeFacts(
            mode=mode,
            raw_format=raw_format,
            bayer_pattern=self.layout.bayer_pattern,
            pixel_size_um=self._pixel_size_um(
                max(1, round(crop[2] / mode.width)), max(1, round(crop[3] / mode.height))
            ),
            exposure_min_us=low,
            exposure_max_us=high,
            exposure_step_us=line_us(mode, low, frame_min_us),
            gain_min=float(gain_min or 1.0),
            gain_max=float(gain_max or 1.0),
            frame_duration_min_us=frame_min_us,
            frame_duration_max_us=max(frame_max_us, high),
        )

    def start(self, facts: ModeFacts, settings: Settings) -> None:
        """Starts the sensor; its first frame has these settings already. Raises CameraFault."""
        self._picam2.set_controls(self._controls(facts, settings))
        try:
            self._picam2.start()
        except (RuntimeError, OSError) as error:
            raise CameraFault(
                f"The sensor does not start ({error}): check the camera's cable and power.",
                retry=True,
            ) from error

    def change(self, facts: ModeFacts, settings: Settings) -> None:
        """Sends other settings to the running sensor, with the next request that is queued."""
        self._picam2.set_controls(self._controls(facts, settings))

    def _controls(self, facts: ModeFacts, settings: Settings) -> dict[str, Any]:
        """Value types are strict: what is no int for an int ends picamera2's event loop."""
        wanted = {
            "AeEnable": False,
            "AwbEnable": False,
            "ColourGains": (1.0, 1.0),
            "ExposureTime": max(1, int(settings.exposure_us)),
            "AnalogueGain": float(settings.gain),
            "FrameDurationLimits": (facts.frame_duration_min_us, facts.frame_duration_max_us),
        }
        return {
            name: value for name, value in wanted.items() if name in self._picam2.camera_controls
        }

    def ask(self) -> None:
        """Asks for one more frame; it comes out of ``finished``, in the order of asking."""
        self._picam2.capture_request(wait=False, signal_function=self._completed)

    def _completed(self, job: Job[CompletedRequest]) -> None:
        """In picamera2's thread."""
        self._finished.append((job, clock.monotonic_ns()))
        os.eventfd_write(self.ready, 1)

    def finished(self) -> Iterator[Capture]:
        """Frames that were asked for and have come; whoever takes one releases it."""
        try:
            os.eventfd_read(self.ready)
        except BlockingIOError:
            pass
        while self._finished:
            job, completed_ns = self._finished.popleft()
            yield Capture(job.get_result(), completed_ns)

    def forget(self) -> None:
        """Drops all that was asked for and has not come; the sensor runs on."""
        self._picam2.cancel_all_and_flush()
        for capture in self.finished():
            capture.release()

    def stop(self) -> None:
        """Stops the sensor at once, in the middle of an exposure too.

        picamera2's stop waits behind pending captures for as long as they take: they go first.
        """
        self._picam2.cancel_all_and_flush()
        self._picam2.stop()
        for capture in self.finished():
            capture.release()

    def close(self) -> None:
        """Frees the camera."""
        self.stop()
        self._picam2.close()


def _open(camera_id: str) -> Picamera2:
    """The camera of this Id, or without one the first that libcamera lists."""
    picamera2 = _import_picamera2()
    ids = [camera["Id"] for camera in picamera2.Picamera2.global_camera_info()]
    if not ids:
        raise CameraFault(
            "libcamera finds no camera: check its cable with the power off, and that"
            " `rpicam-hello --list-cameras` shows it; then connect again.",
            retry=False,
        )
    if camera_id and camera_id not in ids:
        raise CameraFault(
            f"The camera {camera_id} is not there (libcamera lists {', '.join(ids)}):"
            " check its cable with the power off, then connect again.",
            retry=False,
        )
    try:
        camera: Picamera2 = picamera2.Picamera2(ids.index(camera_id or ids[0]))
    except (RuntimeError, OSError) as error:
        raise _opening_fault(error) from error
    return camera


def _import_picamera2() -> Any:
    for package, remedy in (("libcamera", "python3-libcamera"), ("picamera2", "python3-picamera2")):
        try:
            module = __import__(package)
        except ModuleNotFoundError as error:
            raise CameraFault(
                f"The Python module {error.name or package} is missing: run"
                f" `sudo apt install {remedy}`, and make a virtual environment with"
                " --system-site-packages.",
                retry=False,
            ) from error
        except Exception as error:
            # A numpy of another build than picamera2's parts raises ValueError, others ImportError.
            raise CameraFault(
                f"The Python module {package} cannot be loaded ({error}): numpy and picamera2"
                " must both come from apt; remove the ones that pip installed.",
                retry=False,
            ) from error
    return module


def _opening_fault(error: BaseException) -> CameraFault:
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    if any("busy" in reason.lower() for reason in reasons):
        return CameraFault(
            "The camera is held by another program: end it (`fuser -v /dev/media*` names it; often"
            " rpicam-hello, motion or a second driver) and connect again.",
            retry=False,
        )
    return CameraFault(
        f"The camera could not be opened ({reasons[-1]}): check its cable and power, then connect"
        " again.",
        retry=True,
    )


def _raw_modes(picam2: Picamera2) -> list[tuple[int, tuple[int, int], str, tuple[object, ...]]]:
    """Depth, size, unpacked format and exposure limits of every raw mode.

    picamera2 allocates buffers for each mode to learn its limits, and small Pis have run out of
    memory there (picamera2 #1358): then the limits stay unknown until a mode is configured.
    """
    try:
        modes = [mode for mode in picam2.sensor_modes if "bit_depth" in mode]
        return [
            (m["bit_depth"], m["size"], m["unpacked"], tuple(m["exposure_limits"])) for m in modes
        ]
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
    from libcamera import StreamRole
    from picamera2 import SensorFormat

    formats = picam2.camera.generate_configuration([StreamRole.Raw]).at(0).formats
    found: list[tuple[int, tuple[int, int], str, tuple[object, ...]]] = []
    for pixel_format in formats.pixel_formats:
        raw = SensorFormat(str(pixel_format))
        found += [
            (raw.bit_depth, (size.width, size.height), raw.unpacked, ())
            for size in formats.sizes(pixel_format)
        ]
    return found


def _main_size(mode: SensorMode) -> tuple[int, int]:
    """The smallest processed image that the ISP can make beside the raw one: it cannot be left out.

    Even, and not scaled down by more than 16, the limit of the Pi 0 to 4.
    """
    width, height = (max(64, -(-length // 16)) for length in (mode.width, mode.height))
    return width + width % 2, height + height % 2


def _metadata(values: dict[str, Any]) -> Metadata:
    levels = values.get("SensorBlackLevels") or (0,)
    temperature = values.get("SensorTemperature")
    return Metadata(
        exposure_us=int(values.get("ExposureTime", 0)),
        gain=float(values.get("AnalogueGain", 0.0)),
        digital_gain=float(values.get("DigitalGain", 1.0)),
        frame_duration_us=int(values.get("FrameDuration", 0)),
        sensor_timestamp_ns=int(values.get("SensorTimestamp", 0)),
        temperature_c=None if temperature is None else float(temperature),
        black_level=sum(levels) / len(levels),
    )


def _pair(value: Any) -> tuple[int, int] | None:
    """Width and height of a libcamera Size, which picamera2 hands over as a tuple."""
    return (int(value[0]), int(value[1])) if value and value[0] and value[1] else None
