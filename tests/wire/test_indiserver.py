"""The room under a real indiserver: a BLOB reaches a TCP client and a local one unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.client import Client, picture

SIZE = 25_000_003
PORT = 7601
ROOT = Path(__file__).parents[2]

DRIVER = f"""#!{sys.executable}
import asyncio, os, sys
sys.path.insert(0, {str(ROOT)!r})
from indi_picam.indi.link import Link, take_stdio
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import Blob, BlobVector, Number, NumberVector, State

async def main(descriptors):
    link = Link(*descriptors)
    device = Device("Cam", link.send)
    image = device.add(BlobVector("CCD1", "Image", "Image", (Blob("CCD1", "Image"),), "ro"))

    def deliver():
        frame = os.memfd_create("frame")
        os.write(frame, bytes(range(251)) * ({SIZE} // 251 + 1))
        os.ftruncate(frame, {SIZE})
        device.send_blob(image, "CCD1", frame, size={SIZE}, format=".bin")
        device.set(wanted, {{"N": 0}}, state=State.OK)

    async def ask(values):
        await link.blob_slot("Cam")
        return Answer(State.BUSY, then=deliver)

    wanted = device.add(NumberVector("WANTED", "Wanted", "Main", (Number("N", "n"),)), ask)
    device.define(wanted, image)
    async for message in link:
        await device.receive(message)

asyncio.run(main(take_stdio()))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    driver = tmp_path / "driver"
    driver.write_text(DRIVER)
    driver.chmod(0o755)
    command = ["indiserver", "-v", "-r", "0", "-p", str(PORT), "-u", f"indi-{PORT}", str(driver)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    deadline = time.monotonic() + 10
    while "Local server: listening" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    process.terminate()
    process.wait(10)
    print(log.read_text())


@pytest.mark.parametrize("kind", ["tcp", "local"])
def test_blobs_arrive_unchanged(server: subprocess.Popen[bytes], kind: str) -> None:
    client = Client.tcp(PORT) if kind == "tcp" else Client.local(f"indi-{PORT}")
    try:
        client.send("<getProperties version='1.7'/>")
        client.send("<enableBLOB device='Cam'>Also</enableBLOB>")
        client.definition("CCD1")
        expected = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]
        since = len(client.log)
        for count in range(1, 4):
            client.new("Number", "Cam", "WANTED", {"N": count})
            assert client.set_of("WANTED", "Busy", since)[0].get("name") == "N"
            blob = client.set_of("CCD1", "Ok", since)
            done = client.set_of("WANTED", "Ok", since)
            assert client.log.index(blob) < client.log.index(done)
            assert blob[0].get("size") == str(SIZE)
            assert picture(blob, client.descriptors) == expected
            since = len(client.log)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert len(children) == 1
        status = Path(f"/proc/{children[0]}/status").read_text()
        assert len(os.listdir(f"/proc/{children[0]}/fd")) < 12, status
    finally:
        client.close()
