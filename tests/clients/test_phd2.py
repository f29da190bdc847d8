"""What PHD2 demands of a camera, as its source has it: it is the strictest reader of geometry.

It copies as many pixels as it asked for without looking at the size of the picture, and takes
elements of properties without looking whether they are there. A frame that comes more than 15 s
late ends its connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

import pytest

from tests.camera.conftest import Bench
from tests.clients.truth import check_raw
from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE
from tests.system.server import Server, serving

ELEMENTS = {
    "CCD_EXPOSURE": {"CCD_EXPOSURE_VALUE"},
    "CCD_FRAME": {"X", "Y", "WIDTH", "HEIGHT"},
    "CCD_BINNING": {"HOR_BIN", "VER_BIN"},
    "CCD_INFO": {
        "CCD_MAX_X",
        "CCD_MAX_Y",
        "CCD_PIXEL_SIZE",
        "CCD_PIXEL_SIZE_X",
        "CCD_PIXEL_SIZE_Y",
        "CCD_BITSPERPIXEL",
    },
    "CCD1": {"CCD1"},
}
LATEST_S = 5.0
"""For the first frame, with connecting: a third of what PHD2 waits."""
SUBFRAMES = ((0, 0, 100, 80), (1, 1, 33, 51), (101, 57, 64, 64), (7, 200, 15, 1), (200, 11, 1, 15))
"""As PHD2 counts, in binned pixels: x, y, width, height."""


@pytest.fixture(scope="module", params=["imx290", "imx296", "imx477"])
def guide_camera(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Bench]]:
    """A camera with a colour sensor, one with a monochrome sensor, and a large one."""
    directory = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(directory, patch)
        bench.plug(request.param)
        with serving(directory, environment={"HOME": str(directory)}) as server:
            yield server, bench


def connect(client: Client) -> None:
    """As PHD2 does it: a camera is connected when DRIVER_INFO says that it is one."""
    client.send(f"<getProperties version='1.7' device='{DEVICE}'/>")
    client.send(f"<enableBLOB device='{DEVICE}' name='CCD1'>Also</enableBLOB>")
    client.definition("DRIVER_INFO")
    client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    client.definition("CCD1")


def take(client: Client, binning: int, subframe: tuple[int, int, int, int]) -> BytesIO:
    """A frame as PHD2 orders it."""
    start = len(client.log)
    x, y, width, height = (side * binning for side in subframe)
    client.new("Number", DEVICE, "CCD_BINNING", {"HOR_BIN": binning, "VER_BIN": binning})
    frame = {"X": x, "Y": y, "WIDTH": width, "HEIGHT": height}
    client.new("Number", DEVICE, "CCD_FRAME", frame)
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.02})
    message = client.set_of("CCD1", since=start)
    assert message[0].get("format") == ".fits"
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    return BytesIO(picture(message))


def test_nothing_is_missing_when_the_camera_says_that_it_is_connected(
    guide_camera: tuple[Server, Bench],
) -> None:
    client = guide_camera[0].tcp()
    connect(client)
    client.read_for(0.5)
    defined = [message.get("name") for message in client.log if message.tag.startswith("def")]
    assert defined.index("CONNECTION") < defined.index("DRIVER_INFO")
    for name, elements in ELEMENTS.items():
        assert {child.get("name") for child in client.definition(name)} == elements
    # Bit 4 would make PHD2 guide through the camera; a stream is what it falls back to.
    assert values(client.definition("DRIVER_INFO"))["DRIVER_INTERFACE"] == "2"
    assert "CCD_VIDEO_STREAM" not in defined
    size = values(client.definition("CCD_INFO"))
    assert float(size["CCD_MAX_X"]) > 0
    assert float(size["CCD_PIXEL_SIZE"]) > 0
    (mono,) = {camera.sensor.order == "MONO" for camera in guide_camera[1].settings.cameras}
    assert ("CCD_CFA" in defined) != mono
    client.new("Switch", DEVICE, "CONNECTION", {"DISCONNECT": "On"})
    client.set_of("CONNECTION", "Idle")


def test_the_first_frame_comes_in_time_and_definitions_in_one_burst(
    guide_camera: tuple[Server, Bench],
) -> None:
    server, bench = guide_camera
    client = server.tcp()
    began = time.monotonic()
    for _ in range(2):  # at first the driver may be starting
        asked, position = time.monotonic(), len(client.log)
        client.send("<getProperties version='1.7'/>")
        client.definition("ACTIVE_DEVICES", since=position)
    assert longest_gap(asked, client, position) < 0.05
    connect(client)
    check_raw(take(client, 1, (0, 0, 640, 480)), bench)
    assert time.monotonic() - began < LATEST_S
    connected = next(
        position
        for position, message in enumerate(client.log)
        if message.tag == "setSwitchVector" and values(message).get("CONNECT") == "On"
    )
    assert longest_gap(client.times[connected], client, connected) < 0.05


def longest_gap(since: float, client: Client, position: int = 0) -> float:
    """Between the definitions from a place in the log on, and from a moment to the first."""
    burst = [
        moment
        for message, moment in zip(client.log[position:], client.times[position:], strict=True)
        if message.tag.startswith("def")
    ]
    assert len(burst) > len(ELEMENTS)
    return max(after - before for before, after in pairwise([since, *burst]))


@pytest.mark.parametrize("binning", [1, 2, 3, 4])
def test_every_subframe_has_the_very_size_and_pixels_that_were_asked_for(
    guide_camera: tuple[Server, Bench], binning: int
) -> None:
    server, bench = guide_camera
    client = server.tcp()
    connect(client)
    limits = values(client.definition("CCD_INFO"))
    full = (0, 0, int(limits["CCD_MAX_X"]) // binning, int(limits["CCD_MAX_Y"]) // binning)
    corner = (full[2] - 9, full[3] - 5, 9, 5)
    for subframe in (full, *SUBFRAMES, corner):
        header = check_raw(take(client, binning, subframe), bench)
        assert header["NAXIS"] == 2
        assert (header["NAXIS1"], header["NAXIS2"]) == subframe[2:]
        assert (header["XORGSUBF"], header["YORGSUBF"]) == tuple(
            side * binning for side in subframe[:2]
        )
        assert header["XBINNING"] == header["YBINNING"] == binning
