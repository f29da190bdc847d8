"""Frames of every sensor, pixel by pixel and moment by moment, held to its own log."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from itertools import pairwise

import numpy as np
import pytest

from indi_picam import clock
from indi_picam.camera.modes import CameraFault, Roi, SensorMode, Way
from indi_picam.camera.remote import list_cameras
from indi_picam.camera.starting import start_listing
from indi_picam.simulator.truth import order_after

from .conftest import MODULE_PATH, Bench, pixels_of, request_of, run, take, take_one, true_pixels

SENSORS = "ov5647 imx219 imx477 imx477-trixie imx708 imx296 imx290 imx283 ov64a40".split()
STEP_TOO_LONG = {"ov64a40": 1.3}
"""Where frames are much longer than their rows take, so that less is known of a line's length."""
IMX290_SMALL, IMX290_FULL = SensorMode(1280, 720, 12), SensorMode(1920, 1080, 12)
PLATFORMS = [f"{sensor}@{pi}" for sensor in SENSORS for pi in ("pi4", "pi5")]
PLATFORMS.remove("ov64a40@pi5")  # 64 MP take some seconds


@pytest.mark.parametrize("camera_name", PLATFORMS)
def test_every_sensor_gives_its_true_pixels(bench: Bench, camera_name: str) -> None:
    """Largest and smallest mode: exact pixels, exact facts."""
    bench.plug(camera_name)
    sensor = bench.settings.cameras[0].sensor

    async def body() -> None:
        async with bench.camera() as camera:
            facts = await camera.open()
            assert facts.model == sensor.model
            assert facts.pixel_array == sensor.array
            assert facts.has_temperature == sensor.thermometer
            assert {mode.name for mode in facts.modes} == {mode.name for mode in sensor.modes}
            for mode, scaled in ((facts.modes[0], True), (facts.modes[-1], False)):
                granted = await camera.configure(mode)
                request = request_of(granted, 20_000, scale_to_16_bit=scaled)
                (frame,) = await take(camera, request)
                got, logged = frame.facts, bench.logged(frame.facts)
                assert logged["mode"] == mode.name
                assert logged["status"] == "success"
                assert got.exposure_us == logged["exposure_us"]
                assert got.gain == pytest.approx(logged["gain"], rel=1e-6)
                shift = 16 - mode.bits
                assert got.saturation == ((1 << mode.bits) - 1) << (shift if scaled else 0)
                assert got.black_level == sensor.black_level / (1 if scaled else 1 << shift)
                assert (got.temperature_c is not None) == sensor.thermometer
                true_order = order_after(sensor.order, logged["hflip"], logged["vflip"])
                assert (got.bayer_pattern or "MONO") == true_order
                np.testing.assert_array_equal(
                    pixels_of(frame), true_pixels(bench, logged, request.roi, 1, scaled)
                )

    run(body())


