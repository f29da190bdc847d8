"""What is known of each sensor beyond what libcamera says; metadata decides, not this.

The table steers only choices that cost time when wrong (how to take a frame) and repairs limits
that libcamera is known to report wrongly. A sensor that is not in it takes the generic entry and
must work.

Sources: the camera helpers and the kernel drivers of Raspberry Pi's libcamera and Linux (bad
frames after a start, gain codes), dumps of real cameras, and issue threads of picamera2 and
rpicam-apps.
"""

from __future__ import annotations

from dataclasses import dataclass

from indi_picam.camera.modes import SensorMode

INT32_MAX = 2**31 - 1
"""ExposureTime is a 32-bit control; a larger value ends picamera2's event loop."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """What we believe of one kind of sensor."""

    bad_frames: int = 0
    """Frames after a start that libcamera marks as bad, each as long as a good one."""
    start_us: int = 40_000
    """From asking for a start, or a stop and a start, to the first exposure."""
    change_frames: int = 3
    """Frames until a changed exposure begins, after those of the buffers that were queued before
    it was asked for."""
    start_limit_s: float = 3.0
    """Real time that a start may take at most, less an exposure that the kernel sleeps through."""
    starts_through_exposure: bool = False
    """Whether the kernel driver sleeps through the first exposure before the start returns."""
    has_temperature: bool = False
    has_lens: bool = False
    """Whether its modules usually have a lens that moves (clients see it before it is opened)."""
    pixel_size_um: float = 0.0
    """For drivers that do not report UnitCellSize."""
    exposure_max_us: int = INT32_MAX
    """The longest ever seen to work, believed when libcamera reports more, or nothing."""
    gain_codes: int = 0
    """n where the gain is n / (n - code); 0 when it is not such a sensor."""
    gain_step_db: float = 0.0
    """For gains in equal steps of dB."""
    gain_step: float = 0.0
    """For gains in equal steps."""

    def start_silence_s(self, exposure_us: int) -> float:
        """Real time that a start may take before the worker counts as hung."""
        return self.start_limit_s + (exposure_us / 1e6 if self.starts_through_exposure else 0.0)

    def gain_tolerance(self, gain: float) -> float:
        """How far the sensor's gain may lie from the one asked for: one code and rounding."""
        if self.gain_codes:
            step = gain * gain / self.gain_codes
        elif self.gain_step_db:
            step = gain * (10 ** (self.gain_step_db / 20) - 1)
        else:
            step = self.gain_step or max(0.0625, gain * gain / 256, 0.036 * gain)
        return 1.05 * step + 1e-4


_IMX290 = Sensor(bad_frames=1, gain_step_db=0.3, pixel_size_um=2.9)
_IMX477 = Sensor(has_temperature=True, gain_codes=1024, pixel_size_um=1.55, change_frames=4)

SENSORS = {
    "ov5647": Sensor(bad_frames=2, gain_step=1 / 16, pixel_size_um=1.4, exposure_max_us=3_100_000),
    "imx219": Sensor(gain_codes=256, pixel_size_um=1.12),
    "imx477": _IMX477,
    "imx378": _IMX477,
    "imx500": Sensor(has_temperature=True, gain_codes=1024, pixel_size_um=1.55, start_limit_s=30.0),
    "imx708": Sensor(has_temperature=True, has_lens=True, gain_codes=1024, pixel_size_um=1.4),
    "imx519": Sensor(has_lens=True, gain_codes=1024, pixel_size_um=1.22),
    "imx296": Sensor(gain_step_db=0.1, pixel_size_um=3.45, exposure_max_us=15_534_000),
    "imx290": _IMX290,
    "imx327": _IMX290,
    "imx462": _IMX290,
    "imx415": Sensor(bad_frames=1, gain_step_db=0.3, pixel_size_um=1.45),
    "imx283": Sensor(bad_frames=1, gain_codes=2048, pixel_size_um=2.4),
    # Its kernel driver writes 4,000 registers at every start.
    "ov64a40": Sensor(
        start_us=400_000, gain_step=1 / 128, pixel_size_um=1.008, starts_through_exposure=True
    ),
}
"""By the beginning of libcamera's model name (``imx708_wide_noir``)."""

GENERIC = Sensor()


def sensor_named(model: str) -> Sensor:
    """What is known of a model; the generic entry when nothing is."""
    return SENSORS.get(model.split("_")[0].lower(), GENERIC)


def exposure_limits_us(
    sensor: Sensor, reported: tuple[object, ...], frame_max_us: int
) -> tuple[int, int]:
    """The shortest and longest exposure of a mode from what libcamera reports of it.

    ``reported`` is the control's (min, max, default), in which a maximum of 0 (imx296), None
    (imx290) or 2147 s (ov5647) has been seen; then the longest frame and the table stand in.
    """
    low = reported[0] if reported and isinstance(reported[0], int) else 0
    high = reported[1] if len(reported) > 1 and isinstance(reported[1], int) else 0
    if high <= low or high == INT32_MAX:
        high = frame_max_us if frame_max_us > low else INT32_MAX
    return max(1, low), max(max(1, low), min(high, sensor.exposure_max_us, INT32_MAX))


def line_us(mode: SensorMode, exposure_min_us: int, frame_min_us: int) -> float:
    """An upper bound of a line's length, some 15 % too long (30 in the least mode of the ov64a40).

    libcamera does not tell it, but a shortest exposure has at least one line, and a shortest frame
    at least one for each row.
    """
    return float(min(exposure_min_us + 1, max(1.0, frame_min_us / mode.height)))
