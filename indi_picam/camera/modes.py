"""The words of the camera room: the value types that the worker and the driver share.

Plain frozen facts and requests, all of which JSON can carry; no picamera2, no INDI, no FITS. Times
are integer microseconds (``_us``) or nanoseconds of :mod:`indi_picam.clock` (``_ns``); sizes and
origins are pixels of the sensor mode, unbinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Roi:
    """A rectangle in pixels of a sensor mode, unbinned; x and y from the top left."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SensorMode:
    """One raw mode of a sensor, named by what never changes: its size and bit depth."""

    width: int
    height: int
    bits: int

    @property
    def name(self) -> str:
        """``4056x3040_12``: how clients, files and messages name the mode."""
        return f"{self.width}x{self.height}_{self.bits}"

    @property
    def full_frame(self) -> Roi:
        """The whole mode as a rectangle."""
        return Roi(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the picture is mirrored against the upright one, which the mount alone decides."""

    hflip: bool = False
    vflip: bool = False


UPRIGHT = Orientation()

FITS_BLOCK = 2880
"""Bytes; headers and data are padded to it (FITS standard 4.0, section 3.1)."""


class CaptureFormat(StrEnum):
    """What the pixels of a frame are."""

    RAW = "raw"
    """As the ADC gave them: 16 bits, a mosaic on colour sensors."""
    MONO = "mono"
    """The ISP's luminance, 8 bits."""
    RGB = "rgb"
    """The ISP's colours, 8 bits, one plane after the other."""

    @property
    def planes(self) -> int:
        """Planes of a picture."""
        return 3 if self is CaptureFormat.RGB else 1

    @property
    def bits(self) -> int:
        """Bits of a stored value."""
        return 16 if self is CaptureFormat.RAW else 8


ControlValues = tuple[tuple[str, tuple[float, ...]], ...]
"""Controls of libcamera by name with their values, each only once; enumerators by number."""


@dataclass(frozen=True, slots=True)
class ControlLimits:
    """A control that this camera has."""

    name: str
    """libcamera's."""
    min: float
    max: float
    default: float | None
    """None where libcamera has none."""


@dataclass(frozen=True, slots=True)
class CameraId:
    """One camera that libcamera lists, before it is opened."""

    id: str
    """libcamera's Id: says how the camera is connected and never changes while it stays there."""
    model: str


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What a camera is, read once when it is opened."""

    camera_id: str
    model: str
    pixel_size_um: tuple[float, float]
    """Width and height of a pixel of the full-resolution array in um; 0 where libcamera does not
    say."""
    pixel_array: tuple[int, int]
    modes: tuple[SensorMode, ...]
    """Every raw mode, biggest first, and deepest first among equals; never empty."""
    exposure_max_us: tuple[int, ...]
    """The longest exposure of each of ``modes``, to name one that allows more; 0 where not
    known."""
    has_temperature: bool
    """Whether this sensor is known to report its temperature (a frame may still prove the table
    wrong)."""
    controls: tuple[ControlLimits, ...] = ()
    """What else can be told to the camera: to its ISP and its lens."""
    corrects_defects: bool | None = None
    """Whether the sensor itself removes what it takes for defects; None where it does not say."""

    def control(self, name: str) -> ControlLimits | None:
        """The limits of a control; None when the camera has no such control."""
        return next((control for control in self.controls if control.name == name), None)


MORE_MEMORY = (
    "choose a smaller mode, or raise it in /boot/firmware/config.txt"
    " (dtoverlay=vc4-kms-v3d,cma-512) and reboot."
)
"""What to do when contiguous memory is short."""


@dataclass(frozen=True, slots=True)
class ModeFacts:
    """What libcamera grants once a mode is configured; the only source of limits and layout."""

    mode: SensorMode
    raw_format: str
    """The granted format, ``SBGGR12`` or ``SBGGR16``: read back, never assumed."""
    bayer_pattern: str | None
    """The 2x2 cell at the top-left pixel of the mode, ``BGGR``; None on mono sensors."""
    pixel_size_um: tuple[float, float]
    """Of a pixel of this mode, larger than the array's where the sensor itself bins."""
    exposure_min_us: int
    exposure_max_us: int
    exposure_step_us: float
    """Length of one line, or at most 15 % more: exposures are whole lines. See ``step_us``."""
    gain_min: float
    gain_max: float
    frame_duration_min_us: int
    frame_duration_max_us: int
    buffers: int
    """Frames that the camera has room for until one is given back; set up for another format of
    pictures it may have fewer."""
    orientation: Orientation = UPRIGHT

    def step_us(self, exposure_us: int) -> float:
        """The distance of neighbouring exposures about one of this length, in us; at least 1.

        Beyond 65,500 lines imx477 and imx708 count lines by powers of two up to 128 and then
        lengthen the line (libcamera, their CamHelpers), so the step grows with the exposure.
        """
        lines = exposure_us / self.exposure_step_us if self.exposure_step_us else 0.0
        return max(1.0, self.exposure_step_us * max(1.0, 2 * lines / 65_500))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the sensor is told, all at once and always by hand."""

    exposure_us: int
    gain: float
    controls: ControlValues = ()

    @property
    def lens_position(self) -> float | None:
        """Where the lens shall be, in dioptres; None to leave it."""
        values = dict(self.controls).get("LensPosition")
        return values[0] if values else None

    @property
    def colour_gains(self) -> tuple[float, float] | None:
        """Of red and blue, where they are set by hand."""
        values = dict(self.controls).get("ColourGains")
        return (values[0], values[1]) if values else None


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the sensor says of one frame."""

    exposure_us: int
    gain: float
    digital_gain: float
    frame_duration_us: int
    sensor_timestamp_ns: int
    temperature_c: float | None
    black_level: float
    """On a scale of 16 bits, whatever the depth of the data (libcamera, SensorBlackLevels)."""
    lens_position: float | None = None
    """In dioptres, 0 is infinity; None without a lens that moves."""
    colour_gains: tuple[float, float] | None = None
    """Of red and blue, which the ISP applied; None on mono sensors."""
    colour_temperature_k: int | None = None

    @property
    def exposure_began_ns(self) -> int:
        """When the first row began to be exposed."""
        return self.sensor_timestamp_ns - 1000 * self.exposure_us


class Way(StrEnum):
    """How a frame is taken; see :mod:`.ways`."""

    RESTART = "restart"
    PRIMER = "primer"
    FREE_RUNNING = "free-running"


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """One exposure, or ``count`` equal ones without a gap, as asked of the worker."""

    mode: SensorMode
    exposure_us: int
    gain: float
    """Brought within the limits of the mode: imx708 has no gain below 1.12."""
    roi: Roi
    bin_x: int = 1
    bin_y: int = 1
    scale_to_16_bit: bool = True
    """Values shifted up to 16 bits, the same on every Pi; else the ADC's own values."""
    header_room: int = 8640
    """Bytes left free before the pixels for the FITS header; a multiple of 2880."""
    count: int = 1
    way: Way | None = None
    """None: the worker chooses by what costs least for this sensor, mode and exposure."""
    format: CaptureFormat = CaptureFormat.RAW
    orientation: Orientation = UPRIGHT
    controls: ControlValues = ()
    """Everything else that the camera is told for this frame."""
    bayer_pattern: str | None = None
    """The 2x2 cell at the top-left pixel of the mode, for the header; None: as libcamera says."""
    bayer_offsets: tuple[int, int] = (0, 0)
    """Where that cell begins, for the header too (XBAYROFF, YBAYROFF)."""

    @property
    def file_bytes(self) -> int:
        """How large the file of a frame will be, unless its header outgrows the room."""
        pixels = (self.roi.width // self.bin_x) * (self.roi.height // self.bin_y)
        data = pixels * self.format.planes * self.format.bits // 8
        return self.header_room + -(-data // FITS_BLOCK) * FITS_BLOCK


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What the sensor reported of a frame, and how its pixels lie in the memory that comes with it.

    The memory: ``header_room`` bytes, then the pixels, top row first, then zeros up to a multiple
    of 2880 (FITS standard 4.0, section 3.3.2). Raw pixels are height x width big-endian 16-bit
    words offset by 32768 (FITS BZERO), those of the ISP planes x height x width bytes.
    """

    exposure_us: int
    gain: float
    digital_gain: float
    frame_duration_us: int
    sensor_timestamp_ns: int
    """Start of readout of the first row: its exposure ended then (libcamera, SensorTimestamp)."""
    completed_ns: int
    """When libcamera handed the request over."""
    temperature_c: float | None
    black_level: float
    """In units of the stored values, of one unbinned pixel."""
    saturation: int
    """The highest value one unbinned pixel can have, in units of the stored values."""
    width: int
    height: int
    bayer_pattern: str | None
    """Of the first stored pixel; None for mono sensors and binned frames."""
    header_room: int
    datasum: int
    """Ones' complement sum of the data and its padding (FITS standard 4.0, section 4.4.2.7)."""
    way: Way
    skipped: int
    """Frames of the sensor not accepted after a start, until this one."""
    dropped: int
    """Frames of the sensor between the one before in the same run and this one, which should be
    none."""
    format: CaptureFormat = CaptureFormat.RAW
    lens_position: float | None = None
    colour_gains: tuple[float, float] | None = None
    colour_temperature_k: int | None = None
    corrects_defects: bool | None = None
    """The last four as in Metadata and CameraFacts."""
    repeated: int = 0
    """How often it was taken in vain before, as the camera failed; the engine knows."""

    @property
    def exposure_began_ns(self) -> int:
        """When the first row began to be exposed."""
        return self.sensor_timestamp_ns - 1000 * self.exposure_us


class CameraFault(Exception):
    """Something is wrong with the camera; the text is a sentence for the user that says what to do.

    ``retry`` says whether a fresh worker may well succeed (it died, hung or stalled) or the request
    itself or the installation is at fault.
    """

    def __init__(self, sentence: str, *, retry: bool) -> None:
        super().__init__(sentence)
        self.retry = retry
