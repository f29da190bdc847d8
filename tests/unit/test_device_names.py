"""The names that cameras get and keep."""

from __future__ import annotations

import pytest

from indi_picam.camera.modes import CameraId
from indi_picam.ccd.identity import DriverFacts
from indi_picam.driver import DriverSettings, device_names

PI = DriverSettings(DriverFacts("Pi Camera", "indi_picam", None, None), names_by_model=True)
SIMULATOR = DriverSettings(
    DriverFacts("Pi Camera Simulator", "indi_picam_simulator", "simulator", None),
    names_by_model=False,
)
HQ0, HQ1, GS = (
    CameraId("/i2c0/imx477", "imx477"),
    CameraId("/i2c1/imx477", "imx477"),
    CameraId("/i2c1/imx296", "imx296"),
)


@pytest.mark.parametrize(
    ("settings", "cameras", "remembered", "names"),
    [
        (PI, [HQ0], {}, ["Pi Camera imx477"]),
        (PI, [HQ0, GS], {}, ["Pi Camera imx477", "Pi Camera imx296"]),
        (PI, [HQ0, HQ1], {}, ["Pi Camera imx477", "Pi Camera imx477 2"]),
        # the first camera is missing tonight: the other keeps its name
        (
            PI,
            [HQ1],
            {HQ0.id: "Pi Camera imx477", HQ1.id: "Pi Camera imx477 2"},
            ["Pi Camera imx477 2"],
        ),
        # a new camera never takes the name of one that is missing
        (PI, [HQ1], {HQ0.id: "Pi Camera imx477"}, ["Pi Camera imx477 2"]),
        (SIMULATOR, [HQ0, GS], {}, ["Pi Camera Simulator", "Pi Camera Simulator 2"]),
    ],
)
def test_a_camera_keeps_its_name(
    settings: DriverSettings, cameras: list[CameraId], remembered: dict[str, str], names: list[str]
) -> None:
    assert list(device_names(cameras, settings, remembered).values()) == names
