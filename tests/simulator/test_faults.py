"""Everything that can be made to go wrong, seen from picamera2."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from indi_picam.simulator import faults
from indi_picam.simulator.faults import CALLS, Faults

from .conftest import PRELUDE, Simulation

READY = (
    PRELUDE
    + """
still(picam2, (1332, 990), 10, "SRGGB10")
"""
)
RUNNING = (
    READY
    + """
picam2.set_controls(manual(1000))
picam2.start()
picam2.capture_request(wait=5).release()
"""
)
FAULT = """
from indi_picam.simulator import faults
def fault(**values):
    faults.write("faults.ini", {"faults": values})
"""


def test_no_memory_is_errno_12_from_configure(simulation: Simulation) -> None:
    simulation.fault(no_memory="yes")
    code, output, errors = simulation.python(f"""{PRELUDE}{FAULT}
try:
    still(picam2, (4056, 3040), 12, "SRGGB12")
except OSError as error:
    print(error.errno, type(error).__name__)
fault()
still(picam2, (4056, 3040), 12, "SRGGB12")
picam2.set_controls(manual(1000))
picam2.start()
print(picam2.capture_metadata(wait=5)["ExposureTime"])
""")
    assert code == 0, errors
    assert output.split() == ["12", "OSError", "971"]


def test_a_busy_camera_cannot_be_acquired(simulation: Simulation) -> None:
    simulation.fault(busy="yes")
    code, _, errors = simulation.python(PRELUDE)
    assert code != 0
    assert "Failed to acquire camera: Device or resource busy" in errors


def test_a_camera_is_unplugged_before_and_while_it_runs(simulation: Simulation) -> None:
    code, output, errors = simulation.python(f"""{RUNNING}{FAULT}
fault(unplugged="yes")
try:
    while True:
        picam2.capture_request(wait=1).release()
except TimeoutError:
    print("silent")
picam2.cancel_all_and_flush()
picam2.stop()
try:
    picam2.start()
except RuntimeError as error:
    print(error)
picam2.close()
import gc
gc.collect()
print(len(Picamera2.global_camera_info()))
fault()
Picamera2._cm.reset()
print(len(Picamera2.global_camera_info()))
""")
    assert code == 0, errors
    assert output.splitlines() == ["silent", "Failed to start camera: Remote I/O error", "0", "1"]


def test_a_stalled_sensor_times_out_and_runs_again_after_a_restart(simulation: Simulation) -> None:
    code, output, errors = simulation.python(f"""{RUNNING}{FAULT}
fault(stalled="yes")
begin = time.monotonic()
try:
    while True:
        picam2.capture_request(wait=1.5).release()
except TimeoutError:
    pass
fault()
try:
    picam2.capture_request(wait=0.3)
except TimeoutError:
    print("still silent")
picam2.cancel_all_and_flush()
picam2.stop()
picam2.set_controls(manual(2000))
picam2.start()
print(picam2.capture_metadata(wait=5)["ExposureTime"])
""")
    assert code == 0, errors
    assert output.splitlines() == ["still silent", "1993"]
    assert "Camera frontend has timed out!" in errors


def test_bad_frames_never_reach_the_application(simulation: Simulation) -> None:
    code, output, errors = simulation.python(f"""{RUNNING}{FAULT}
fault(bad_frames="yes")
time.sleep(0.05)
try:
    while True:
        picam2.capture_request(wait=0.3).release()
except TimeoutError:
    print("none")
picam2.cancel_all_and_flush()
fault()
print(picam2.capture_metadata(wait=5)["ExposureTime"])
""")
    assert code == 0, errors
    assert output.splitlines() == ["none", "992"]
    assert [frame["status"] for frame in simulation.frames].count("error") > 5


@pytest.mark.parametrize("call", CALLS)
def test_a_process_dies_in_a_call_once(simulation: Simulation, call: str) -> None:
    simulation.fault(die=call)
    script = f"{RUNNING}\npicam2.stop()\npicam2.close()\nprint('through')"
    code, _, _ = simulation.python(script)
    assert code == -signal.SIGKILL
    code, output, errors = simulation.python(script)
    assert (code, output.strip()) == (0, "through"), errors


def test_a_process_is_killed_in_mid_exposure(simulation: Simulation) -> None:
    simulation.fault(die="exposure")
    code, output, _ = simulation.python(f"""{READY}
picam2.set_controls(manual(600_000))
picam2.start()
print(time.monotonic(), flush=True)
picam2.capture_request(wait=5)
print("through")
""")
    assert code == -signal.SIGKILL
    assert len(output.splitlines()) == 1
    assert not [frame for frame in simulation.frames if frame["request"]]


@pytest.mark.parametrize("call", ["start", "stop"])
def test_a_call_hangs_with_the_interpreter_locked(simulation: Simulation, call: str) -> None:
    with simulation.start(f"""
import os, threading, time
def say(word):  # print() writes a line in two goes, and another thread's may come between
    os.write(1, word + b"\\n")
def tick():
    while True:
        time.sleep(0.02)
        say(b"tick")
{RUNNING}{FAULT}
threading.Thread(target=tick, daemon=True).start()
time.sleep(0.1)
say(b"now")
fault(hang="{call}")
picam2.{call}() if "{call}" == "stop" else picam2.camera.start()
say(b"through")
""") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "now\n":
                break
        fault_file = simulation.fault_file
        while not (fault_file.exists() and "hang" not in fault_file.read_text()):
            assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()
        rest = process.stdout.readlines()
    assert "through\n" not in rest
    assert rest.count("tick\n") <= 2


def test_faults_of_one_camera_alone(tmp_path: Path) -> None:
    file = str(tmp_path / "faults.ini")
    faults.write(file, {"faults": {"busy": "yes"}, "/base/one": {"busy": "no", "stalled": "yes"}})
    one, other = Faults(file, "/base/one"), Faults(file, "/base/other")
    assert (one.on("busy"), one.on("stalled")) == (False, True)
    assert (other.on("busy"), other.on("stalled")) == (True, False)
    one.take_out("stalled")
    assert (one.on("stalled"), other.on("busy")) == (False, True)
    Path(file).unlink()
    assert not (one.on("busy") or other.on("busy"))
