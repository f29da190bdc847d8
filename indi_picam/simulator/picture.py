"""The pixels of a frame: what the ADC gives, quickly and exactly repeatable.

Empty sky is most of a picture: its values have one distribution for each colour, so rows are copied
at random offsets out of a large shuffled pool that has exactly that distribution (Poisson light and
dark current, Gaussian read noise, digitised). Stars and hot pixels are computed pixel by pixel on
top. Everything random follows from the seed and number of the frame, which the log keeps, so
:func:`render` gives the same pixels again.

Called by the sensor's process, and through ``truth.render`` by tests. Knows nothing of time,
buffers and requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import sky as sky_of
from .lens import seen_through
from .models import SENSORS
from .settings import Settings, Sky
from .truth import Mode, Sensor, order_after

Words = NDArray[np.uint16]

POOL = 1 << 18
"""Values of each colour in the pool. 3,040 rows out of it: two frames share no row offset but by a
chance of 1 %."""
NORMALS = 1 << 19
ROWS_A_STEP = 64
PIXELS_A_STEP = 1 << 15
"""Steps of about 0.3 ms, so that whoever draws can look at the clock between them."""
POISSON_BELOW = 100.0
"""Mean charge from which a Gaussian is as good: its skewness is then 0.1."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the pixels of a frame depend on."""

    exposure_s: float
    gain: float
    temperature_c: float
    noise: tuple[int, int]
    """Seed of the run and number of the frame."""
    lens_position: float
    """The picture is of the sky as seen through it."""


def _shares(edges: NDArray[np.float64], mean: float, read_noise: float) -> NDArray[np.float64]:
    """The part of all pixels whose charge, with read noise, is below each edge; in electrons."""
    if mean >= POISSON_BELOW:
        return sky_of.normal_cdf((edges - mean) / math.hypot(math.sqrt(mean), read_noise))
    charges = np.arange(0, math.ceil(mean + 7 * math.sqrt(mean) + 4))
    logs = charges * math.log(max(mean, 1e-9)) - mean
    logs -= np.array([math.lgamma(charge + 1) for charge in charges])
    below = sky_of.normal_cdf((edges[:, None] - charges) / read_noise)
    return np.asarray(below @ np.exp(logs))


def _values(count: int, sensor: Sensor, mode: Mode, gain: float, mean: float) -> Words:
    """ADC values of ``count`` pixels with that mean charge, in order.

    Quantiles rather than draws, so that nothing of their mean and variance is left to chance.
    """
    unit, noise = sensor.electrons_per_adu(mode, gain), sensor.read_noise(mode, gain)
    black, top = sensor.black(mode.bits), sensor.saturation(mode, gain)
    spread = 6 * math.hypot(math.sqrt(mean), noise)
    low = min(max(math.floor(black + (mean - spread) / unit), 0), top)
    high = min(max(math.ceil(black + (mean + spread) / unit), 0), top)
    codes = np.arange(low, high + 1).astype(np.float64)
    shares = _shares((codes - black + 0.5) * unit, mean, noise)
    shares[-1] = 1.0
    counts = np.diff(np.rint(shares * count).astype(np.int64), prepend=0)
    return np.repeat(codes.astype(np.uint16), np.maximum(counts, 0))[:count]


@lru_cache(maxsize=1)
def _shuffles() -> NDArray[np.int32]:
    """Four orders of the pool, one for each cell of the Bayer pattern."""
    rng = np.random.default_rng(20_111)
    first = rng.permutation(POOL).astype(np.int32)
    # A second order from the first costs a gather in place of a shuffle: 1 ms, not 4.
    return np.stack([first, first[first], first[first[first]], first[::-1]])


@lru_cache(maxsize=1)
def _normals() -> NDArray[np.float32]:
    rng = np.random.default_rng(20_112)
    return rng.standard_normal(NORMALS, np.float32)


def prepare() -> None:
    """Make what all pictures share, so that the first is not late."""
    _shuffles()
    _normals()


