"""Several cameras of one driver: none waits for another's client."""

from __future__ import annotations

from tests.system.client import picture, values
from tests.system.conftest import DEVICE, StartServer, connect

GUIDER = f"{DEVICE} 2"


def test_a_guider_does_not_wait_for_the_client_of_the_other_camera(
    start_server: StartServer,
) -> None:
    """PHD2 gives up when a frame comes 15 s late; a client that hangs is given up after 99."""
    server = start_server(environment={"INDI_PICAM_SIMULATOR": "imx477,imx290"})
    hanging, guiding = server.tcp(), server.tcp()
    connect(guiding, DEVICE, blobs=False)
    connect(guiding, GUIDER)
    hanging.send(f"<getProperties version='1.7' device='{DEVICE}' name='CCD1'/>")
    hanging.send(f"<enableBLOB device='{DEVICE}'>Also</enableBLOB>")
    guiding.new("Number", DEVICE, "CCD_FAST_COUNT", {"FRAMES": 5})
    guiding.new("Switch", DEVICE, "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    guiding.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.1})
    guiding.wait(
        lambda m: m.get("device") == DEVICE and "picture waits" in (m.get("message") or ""), since=0
    )
    for _ in range(3):
        position = len(guiding.log)
        guiding.new("Number", GUIDER, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.1})
        frame = guiding.wait(lambda m: m.get("name") == "CCD1", since=position)
        assert frame.get("device") == GUIDER
        assert picture(frame).startswith(b"SIMPLE")
    (left,) = [values(m) for m in guiding.log if m.get("name") == "CCD_FAST_COUNT"][-1].values()
    assert float(left) > 1, "the other camera waits still"
