"""Takes a picture with indipyclient, as in a user's script: PORT CAMERA SECONDS GAIN FILE."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import indipyclient


class Client(indipyclient.IPyClient):  # type: ignore[misc]
    """Keeps the picture, and tells when anything came."""

    def __init__(self, port: int) -> None:
        super().__init__(indiport=port)
        self.enableBLOBdefault = "Also"
        self.came = asyncio.Event()
        self.picture: bytes | None = None

    async def rxevent(self, event: Any) -> None:
        if event.eventtype == "SetBLOB":
            self.picture = bytes(next(iter(event.values())))
        self.came.set()

    async def wait(self, wanted: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not wanted():
                self.came.clear()
                await self.came.wait()


async def take(port: int, camera: str, seconds: float, gain: float, file: Path) -> None:
    client = Client(port)
    running = asyncio.create_task(client.asyncrun())
    await client.wait(lambda: "CONNECTION" in client.get(camera, {}))
    await client.send_newVector(camera, "CONNECTION", members={"CONNECT": "On"})
    await client.wait(lambda: client[camera]["CONNECTION"]["CONNECT"] == "On")
    await client.wait(lambda: "CCD_GAIN" in client[camera])
    frame = {"X": 11, "Y": 13, "WIDTH": 301, "HEIGHT": 203}
    for name, members in (("CCD_GAIN", {"GAIN": gain}), ("CCD_FRAME", frame)):
        await client.send_newVector(camera, name, members=members)
        await client.wait(lambda: client.get_vector_state(camera, name) == "Ok")  # noqa: B023
    exposure = {"CCD_EXPOSURE_VALUE": seconds}
    await client.send_newVector(camera, "CCD_EXPOSURE", members=exposure)
    await client.wait(lambda: client.picture)
    file.write_bytes(client.picture or b"")
    await client.send_newVector(camera, "CONNECTION", members={"DISCONNECT": "On"})
    await client.wait(lambda: client[camera]["CONNECTION"]["CONNECT"] == "Off")
    client.shutdown()
    await running


if __name__ == "__main__":
    arguments = (int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    asyncio.run(take(*arguments, Path(sys.argv[5])))
