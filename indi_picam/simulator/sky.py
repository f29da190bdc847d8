"""The stars a sensor looks at, and how their light falls on the pixels of a mode.

One field for each kind of sensor, the same in all its modes: places and rates are given on the
array as it is read, unturned; a pixel covers one unit, the centre of the first lies at (0.5, 0.5).
Called by ``picture.py`` and by tests. Knows nothing of noise, time and files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .settings import Sky
from .truth import Mode, Sensor, order_after

Floats = NDArray[np.float64]

CORE, HALO, HALO_WIDTH = 0.9, 0.1, 3.0
"""A star is two round Gaussians: most of the light in the core, the rest in a halo three times as
wide."""
SLOPE = 0.8
"""Stars brighter than a rate F: proportional to F ** -SLOPE, as in the plane of the Milky Way."""
RANGE = 2000.0
FAINTEST_PIXEL = 0.05
"""Electrons a second below which the light of a halo is left away: in no exposure above the noise
of the sky."""
COLOURS = {"R": 0.70, "G": 1.0, "B": 0.62, "M": 1.0}
"""What a pixel of each colour sees of the sky, against a green one."""


@dataclass(frozen=True, slots=True)
class Stars:
    """Places, rates in electrons a second, and tints: red / blue light = tint squared."""

    x: Floats
    y: Floats
    rate: Floats
    tint: Floats


@dataclass(frozen=True, slots=True)
class Light:
    """The pixels of a mode which see more than the empty sky, in the order of the image."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    starlight: NDArray[np.float32]
    """Electrons a second."""
    sky: NDArray[np.float32]
    """Electrons a second of the background there."""
    heat: NDArray[np.float32]
    """Dark current of hot pixels there, electrons a second at 20 degrees."""


def stars(sky: Sky, sensor: Sensor) -> Stars:
    """The field of a kind of sensor."""
    rng = np.random.default_rng([sky.seed, 101, *sensor.array])
    width, height = sensor.array
    count = sky.stars
    rate = sky.faintest * np.minimum(rng.random(count) ** (-1 / SLOPE), RANGE)
    return Stars(
        x=rng.random(count) * width,
        y=rng.random(count) * height,
        rate=rate,
        tint=np.exp(rng.normal(0.0, 0.25, count)),
    )


def hot_pixels(sky: Sky, sensor: Sensor) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """(x, y, dark current at 20 degrees) of the hot pixels of the array."""
    rng = np.random.default_rng([sky.seed, 202, *sensor.array])
    width, height = sensor.array
    count = round(width * height * sensor.silicon.hot_pixels)
    rate = np.exp(rng.normal(1.0, 1.6, count))
    return rng.integers(0, width, count), rng.integers(0, height, count), rate


def colour_grid(order: str) -> NDArray[np.float64]:
    """2 x 2: what the pixels see, by row and column modulo 2."""
    cells = "MMMM" if order == "MONO" else order
    return np.array([COLOURS[cell] for cell in cells]).reshape(2, 2)


def to_mode(x: Floats, y: Floats, mode: Mode, hflip: bool, vflip: bool) -> tuple[Floats, Floats]:
    """Places on the array as places in the image of a mode, pixel centres at halves."""
    left, top, _, _ = mode.crop
    along, down = (x - left) / mode.binning, (y - top) / mode.binning
    return (mode.width - along if hflip else along), (mode.height - down if vflip else down)


_STEPS = np.linspace(-6.0, 6.0, 4001)
_PHI = np.array([0.5 * (1 + math.erf(step / math.sqrt(2))) for step in _STEPS])


def normal_cdf(values: NDArray[np.float64]) -> Floats:
    """The Gaussian distribution function, to 1e-6."""
    return np.asarray(np.interp(values, _STEPS, _PHI))


def _profile(edges: Floats, centre: float, sigma: float) -> Floats:
    """The part of a Gaussian between neighbouring edges."""
    return np.diff(normal_cdf((edges - centre) / sigma))


def _radius(rate: float, sigma: float) -> int:
    """How far from its centre a star is drawn, in pixels."""
    wide = sigma * HALO_WIDTH
    peak = rate * HALO / (2 * math.pi * wide**2)
    halo = wide * math.sqrt(2 * math.log(max(peak / FAINTEST_PIXEL, 1.0)))
    return math.ceil(max(halo, 4 * sigma)) + 1


def _starlight(
    sky: Sky, sensor: Sensor, mode: Mode, hflip: bool, vflip: bool
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """For every star: (flat indices, electrons a second) of the pixels it reaches."""
    field = stars(sky, sensor)
    x, y = to_mode(field.x, field.y, mode, hflip, vflip)
    order = order_after(sensor.order, hflip, vflip)
    lean = np.array([{"R": 1.0, "B": -1.0}.get(cell, 0.0) for cell in (order * 4)[:4]])
    sigma = sky.fwhm / 2.3548 / mode.binning
    wide = sigma * HALO_WIDTH
    for star_x, star_y, rate, tint in zip(x, y, field.rate, field.tint, strict=True):
        reach = _radius(rate, sigma)
        left, right = max(int(star_x) - reach, 0), min(int(star_x) + reach + 1, mode.width)
        top, bottom = max(int(star_y) - reach, 0), min(int(star_y) + reach + 1, mode.height)
        if left >= right or top >= bottom:
            continue
        across, down = np.arange(left, right + 1.0), np.arange(top, bottom + 1.0)
        light = CORE * np.outer(_profile(down, star_y, sigma), _profile(across, star_x, sigma))
        light += HALO * np.outer(_profile(down, star_y, wide), _profile(across, star_x, wide))
        seen = rate * colour_grid(order) * tint ** lean.reshape(2, 2)
        rows, columns = (
            np.arange(top, bottom, dtype=np.int32),
            np.arange(left, right, dtype=np.int32),
        )
        light *= seen[rows % 2][:, columns % 2]
        yield (
            (rows[:, None] * np.int32(mode.width) + columns).ravel(),
            light.ravel().astype(np.float32),
        )


def light(sky: Sky, sensor: Sensor, mode: Mode, hflip: bool, vflip: bool) -> Light:
    """Everything in the image of a mode that is not empty sky: stars and hot pixels."""
    hot_x, hot_y, heat = hot_pixels(sky, sensor)
    centres = hot_x.astype(np.float64) + 0.5, hot_y.astype(np.float64) + 0.5
    x, y = to_mode(*centres, mode, hflip, vflip)
    inside = (x >= 0) & (x < mode.width) & (y >= 0) & (y < mode.height)
    hot = (np.floor(y[inside]) * mode.width + np.floor(x[inside])).astype(np.int32)
    parts = [*_starlight(sky, sensor, mode, hflip, vflip), (hot, np.zeros(hot.size, np.float32))]
    index = np.concatenate([part[0] for part in parts])
    rate = np.concatenate([part[1] for part in parts])
    # Where stars overlap, a pixel comes several times.
    order = np.argsort(index)
    index, rate = index[order], rate[order]
    first = np.flatnonzero(np.diff(index, prepend=-1))
    places = index[first]
    warmth = np.bincount(np.searchsorted(places, hot), heat[inside], places.size)
    row, column = np.divmod(places, np.int32(mode.width))
    grid = colour_grid(order_after(sensor.order, hflip, vflip)) * sky.background * mode.binning**2
    return Light(
        row=row.astype(np.int64),
        column=column.astype(np.int64),
        starlight=np.add.reduceat(rate, first) if first.size else rate,
        sky=grid[row % 2, column % 2].astype(np.float32),
        heat=warmth.astype(np.float32),
    )
