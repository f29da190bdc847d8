"""Every way in which `picam capture` can fail: exit status, sentence, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from indi_picam.client.failure import Exit
from tests.system.conftest import DEVICE, connect
from tests.system.server import Server, serving

from .conftest import PROGRAM, REFERENCE, Picam, finish

SMALL = "mode=1332x990:10"


def await_devices(server: Server, *devices: str) -> None:
    """Waits until every driver is up: picam decides by what has been defined."""
    client = server.tcp()
    client.send("<getProperties version='1.7'/>")
    for device in devices:
        client.definition("DRIVER_INFO", device)


def run(*words: str) -> tuple[int, str]:
    """picam without a server of ours."""
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["-H", "localhost:9", "-c", "shutter=1", "1"], Exit.NO_SERVER, "No INDI server runs at"),
        (["-H", "no.such.invalid", "-c", "shutter=1", "1"], Exit.NO_SERVER, "no computer named"),
        (["-H", "host:port", "-c", "shutter=1", "1"], Exit.USAGE, "not HOST or HOST:PORT"),
        (["-c", "shutter=1", "0"], Exit.USAGE, "not a number of frames"),
        (["-c", "shutter=1", "many"], Exit.USAGE, "not a number of frames"),
        (["-n", "a/b", "-c", "shutter=1", "1"], Exit.USAGE, "cannot begin a file name"),
        (["-c", "shuter=1", "1"], Exit.USAGE, "Right ones are shutter, ISO"),
        (["-d", "/dev/null/x", "-c", "shutter=1", "1"], Exit.NOT_SAVED, "cannot be saved"),
        (["1"], Exit.USAGE, "required: -c"),
    ],
)
def test_what_is_wrong_before_a_server_is_asked(
    words: list[str], status: Exit, sentence: str
) -> None:
    ended, said = run("capture", *words)
    assert (ended, sentence in said) == (status, True), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--device", "Nothing"], Exit.NO_DEVICE, "Devices there: CCD Simulator, Telescope Sim"),
        (["--device", "Telescope Simulator"], Exit.NO_DEVICE, "Cameras there: CCD Simulator."),
    ],
)
def test_a_device_that_is_no_camera(
    reference: Picam, words: list[str], status: Exit, sentence: str
) -> None:
    await_devices(reference.server, "CCD Simulator", "Telescope Simulator")
    done = reference(*words, "-c", "shutter=1", "1")
    assert (done.status, sentence in done.said) == (status, True), done.said


def test_several_cameras_must_be_told_apart(tmp_path: Path) -> None:
    with serving(tmp_path, "indi_picam_simulator", None, REFERENCE) as server:
        await_devices(server, DEVICE, "CCD Simulator")
        picam = Picam(server, tmp_path / "frames")
        done = picam("-c", "shutter=0.1", "1")
        assert done.status == Exit.NO_DEVICE
        assert "--device: CCD Simulator, Pi Camera Simulator." in done.said
        done = picam("--device", DEVICE, "-c", f"shutter=0.1,{SMALL}", "1")
        assert (done.status, len(done.files)) == (0, 1), done.said


def test_no_camera_at_all(tmp_path: Path) -> None:
    with serving(tmp_path, "/usr/bin/indi_simulator_telescope") as server:
        done = Picam(server, tmp_path / "frames")("-c", "shutter=0.1", "1")
    assert done.status == Exit.NO_DEVICE
    assert "has no camera. Devices there: Telescope Simulator." in done.said


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ("shutter=99999", Exit.CAMERA, "refused an exposure of 99999 s: "),
        ("shutter=1,analoggain=99", Exit.CAMERA, "refused CCD_GAIN GAIN=99: "),
        ("shutter=1,ISO=1000000", Exit.CAMERA, "refused PICAM_ISO ISO=1e+06: "),
        ("shutter=1,mode=7", Exit.USAGE, "Its modes are 4056x3040:12, 2028x1520:12"),
        ("shutter=1,mode=640x480:10", Exit.USAGE, "Its modes are 4056x3040:12, 2028x1520:12"),
        ("shutter=1,roi=4000:0:640:480", Exit.USAGE, "beyond the frame of 4056 x 3040 pixels"),
    ],
)
def test_what_the_camera_cannot_do(picam: Picam, options: str, status: Exit, sentence: str) -> None:
    done = picam("-c", options, "1")
    assert (done.status, sentence in done.said) == (status, True), done.said
    said = done.said.strip().splitlines()[-1]
    assert len(said.partition(sentence)[2]) > 5 or said.endswith("."), "the driver's reason"
    assert picam.names() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_aborts_the_exposure(picam: Picam, number: signal.Signals) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("--single", "-c", f"shutter=30,{SMALL}", "2")
    client.set_of("CCD_EXPOSURE", "Busy", since=position)
    asked = time.monotonic()
    process.send_signal(number)
    client.set_of("CCD_EXPOSURE", "Idle", since=position)
    done = finish(process)
    assert time.monotonic() - asked < 5
    assert (done.status, done.files, picam.names()) == (Exit.INTERRUPTED, [], [])
    assert "stopped" in done.said


def test_a_lost_server(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("-c", f"shutter=30,{SMALL}", "1")
    client.set_of("CCD_EXPOSURE", "Busy", since=position)
    picam.server.process.kill()
    done = finish(process)
    assert done.status == Exit.CONNECTION_LOST
    assert "was lost" in done.said
    assert picam.names() == []


def test_a_dead_driver(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("-c", f"shutter=30,{SMALL}", "1")
    client.set_of("CCD_EXPOSURE", "Busy", since=position)
    os.kill(picam.server.driver_pid(), signal.SIGKILL)
    done = finish(process)
    assert done.status in (Exit.CAMERA, Exit.CONNECTION_LOST), (
        done.said
    )  # -r 0: the server ends too
    assert picam.names() == []


def test_an_exposure_that_somebody_else_aborts(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("-c", f"shutter=30,{SMALL}", "1")
    client.set_of("CCD_EXPOSURE", "Busy", since=position)
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    done = finish(process)
    assert done.status == Exit.CAMERA
    assert "Somebody else aborted the exposure" in done.said
    assert picam.names() == []


def test_a_camera_that_somebody_else_uses(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 30})
    client.set_of("CCD_EXPOSURE", "Busy", since=position)
    done = picam("-c", "shutter=0.1", "1")
    assert done.status == Exit.CAMERA
    assert "busy with an exposure of another client" in done.said


def test_a_full_disk(reference: Picam, tmp_path: Path) -> None:
    """On a real one of 4 MB: one frame of 2.6 MB fits, the next is not even exposed."""
    place = tmp_path / "small"
    place.mkdir()
    script = 'mount -t tmpfs -o size=4m tmpfs "$0" && "$@"; status=$?; ls -A "$0"; exit $status'
    capture = [PROGRAM, "capture", "-H", f"localhost:{reference.server.port}", "-d", str(place)]
    namespace = ["unshare", "--mount", "--map-root-user"]
    done = subprocess.run(
        [*namespace, "sh", "-c", script, str(place), *capture, "-c", "shutter=0.1", "3"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == Exit.NOT_SAVED, done.stderr
    assert "The disk is full: a frame needs 2.6 MB" in done.stderr
    printed, *left = done.stdout.splitlines()
    assert left == [Path(printed).name]
