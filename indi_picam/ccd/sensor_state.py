"""What the sensor does by itself that a client should know: its correction of defective pixels.

The correction takes faint stars for defects. It is a parameter of the kernel module that only root
may change, so clients are shown its state and the commands. Shown for sensors whose driver has the
parameter. Called by the camera device.
"""

from __future__ import annotations

from indi_picam.camera.defects import module_of, parameter_of
from indi_picam.camera.modes import CameraFacts, FrameFacts
from indi_picam.ccd.identity import SENSOR
from indi_picam.indi.device import Device
from indi_picam.indi.vectors import State, Text, TextVector

DEFECTS = TextVector(
    "PICAM_DEFECTS",
    "Defect correction",
    SENSOR,
    (
        Text("STATE", "State"),
        Text("CHANGE", "To change it now"),
        Text("CHANGE_FOR_GOOD", "To change it for good"),
    ),
    perm="ro",
)
WORDS = {
    True: "On: the sensor removes what it takes for defects, faint stars too",
    False: "Off: every pixel is as the sensor saw it",
}


class SensorState:
    """The read-only state of one camera's sensor."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._defects = device.add(DEFECTS)
        self._model = ""
        self.shown = False
        """Whether this sensor has a correction that could be on."""

    def connected(self, camera: CameraFacts) -> None:
        """Takes over what the opened camera says."""
        self._model = camera.model
        self.shown = camera.corrects_defects is not None
        self._tell(camera.corrects_defects)

    def frame_taken(self, facts: FrameFacts) -> None:
        """Tells the state as it was for a frame, when it is another."""
        self._tell(facts.corrects_defects)

    def _tell(self, corrects: bool | None) -> None:
        if corrects is None:
            return
        wanted, module = int(not corrects), module_of(self._model)
        values = {
            "STATE": WORDS[corrects],
            "CHANGE": f"echo {wanted} | sudo tee {parameter_of(self._model)}",
            "CHANGE_FOR_GOOD": (
                f"echo options {module} dpc_enable={wanted} | sudo tee"
                f" /etc/modprobe.d/{module}-dpc.conf; sudo reboot"
            ),
        }
        if values != self._defects.values:
            self._device.set(self._defects, values, state=State.OK)
