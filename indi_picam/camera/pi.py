"""A camera through picamera2: its dictionaries end here, our own types begin.

Beside :mod:`.opening` the only importer of picamera2. Everything is set by hand: raw unpacked,
auto-exposure off, exposure, gain, lens and frame duration together and before every start, white
balance and looks as the request says. What libcamera grants is read back, never assumed. Knows no
commands and no memfds; called by :mod:`.taking`, in the worker process, from one thread.

The raw stream is always there. The processed one, which cannot be left out, is as small as the ISP
makes it, unless a picture of the ISP is wanted.

picamera2's own thread only notes that a request completed: it appends to a queue and sets an
eventfd.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from indi_picam import clock
from indi_picam.camera.defects import corrects_defects, parameter_of
from indi_picam.camera.images import ImageLayout
from indi_picam.camera.modes import (
    MORE_MEMORY,
    UPRIGHT,
    CameraFacts,
    CameraFault,
    CaptureFormat,
    ControlLimits,
    Metadata,
    ModeFacts,
    Orientation,
    SensorMode,
    Settings,
)
from indi_picam.camera.opening import open_camera, raw_modes
from indi_picam.camera.pixels import RawLayout, raw_layout
from indi_picam.camera.sensors import INT32_MAX, Sensor, exposure_limits_us, line_us, sensor_named

if TYPE_CHECKING:
    from picamera2 import CompletedRequest
    from picamera2.job import Job

BUFFERS = 3
"""Two keep every frame of a free-running sensor, one misses a fifth; the third lets all be late by
a frame. More only add delay."""
BUFFER_BYTES = 130_000_000
"""Beyond which two must do: contiguous memory is short, many Pis have 256 MB of it."""


Stream = Literal["raw", "main"]
MAIN_FORMATS = {
    CaptureFormat.RAW: "YUV420",
    CaptureFormat.MONO: "YUV420",
    CaptureFormat.RGB: "BGR888",
}
"""Of the processed stream. BGR888 is red, green, blue in memory (DRM names words, not bytes)."""
IMAGE_BYTES = {CaptureFormat.RAW: 0.0, CaptureFormat.MONO: 1.5, CaptureFormat.RGB: 3.0}
"""Of a pixel of the processed stream, which is next to nothing beside raw pictures."""


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

    @property
    def number(self) -> int:
        """How many frames of the sensor came since its start before this one.

        libcamera counts anew from each start (v4l2_videodevice.cpp), bad ones too, which itself
        before 0.5.1 and picamera2 from 0.3.28 on hand to nobody.
        """
        buffers = self._request.request.buffers.values()
        return max(int(buffer.metadata.sequence) for buffer in buffers)

    @contextmanager
    def buffer(self, stream: Stream) -> Iterator[NDArray[np.uint8]]:
        """The camera's own buffer as bytes; it must not be used after the block."""
        from picamera2 import MappedArray

        with MappedArray(self._request, stream, reshape=False, write=False) as mapped:
            yield mapped.array

    def release(self) -> None:
        """Gives the buffer back to the camera; controls that wait are sent with it."""
        self._request.release()


