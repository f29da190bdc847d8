"""What libcamera's algorithms make of controls: settings of the next frames, and metadata.

Keeps its state over stops, starts and mode changes, as the real one does. Knows no time and no
requests; called by the sensor's process. Source: the behaviour of libcamera 0.5 to 0.7 on a
Raspberry Pi (exposure and gain are manual only when their modes say so; frame durations persist;
(0, 0) means the defaults).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .isp import Look
from .lens import Lens
from .truth import Mode, Registers, Sensor, registers

FRAME_US_DEFAULT = (1e6 / 30, 250e6)
AUTO_EXPOSURE_US, AUTO_GAIN = 66_666, 8.0
"""Where automatic exposure ends under a night sky: the end of its table."""
AGC_FRAMES, AWB_FRAMES = 6, 3
"""Frames it takes them to settle at the first start of a process."""
AUTO_COLOUR_GAINS = (2.0, 1.8)
"""Where automatic white balance ends, whatever its mode."""


class Ipa:
    """The wishes in force."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._exposure_us, self._gain = 20_000.0, 1.0
        self._exposure_auto = self._gain_auto = True
        self._awb_auto = sensor.order != "MONO"
        self._look = Look(AUTO_COLOUR_GAINS)
        self._frame_us = FRAME_US_DEFAULT
        self.lens = Lens()

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
        self._look, self._awb_auto = self._looks(controls)
        if "LensPosition" in controls:
            self.lens.send(float(controls["LensPosition"]))

    def _looks(self, controls: dict[str, Any]) -> tuple[Look, bool]:
        """The look after these controls, and whether the white balance is automatic then."""
        old = self._look
        look = replace(
            old,
            brightness=float(controls.get("Brightness", old.brightness)),
            contrast=float(controls.get("Contrast", old.contrast)),
            saturation=float(controls.get("Saturation", old.saturation)),
        )
        if self._sensor.order == "MONO":
            return look, False
        auto = bool(controls.get("AwbEnable", self._awb_auto))
        if any(controls.get("ColourGains", ())):
            red, blue = controls["ColourGains"]
            return replace(look, colour_gains=(red, blue)), False
        return (replace(look, colour_gains=AUTO_COLOUR_GAINS) if auto else look), auto

    def look(self, controls: dict[str, Any], frame: Registers) -> Look:
        """How the ISP processes a frame whose request has these controls: they act at once."""
        return replace(self._looks(controls)[0], digital_gain=frame.digital_gain)

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

    def metadata(
        self, frame: Registers, temperature_c: float, lens_position: float
    ) -> dict[str, Any]:
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
                "ColourGains": list(self._look.colour_gains),
                "ColourTemperature": 4500,
                "ColourCorrectionMatrix": [1.6, -0.4, -0.2, -0.3, 1.6, -0.3, 0.0, -0.6, 1.6],
            }
        if self._sensor.thermometer:
            found["SensorTemperature"] = float(min(max(round(temperature_c), -20), 80))
        if self._sensor.autofocus:
            found |= {"AfState": 0, "LensPosition": lens_position}
        return found
