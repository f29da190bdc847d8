"""Which device of a server is the camera to use: the one named, or the only one."""

from __future__ import annotations

from indi_picam.client.connection import Connection
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Property

CCD_INTERFACE = 2
"""Bit of DRIVER_INTERFACE that cameras set (libindi, basedevice.h)."""
FIND_LIMIT_S = 5.0


def find(connection: Connection, name: str | None, limit_s: float = FIND_LIMIT_S) -> str:
    """The name of the camera to use: the one named, or the only one.

    Raises:
        Failure: it is not there, no camera, or one of several; the sentence lists what is there.
    """
    if name is None:
        connection.wait_for(lambda: _cameras(connection) or None, limit_s)
    else:
        connection.wait_for(lambda: connection.get(name, "DRIVER_INFO"), limit_s)
    if name is None or name not in _cameras(connection):
        connection.wait_for_quiet(0.3, 3)  # for whom else there is
    cameras, devices = _cameras(connection), connection.devices
    there = f"Devices there: {', '.join(devices)}." if devices else "It has no device at all."
    if name is None and len(cameras) == 1:
        return cameras[0]
    if name is None and cameras:
        raise Failure(
            Exit.NO_DEVICE,
            f"There are several cameras: say which with --device: {', '.join(cameras)}.",
        )
    if name is None:
        raise Failure(Exit.NO_DEVICE, f"The server at {connection.server} has no camera. {there}")
    if name not in devices:
        raise Failure(
            Exit.NO_DEVICE, f"The server at {connection.server} has no device {name!r}. {there}"
        )
    if name not in cameras:
        raise Failure(
            Exit.NO_DEVICE,
            f"{name} is not a camera. Cameras there: {', '.join(cameras) or 'none'}.",
        )
    return name


def _cameras(connection: Connection) -> list[str]:
    return [
        device for device in connection.devices if _is_camera(connection.get(device, "DRIVER_INFO"))
    ]


def _is_camera(driver_info: Property | None) -> bool:
    if driver_info is None:
        return False
    interface = str(driver_info.values.get("DRIVER_INTERFACE", "0"))
    return interface.isdigit() and bool(int(interface) & CCD_INTERFACE)
