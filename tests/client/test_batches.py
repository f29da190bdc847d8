"""`picam capture` of batches: each frame is here exactly once, whatever ends in between."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from astropy.io import fits

from indi_picam.client.failure import Exit
from tests.system.client import Client, values
from tests.system.conftest import DEVICE, connect
from tests.system.server import serving

from .conftest import PROGRAM, LastingServer, Network, Picam, await_files, finish, start

SMALL = "mode=1332x990:10"
BATCH = re.compile(r"Batch (\d{6}-\d{8}T\d{6}-[0-9a-f]{4})")


def assert_each_once(directory: Path, count: int) -> None:
    """Frames 1 to ``count`` of one batch are there, in the order of their files, and whole."""
    files = sorted(directory.iterdir())
    batches, numbers = set(), []
    for file in files:
        with fits.open(file, checksum=True) as hdus:
            hdus.verify("exception")
            header = hdus[0].header
        batches.add(header["BATCHID"])
        numbers.append(header["BATCHNUM"])
    assert (numbers, len(batches)) == (list(range(1, count + 1)), 1)
    assert [int(file.name[10:15]) for file in files] == list(range(1, count + 1))


def await_taken(client: Client, count: int, since: int) -> None:
    """Waits until the driver has counted so many frames."""
    client.wait(
        lambda m: (
            m.tag.startswith("set")
            and m.get("name") == "BATCH_PROGRESS"
            and m.get("state") == "Busy"
            and float(values(m)["TAKEN"]) >= count
        ),
        since,
    )


def asked_for(line: str) -> list[str]:
    """The command line that picam says the rest can be had with."""
    match = re.search(r"The rest: picam (.*)$", line, re.MULTILINE)
    assert match, line
    return match[1].split()


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_batch_with_every_word_about_it(picam: Picam, storage: str) -> None:
    done = picam("-v", "--storage", storage, "-c", f"shutter=0.1,{SMALL}", "6")
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 6)
    assert (
        f"Kept {'on disk, as was asked for' if storage == 'disk' else 'in memory'}: 6 frames"
        in (done.said)
    )
    place = "disk" if storage == "disk" else "ram"
    for number, file in enumerate(done.files, 1):
        size = file.stat().st_size
        assert f"{place}:({number}/6) {size} bytes written to {file}" in done.said.splitlines()
    status, printed, _said = picam.run("batches", "list")
    assert status == 0
    cells = [cell.strip() for cell in printed.splitlines()[3].split("│")[2:6]]
    assert cells == ["6", "6", "6", "6"], "taken, delivered and acknowledged"


def test_frames_one_by_one_when_told(picam: Picam) -> None:
    done = picam("--single", "-c", f"shutter=0.1,{SMALL}", "2")
    assert (done.status, len(done.files)) == (0, 2), done.said
    assert "BATCHID" not in fits.getheader(done.files[0])
    done = picam("--batch", "-c", f"shutter=0.1,{SMALL}", "1")
    assert fits.getheader(done.files[0])["BATCHCNT"] == 1


def test_a_camera_without_batches_cannot_be_made_to_take_one(reference: Picam) -> None:
    done = reference("--batch", "--device", "CCD Simulator", "-c", "shutter=0.1", "2")
    assert (done.status, done.files) == (Exit.NO_DEVICE, [])
    assert "CCD Simulator has no BATCH_START" in done.said


@pytest.mark.parametrize("victim", ["driver", "server"])
@pytest.mark.parametrize("moment", [1, 4])
def test_a_crash_in_the_middle_costs_nothing(
    lasting: LastingServer, tmp_path: Path, victim: str, moment: int
) -> None:
    picam = Picam(lasting, tmp_path / "frames")
    process = picam.start("--storage", "disk", "-c", f"shutter=0.2,{SMALL}", "10")
    await_files(process, moment)
    if victim == "driver":
        lasting.kill_driver()
    else:
        lasting.kill()
        lasting.start_again()
    done = finish(process)
    assert done.status == 0, done.said
    assert f"{DEVICE} is back." in done.said
    assert_each_once(picam.directory, 10)


def test_what_was_in_memory_when_the_driver_died_is_told(
    lasting: LastingServer, tmp_path: Path
) -> None:
    picam = Picam(lasting, tmp_path / "frames")
    process = picam.start("--storage", "memory", "-c", f"shutter=0.2,{SMALL}", "30")
    await_files(process, 3)
    lasting.kill_driver()
    done = finish(process)
    assert done.status == Exit.CAMERA
    saved = re.search(r"lost when their driver ends; (\d+) of 30 are saved here", done.said)
    assert saved and int(saved[1]) >= 3, done.said
    assert_each_once(picam.directory, int(saved[1]))


@pytest.mark.parametrize("delivery", ["live", "after"])
def test_a_network_that_breaks(picam: Picam, network: Network, delivery: str) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    where = ["-H", f"localhost:{network.port}", "-d", str(picam.directory)]
    options = ["--delivery", delivery, "-c", f"shutter=0.2,{SMALL}", "20"]
    process = start("capture", *where, *options)
    await_taken(client, 4, position)
    network.cut()
    await_taken(client, 8, position)
    network.open()
    done = finish(process)
    assert done.status == 0, done.said
    assert "The connection to the INDI server" in done.said and "is back." in done.said
    assert_each_once(picam.directory, 20)


def test_a_network_that_stays_broken(picam: Picam, network: Network) -> None:
    where = ["-H", f"localhost:{network.port}", "-d", str(picam.directory)]
    process = start("capture", *where, "--patience", "1", "-c", f"shutter=0.2,{SMALL}", "15")
    await_files(process, 2)
    network.cut()
    done = finish(process)
    assert done.status == Exit.CONNECTION_LOST, done.said
    network.open()
    done = finish(start(*asked_for(done.said)))
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 15)


def test_ctrl_c_fetches_what_is_taken_and_the_rest_can_be_had(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("--delivery", "after", "-c", f"shutter=0.2,{SMALL}", "20")
    await_taken(client, 3, position)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.status == Exit.INTERRUPTED
    client.set_of("BATCH_START", "Idle", since=position)
    saved = re.search(r"stopped\. (\d+) of 20 frames were taken and are saved", done.said)
    assert saved and 3 <= int(saved[1]) < 20, done.said
    assert_each_once(picam.directory, int(saved[1]))
    done = picam("--resume")
    assert done.status == 0, done.said
    assert len(done.files) == 20 - int(saved[1])
    assert_each_once(picam.directory, 20)
    done = picam("--resume")
    assert done.status == Exit.CAMERA
    assert "no batch that is not complete" in done.said


def test_a_second_ctrl_c_stops_at_once(picam: Picam) -> None:
    slow = ["--rate", "0.5"]  # 5 s for each frame
    process = picam.start(*slow, "-c", f"shutter=0.2,{SMALL}", "8")
    assert process.stderr is not None
    await_files(process, 1)
    process.send_signal(signal.SIGINT)
    said = "".join(itertools.takewhile(lambda line: "Stopping" not in line, process.stderr))
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.status == Exit.INTERRUPTED
    assert "stopped at once" in done.said and BATCH.search(said)
    done = finish(start(*asked_for(done.said), "--rate", "0"))
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 8)


def test_a_killed_picam_can_be_resumed(picam: Picam) -> None:
    process = picam.start("-c", f"shutter=0.2,{SMALL}", "12")
    await_files(process, 4)
    process.kill()
    process.communicate()
    done = picam("--resume")
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 12)


def test_a_batch_that_still_runs_is_resumed_without_its_id(picam: Picam) -> None:
    process = picam.start("-c", f"shutter=0.2,{SMALL}", "30")
    await_files(process, 2)
    process.kill()
    process.communicate()
    done = picam("--resume")
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 30)


def test_frames_that_another_client_acknowledged_are_told(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("--delivery", "after", "-c", f"shutter=0.2,{SMALL}", "6")
    await_taken(client, 3, position)
    batch = values(client.set_of("BATCH_STATUS", since=position))["BATCH"]
    client.new("Text", DEVICE, "BATCH_ACKNOWLEDGE", {"BATCH": batch, "FRAMES": "3"})
    done = finish(process)
    assert done.status == Exit.CAMERA
    assert "1 frames of batch" in done.said and "another client acknowledged them" in done.said
    assert len(picam.names()) == 5


def test_a_directory_that_goes_away(picam: Picam) -> None:
    process = picam.start("-c", f"shutter=0.2,{SMALL}", "10")
    await_files(process, 2)
    elsewhere = picam.directory.with_name("elsewhere")
    picam.directory.rename(elsewhere)
    done = finish(process)
    assert (done.status, "cannot be saved" in done.said) == (Exit.NOT_SAVED, True), done.said
    elsewhere.rename(picam.directory)
    done = finish(start(*asked_for(done.said)))
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 10)


def test_a_batch_that_somebody_else_aborts(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    process = picam.start("-c", f"shutter=0.2,{SMALL}", "40")
    await_taken(client, 3, position)
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    done = finish(process)
    assert done.status == Exit.CAMERA
    assert "Somebody else aborted the batch. The rest: picam capture" in done.said
    progress = values(client.set_of("BATCH_PROGRESS", "Ok", since=position))
    assert_each_once(picam.directory, int(progress["TAKEN"]))


def test_a_camera_that_takes_another_batch(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    position = len(client.log)
    client.new("Number", DEVICE, "BATCH_START", {"COUNT": 50, "EXPOSURE": 0.5})
    client.set_of("BATCH_START", "Busy", since=position)
    done = picam("-c", "shutter=0.1", "3")
    assert done.status == Exit.CAMERA
    assert "busy with a batch of another client" in done.said


def test_what_others_do_with_another_batch_does_not_end_the_fetching(picam: Picam) -> None:
    client = picam.server.tcp()
    connect(client, blobs=False)
    batches = []
    for _ in range(2):
        position = len(client.log)
        client.new("Number", DEVICE, "BATCH_START", {"COUNT": 4, "EXPOSURE": 0.1})
        batches.append(values(client.set_of("BATCH_STATUS", "Ok", since=position))["BATCH"])
    process = picam.start("--rate", "10", "--resume", batches[0])  # after two at once
    await_files(process, 2)
    position = len(client.log)
    client.new("Text", DEVICE, "BATCH_ACKNOWLEDGE", {"BATCH": batches[1], "FRAMES": "1-4"})
    client.set_of("BATCH_ACKNOWLEDGE", "Ok", since=position)
    done = finish(process)
    assert done.status == 0, done.said
    assert_each_once(picam.directory, 4)
    assert fits.getheader(picam.directory / picam.names()[0])["BATCHID"] == batches[0]


def test_a_batch_that_fits_nowhere(picam: Picam) -> None:
    done = picam("-c", "shutter=0.1,mode=4056x3040:12", "9000")
    assert done.status in (Exit.CAMERA, Exit.NOT_SAVED)
    assert "fits nowhere" in done.said or "The disk is full: 9000 frames need" in done.said
    assert picam.names() == []


def test_several_cameras_at_once_of_which_one_is_not_there(tmp_path: Path) -> None:
    with ExitStack() as servers:
        ports = [
            servers.enter_context(
                serving(tmp_path, environment={"HOME": str(tmp_path / name)})
            ).port
            for name in ("one", "two")
        ]
        hosts = [word for port in (*ports, 9) for word in ("-H", f"localhost:{port}")]
        where = ["-d", str(tmp_path / "frames")]
        done = finish(start("capture", *hosts, *where, "-c", f"shutter=0.2,{SMALL}", "4"))
    assert done.status == Exit.NO_SERVER
    assert "localhost:9: No INDI server runs at localhost:9." in done.said
    assert not (tmp_path / "frames" / "localhost_9").exists()
    begun = []
    for port in ports:
        files = sorted((tmp_path / "frames" / f"localhost_{port}").iterdir())
        assert_each_once(files[0].parent, 4)
        begun.append(datetime.fromisoformat(fits.getheader(files[0])["DATE-OBS"]))
        assert f"localhost:{port}: Batch " in done.said
    assert abs((begun[1] - begun[0]).total_seconds()) < 0.5


def test_a_wrong_clock_here_does_no_harm(picam: Picam, tmp_path: Path) -> None:
    library = _clock_years_ahead(tmp_path)
    where = ["-H", f"localhost:{picam.server.port}", "-d", str(picam.directory)]
    done = subprocess.run(
        [
            "env",
            f"LD_PRELOAD={library}",
            PROGRAM,
            "capture",
            *where,
            "-c",
            f"shutter=0.1,{SMALL}",
            "3",
        ],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    assert_each_once(picam.directory, 3)
    for name in picam.names():
        begun = fits.getheader(picam.directory / name)["DATE-OBS"]
        assert f"{datetime.fromisoformat(begun):%Y-%m-%d_%H-%M-%S}" in name


def _clock_years_ahead(directory: Path) -> Path:
    """A library that puts a program's wall clock ten years ahead, and that alone."""
    source, library = directory / "clock.c", directory / "clock.so"
    source.write_text(
        "#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n"
        "int clock_gettime(clockid_t clock, struct timespec *now) {\n"
        "    int failed = syscall(SYS_clock_gettime, clock, now);\n"
        "    if (clock == CLOCK_REALTIME) now->tv_sec += 10L * 365 * 86400;\n"
        "    return failed;\n}\n"
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library
