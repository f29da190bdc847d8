"""Pictures measured, and held against the truth they were made from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from indi_picam.simulator import sky as sky_of
from indi_picam.simulator.models import SENSORS
from indi_picam.simulator.picture import Exposure, Picture
from indi_picam.simulator.settings import Sky

EMPTY = Sky(stars=0)
Words = NDArray[np.uint16]


def picture_of(
    name: str, mode: str, sky: Sky = EMPTY, hflip: bool = False, vflip: bool = False
) -> Picture:
    return Picture(SENSORS[name], SENSORS[name].mode(mode), hflip, vflip, sky)


def taken(
    picture: Picture, seconds: float, gain: float = 1.0, number: int = 0, c: float = 0.0
) -> Words:
    out = np.zeros((picture.mode.height, picture.mode.width), np.uint16)
    for _ in picture.draw(Exposure(seconds, gain, c, (5, number), 0.5), out):
        pass
    return out


@pytest.mark.parametrize(
    ("name", "mode", "gain"),
    [
        ("imx477", "2028x1520_12", 1.0),
        ("imx477", "2028x1520_12", 8.0),
        ("imx296", "1456x1088_10", 1.0),
        ("imx290", "1920x1080_12", 2.0),
        ("imx708", "1536x864_10", 1.5),
    ],
)
def test_variance_against_mean_gives_the_gain(name: str, mode: str, gain: float) -> None:
    """Photon transfer from pairs of frames, as anybody would measure a real camera."""
    picture = picture_of(name, mode, Sky(stars=0, background=100.0))
    sensor = SENSORS[name]
    unit = sensor.electrons_per_adu(picture.mode, gain)
    top = (1 << picture.mode.bits) * unit / (100.0 * picture.mode.binning**2)
    means, variances = [], []
    for number, part in enumerate((0.1, 0.25, 0.4, 0.55)):
        pair = [
            taken(picture, part * top, gain, 2 * number + one)[::2, 1::2].astype(np.float64)
            for one in range(2)
        ]
        means.append((pair[0].mean() + pair[1].mean()) / 2)
        variances.append((pair[0] - pair[1]).var() / 2)
    slope = np.polyfit(means, variances, 1)[0]
    assert 1 / slope == pytest.approx(unit, rel=0.02)


@pytest.mark.parametrize(("gain", "electrons"), [(1.0, 3.0), (16.0, 1.502)])
def test_read_noise_in_a_bias_frame(gain: float, electrons: float) -> None:
    picture = picture_of("imx477", "4056x3040_12")
    pair = [taken(picture, 1e-4, gain, number).astype(np.float64) for number in range(2)]
    unit = SENSORS["imx477"].electrons_per_adu(picture.mode, gain)
    # Rounding to whole ADU adds 1/12 to the variance.
    noise = np.sqrt((pair[0] - pair[1]).var() / 2 - 1 / 12) * unit
    assert noise == pytest.approx(electrons, rel=0.02)
    assert pair[0].mean() == pytest.approx(256.0, abs=0.02)


def test_noise_of_two_frames_does_not_correlate() -> None:
    picture = picture_of("imx477", "2028x1520_12", Sky(stars=0, background=200.0))
    first, second = (taken(picture, 1.0, number=number)[::2, ::2].ravel() for number in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    assert (first == taken(picture, 1.0, number=1)[::2, ::2].ravel()).all()


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (2, 0), (0, 2), (2, 2), (7, 0), (0, 64)])
def test_noise_of_neighbours_does_not_correlate(shift: tuple[int, int]) -> None:
    frame = taken(picture_of("imx296", "1456x1088_10"), 50.0).astype(np.float64)
    frame -= frame.mean()
    down, across = shift
    part = frame[: frame.shape[0] - down, : frame.shape[1] - across]
    assert abs((part * frame[down:, across:]).mean() / frame.var()) < 0.01


def test_dark_current_doubles_every_six_degrees() -> None:
    picture = picture_of("ov5647", "2592x1944_10", Sky(stars=0, background=0.0))
    unit = SENSORS["ov5647"].electrons_per_adu(picture.mode, 16.0)
    cold, warm = ((np.median(taken(picture, 20.0, 16.0, c=c)) - 16) * unit for c in (20.0, 32.0))
    assert warm / cold == pytest.approx(4.0, rel=0.15)
    assert warm == pytest.approx(20.0 * 0.3 * 4, rel=0.05)


def test_hot_pixels_stay_where_they_are_and_glow_with_time() -> None:
    picture = picture_of("imx477", "4056x3040_12")
    x, y, rate = sky_of.hot_pixels(EMPTY, SENSORS["imx477"])
    assert len(rate) == round(4056 * 3040 * 1e-4)
    hottest = np.argsort(rate)[-20:]
    frame = taken(picture, 5.0, c=20.0)
    got = (frame[y[hottest], x[hottest]].astype(float) - 256) * SENSORS["imx477"].electrons_per_adu(
        picture.mode, 1.0
    )
    expected = np.minimum(rate[hottest] * 5 + 20, 8180)
    assert got == pytest.approx(expected, rel=0.15)


def test_stars_are_where_they_should_be_and_as_bright() -> None:
    sky = Sky(stars=60, faintest=20_000.0, background=2.0)
    picture = picture_of("imx296", "1456x1088_10", sky)
    field = sky_of.stars(sky, SENSORS["imx296"])
    unit = SENSORS["imx296"].electrons_per_adu(picture.mode, 1.0)
    seconds = 0.2
    frames = [taken(picture, seconds, number=number) for number in range(40)]
    mean = (np.mean(frames, axis=0) - 60) * unit - seconds * 2.0
    ratios = []
    for x, y, rate in zip(field.x, field.y, field.rate, strict=True):
        lonely = np.hypot(field.x - x, field.y - y)
        if not (20 < x < 1436 and 20 < y < 1068) or np.sort(lonely)[1] < 45 or rate > 250_000:
            continue
        left, top = int(x) - 14, int(y) - 14
        box = mean[top : top + 29, left : left + 29]
        ratios.append(box.sum() / (rate * seconds))
        core = np.clip(box[8:21, 8:21], 0, None)
        down, across = np.mgrid[8:21, 8:21] + 0.5
        assert (core * across).sum() / core.sum() + left == pytest.approx(x, abs=0.06)
        assert (core * down).sum() / core.sum() + top == pytest.approx(y, abs=0.06)
    assert len(ratios) > 10
    assert np.median(ratios) == pytest.approx(1.0, abs=0.01)
    assert max(abs(ratio - 1) for ratio in ratios) < 0.1


def test_saturation_is_the_top_of_the_adc_or_the_full_well() -> None:
    bright = Sky(stars=400, faintest=60.0)
    adc = taken(picture_of("imx477", "4056x3040_12", bright), 20.0)
    assert adc.max() == 4095
    assert (adc == 4095).sum() > 100
    # The wells of the ov5647 are full before its ADC ends, at gain 1.
    well = taken(picture_of("ov5647", "2592x1944_10", bright), 0.9, c=10.0)
    assert well.max() == int(16 + 4300 / (4600 / (1023 - 16)) + 0.5)
    assert taken(picture_of("ov5647", "2592x1944_10", bright), 0.9, gain=2.0, c=10.0).max() == 1023
    twilight = taken(picture_of("ov5647", "2592x1944_10", Sky(background=90_000.0)), 0.9)
    assert (twilight == well.max()).all()


@pytest.mark.parametrize(
    ("name", "full", "part"),
    [
        ("imx477", "4056x3040_12", "2028x1520_12"),
        ("imx477", "4056x3040_12", "1332x990_10"),
        ("imx219", "3280x2464_10", "1920x1080_10"),
        ("imx219", "3280x2464_10", "640x480_8"),
        ("imx290", "1920x1080_12", "1280x720_10"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_every_mode_shows_the_same_sky(name: str, full: str, part: str, turned: bool) -> None:
    """The brightest stars are found again where crop, binning and mirroring put them."""
    sky = Sky(stars=80, faintest=2000.0)
    sensor = SENSORS[name]
    for mode_name in (full, part):
        picture = picture_of(name, mode_name, sky, turned, turned)
        mode = picture.mode
        frame = taken(picture, 0.05)
        field = sky_of.stars(sky, sensor)
        x, y = sky_of.to_mode(field.x, field.y, mode, turned, turned)
        black, found = sensor.black(mode.bits), 0
        for star_x, star_y, rate in zip(x, y, field.rate, strict=True):
            if not (4 < star_x < mode.width - 4 and 4 < star_y < mode.height - 4) or rate < 4000:
                continue
            core = frame[int(star_y) - 2 : int(star_y) + 3, int(star_x) - 2 : int(star_x) + 3]
            light = (core.astype(float) - black).sum() * sensor.electrons_per_adu(mode, 1.0)
            assert light > 0.3 * min(rate * 0.05, 20_000), (mode_name, star_x, star_y)
            found += 1
        assert found >= 3


def test_binned_modes_average_and_so_have_less_noise() -> None:
    sky = Sky(stars=0, background=500.0)
    full = taken(picture_of("imx477", "4056x3040_12", sky), 2.0)[1::2, ::2] - 256.0
    binned = taken(picture_of("imx477", "2028x1520_12", sky), 2.0)[1::2, ::2] - 256.0
    assert binned.mean() == pytest.approx(full.mean(), rel=0.01)
    assert binned.var() == pytest.approx(full.var() / 4, rel=0.05)
    doubled = taken(picture_of("imx708", "2304x1296_10", sky), 1.0)[1::2, ::2] - 64.0
    single = taken(picture_of("imx708", "4608x2592_10", sky), 1.0)[1::2, ::2] - 64.0
    assert doubled.mean() == pytest.approx(2 * single.mean(), rel=0.01)
