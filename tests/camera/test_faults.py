"""Aborts at any moment, and all that goes wrong below the driver: noticed, told, survived."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from indi_picam.camera import remote as remote_module
from indi_picam.camera import taking
from indi_picam.camera.modes import (
    CameraFault,
    CaptureFormat,
    FrameRequest,
    Roi,
    SensorMode,
    Way,
)
from indi_picam.camera.remote import RemoteCamera, list_cameras
from indi_picam.camera.starting import start_listing

from .conftest import MODULE_PATH, Bench, request_of, run, take, take_one

SMALL = SensorMode(1332, 990, 10)
IMX290 = SensorMode(1280, 720, 12)
TINY = Roi(0, 0, 16, 16)


def worker_pid(camera: RemoteCamera) -> int:
    assert camera._process is not None
    return camera._process.pid


async def in_mid_exposure(camera: RemoteCamera, request: FrameRequest) -> asyncio.Task[int]:
    """A take whose exposure has just begun; its result is the number of frames."""
    begun = asyncio.Event()

    async def taking() -> int:
        frames = [f async for f in camera.take(request, lambda _: begun.set())]
        for frame in frames:
            os.close(frame.memory)
        return len(frames)

    task = asyncio.create_task(taking())
    await asyncio.wait([task, asyncio.create_task(begun.wait())], return_when="FIRST_COMPLETED")
    return task


@pytest.mark.parametrize(
    ("sensor", "mode", "way"),
    [
        ("imx477", SMALL, Way.RESTART),
        ("imx290", IMX290, Way.PRIMER),
        ("imx290", IMX290, Way.FREE_RUNNING),
    ],
)
def test_abort_ends_a_take_at_any_moment(
    bench: Bench, sensor: str, mode: SensorMode, way: Way
) -> None:
    bench.plug(sensor)

    async def body() -> None:
        async with bench.camera() as camera:
            request = request_of(await camera.configure(mode), 200_000, way=way, roi=TINY)
            await take_one(camera, request)
            for moment_ms in (0, 1, 5, 15, 30, 35, 40, 60, 100, 140, 180, 220, 235, 245, 260):
                task = asyncio.create_task(take(camera, request))
                await asyncio.sleep(moment_ms / 1000)
                started = time.monotonic()
                await camera.abort()
                assert time.monotonic() - started < 0.2
                assert camera.alive
                for frame in await task:
                    os.close(frame.memory)
            await camera.abort()
            facts = await take_one(camera, request)
            assert bench.logged(facts)["status"] == "success"

    run(body())


def test_abort_ends_a_run_of_frames_and_the_next_take_gets_none_of_them(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(SMALL)
            frames = 0
            async for frame in camera.take(request_of(granted, 20_000, count=1000)):
                os.close(frame.memory)
                frames += 1
                if frames == 5:
                    await camera.abort()
            assert frames == 5
            facts = await take_one(camera, request_of(granted, 20_000, gain=7.0))
            assert facts.gain == pytest.approx(7.0, rel=0.01)

    run(body())


def test_a_consumer_that_breaks_off_stops_the_camera(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(SMALL)
            frames = camera.take(request_of(granted, 20_000, count=1000))
            os.close((await anext(frames)).memory)
            await frames.aclose()
            await camera.abort()
            taken = len(bench.log())
            await take_one(camera, request_of(granted, 20_000))
            assert len(bench.log()) - taken < 10

    run(body())


def memories(camera: RemoteCamera, name: str = "indi_picam frame") -> set[int]:
    """The memories of frames, or others of a name, that the worker has, by inode."""
    found = set()
    for link in Path(f"/proc/{worker_pid(camera)}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # just closed
            if name in os.readlink(link):
                found.add(link.stat().st_ino)
    return found


async def until(condition: Callable[[], bool], seconds: float) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        await asyncio.sleep(0.02)


def test_memory_is_given_back_by_a_camera_that_rests(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(SMALL)
            short = request_of(granted, 1_000, way=Way.FREE_RUNNING)
            assert (await take_one(camera, short)).way is Way.FREE_RUNNING
            assert memories(camera)
            await until(lambda: not memories(camera), taking.IDLE_S + 10)
            # A sensor that still ran would be used as it is.
            assert (await take_one(camera, request_of(granted, 1_000))).way is Way.RESTART

    run(body())


@pytest.mark.parametrize(
    ("signal_number", "limit_s", "sentence"),
    [(signal.SIGKILL, 0.3, "ended unexpectedly"), (signal.SIGSTOP, 1.5, "hangs")],
)
def test_a_dead_or_stopped_worker_is_noticed_and_replaced(
    bench: Bench, signal_number: int, limit_s: float, sentence: str
) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            request = request_of(await camera.configure(SMALL), 30_000_000)
            task = await in_mid_exposure(camera, request)
            started = time.monotonic()
            os.kill(worker_pid(camera), signal_number)
            with pytest.raises(CameraFault, match=sentence) as fault:
                await task
            assert fault.value.retry
            assert time.monotonic() - started < limit_s
            assert not camera.alive
            await camera.open()
            await camera.configure(SMALL)
            await take_one(camera, request_of(SMALL, 10_000))

    run(body())


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_idle_worker_that_goes_is_told_to_on_lost(bench: Bench, signal_number: int) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            lost: asyncio.Future[CameraFault] = asyncio.get_running_loop().create_future()
            camera.on_lost = lost.set_result
            os.kill(worker_pid(camera), signal_number)
            assert (await asyncio.wait_for(lost, 2)).retry
            with pytest.raises(CameraFault):
                await camera.configure(SMALL)

    run(body())


def test_a_worker_that_stops_after_it_asked_for_patience_is_noticed_soon(bench: Bench) -> None:
    """To set up a mode it asks for 15 s, and is back at once."""
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            lost: asyncio.Future[CameraFault] = asyncio.get_running_loop().create_future()
            camera.on_lost = lost.set_result
            loop = asyncio.get_running_loop()
            assert camera._watch is not None
            camera._watch.cancel()
            camera._silent_until = loop.time() + 15
            camera._check(loop.time())  # as when setting up takes long
            while camera._silent_until > loop.time() + 2:
                await asyncio.sleep(0.01)
            os.kill(worker_pid(camera), signal.SIGSTOP)
            await asyncio.wait_for(lost, 2)

    run(body())


def test_an_abort_leaves_a_worker_alone_that_is_being_opened(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            lost: list[CameraFault] = []
            camera.on_lost = lost.append
            await camera.close()
            opening = asyncio.create_task(camera.open())
            while not camera.alive:
                await asyncio.sleep(0)
            await camera.abort()
            await opening
            await take_one(camera, request_of(SMALL, 10_000))
            assert lost == []

    run(body())


@pytest.mark.parametrize("call", ["configure", "start", "queue_request", "exposure"])
def test_a_worker_that_dies_in_any_call_is_replaced(bench: Bench, call: str) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            bench.fault(f"die = {call}")
            with pytest.raises(CameraFault, match="ended unexpectedly") as fault:
                await camera.configure(SMALL)
                await take_one(camera, request_of(SMALL, 300_000))
            assert fault.value.retry
            await camera.open()
            await take_one(camera, request_of(SMALL, 10_000))

    run(body())


@pytest.mark.parametrize("call", ["acquire", "configure", "start", "get_ready_requests", "stop"])
def test_a_worker_that_hangs_in_any_call_is_replaced(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.plug("imx477")
    monkeypatch.setattr(remote_module, "OPEN_S", 1.5)
    monkeypatch.setattr(remote_module, "CONFIGURE_S", 0.7)

    async def body() -> None:
        async with bench.camera() as camera:
            bench.fault(f"hang = {call}")
            with pytest.raises(CameraFault, match=r"hangs|did not answer") as fault:
                if call == "acquire":
                    await camera.open()
                await camera.configure(SMALL)
                await take_one(camera, request_of(SMALL, 20_000))
                await take_one(camera, request_of(SMALL, 20_000, gain=3.0))
            assert fault.value.retry
            await camera.open()
            await camera.configure(SMALL)
            await take_one(camera, request_of(SMALL, 10_000))

    run(body())


def test_a_worker_that_hangs_in_an_abort_is_killed_in_time(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            lost: list[CameraFault] = []
            camera.on_lost = lost.append
            task = await in_mid_exposure(camera, request_of(SMALL, 5_000_000))
            bench.fault("hang = stop")
            started = time.monotonic()
            await camera.abort()
            assert time.monotonic() - started < 0.3
            assert await task == 0
            assert not camera.alive
            assert [fault.retry for fault in lost] == [True]

    run(body())


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("stalled = yes", "none came"),
        ("bad_frames = yes", "none came|marked as bad"),
        ("unplugged = yes", "does not start"),
    ],
)
def test_a_sensor_without_frames_is_told_after_its_own_limit(
    bench: Bench, fault: str, sentence: str
) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            await camera.configure(SMALL)
            bench.fault(fault)
            started = time.monotonic()
            with pytest.raises(CameraFault, match=sentence) as raised:
                await take_one(camera, request_of(SMALL, 100_000))
            assert raised.value.retry
            assert time.monotonic() - started < 3
            bench.fault("")
            await camera.open()
            await take_one(camera, request_of(SMALL, 10_000))

    run(body())


def test_a_sensor_that_stalls_in_mid_run_is_told(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            frames = 0
            with pytest.raises(CameraFault, match="none came"):
                async for frame in camera.take(request_of(SMALL, 20_000, count=500)):
                    os.close(frame.memory)
                    frames += 1
                    if frames == 10:
                        bench.fault("stalled = yes")
            assert 10 <= frames < 40

    run(body())


def test_too_little_contiguous_memory_is_told_with_the_remedy(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        bench.fault("no_memory = yes")
        async with bench.camera() as camera:
            facts = await camera.open()  # the modes are known all the same
            assert facts.modes[0].name == "4056x3040_12"
            assert set(facts.exposure_max_us) == {0}
            with pytest.raises(CameraFault, match=r"config\.txt") as fault:
                await camera.configure(facts.modes[0])
            assert not fault.value.retry
            bench.fault("")
            await camera.configure(facts.modes[-1])
            await take_one(camera, request_of(facts.modes[-1], 10_000))

    run(body())


LARGE = SensorMode(4056, 3040, 12)
RAW_BYTES = 4056 * 2 * 3040
"""Of a frame in this mode; its buffer takes a little more, and has a small picture beside it."""


@pytest.mark.parametrize(("room_for", "buffers"), [(4, 3), (2.5, 2), (1.5, 1)])
def test_as_many_buffers_are_used_as_there_is_memory_for(
    bench: Bench, room_for: float, buffers: int
) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            bench.fault(f"heap = {room_for * RAW_BYTES:.0f}")
            mode = await camera.configure(LARGE)
            assert mode.buffers == buffers
            await take_one(camera, request_of(mode, 10_000))
            assert len(memories(camera, "dma_buf")) == 2 * buffers, "raw and processed"

    run(body())


@pytest.mark.parametrize(
    ("sensor", "picture", "buffers"),
    [
        ("imx477", CaptureFormat.RAW, 3),
        ("imx477", CaptureFormat.MONO, 3),
        ("imx477", CaptureFormat.RGB, 2),  # 62 MB each
        ("imx283", CaptureFormat.RAW, 3),
        ("ov64a40", CaptureFormat.RAW, 2),  # 128 MB each
    ],
)
def test_the_largest_frames_make_do_with_two_buffers(
    bench: Bench, sensor: str, picture: CaptureFormat, buffers: int
) -> None:
    bench.plug(sensor)

    async def body() -> None:
        async with bench.camera() as camera:
            mode = (await camera.open()).modes[0]
            window = Roi(0, 0, 16, 16)
            await take_one(camera, request_of(mode, 10_000, roi=window, format=picture))
            assert len(memories(camera, "dma_buf")) == 2 * buffers, "raw and processed"

    run(body())


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("busy = yes", "held by another program"), ("unplugged = yes", "finds no camera")],
)
def test_a_camera_that_cannot_be_opened_is_told(bench: Bench, fault: str, sentence: str) -> None:
    bench.plug("imx477")

    async def body() -> None:
        lost: list[CameraFault] = []
        camera = RemoteCamera(bench.camera_id, module_path=MODULE_PATH)
        camera.on_lost = lost.append
        bench.fault(fault)
        with pytest.raises(CameraFault, match=sentence) as raised:
            await camera.open()
        assert not raised.value.retry
        assert not camera.alive
        bench.fault("")
        await camera.open()
        await camera.close()
        assert not lost

    run(body())


def test_a_second_hold_on_the_same_camera_is_told_that_it_is_busy(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as first:
            second = RemoteCamera(bench.camera_id, module_path=MODULE_PATH)
            with pytest.raises(CameraFault, match="held by another program"):
                await second.open()
            await second.close()
            await first.close()
            await second.open()
            await second.close()

    run(body())


@pytest.mark.parametrize(
    "ask",
    [
        lambda: list_cameras(start_listing(None)),
        lambda: RemoteCamera("any", module_path=None).open(),
    ],
)
def test_missing_libcamera_is_told_with_the_package_to_install(
    bench: Bench, ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)

    async def body() -> None:
        with pytest.raises(CameraFault, match="apt install python3-libcamera") as fault:
            await ask()  # type: ignore[misc]
        assert not fault.value.retry

    run(body())


@pytest.mark.parametrize("variable", ["INDI_PICAM_SIMULATOR", "INDI_PICAM_SIMULATOR_CONFIG"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda: list_cameras(start_listing(MODULE_PATH)),
        lambda: RemoteCamera("", module_path=MODULE_PATH).open(),
    ],
)
def test_what_the_simulator_is_told_wrongly_is_told_in_its_own_words(
    bench: Bench, ask: Callable[[], object], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "imx999")

    async def body() -> None:
        with pytest.raises(CameraFault, match=variable) as fault:
            await ask()  # type: ignore[misc]
        assert "imx999" in str(fault.value)
        assert not any(word in str(fault.value) for word in ("numpy", "libcamera", "reboot"))
        assert not fault.value.retry

    run(body())


def test_nothing_is_left_behind_when_the_driver_is_killed(bench: Bench, tmp_path: Path) -> None:
    bench.plug("imx477")
    script = tmp_path / "driver.py"
    script.write_text(
        "import asyncio, os, signal\n"
        "from indi_picam.camera.modes import FrameRequest, SensorMode\n"
        "from indi_picam.camera.remote import RemoteCamera\n"
        "async def main():\n"
        f"    camera = RemoteCamera({bench.camera_id!r}, module_path={MODULE_PATH!r})\n"
        "    await camera.open()\n"
        "    print(camera._process.pid, flush=True)\n"
        "    mode = SensorMode(1332, 990, 10)\n"
        "    request = FrameRequest(mode, 60_000_000, 1.0, mode.full_frame)\n"
        "    async for _ in camera.take(request, lambda _: os.kill(os.getpid(), signal.SIGKILL)):\n"
        "        pass\n"
        "asyncio.run(main())\n"
    )
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = psutil.Process(int(driver.stdout.readline()))
    family = [worker, *worker.children(recursive=True)]
    driver.stdout.close()
    assert driver.wait() == -signal.SIGKILL
    psutil.wait_procs(family, timeout=2)
    # Whoever inherits orphans may take its time to bury them.
    assert all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in family)


def test_the_worker_has_nothing_of_the_drivers_but_its_own_socket(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        with open("/dev/zero") as ours:
            os.set_inheritable(ours.fileno(), True)
            async with bench.camera() as camera:
                files = Path(f"/proc/{worker_pid(camera)}/fd")
                targets = {int(file.name): os.readlink(file) for file in files.iterdir()}
        assert targets[0] == "/dev/null"
        assert targets[1] == targets[2] == os.readlink("/proc/self/fd/2")
        assert "/dev/zero" not in targets.values()

    run(body())


@pytest.mark.parametrize("count", [1, 1000])
def test_a_frame_without_a_descriptor_left_for_it_is_told(bench: Bench, count: int) -> None:
    bench.plug("imx477")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        async with bench.camera() as camera:
            mode = await camera.configure(SMALL)
            request = request_of(mode, 50_000, roi=TINY, count=count)
            next_free = os.dup(0)
            os.close(next_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
            try:
                with pytest.raises(CameraFault, match="too many files and frames open") as fault:
                    await asyncio.wait_for(take(camera, request), 5)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert not fault.value.retry
            await take_one(camera, dataclasses.replace(request, count=1))

    run(body())
