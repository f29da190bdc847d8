"""Pictures of the ISP, mirrored pictures and the lens, held to what the simulated sensor saw."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indi_picam.camera.modes import (
    CameraFault,
    CaptureFormat,
    FrameRequest,
    Orientation,
    Roi,
    SensorMode,
    Way,
)
from indi_picam.camera.remote import Frame
from indi_picam.simulator import isp, lens, truth
from indi_picam.simulator.truth import order_after

from .conftest import (
    Bench,
    pixels_of,
    request_of,
    run,
    sharpness,
    take,
    take_one,
    true_pixels,
)

SMALL = SensorMode(1332, 990, 10)
LENS_MODE = SensorMode(2304, 1296, 10)
NEUTRAL = (("AwbEnable", (0.0,)), ("ColourGains", (1.0, 1.0)))


def planes_of(frame: Frame) -> NDArray[np.uint8]:
    """The planes of a picture of the ISP; the frame's memory is given back."""
    facts = frame.facts
    count = facts.format.planes * facts.height * facts.width
    data = os.pread(frame.memory, count, facts.header_room)
    size = os.fstat(frame.memory).st_size
    rest = os.pread(frame.memory, size, facts.header_room + count)
    os.close(frame.memory)
    assert (size - facts.header_room) % 2880 == 0 and not any(rest)
    total = int(np.frombuffer(data + rest, ">u4").astype(np.uint64).sum())
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    assert facts.datasum == total
    return np.frombuffer(data, np.uint8).reshape(-1, facts.height, facts.width)


def true_planes(
    bench: Bench, logged: dict[str, Any], capture_format: CaptureFormat
) -> NDArray[np.uint8]:
    """What the ISP made of a logged frame, as planes."""
    camera = bench.settings.cameras[0]
    mode = camera.sensor.mode(logged["mode"])
    bits = 16 if camera.platform == "pi5" else mode.bits
    raw = truth.render(logged, bench.settings) << np.uint16(bits - mode.bits)
    order = order_after(camera.sensor.order, logged["hflip"], logged["vflip"])
    image = isp.picture(raw, order, camera.sensor.black(bits), (1 << bits) - 1, isp.look_of(logged))
    if capture_format is CaptureFormat.MONO:
        return isp.luminance(image)[None]
    return np.moveaxis(image, 2, 0)


def ordered(mode: SensorMode, capture_format: CaptureFormat, **options: Any) -> FrameRequest:
    """A picture of the ISP bright enough to measure, in neutral colours unless told otherwise."""
    wanted = {"gain": 10.0, "controls": NEUTRAL} | options
    return request_of(mode, 10_000_000, format=capture_format, **wanted)


@pytest.mark.parametrize("camera_name", ["imx477@pi4", "imx477@pi5", "imx219@pi4", "imx290@pi5"])
@pytest.mark.parametrize("capture_format", [CaptureFormat.MONO, CaptureFormat.RGB])
def test_pictures_are_what_the_isp_made(
    bench: Bench, camera_name: str, capture_format: CaptureFormat
) -> None:
    """Eight-bit sensor modes and every stride too."""
    bench.plug(camera_name, scale=20)

    async def body() -> None:
        async with bench.camera() as camera:
            mode = (await camera.open()).modes[-1]
            (frame,) = await take(camera, ordered(mode, capture_format))
            facts, logged = frame.facts, bench.logged(frame.facts)
            assert (facts.format, facts.bayer_pattern) == (capture_format, None)
            assert (facts.black_level, facts.saturation) == (0.0, 255)
            assert facts.colour_gains == pytest.approx((1.0, 1.0))
            planes = planes_of(frame)
            assert planes.shape == (capture_format.planes, mode.height, mode.width)
            np.testing.assert_array_equal(planes, true_planes(bench, logged, capture_format))
            assert planes.max() > 50  # there is something to see

    run(body())


@pytest.mark.parametrize("capture_format", [CaptureFormat.MONO, CaptureFormat.RGB])
@pytest.mark.parametrize(
    ("roi", "binning"),
    [
        (Roi(3, 0, 641, 480), 1),
        (Roi(1331, 989, 1, 1), 1),
        (Roi(1, 1, 1331, 989), 2),
        (Roi(0, 0, 1332, 990), 3),
        (Roi(5, 7, 1001, 777), 4),
    ],
)
def test_regions_are_exact_and_binned_values_are_means(
    bench: Bench, capture_format: CaptureFormat, roi: Roi, binning: int
) -> None:
    bench.plug("imx477", scale=20)

    async def body() -> None:
        async with bench.camera() as camera:
            request = ordered(SMALL, capture_format, roi=roi, bin_x=binning, bin_y=binning)
            (frame,) = await take(camera, request)
            whole = true_planes(bench, bench.logged(frame.facts), capture_format).astype(int)
            height, width = roi.height // binning, roi.width // binning
            cut = whole[:, roi.y :, roi.x :][:, : height * binning, : width * binning]
            cells = cut.reshape(-1, height, binning, width, binning).sum(axis=(2, 4))
            means = (2 * cells + binning**2) // (2 * binning**2)  # rounded, halves up
            np.testing.assert_array_equal(planes_of(frame), means)

    run(body())


