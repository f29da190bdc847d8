"""Gain, ISO and temperature: what a client sets of the sensor's sensitivity and sees of its state.

ISO n is an analogue gain of n / 100, a number beside the gain: writing either updates both. (A
CCD_ISO switch, as DSLR drivers have, makes Ekos open a dialogue that blocks its automation.) The
temperature is defined only where the sensor reports one, and read-only, or clients would try to
cool.
"""

from __future__ import annotations

from collections.abc import Mapping

from indi_picam.camera.modes import FrameFacts, ModeFacts
from indi_picam.ccd.identity import SENSOR
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import Number, NumberVector, State

MAIN_CONTROL = "Main Control"
ISO_PER_GAIN = 100

GAIN = NumberVector(
    "CCD_GAIN", "Gain", MAIN_CONTROL, (Number("GAIN", "Gain", 1, 1, 1, 0.1, "%.2f"),)
)
ISO = NumberVector("PICAM_ISO", "ISO", SENSOR, (Number("ISO", "ISO", 100, 100, 100, 10, "%.f"),))
TEMPERATURE = NumberVector(
    "CCD_TEMPERATURE",
    "Temperature",
    MAIN_CONTROL,
    (Number("CCD_TEMPERATURE_VALUE", "Temperature (C)", 0, -50, 100, 0, "%5.2f"),),
    perm="ro",
)


class Controls:
    """The sensor's own controls of one camera."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._gain = device.add(GAIN, self._set_gain)
        self._iso = device.add(ISO, self._set_iso)
        self._temperature = device.add(TEMPERATURE)

    @property
    def gain(self) -> float:
        """The analogue gain asked for."""
        return float(self._gain.values["GAIN"])

    def mode_changed(self, mode: ModeFacts) -> None:
        """Tells the limits of a mode, and moves a gain that lies outside to the nearest allowed."""
        low, high = mode.gain_min, mode.gain_max
        gain = min(max(self.gain, low), high)
        self._device.set(self._gain, {"GAIN": gain}, limits={"GAIN": (low, high, 0.1)})
        iso_limits = (low * ISO_PER_GAIN, high * ISO_PER_GAIN, 10)
        self._device.set(self._iso, {"ISO": gain * ISO_PER_GAIN}, limits={"ISO": iso_limits})

    def frame_taken(self, facts: FrameFacts) -> None:
        """Tells the temperature the sensor reported with a frame; nothing when it reported none."""
        if facts.temperature_c is None:
            return
        now = {"CCD_TEMPERATURE_VALUE": facts.temperature_c}
        self._device.set(self._temperature, now, state=State.OK)

    async def _set_gain(self, asked: Mapping[str, float]) -> Answer:
        iso = {"ISO": asked["GAIN"] * ISO_PER_GAIN}
        return Answer(then=lambda: self._device.set(self._iso, iso, state=State.OK))

    async def _set_iso(self, asked: Mapping[str, float]) -> Answer:
        gain = {"GAIN": asked["ISO"] / ISO_PER_GAIN}
        return Answer(then=lambda: self._device.set(self._gain, gain, state=State.OK))
