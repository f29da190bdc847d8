"""Takes a picture with pyindi-client, as in a user's script: PORT CAMERA SECONDS GAIN FILE."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import PyIndi


class Client(PyIndi.BaseClient):
    """Keeps the picture, and tells when a property is there or another value came."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()
        self.picture: bytes | None = None

    def newProperty(self, property: Any) -> None:  # noqa: N802
        with self.changed:
            self.changed.notify()

    def updateProperty(self, property: Any) -> None:  # noqa: N802
        with self.changed:
            if property.getType() == PyIndi.INDI_BLOB:
                (blob,) = PyIndi.PropertyBlob(property)
                self.picture = bytes(blob.getblobdata())
            self.changed.notify()


def main(port: int, camera: str, seconds: float, gain: float, file: Path) -> None:
    client = Client()
    client.setServer("localhost", port)
    assert client.connectServer()

    def wait(wanted: Any) -> Any:
        with client.changed:
            assert client.changed.wait_for(wanted, 20)
            return wanted()

    device = wait(lambda: client.getDevice(camera))
    wait(lambda: device.getSwitch("CONNECTION"))
    client.connectDevice(camera)
    client.setBLOBMode(PyIndi.B_ALSO, camera, "CCD1")
    wait(lambda: device.isConnected())
    for name, values in (
        ("CCD_GAIN", [gain]),
        ("CCD_FRAME", [11, 13, 301, 203]),
        ("CCD_EXPOSURE", [seconds]),
    ):
        vector = wait(lambda name=name: device.getNumber(name))
        for number, value in zip(vector, values, strict=True):
            number.setValue(value)
        client.sendNewProperty(vector)
        if name != "CCD_EXPOSURE":
            wait(lambda vector=vector: vector.getState() == PyIndi.IPS_OK)
    wait(lambda: client.picture)
    file.write_bytes(client.picture or b"")
    client.disconnectDevice(camera)
    wait(lambda: device.getSwitch("CONNECTION").getState() == PyIndi.IPS_IDLE)
    client.disconnectServer()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