class Picture:
    """A sensor in one mode, turned one way, looking at a sky."""

    def __init__(self, sensor: Sensor, mode: Mode, hflip: bool, vflip: bool, sky: Sky) -> None:
        self.sensor, self.mode, self._sky = sensor, mode, sky
        self.hflip, self.vflip = hflip, vflip
        self._grid = sky_of.colour_grid(order_after(sensor.order, hflip, vflip))
        self._light = sky_of.light(sky, sensor, mode, hflip, vflip)
        self._pool_of: tuple[float, float, float] | None = None
        self._pools: list[Words] = []

    def _dark_e(self, exposure: Exposure) -> float:
        rate = self.sensor.dark_current(exposure.temperature_c)
        return rate * self.mode.binning**2 * exposure.exposure_s

    def _pools_for(self, exposure: Exposure) -> list[Words]:
        """The pool of even and that of odd rows: the two colours of the row in turn."""
        key = (exposure.exposure_s, exposure.gain, exposure.temperature_c)
        if key == self._pool_of:
            return self._pools
        light = self._grid * self._sky.background * self.mode.binning**2 * exposure.exposure_s
        dark = self._dark_e(exposure)
        pools = [np.empty(2 * POOL, np.uint16) for _ in range(2)]
        known: dict[float, Words] = {}
        for cell, order in enumerate(_shuffles()):
            row, column = divmod(cell, 2)
            mean = float(light[row, column]) + dark
            if mean not in known:
                known[mean] = _values(POOL, self.sensor, self.mode, exposure.gain, mean)
            pools[row][column::2] = known[mean][order]
        self._pool_of, self._pools = key, pools
        return pools

    def draw(self, exposure: Exposure, out: Words, shift: int = 0) -> Iterator[None]:
        """Fill ``out`` with ADC values, shifted left; yields between short steps.

        ``out`` is (height, width or more); what is beyond the width stays as it is.
        """
        mode = self.mode
        pools = self._pools_for(exposure)
        if shift:
            pools = [np.left_shift(pool, np.uint16(shift)) for pool in pools]
        yield
        rng = np.random.default_rng(exposure.noise)
        offsets = (2 * rng.integers(0, (2 * POOL - mode.width) // 2, mode.height)).tolist()
        width = mode.width
        for first in range(0, mode.height, ROWS_A_STEP):
            for row in range(first, min(first + ROWS_A_STEP, mode.height)):
                start = offsets[row]
                out[row, :width] = pools[row & 1][start : start + width]
            yield
        yield from self._draw_light(exposure, rng, out, shift)

    def _draw_light(
        self, exposure: Exposure, rng: np.random.Generator, out: Words, shift: int
    ) -> Iterator[None]:
        sensor, mode, light = self.sensor, self.mode, self._light
        unit = np.float32(1 / sensor.electrons_per_adu(mode, exposure.gain))
        read_variance = np.float32(sensor.read_noise(mode, exposure.gain) ** 2)
        black = np.float32(sensor.black(mode.bits) + 0.5)
        seconds, dark = np.float32(exposure.exposure_s), np.float32(self._dark_e(exposure))
        warmth = np.float32(2 ** ((exposure.temperature_c - 20) / 6))
        top = np.float32(sensor.saturation(mode, exposure.gain))
        normals = _normals()
        for first in range(0, light.row.size, PIXELS_A_STEP):
            part = slice(first, first + PIXELS_A_STEP)
            mean = (light.starlight[part] + light.sky[part] + light.heat[part] * warmth) * seconds
            mean += dark
            start = int(rng.integers(0, NORMALS - PIXELS_A_STEP))
            charge = np.sqrt(mean + read_variance) * normals[start : start + mean.size]
            charge += mean
            charge *= unit
            charge += black
            np.clip(charge, 0, top, out=charge)
            out[light.row[part], light.column[part]] = charge.astype(np.uint16) << shift
            yield


def render(logged: Mapping[str, Any], settings: Settings) -> Words:
    """See :func:`truth.render`."""
    sensor = SENSORS[logged["sensor"]]
    mode = sensor.mode(logged["mode"])
    sky = seen_through(settings.sky, sensor, logged["lens_position"])
    picture = Picture(sensor, mode, logged["hflip"], logged["vflip"], sky)
    out = np.empty((mode.height, mode.width), np.uint16)
    for _ in picture.draw(exposure_of(logged), out):
        pass
    return out


def exposure_of(logged: Mapping[str, Any]) -> Exposure:
    """What the pixels of a logged frame depend on."""
    seed, number = logged["noise"]
    return Exposure(
        logged["exposure_ns"] * 1e-9,
        logged["gain"],
        logged["temperature_c"],
        (seed, number),
        logged["lens_position"],
    )
