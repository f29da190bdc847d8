"""What every device of the driver is to a client before it is connected: CONNECTION, DRIVER_INFO.

Called by the devices and by whoever makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from indi_picam import __version__
from indi_picam.indi.vectors import Switch, SwitchVector, Text, TextVector

CCD_INTERFACE = 2
FOCUSER_INTERFACE = 8
"""The bits of DRIVER_INTERFACE that make clients offer a device as a camera or a focuser (INDI,
BaseDevice::DRIVER_INTERFACE)."""

CONNECTION = SwitchVector(
    "CONNECTION",
    "Connection",
    "Main Control",
    (Switch("CONNECT", "Connect"), Switch("DISCONNECT", "Disconnect", True)),
)


SENSOR = "Sensor"
"""The group of what only Pi cameras have; the controls of their ISP have another."""


def focuser_name(camera_name: str) -> str:
    """The device of a camera's lens."""
    return f"{camera_name} Focuser"


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """What all devices of a driver process have in common."""

    name: str
    executable: str
    module_path: str | None
    """Where workers find the ``libcamera`` module first; None: wherever Python finds it."""
    simulator_path: str | None
    """The same while SIMULATION is on; None where there is no such switch."""


def driver_info(driver: DriverFacts, interface: int) -> TextVector:
    """DRIVER_INFO as INDI's DefaultDevice declares it; the interface says what clients see."""
    return TextVector(
        "DRIVER_INFO",
        "Driver Info",
        "General Info",
        (
            Text("DRIVER_NAME", "Name", driver.name),
            Text("DRIVER_EXEC", "Exec", driver.executable),
            Text("DRIVER_VERSION", "Version", __version__.rpartition(".")[0]),
            Text("DRIVER_INTERFACE", "Interface", str(interface)),
        ),
        perm="ro",
    )