def test_a_colour_gain_of_two_doubles_red_above_black(bench: Bench) -> None:
    bench.plug("imx477", scale=20)

    async def body() -> None:
        async with bench.camera() as camera:
            means = []
            for red, blue in ((1.0, 1.0), (2.0, 1.0), (1.0, 4.0)):
                controls = (("AwbEnable", (0.0,)), ("ColourGains", (red, blue)))
                request = ordered(SMALL, CaptureFormat.RGB, controls=controls)
                (frame,) = await take(camera, request)
                assert frame.facts.colour_gains == pytest.approx((red, blue))
                # Stars and what is clipped aside: the sky.
                means.append([float(np.percentile(plane, 80)) for plane in planes_of(frame)])
            neutral, redder, bluer = np.array(means)
            assert neutral.min() > 3
            assert redder / neutral == pytest.approx([2, 1, 1], rel=0.1)
            assert bluer / neutral == pytest.approx([1, 1, 4], rel=0.1)

    run(body())


@pytest.mark.parametrize(
    "told",
    [
        ("Brightness", 0.2),
        ("Contrast", 3.0),
        ("Saturation", 0.0),
        ("Saturation", 4.0),
    ],
)
def test_looks_act_on_the_frame_they_came_with(bench: Bench, told: tuple[str, float]) -> None:
    bench.plug("imx477", scale=20)
    name, value = told

    async def body() -> None:
        async with bench.camera() as camera:
            usual = getattr(isp.Look(), name.lower())
            for acts in (usual, value, usual):
                controls = (*NEUTRAL, (name, (acts,)))
                request = ordered(SMALL, CaptureFormat.RGB, controls=controls)
                (frame,) = await take(camera, request)
                logged = bench.logged(frame.facts)
                assert logged["look"][name.lower()] == pytest.approx(acts)
                truth_of_it = true_planes(bench, logged, CaptureFormat.RGB)
                np.testing.assert_array_equal(planes_of(frame), truth_of_it)

    run(body())


def test_formats_follow_each_other_in_one_worker(bench: Bench) -> None:
    """Raw pixels stay exact between pictures, and equal formats need no new setting up."""
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            for capture_format in (*CaptureFormat, CaptureFormat.RGB, CaptureFormat.RAW):
                request = request_of(SMALL, 5_000, format=capture_format)
                (frame,) = await take(camera, request)
                logged = bench.logged(frame.facts)
                if capture_format is CaptureFormat.RAW:
                    truth_of_it = true_pixels(bench, logged, request.roi, 1, True)
                    np.testing.assert_array_equal(pixels_of(frame), truth_of_it)
                else:
                    planes = true_planes(bench, logged, capture_format)
                    np.testing.assert_array_equal(planes_of(frame), planes)

    run(body())


@pytest.mark.parametrize(
    ("orientation", "pattern"),
    [
        (Orientation(), "BGGR"),
        (Orientation(hflip=True), "GBRG"),
        (Orientation(vflip=True), "GRBG"),
        (Orientation(hflip=True, vflip=True), "RGGB"),
    ],
)
def test_mirrored_pictures_are_the_upright_one_mirrored(
    bench: Bench, orientation: Orientation, pattern: str
) -> None:
    bench.plug("imx477@pi5", scale=20)

    async def body() -> None:
        async with bench.camera() as camera:
            upright = await camera.configure(SMALL)
            (first,) = await take(camera, request_of(upright, 10_000_000))
            granted = await camera.configure(SMALL, orientation)
            assert (granted.orientation, granted.bayer_pattern) == (orientation, pattern)
            assert granted.raw_format == f"S{pattern}16"
            (frame,) = await take(camera, request_of(SMALL, 10_000_000, orientation=orientation))
            logged = bench.logged(frame.facts)
            assert (logged["hflip"], logged["vflip"]) == (
                not orientation.hflip,
                not orientation.vflip,
            )
            assert frame.facts.bayer_pattern == pattern
            # Two frames have noise of their own, so it is the stars that must lie mirrored.
            stars, again = (pixels_of(one).astype(float) for one in (first, frame))
            back = again[:: -1 if orientation.vflip else 1, :: -1 if orientation.hflip else 1]
            bright = stars > np.percentile(stars, 99.95)
            assert np.median(back[bright]) > 0.7 * np.median(stars[bright])
            np.testing.assert_array_equal(
                again, true_pixels(bench, logged, SMALL.full_frame, 1, True)
            )

    run(body())


