"""What may be asked of a camera, and the sentences for what may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from indi_picam.camera.modes import CameraFacts, ModeFacts, Roi, SensorMode
from indi_picam.capture.plan import ExposureSettings, FrameType, plan_exposure

FULL, SMALL = SensorMode(2592, 1944, 10), SensorMode(640, 480, 10)
CAMERA = CameraFacts(
    camera_id="/base/ov5647@36",
    model="ov5647",
    pixel_size_um=(1.4, 1.4),
    pixel_array=(2592, 1944),
    modes=(FULL, SMALL),
    has_temperature=False,
    exposure_max_us=(969_000, 3_066_000),
)
MODE = ModeFacts(
    mode=FULL,
    raw_format="SGBRG10",
    bayer_pattern="GBRG",
    pixel_size_um=(1.4, 1.4),
    exposure_min_us=130,
    exposure_max_us=969_000,
    exposure_step_us=32.0,
    gain_min=1.0,
    gain_max=63.9,
    frame_duration_min_us=64_000,
    frame_duration_max_us=1_065_000,
    buffers=2,
)
SETTINGS = ExposureSettings(MODE, FULL.full_frame, 1, 1, 1.0, True, FrameType.LIGHT)


def test_a_plan_holds_what_was_set() -> None:
    settings = replace(SETTINGS, roi=Roi(3, 5, 101, 77), bin_x=2, bin_y=2, gain=4.5)
    request = plan_exposure(0.5, settings, CAMERA, 2880).request
    assert (request.exposure_us, request.gain, request.roi) == (500_000, 4.5, Roi(3, 5, 101, 77))
    assert (request.bin_x, request.bin_y, request.header_room) == (2, 2, 2880)


@pytest.mark.parametrize("asked_s", [0, 0.5, 3600])
def test_a_bias_frame_is_always_the_shortest(asked_s: float) -> None:
    settings = replace(SETTINGS, frame_type=FrameType.BIAS)
    assert plan_exposure(asked_s, settings, CAMERA, 2880).request.exposure_us == 130


@pytest.mark.parametrize(
    ("asked_s", "changes", "sentence"),
    [
        (
            2,
            {},
            "An exposure of 2 s cannot be taken: mode 2592x1944_10 allows 0.00013 to 0.969 s. "
            "Mode 640x480_10 allows up to 3.066 s.",
        ),
        (
            60,
            {},
            "An exposure of 60 s cannot be taken: mode 2592x1944_10 allows 0.00013 to 0.969 s. "
            "No mode of this camera allows it.",
        ),
        (
            0.0001,
            {},
            "An exposure of 0.0001 s cannot be taken: mode 2592x1944_10 allows 0.00013 to 0.969 s.",
        ),
        (
            0.5,
            {"bin_x": 2},
            "Binning 2 x 1 cannot be taken: set HOR_BIN and VER_BIN to the same value.",
        ),
        (
            0.5,
            {"roi": Roi(100, 0, 2592, 1944)},
            "The frame 2592 x 1944 at 100, 0 reaches beyond the 2592 x 1944 pixels of the sensor "
            "mode: make it smaller, or reset it.",
        ),
        (
            0.5,
            {"roi": Roi(0, 0, 3, 100), "bin_x": 4, "bin_y": 4},
            "The frame 3 x 100 is smaller than one binned pixel (4 x 4): make it larger.",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_way_out(
    asked_s: float, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        plan_exposure(asked_s, replace(SETTINGS, **changes), CAMERA, 2880)
    assert str(refusal.value) == sentence