class PiCamera:
    """One open camera; opening raises CameraFault with a sentence that says what to do."""

    def __init__(self, camera_id: str) -> None:
        self._picam2 = open_camera(camera_id)
        self.ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when ``finished`` has something."""
        self._finished: deque[tuple[Job[CompletedRequest], int]] = deque()
        self._unpacked: dict[SensorMode, str] = {}
        self._configured: tuple[ModeFacts, CaptureFormat] | None = None
        self._control_limits: dict[str, tuple[Any, Any, Any]]
        """Of the mode that is set up; picamera2 collects them anew for whoever asks."""
        self.layout: RawLayout
        self.image: ImageLayout
        """Of the processed stream."""
        properties = self._picam2.camera_properties
        model = str(properties.get("Model", ""))
        self.sensor: Sensor = sensor_named(model)
        self._defects = parameter_of(model)
        self.corrects_defects = corrects_defects(self._defects)
        """Whether the sensor removes defects by itself since its last start; None: unknown."""
        self.facts = self._camera_facts(properties)

    def _camera_facts(self, properties: dict[str, Any]) -> CameraFacts:
        limits: dict[SensorMode, int] = {}
        for bits, size, unpacked, exposures in raw_modes(self._picam2):
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
            controls=tuple(_limits(self._picam2.camera_controls)),
            corrects_defects=self.corrects_defects,
        )

    def _pixel_size_um(self, binned_x: int, binned_y: int) -> tuple[float, float]:
        cell = _pair(self._picam2.camera_properties.get("UnitCellSize"))
        width, height = (
            (cell[0] / 1000, cell[1] / 1000) if cell else (self.sensor.pixel_size_um,) * 2
        )
        return width * binned_x, height * binned_y

    def configure(
        self,
        mode: SensorMode,
        orientation: Orientation = UPRIGHT,
        capture_format: CaptureFormat = CaptureFormat.RAW,
    ) -> ModeFacts:
        """Sets up a mode on a stopped camera, reads back what was granted; raises CameraFault."""
        if self._configured is not None:
            facts, ready_for = self._configured
            if (facts.mode, facts.orientation, ready_for) == (mode, orientation, capture_format):
                return facts
        if mode not in self._unpacked:
            names = ", ".join(known.name for known in self.facts.modes)
            raise CameraFault(
                f"The camera has no sensor mode {mode.name}; it has {names}.", retry=False
            )
        self._configured = None
        buffers = self._set_up(mode, orientation, capture_format)
        facts = self._granted(mode, orientation, capture_format, buffers)
        self._configured = (facts, capture_format)
        return facts

    def _granted(
        self,
        mode: SensorMode,
        orientation: Orientation,
        capture_format: CaptureFormat,
        buffers: int,
    ) -> ModeFacts:
        raw, main = (self._picam2.camera_configuration()[name] for name in ("raw", "main"))
        size = (mode.width, mode.height)
        for stream in (raw, main) if capture_format is not CaptureFormat.RAW else (raw,):
            if tuple(stream["size"]) != size:
                raise CameraFault(
                    f"The camera was asked for {mode.name} and granted {stream['size']};"
                    " choose another sensor mode.",
                    retry=False,
                )
        self.layout = raw_layout(mode, raw["format"], raw["stride"])
        width, height = main["size"]
        self.image = ImageLayout(width, height, main["stride"], capture_format.planes)
        return self._mode_facts(mode, orientation, raw["format"], buffers)

    def _set_up(
        self, mode: SensorMode, orientation: Orientation, capture_format: CaptureFormat
    ) -> int:
        """Sets up with as many buffers as there is memory for, and returns how many.

        One still takes single frames.
        """
        for buffers in range(_most_buffers(mode, capture_format), 0, -1):
            try:
                self._set_up_with(buffers, mode, orientation, capture_format)
                return buffers
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
        raise CameraFault(
            f"There is not enough contiguous (CMA) memory for {capture_format.value} pictures"
            f" of the sensor mode {mode.name}: {MORE_MEMORY}",
            retry=False,
        )

    def _set_up_with(
        self,
        buffers: int,
        mode: SensorMode,
        orientation: Orientation,
        capture_format: CaptureFormat,
    ) -> None:
        from libcamera import Transform

        size = (mode.width, mode.height)
        main_size = _smallest(mode) if capture_format is CaptureFormat.RAW else size
        try:
            self._picam2.configure(
                self._picam2.create_still_configuration(
                    main={"format": MAIN_FORMATS[capture_format], "size": main_size},
                    raw={"format": self._unpacked[mode], "size": size},
                    sensor={"output_size": size, "bit_depth": mode.bits},
                    transform=Transform(hflip=orientation.hflip, vflip=orientation.vflip),
                    buffer_count=buffers,
                    queue=False,
                )
            )
        except RuntimeError as error:
            raise CameraFault(
                f"The camera refused the sensor mode {mode.name}: {error}.", retry=True
            ) from error

    def _mode_facts(
        self, mode: SensorMode, orientation: Orientation, raw_format: str, buffers: int
    ) -> ModeFacts:
        controls = self._control_limits = self._picam2.camera_controls
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
            buffers=buffers,
            orientation=orientation,
        )

    def start(self, facts: ModeFacts, settings: Settings) -> None:
        """Starts the sensor; its first frame has these settings already. Raises CameraFault."""
        self._picam2.set_controls(self._controls(facts, settings))
        self.corrects_defects = corrects_defects(self._defects)
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
        known = self._control_limits
        asked = {
            name: _of_kind_of(known[name][0], values)
            for name, values in settings.controls
            if name in known
        }
        wanted = {
            "AeEnable": False,
            "AwbEnable": False,
            "ColourGains": (1.0, 1.0),
            "AfMode": 0,
            "ExposureTime": max(1, int(settings.exposure_us)),
            "AnalogueGain": float(settings.gain),
            "FrameDurationLimits": (facts.frame_duration_min_us, facts.frame_duration_max_us),
        } | asked
        if wanted["AwbEnable"]:
            del wanted["ColourGains"]  # they would end the automatic white balance
        return {name: value for name, value in wanted.items() if name in known}

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


def _most_buffers(mode: SensorMode, capture_format: CaptureFormat) -> int:
    """How many to ask for; each holds a raw frame of 16 bits, and the picture of the ISP if any."""
    bytes_a_pixel = 2 + IMAGE_BYTES[capture_format]
    return max(2, min(BUFFERS, int(BUFFER_BYTES / (bytes_a_pixel * mode.width * mode.height))))


def _smallest(mode: SensorMode) -> tuple[int, int]:
    """The smallest processed image that the ISP can make beside the raw one: it cannot be left out.

    Even, and not scaled down by more than 16, the limit of the Pi 0 to 4.
    """
    width, height = (max(64, -(-length // 16)) for length in (mode.width, mode.height))
    return width + width % 2, height + height % 2


def _metadata(values: dict[str, Any]) -> Metadata:
    levels = values.get("SensorBlackLevels") or (0,)
    gains, kelvin = values.get("ColourGains"), values.get("ColourTemperature")
    return Metadata(
        exposure_us=int(values.get("ExposureTime", 0)),
        gain=float(values.get("AnalogueGain", 0.0)),
        digital_gain=float(values.get("DigitalGain", 1.0)),
        frame_duration_us=int(values.get("FrameDuration", 0)),
        sensor_timestamp_ns=int(values.get("SensorTimestamp", 0)),
        temperature_c=_float_or_none(values.get("SensorTemperature")),
        black_level=sum(levels) / len(levels),
        lens_position=_float_or_none(values.get("LensPosition")),
        colour_gains=None if gains is None else (float(gains[0]), float(gains[1])),
        colour_temperature_k=None if kelvin is None else int(kelvin),
    )


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def _limits(controls: dict[str, tuple[Any, Any, Any]]) -> Iterator[ControlLimits]:
    """Every control whose limits are numbers, as booleans and enumerators are."""
    for name, (low, high, default) in controls.items():
        if isinstance(low, (int, float)) and isinstance(high, (int, float)):
            usual = float(default) if isinstance(default, (int, float)) else None
            yield ControlLimits(name, float(low), float(high), usual)


def _of_kind_of(sample: Any, values: tuple[float, ...]) -> Any:
    """Values of a control as its type, which its limits show: bool, int or float."""
    converted = tuple(type(sample)(value) for value in values)
    return converted if len(converted) > 1 else converted[0]


def _pair(value: Any) -> tuple[int, int] | None:
    """Width and height of a libcamera Size, which picamera2 hands over as a tuple."""
    return (int(value[0]), int(value[1])) if value and value[0] and value[1] else None
