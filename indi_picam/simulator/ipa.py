"""What libcamera's algorithms make of controls: settings of the next frames, and metadata.

Keeps its state over stops, starts and mode changes, as the real one does. Knows no time and no
requests; called by the sensor's process. Source: the behaviour of libcamera 0.5 to 0.7 on a
Raspberry Pi (exposure and gain are manual only when their modes say so; frame durations persist;
(0, 0) means the defaults).
"""

from __future__ import annotations

from typing import Any

from .truth import Mode, Registers, Sensor, registers

FRAME_US_DEFAULT = (1e6 / 30, 250e6)
AUTO_EXPOSURE_US, AUTO_GAIN = 66_666, 8.0
"""Where automatic exposure ends under a night sky: the end of its table."""
AGC_FRAMES, AWB_FRAMES = 6, 3
"""Frames it takes them to settle at the first start of a process."""


class Ipa:
    """The wishes in force."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._exposure_us, self._gain = 20_000.0, 1.0
        self._exposure_auto = self._gain_auto = True
        self._awb_auto = sensor.order != "MONO"
        self._colour_gains = (2.0, 1.8)
        self._frame_us = FRAME_US_DEFAULT
        self._lens_position = 1.0

    def apply(self, controls: dict[str, Any]) -> None:
        """Take over the controls of a request, or of a start."""
        if "AeEnable" in controls:
            self._exposure_auto = self._gain_auto = bool(controls["AeEnable"])
        if "ExposureTimeMode" in controls:
            self._exposure_auto = controls["ExposureTimeMode"] == 0
        if "AnalogueGainMode" in controls:
            self._gain_auto = controls["AnalogueGainMode"] == 0
        if controls.get("ExposureTime") and not self._exposure_auto:
            self._exposure_us = float(controls["ExposureTime"])
        if controls.get("AnalogueGain") and not self._gain_auto:
            self._gain = float(controls["AnalogueGain"])
        if "FrameDurationLimits" in controls:
            low, high = controls["FrameDurationLimits"]
            self._frame_us = (low or FRAME_US_DEFAULT[0], high or FRAME_US_DEFAULT[1])
        if self._sensor.order != "MONO":
            self._awb_auto = bool(controls.get("AwbEnable", self._awb_auto))
            if "ColourGains" in controls and any(controls["ColourGains"]):
                self._colour_gains, self._awb_auto = tuple(controls["ColourGains"]), False
        self._lens_position = float(controls.get("LensPosition", self._lens_position))

    def registers(self, mode: Mode) -> Registers:
        """What the sensor is programmed to now."""
        exposure = AUTO_EXPOSURE_US if self._exposure_auto else self._exposure_us
        gain = AUTO_GAIN if self._gain_auto else self._gain
        return registers(self._sensor, mode, exposure, gain, self._frame_us)

    def startup_frames(self) -> int:
        """Frames of the first start that are given up while the algorithms settle."""
        agc = AGC_FRAMES + self._sensor.mistrusted if self._exposure_auto or self._gain_auto else 0
        awb = AWB_FRAMES + self._sensor.mistrusted if self._awb_auto else 0
        return max(agc, awb)

    def metadata(self, frame: Registers, temperature_c: float) -> dict[str, Any]:
        """What libcamera reports with a frame, besides its time."""
        found: dict[str, Any] = {
            "ExposureTime": int(frame.exposure_ns / 1000),
            "AnalogueGain": frame.gain,
            "DigitalGain": frame.digital_gain,
            "FrameDuration": int(frame.frame_ns / 1000),
            "SensorBlackLevels": [self._sensor.black_level] * 4,
            "Lux": 0.1,
            "FocusFoM": 500,
            "AeState": 1 if self._exposure_auto or self._gain_auto else 0,
        }
        if self._sensor.order != "MONO":
            found |= {
                "ColourGains": list(self._colour_gains),
                "ColourTemperature": 4500,
                "ColourCorrectionMatrix": [1.6, -0.4, -0.2, -0.3, 1.6, -0.3, 0.0, -0.6, 1.6],
            }
        if self._sensor.thermometer:
            found["SensorTemperature"] = float(min(max(round(temperature_c), -20), 80))
        if self._sensor.autofocus:
            found |= {"AfState": 0, "LensPosition": self._lens_position}
        return found
