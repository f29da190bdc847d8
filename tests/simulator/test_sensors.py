"""The sensors' laws against what dumps of real cameras show."""

from __future__ import annotations

import pytest

from indi_picam.simulator.models import SENSORS
from indi_picam.simulator.truth import order_after, registers

ANY_FRAME = (100.0, 1e9)


@pytest.mark.parametrize(
    ("sensor", "mode", "shortest_us", "longest_us", "rate"),
    [
        ("imx477", "4056x3040_12", 114, 694_422_939, 10.0),
        ("imx477", "2028x1520_12", 60, 667_244_877, 40.01),
        ("imx477", "2028x1080_12", 60, 667_244_877, 50.03),
        ("imx477", "1332x990_10", 31, 667_234_896, 120.05),
        ("imx290", "1920x1080_12", 14, 115_686_000, 60.0),
        ("imx219", "3280x2464_10", 75, 11_766_829, 21.19),
        ("ov5647", "2592x1944_10", 130, 969_249, 15.63),
        ("imx296", "1456x1088_10", 29, 15_534_385, 60.38),
        ("imx708", "4608x2592_10", 26, 220_000_000, 14.35),
        ("imx283", "5472x3648_12", 58, 129_000_000, 18.4),
        ("ov64a40", "9248x6944_10", 868, 910_000_000, 2.604),
        ("ov64a40", "1920x1080_10", 187, 196_850_000, 61.0),
    ],
)
def test_limits_are_those_of_real_cameras(
    sensor: str, mode: str, shortest_us: int, longest_us: int, rate: float
) -> None:
    found = SENSORS[sensor].mode(mode)
    least, most = SENSORS[sensor].exposure_limits_us(found)
    assert least == pytest.approx(shortest_us, abs=1)
    assert most == pytest.approx(longest_us, rel=2e-3)
    assert 1e6 / SENSORS[sensor].frame_limits_us(found)[0] == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(
    ("sensor", "least", "most"),
    [
        ("imx477", 1.0, 22.26),
        ("imx219", 1.0, 10.67),
        ("imx708", 1.12, 16.0),
        ("imx290", 1.0, 31.62),
        ("imx296", 1.0, 251.19),
        ("ov5647", 1.0, 63.94),
        ("imx283", 1.0, 22.51),
        ("ov64a40", 1.0, 15.99),
    ],
)
def test_gain_limits(sensor: str, least: float, most: float) -> None:
    assert SENSORS[sensor].gains.limits == pytest.approx((least, most), abs=0.005)


@pytest.mark.parametrize("sensor", SENSORS)
def test_every_mode_can_be_read_out_within_its_shortest_frame(sensor: str) -> None:
    found = SENSORS[sensor]
    for mode in found.modes:
        assert mode.readout_ns < mode.frame_min_lines * mode.line_us * 1000, mode.name
        left, top, width, height = mode.crop
        assert left + width <= found.array[0] and top + height <= found.array[1], mode.name
        assert mode.width * mode.binning <= width and mode.height * mode.binning <= height


def test_trixie_has_fifteen_modes_of_the_imx477() -> None:
    modes = SENSORS["imx477-trixie"].modes
    assert len({mode.name for mode in modes}) == 15
    assert {mode.bits for mode in modes} == {8, 10, 12}
    assert {"4056x2160_8", "4056x3040_12", "1332x990_12"} < {mode.name for mode in modes}


@pytest.mark.parametrize(
    ("asked_us", "got_us", "frame_us"),
    [
        (200_000, 199_996, 200_625),  # whole lines of 28.575 us, 22 lines more for the frame
        (1, 114, 100_012),  # never below 4 lines; the frame is the shortest
        (100_000, 99_983, 100_612),
    ],
)
def test_exposure_is_whole_lines(asked_us: int, got_us: int, frame_us: int) -> None:
    sensor = SENSORS["imx477"]
    found = registers(sensor, sensor.mode("4056x3040_12"), asked_us, 1.0, ANY_FRAME)
    assert found.exposure_ns // 1000 == got_us
    assert found.frame_ns // 1000 == frame_us


def test_frame_limits_clip_the_exposure_silently() -> None:
    sensor = SENSORS["imx477"]
    mode = sensor.mode("2028x1520_12")
    found = registers(sensor, mode, 2_000_000, 1.0, (100, 83_333))
    assert 82_900_000 < found.exposure_ns < 83_000_000
    assert found.frame_ns <= 83_333_000


def test_long_exposures_lengthen_the_lines_and_step_by_128() -> None:
    sensor = SENSORS["imx477"]
    mode = sensor.mode("4056x3040_12")
    for asked_us in (30_000_000, 300_000_000, 694_000_000):
        found = registers(sensor, mode, asked_us, 1.0, ANY_FRAME)
        # At most the steps of the frame length (128 lines) and a line are missing.
        assert 0 <= asked_us - found.exposure_ns / 1000 <= 151 * found.line_ns / 1000
        assert found.frame_ns > found.exposure_ns
    assert found.line_ns == pytest.approx(82_827, rel=1e-3)
    beyond = registers(sensor, mode, 2_000_000_000, 1.0, ANY_FRAME)
    assert beyond.exposure_ns == pytest.approx(694.42e9, rel=1e-4)


@pytest.mark.parametrize(
    ("sensor", "asked", "analogue", "digital"),
    [
        ("imx477", 1.0, 1.0, 1.0),
        ("imx477", 2.0, 2.0, 1.0),
        ("imx477", 3.0, 1024 / 342, 3.0 * 342 / 1024),
        ("imx477", 1024 / 46, 1024 / 46, 1.0),
        ("imx477", 22.26, 1024 / 47, 22.26 * 47 / 1024),
        ("imx477", 44.0, 1024 / 46, 44 * 46 / 1024),
        ("imx477", 1000.0, 1024 / 46, 4.0),  # no more than four times is made up digitally
        ("imx296", 251.0, 10 ** (239 / 200), 4.0),
        ("imx290", 2.0, 10 ** (0.015 * 20), 2.0 / 10**0.3),
        ("ov5647", 1.03, 1.0, 1.03),
        ("imx708", 1.0, 1024 / 912, 1.0),
    ],
)
def test_gain_is_quantised_and_the_rest_digital(
    sensor: str, asked: float, analogue: float, digital: float
) -> None:
    found = registers(SENSORS[sensor], SENSORS[sensor].modes[0], 1000, asked, ANY_FRAME)
    assert found.gain == pytest.approx(analogue, rel=1e-6)
    assert found.digital_gain == pytest.approx(digital, rel=2e-3)


@pytest.mark.parametrize(
    ("flips", "order"),
    [
        ((False, False), "RGGB"),
        ((True, True), "BGGR"),
        ((True, False), "GRBG"),
        ((False, True), "GBRG"),
    ],
)
def test_mirroring_turns_the_bayer_order(flips: tuple[bool, bool], order: str) -> None:
    assert order_after("RGGB", *flips) == order
    assert order_after("MONO", *flips) == "MONO"