def test_a_lens_stands_where_the_frame_wants_it(bench: Bench) -> None:
    """Moves of any length are over before the exposure, and defocus widens stars."""
    bench.plug("imx708")

    async def body() -> None:
        async with bench.camera() as camera:
            sharp = {}
            for dioptres in (0.5, 8.0, 1.5, 0.5):
                controls = (("AfMode", (0.0,)), ("LensPosition", (dioptres,)))
                request = request_of(LENS_MODE, 1_000_000, controls=controls, gain=4.0)
                (frame,) = await take(camera, request)
                facts, logged = frame.facts, bench.logged(frame.facts)
                assert facts.lens_position == pytest.approx(dioptres, abs=0.02)
                assert logged["lens_position"] == pytest.approx(dioptres, abs=1e-6)
                assert facts.way is Way.PRIMER
                image = pixels_of(frame)
                truth_of_it = true_pixels(bench, logged, LENS_MODE.full_frame, 1, True)
                np.testing.assert_array_equal(image, truth_of_it)
                sharp[dioptres] = sharpness(image, logged, bench.settings)

            assert sharp[0.5] > 2 * max(sharp[1.5], sharp[8.0])
            facts = await take_one(camera, request)
            assert facts.way is not Way.PRIMER  # it stands there already

    run(body())


def test_a_lens_sent_too_far_is_used_where_it_ends(bench: Bench) -> None:
    """Older releases of libcamera do not limit the control to what the module can do."""
    bench.plug("imx708")

    async def body() -> None:
        async with bench.camera() as camera:
            request = request_of(LENS_MODE, 100_000, controls=(("LensPosition", (30.0,)),))
            facts = await take_one(camera, request)
            assert facts.lens_position == lens.NEAREST
            assert facts.exposure_us == pytest.approx(100_000, abs=20)

    run(body())


def test_a_run_of_pictures_after_a_move_has_no_gap(bench: Bench) -> None:
    bench.plug("imx708")

    async def body() -> None:
        async with bench.camera() as camera:
            for dioptres in (0.5, 4.0):
                controls = (*NEUTRAL, ("LensPosition", (dioptres,)))
                options = {"format": CaptureFormat.MONO, "controls": controls, "count": 6}
                request = request_of(LENS_MODE, 150_000, roi=Roi(0, 0, 64, 64), **options)
                frames = await take(camera, request)
                starts = [frame.facts.sensor_timestamp_ns for frame in frames]
                for frame in frames:
                    os.close(frame.memory)
                    assert frame.facts.lens_position == pytest.approx(dioptres)
                    assert frame.facts.way is Way.FREE_RUNNING
                gaps = np.diff(starts) / 1000
                assert gaps == pytest.approx(frames[0].facts.frame_duration_us, abs=2)

    run(body())


def test_controls_are_reported_with_limits_where_there_are_any(bench: Bench) -> None:
    bench.plug("imx708,imx296")

    async def body() -> None:
        async with bench.camera() as camera:
            colour = await camera.open()
            focus = colour.control("LensPosition")
            limits = (0, lens.NEAREST, 1)  # before a mode is set up libcamera says 32
            assert focus is not None and (focus.min, focus.max, focus.default) == limits
            contrast = colour.control("Contrast")
            assert contrast is not None and (contrast.min, contrast.max) == (0, 32)
            gains = colour.control("ColourGains")
            assert gains is not None and gains.default is None
        bench.camera_id = bench.settings.cameras[1].id
        async with bench.camera() as camera:
            mono = await camera.open()
            for name in ("LensPosition", "ColourGains", "AwbEnable", "Saturation"):
                assert mono.control(name) is None
            assert mono.control("Brightness") is not None

    run(body())


@pytest.mark.parametrize(("text", "told"), [("1", True), ("0", False), (None, None)])
def test_the_sensor_says_whether_it_corrects_defects(
    bench: Bench,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    told: bool | None,
) -> None:
    bench.plug("imx477")
    monkeypatch.setenv("INDI_PICAM_SYSFS", str(tmp_path))
    parameters = tmp_path / "module" / "imx477" / "parameters"
    parameters.mkdir(parents=True)
    if text is not None:
        (parameters / "dpc_enable").write_text(f"{text}\n")

    async def body() -> None:
        async with bench.camera() as camera:
            assert (await camera.open()).corrects_defects is told
            assert (await take_one(camera, request_of(SMALL, 1_000))).corrects_defects is told
            if text is not None:  # it is read when the sensor starts, so the frame says what it was
                (parameters / "dpc_enable").write_text("0\n" if told else "1\n")
                other = await take_one(camera, request_of(SMALL, 2_000))
                assert other.corrects_defects is not told

    run(body())


def test_memory_for_raw_pictures_alone_still_gives_raw_pictures(bench: Bench) -> None:
    bench.plug("imx477")

    async def body() -> None:
        async with bench.camera() as camera:
            await camera.configure(SMALL)
            bench.fault("no_memory = yes")
            with pytest.raises(CameraFault, match=r"memory for rgb pictures.*config\.txt") as fault:
                await take(camera, request_of(SMALL, 1_000, format=CaptureFormat.RGB))
            assert not fault.value.retry
            bench.fault("")
            (frame,) = await take(camera, request_of(SMALL, 1_000))
            logged = bench.logged(frame.facts)
            truth_of_it = true_pixels(bench, logged, SMALL.full_frame, 1, True)
            np.testing.assert_array_equal(pixels_of(frame), truth_of_it)

    run(body())
