"""Configurations of the camera and its streams, and their adjustment to what the hardware can do.

``validate`` follows libcamera's Raspberry Pi pipeline: the sensor configuration must match a mode
exactly; the raw stream takes the mode's size, the mount's Bayer order and the platform's packing;
processed streams are bounded.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indi_picam.simulator.truth import Mode, order_after

from .casting import instance, unsigned
from .geometry import Size
from .orientation import ColorSpace, Orientation, StreamRole
from .pixel_format import BYTES, PLANAR, PROCESSED, RAW, PixelFormat, layout, raw_name

if TYPE_CHECKING:
    from indi_picam.simulator.settings import Camera

STRIDE_ALIGNMENT = {"pi4": 32, "pi5": 64}
LARGEST_DOWNSCALE = {"pi4": 16, "pi5": 64}
# Orientations which flips alone can reach, as (hflip, vflip).
_FLIPS = {
    Orientation.Rotate0: (False, False),
    Orientation.Rotate0Mirror: (True, False),
    Orientation.Rotate180Mirror: (False, True),
    Orientation.Rotate180: (True, True),
}


class StreamFormats:
    """Pixel formats and sizes a stream can have."""

    def __init__(self, formats: dict[str, list[tuple[int, int]]] | None = None) -> None:
        self._formats = formats or {}

    @property
    def pixel_formats(self) -> list[PixelFormat]:
        """All of them."""
        return [PixelFormat(name) for name in self._formats]

    def sizes(self, pixelformat: PixelFormat) -> list[Size]:
        """Sizes of one format; empty for a format that is not there."""
        return [
            Size(*size) for size in self._formats.get(str(instance(pixelformat, PixelFormat)), [])
        ]


class Stream:
    """One stream of a camera, by identity."""

    def __init__(self) -> None:
        self._configuration: StreamConfiguration | None = None

    @property
    def configuration(self) -> StreamConfiguration | None:
        """The configuration it was last configured with."""
        return self._configuration


class StreamConfiguration:
    """What is asked of a stream, and after validation what it gets."""

    def __init__(self, formats: StreamFormats | None = None) -> None:
        self._size, self._pixel_format = Size(), PixelFormat()
        self._stride = self._frame_size = self._buffer_count = 0
        self._formats = formats or StreamFormats()
        self.color_space: ColorSpace | None = None
        self._stream: Stream | None = None

    @property
    def stream(self) -> Stream | None:
        """Set by Camera.configure."""
        return self._stream

    @property
    def formats(self) -> StreamFormats:
        """What it can have."""
        return self._formats

    @property
    def size(self) -> Size:
        """In pixels."""
        return self._size

    @size.setter
    def size(self, value: Size) -> None:
        self._size = instance(value, Size)

    @property
    def pixel_format(self) -> PixelFormat:
        """Of its buffers."""
        return self._pixel_format

    @pixel_format.setter
    def pixel_format(self, value: PixelFormat) -> None:
        self._pixel_format = instance(value, PixelFormat)

    @property
    def stride(self) -> int:
        """Bytes from row to row."""
        return self._stride

    @stride.setter
    def stride(self, value: int) -> None:
        self._stride = unsigned(value)

    @property
    def frame_size(self) -> int:
        """Bytes of a frame."""
        return self._frame_size

    @frame_size.setter
    def frame_size(self, value: int) -> None:
        self._frame_size = unsigned(value)

    @property
    def buffer_count(self) -> int:
        """How many buffers there should be."""
        return self._buffer_count

    @buffer_count.setter
    def buffer_count(self, value: int) -> None:
        self._buffer_count = unsigned(value)

    def __str__(self) -> str:
        return f"{self._size}-{self._pixel_format}"


class SensorConfiguration:
    """The mode of the sensor that is asked for."""

    def __init__(self) -> None:
        self._bit_depth = 0
        self._output_size = Size()

    @property
    def bit_depth(self) -> int:
        """Of the ADC."""
        return self._bit_depth

    @bit_depth.setter
    def bit_depth(self, value: int) -> None:
        self._bit_depth = unsigned(value)

    @property
    def output_size(self) -> Size:
        """Of the mode."""
        return self._output_size

    @output_size.setter
    def output_size(self, value: Size) -> None:
        self._output_size = instance(value, Size)

    def is_valid(self) -> bool:
        """Whether depth and size are given."""
        return self._bit_depth > 0 and not self._output_size.is_null


class CameraConfiguration:
    """The streams of a camera, the orientation and the sensor's mode."""

    class Status(enum.Enum):
        """What validation made of it."""

        Valid = 0
        Adjusted = 1
        Invalid = 2

    def __init__(self, camera: Camera, streams: list[StreamConfiguration]) -> None:
        self._camera, self._streams = camera, streams
        self.orientation: Orientation = Orientation.Rotate0
        self.sensor_config: SensorConfiguration | None = None
        self._mode: Mode | None = None

    def at(self, index: int) -> StreamConfiguration:
        """The configuration of one stream."""
        return self._streams[index]

    def __iter__(self) -> Iterator[StreamConfiguration]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def size(self) -> int:
        """How many streams."""
        return len(self._streams)

    @property
    def empty(self) -> bool:
        """Whether there is no stream."""
        return not self._streams

    def validate(self) -> CameraConfiguration.Status:
        """Adjust everything to what the camera can do."""
        status = CameraConfiguration.Status
        raw = [stream for stream in self._streams if str(stream.pixel_format) in RAW]
        processed = [stream for stream in self._streams if stream not in raw]
        sensor = self.sensor_config
        if (
            not self._streams
            or len(raw) > 1
            or len(processed) > 2
            or (sensor and not sensor.is_valid())
        ):
            return status.Invalid
        if sensor:
            bits, size = sensor.bit_depth, sensor.output_size
        elif raw:
            parts = RAW.get(str(raw[0].pixel_format))
            bits, size = parts[1] if parts else 12, raw[0].size
        else:
            bits, size = 12, max((stream.size for stream in processed), key=lambda size: size.width)
        mode = best_mode(self._camera.sensor.modes, size, bits)
        if sensor and (mode.bits != bits or (mode.width, mode.height) != (size.width, size.height)):
            return status.Invalid
        self._mode = mode
        adjusted = False
        if self.orientation not in _FLIPS:
            self.orientation, adjusted = Orientation.Rotate0, True
        for stream in raw:
            adjusted |= self._fit_raw(stream, mode)
        for stream in processed:
            adjusted |= self._fit_processed(stream, mode)
        return status.Adjusted if adjusted else status.Valid

    def _fit_raw(self, stream: StreamConfiguration, mode: Mode) -> bool:
        before = (str(stream.pixel_format), stream.size.width, stream.size.height)
        _, _, packing = RAW[before[0]]
        order = order_after(self._camera.sensor.order, *flips(self))
        bits = mode.bits
        if self._camera.platform == "pi5":
            bits, packing = 16, "PISP_COMP1" if packing else ""
        elif packing:
            packing = "CSI2P"
        name = raw_name(order, bits, packing)
        stream.pixel_format, stream.size = PixelFormat(name), Size(mode.width, mode.height)
        stream.color_space = ColorSpace.Raw()
        self._lay_out(stream)
        return before != (name, mode.width, mode.height)

    def _fit_processed(self, stream: StreamConfiguration, mode: Mode) -> bool:
        before = (str(stream.pixel_format), stream.size.width, stream.size.height)
        name = before[0] if before[0] in BYTES or before[0] in PLANAR else "XBGR8888"
        scale = LARGEST_DOWNSCALE[self._camera.platform]
        least_width, least_height = (
            -(-side // scale) + 1 & ~1 for side in (mode.width, mode.height)
        )
        width = max(stream.size.width & ~1, least_width)
        height = max(stream.size.height & ~1, least_height)
        stream.pixel_format, stream.size = PixelFormat(name), Size(width, height)
        stream.color_space = stream.color_space or ColorSpace.Sycc()
        self._lay_out(stream)
        return before != (name, width, height)

    def _lay_out(self, stream: StreamConfiguration) -> None:
        align = STRIDE_ALIGNMENT[self._camera.platform]
        name, size = str(stream.pixel_format), stream.size
        stream.stride, stream.frame_size = layout(
            name, size.width, size.height, stream.stride, align
        )


def flips(configuration: CameraConfiguration) -> tuple[bool, bool]:
    """Whether the sensor reads out mirrored, horizontally and vertically: mount and orientation."""
    turned = configuration._camera.sensor.rotation == 180
    hflip, vflip = _FLIPS[configuration.orientation]
    return hflip ^ turned, vflip ^ turned


def granted_mode(configuration: CameraConfiguration) -> Mode:
    """The mode that validation chose."""
    if configuration._mode is None:
        raise RuntimeError("Failed to configure camera: Invalid argument")
    return configuration._mode


def bind(stream: StreamConfiguration) -> Stream:
    """Give a validated stream its identity."""
    stream._stream = stream._stream or Stream()
    stream._stream._configuration = stream
    return stream._stream


def best_mode(modes: tuple[Mode, ...], size: Size, bits: int) -> Mode:
    """The mode nearest to a size and depth; too small weighs more than too big."""

    def miss(wanted: float, got: float) -> float:
        return (wanted - got) * 2 if wanted > got else (got - wanted) / 4

    def score(mode: Mode) -> float:
        aspect = abs(size.width / max(size.height, 1) - mode.width / mode.height)
        sides = miss(size.width, mode.width) + miss(size.height, mode.height)
        return sides + 1500 * aspect + 500 * abs(bits - mode.bits)

    return min(modes, key=score)


def generated(camera: Camera, roles: list[StreamRole]) -> CameraConfiguration:
    """The configuration libcamera proposes for these roles."""
    sensor = camera.sensor
    streams = []
    for role in roles:
        if instance(role, StreamRole) is StreamRole.Raw:
            formats: dict[str, list[tuple[int, int]]] = {}
            for mode in sensor.modes:
                name = raw_name(sensor.order, mode.bits, "CSI2P")
                formats.setdefault(name, []).append((mode.width, mode.height))
            mode = max(sensor.modes, key=lambda mode: (mode.width * mode.height, mode.bits))
            stream = StreamConfiguration(StreamFormats(formats))
            stream.pixel_format = PixelFormat(raw_name(sensor.order, mode.bits, "CSI2P"))
            stream.size, stream.buffer_count = Size(mode.width, mode.height), 2
            stream.color_space = ColorSpace.Raw()
        else:
            stream = StreamConfiguration(
                StreamFormats({name: [(32, 32), sensor.array] for name in PROCESSED})
            )
            stream.pixel_format, stream.size = PixelFormat("XRGB8888"), Size(800, 600)
            stream.buffer_count, stream.color_space = 4, ColorSpace.Sycc()
        streams.append(stream)
    return CameraConfiguration(camera, streams)
