"""Which way to take a frame costs least, and whether a frame is the one asked for; arithmetic only.

The one place for the formula. What differs between the ways is the time from the request to the
start of the exposure that will be delivered (exposure and readout follow in all of them):

| way          | request -> start of the exposure                                            |
|--------------|-----------------------------------------------------------------------------|
| restart      | start + bad frames x frame length at this exposure                          |
| primer       | start + (buffers + change frames) x shortest frame length                   |
| free-running | until the next frame begins that can still be asked for; only if it runs so |

A sensor is left running after a frame where an equal request, coming at the worst moment, would
still be served sooner than by a new start. Called by :mod:`.taking`.
"""

from __future__ import annotations

from indi_picam.camera.modes import Metadata, ModeFacts, Settings, Way
from indi_picam.camera.sensors import Sensor

LENS_TOLERANCE = 0.02
"""In dioptres: less than a step of the lens drivers' 10 bits (some 0.03)."""


def frame_length_us(facts: ModeFacts, exposure_us: int) -> int:
    """How long a frame of this exposure takes at least, from one start of readout to the next."""
    return max(facts.frame_duration_min_us, exposure_us)


def start_costs_us(sensor: Sensor, facts: ModeFacts, exposure_us: int) -> dict[Way, float]:
    """Request to start of exposure, for the ways that begin with a start of the sensor."""
    return {
        Way.RESTART: sensor.start_us + sensor.bad_frames * frame_length_us(facts, exposure_us),
        Way.PRIMER: sensor.start_us
        + (facts.buffers + sensor.change_frames) * facts.frame_duration_min_us,
    }


def start_way(sensor: Sensor, facts: ModeFacts, exposure_us: int) -> Way:
    """The cheaper way to start; restart when equal, as it changes nothing while running."""
    costs = start_costs_us(sensor, facts, exposure_us)
    return min(Way.RESTART, Way.PRIMER, key=lambda way: costs[way])


def wait_us(last: Metadata, now_ns: int) -> float:
    """Until the next exposure begins on a sensor that runs as it did when it took ``last``."""
    passed_us = (now_ns - last.exposure_began_ns) / 1000
    return float(-passed_us % last.frame_duration_us)


def stays_running(sensor: Sensor, facts: ModeFacts, exposure_us: int) -> bool:
    """Whether free-running serves any next equal request sooner than a start would."""
    return frame_length_us(facts, exposure_us) < min(
        start_costs_us(sensor, facts, exposure_us).values()
    )


def refusal(
    asked: Settings, requested_ns: int, got: Metadata, sensor: Sensor, facts: ModeFacts
) -> str | None:
    """Why a frame is not the one asked for; None when it is."""
    # Both sides are whole microseconds: one more than the step itself.
    if abs(got.exposure_us - asked.exposure_us) > facts.step_us(asked.exposure_us) + 1:
        return f"exposed for {got.exposure_us} us, not {asked.exposure_us} us"
    if abs(got.gain - asked.gain) > sensor.gain_tolerance(asked.gain):
        return f"taken at gain {got.gain:g}, not {asked.gain:g}"
    for got_gain, asked_gain in zip(got.colour_gains or (), asked.colour_gains or (), strict=False):
        if _differs(got_gain, asked_gain, 0.01 * asked_gain):
            return f"processed with a colour gain of {got_gain:g}, not {asked_gain:g}"
    if got.exposure_began_ns < requested_ns:
        return "begun before it was asked for"
    return None


def lens_moves(asked: Settings, got: Metadata, before: float | None) -> bool:
    """Whether the lens was on its way while a frame was taken.

    Neither where it was sent nor where the frame ``before`` saw it: libcamera moves it by steps,
    and no further than the module's tuning file says, which is less than the control's limits.
    """
    away = _differs(got.lens_position, asked.lens_position, LENS_TOLERANCE)
    return away and got.lens_position != before


def _differs(got: float | None, asked: float | None, tolerance: float) -> bool:
    """Whether a value is known not to be the one asked for."""
    return got is not None and asked is not None and abs(got - asked) > tolerance