@pytest.mark.parametrize("platform", ["pi4", "pi5"])
@pytest.mark.parametrize(
    ("roi", "binning", "pattern"),
    [
        (Roi(0, 0, 1332, 990), 1, "BGGR"),
        (Roi(3, 0, 641, 480), 1, "GBRG"),
        (Roi(100, 51, 101, 33), 1, "GRBG"),
        (Roi(1331, 989, 1, 1), 1, "RGGB"),
        (Roi(1, 1, 1331, 989), 2, None),
        (Roi(0, 0, 1332, 990), 3, None),
        (Roi(5, 7, 1001, 777), 4, None),
    ],
)
def test_regions_and_binning_are_exact(
    bench: Bench, platform: str, roi: Roi, binning: int, pattern: str | None
) -> None:
    bench.plug(f"imx477@{platform}")

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(SensorMode(1332, 990, 10))
            request = request_of(granted, 10_000, roi=roi, bin_x=binning, bin_y=binning)
            (frame,) = await take(camera, request)
            facts, logged = frame.facts, bench.logged(frame.facts)
            assert (facts.width, facts.height) == (roi.width // binning, roi.height // binning)
            assert facts.bayer_pattern == pattern
            np.testing.assert_array_equal(
                pixels_of(frame), true_pixels(bench, logged, roi, binning, True)
            )

    run(body())


@pytest.mark.parametrize("sensor", SENSORS)
def test_granted_limits_are_those_of_the_sensor(bench: Bench, sensor: str) -> None:
    bench.plug(sensor)
    truth = bench.settings.cameras[0].sensor

    async def body() -> None:
        async with bench.camera() as camera:
            facts, too_long = await camera.open(), STEP_TOO_LONG.get(sensor, 1.16)
            for mode in (facts.modes[0], facts.modes[-1]):
                granted, true_mode = await camera.configure(mode), truth.mode(mode.name)
                least, most = truth.exposure_limits_us(true_mode)
                assert granted.exposure_min_us == pytest.approx(least, abs=1)
                assert granted.exposure_max_us == pytest.approx(most, rel=1e-3)
                # The list tells each mode's limit before it is configured.
                assert facts.exposure_max_us[facts.modes.index(mode)] == pytest.approx(most, 1e-3)
                assert true_mode.line_us <= granted.exposure_step_us <= too_long * true_mode.line_us
                assert granted.gain_min == pytest.approx(truth.gains.limits[0], rel=1e-3)
                pitch = truth.pixel_nm * true_mode.binning / 1000
                assert granted.pixel_size_um == pytest.approx((pitch, pitch))

    run(body())


@pytest.mark.parametrize(
    ("sensor", "mode", "exposure_us", "way"),
    [
        ("imx477", SensorMode(1332, 990, 10), 50_000, Way.RESTART),
        ("imx477", SensorMode(1332, 990, 10), 200_000, Way.PRIMER),
        ("imx477", SensorMode(1332, 990, 10), 50_000, Way.FREE_RUNNING),
        ("imx290", SensorMode(1280, 720, 12), 300_000, Way.RESTART),
        ("imx290", SensorMode(1280, 720, 12), 300_000, Way.PRIMER),
        ("imx290", SensorMode(1280, 720, 12), 100_000, Way.FREE_RUNNING),
        ("ov5647", SensorMode(640, 480, 10), 300_000, Way.PRIMER),
        ("ov5647", SensorMode(640, 480, 10), 50_000, Way.RESTART),
        ("imx283", SensorMode(2736, 1824, 10), 200_000, Way.PRIMER),
        ("imx708", SensorMode(1536, 864, 10), 50_000, Way.FREE_RUNNING),
        ("imx296", SensorMode(1456, 1088, 10), 100_000, None),
        ("imx219", SensorMode(640, 480, 10), 100_000, None),
    ],
)
def test_each_way_delivers_only_frames_begun_after_the_request(
    bench: Bench, sensor: str, mode: SensorMode, exposure_us: int, way: Way | None
) -> None:
    """Three in a row, so that the later ones find the sensor as the earlier ones left it."""
    bench.plug(sensor)

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(mode)
            for number in range(3):
                begun: list[int] = []
                asked_ns = clock.monotonic_ns()
                request = request_of(granted, exposure_us, way=way, gain=1.5 + number % 2)
                frames = [frame async for frame in camera.take(request, begun.append)]
                facts = frames[0].facts
                os.close(frames[0].memory)
                logged = bench.logged(facts)
                assert logged["exposure_start_ns"] >= asked_ns
                assert logged["status"] == "success"
                # Within a line, and the line is known to a sixth.
                assert abs(logged["exposure_us"] - exposure_us) <= granted.exposure_step_us + 1
                assert facts.completed_ns > logged["readout_start_ns"]
                assert way is None or facts.way is way
                # The countdown starts when the exposure does, to within two short frames.
                error_ns = abs(begun[-1] - logged["exposure_start_ns"])
                assert error_ns < 2000 * granted.frame_duration_min_us + 40_000_000

    run(body())


@pytest.mark.parametrize("sensor", ["ov5647", "imx290", "imx283"])
def test_bad_frames_after_a_start_are_never_delivered(bench: Bench, sensor: str) -> None:
    bench.plug(sensor)

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure((await camera.open()).modes[-1])
            delivered = set()
            for _ in range(3):
                request = request_of(granted, 30_000, way=Way.RESTART)
                delivered.add((await take_one(camera, request)).sensor_timestamp_ns)
        lines = bench.log()
        bad = [line for line in lines if line["status"] == "error"]
        assert bad
        assert not delivered & {line["readout_start_ns"] for line in bad}

    run(body())


@pytest.mark.parametrize(
    ("sensor", "mode", "exposure_us"),
    [
        ("imx477", SensorMode(1332, 990, 10), 30_000),
        ("imx290", SensorMode(1280, 720, 12), 50_000),
        ("ov5647", SensorMode(640, 480, 10), 40_000),
        ("imx477@pi5", SensorMode(4056, 3040, 12), 100_000),
    ],
)
def test_a_run_of_frames_has_no_gap(
    bench: Bench, sensor: str, mode: SensorMode, exposure_us: int
) -> None:
    bench.plug(sensor)

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(mode)
            begun: list[int] = []
            request = request_of(granted, exposure_us, count=20, roi=Roi(10, 10, 64, 64))
            times = []
            async for frame in camera.take(request, begun.append):
                os.close(frame.memory)
                times.append(frame.facts.sensor_timestamp_ns)
                assert frame.facts.way is Way.FREE_RUNNING
                assert len(times) == 1 or frame.facts.dropped == 0
        assert len(times) == len(begun) == 20
        sequence = [line["sequence"] for line in bench.log() if line["readout_start_ns"] in times]
        assert [after - before for before, after in pairwise(sequence)] == [1] * 19

    run(body())


def test_a_run_begins_with_a_start_even_if_the_sensor_runs(bench: Bench) -> None:
    """So a second batch takes as long as the first, which is what was foretold."""
    bench.plug("imx290")

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(IMX290_SMALL)
            request = request_of(granted, 50_000, count=2, roi=Roi(0, 0, 8, 8))
            starts = []
            for _ in range(2):
                async for frame in camera.take(request):
                    os.close(frame.memory)
                    starts.append(bench.logged(frame.facts)["start"])
        assert starts == [starts[0], starts[0], starts[0] + 1, starts[0] + 1]

    run(body())


def test_a_running_sensor_is_left_for_other_settings_and_modes(bench: Bench) -> None:
    bench.plug("imx290")

    async def body() -> None:
        async with bench.camera() as camera:
            for mode in (IMX290_SMALL, IMX290_SMALL, IMX290_FULL, IMX290_SMALL):
                for gain in (1.0, 8.0):
                    request = request_of(mode, 40_000, gain=gain, roi=Roi(0, 0, 8, 8))
                    logged = bench.logged(await take_one(camera, request))
                    assert logged["mode"] == mode.name
                    assert logged["gain"] == pytest.approx(gain, rel=0.04)

    run(body())


def test_a_running_sensor_is_stopped_after_ten_seconds(bench: Bench) -> None:
    bench.plug("imx290")

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(SensorMode(1280, 720, 12))
            request = request_of(granted, 50_000, roi=Roi(0, 0, 8, 8))
            await take_one(camera, request)
            started = time.monotonic()
            assert (await take_one(camera, request)).way is Way.FREE_RUNNING
            while time.monotonic() - (last := bench.log()[-1]["completed_ns"] / 1e9) < 2:
                await asyncio.sleep(0.1)
            assert 10 <= last - started < 11
            assert (await take_one(camera, request)).way is not Way.FREE_RUNNING

    run(body())


def test_long_exposures_pass_at_a_time_scale(bench: Bench) -> None:
    bench.plug("imx477,imx290", scale=200)

    async def body() -> None:
        async with bench.camera() as camera:
            granted = await camera.configure(SensorMode(1332, 990, 10))
            facts = await take_one(camera, request_of(granted, 250_000_000))
            assert facts.exposure_us == pytest.approx(250_000_000, rel=1e-4)
            assert facts.sensor_timestamp_ns == bench.logged(facts)["readout_start_ns"]

    run(body())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"exposure_us": 1}, "exposes from"),
        ({"exposure_us": 10**12}, "exposes from"),
        ({"roi": Roi(1300, 0, 33, 10)}, "does not fit"),
        ({"roi": Roi(0, 0, 8, 8), "bin_x": 16, "bin_y": 16}, "does not fit"),
        ({"mode": SensorMode(1333, 990, 10)}, "no sensor mode 1333x990_10; it has 4056x3040_12"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_harms_nothing(
    bench: Bench, options: dict[str, object], reason: str
) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            good = request_of(await camera.configure(SensorMode(1332, 990, 10)), 10_000)
            wrong = dataclasses.replace(good, **options)  # type: ignore[arg-type]
            with pytest.raises(CameraFault, match=reason) as refused:
                await take_one(camera, wrong)
            assert not refused.value.retry
            assert camera.alive
            await take_one(camera, good)

    run(body())


def test_cameras_are_listed_in_picamera2s_order(bench: Bench) -> None:
    bench.plug("imx477,imx290@pi4,imx477@pi5")

    async def body() -> None:
        cameras = await list_cameras(start_listing(MODULE_PATH))
        assert [camera.id for camera in cameras] == sorted(
            (camera.id for camera in bench.settings.cameras), reverse=True
        )
        assert sorted(camera.model for camera in cameras) == ["imx290", "imx477", "imx477"]

    run(body())
