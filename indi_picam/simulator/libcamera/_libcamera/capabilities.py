"""The controls of a camera with their limits, and its properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indi_picam.simulator.lens import NEAREST
from indi_picam.simulator.truth import Mode

from .controls import ControlId, ControlInfo, control, controls, properties
from .geometry import Rectangle, Size

if TYPE_CHECKING:
    from indi_picam.simulator.settings import Camera

# Controls that only shape the processed streams, with libcamera's limits.
_LOOKS: dict[str, tuple[Any, Any, Any]] = {
    "AeEnable": (False, True, True),
    "AeMeteringMode": (0, 3, 0),
    "AeConstraintMode": (0, 3, 0),
    "AeExposureMode": (0, 3, 0),
    "ExposureValue": (-8.0, 8.0, 0.0),
    "AeFlickerMode": (0, 1, 0),
    "AeFlickerPeriod": (100, 1_000_000, None),
    "Brightness": (-1.0, 1.0, 0.0),
    "Contrast": (0.0, 32.0, 1.0),
    "HdrMode": (0, 4, 0),
    "Sharpness": (0.0, 16.0, 1.0),
    "NoiseReductionMode": (0, 4, 0),
    "StatsOutputEnable": (False, True, False),
}
_COLOURS: dict[str, tuple[Any, Any, Any]] = {
    "AwbEnable": (False, True, None),
    "AwbMode": (0, 7, 0),
    "ColourGains": (0.0, 32.0, None),
    "ColourTemperature": (100, 100_000, None),
    "Saturation": (0.0, 32.0, 1.0),
}
_FOCUS: dict[str, tuple[Any, Any, Any]] = {
    "AfMode": (0, 2, 0),
    "AfRange": (0, 2, 0),
    "AfSpeed": (0, 1, 0),
    "AfMetering": (0, 1, 0),
    "AfTrigger": (0, 1, 0),
    "AfPause": (0, 2, 0),
    "LensPosition": (0.0, 32.0, 1.0),
}
_FRAME_DEFAULT_US = 33_333


def camera_controls(camera: Camera, mode: Mode | None) -> dict[ControlId, ControlInfo]:
    """Every control; before a mode is configured with libcamera's general limits."""
    sensor = camera.sensor
    rows = dict(_LOOKS)
    if sensor.order != "MONO":
        rows |= _COLOURS
    if sensor.autofocus:
        rows |= _FOCUS
    found = {control(name): ControlInfo(*row) for name, row in rows.items()}
    exposure, frame, gain = (1, 66_666), (33_333, 250_000_000), (1.0, 16.0)
    whole = (0, 0, 65535, 65535)
    if mode:
        exposure, frame = sensor.exposure_limits_us(mode), sensor.frame_limits_us(mode)
        gain, whole = sensor.gains.limits, mode.crop
        if sensor.autofocus:
            found[controls.LensPosition] = ControlInfo(0.0, NEAREST, 1.0)
    longest = exposure[1] if sensor.reports_exposure_max or mode is None else 0
    crop = (Rectangle(0, 0, 64, 64), Rectangle(*whole), Rectangle(*whole))
    found |= {
        controls.ExposureTimeMode: ControlInfo(0, 1, 0, (0, 1)),
        controls.AnalogueGainMode: ControlInfo(0, 1, 0, (0, 1)),
        controls.ExposureTime: ControlInfo(exposure[0], longest, 20_000),
        controls.AnalogueGain: ControlInfo(*gain, 1.0),
        controls.FrameDurationLimits: ControlInfo(*frame, (_FRAME_DEFAULT_US, _FRAME_DEFAULT_US)),
        controls.ScalerCrop: ControlInfo(*crop),
    }
    if camera.platform == "pi5":
        found[controls.rpi.ScalerCrops] = ControlInfo(crop[0], crop[1], (crop[2], crop[2]))
    return found


def camera_properties(camera: Camera, mode: Mode | None) -> dict[ControlId, Any]:
    """Every property."""
    sensor = camera.sensor
    whole = (0, 0, *sensor.array)
    arrangement = properties.draft.ColorFilterArrangementEnum[sensor.order]
    return {
        properties.Location: 2,
        properties.Rotation: sensor.rotation,
        properties.Model: sensor.model,
        properties.UnitCellSize: Size(sensor.pixel_nm, sensor.pixel_nm),
        properties.PixelArraySize: Size(*sensor.array),
        properties.PixelArrayActiveAreas: (Rectangle(*whole),),
        properties.ScalerCropMaximum: Rectangle(*(mode.crop if mode else (0, 0, 0, 0))),
        properties.SensorSensitivity: mode.sensitivity if mode else 1.0,
        properties.SystemDevices: (20749, 20737, 20738, 20739),
        properties.draft.ColorFilterArrangement: int(arrangement),
    }
