"""The names that cameras get and keep."""

from __future__ import annotations

import pytest

from indi_picam.camera.modes import CameraId
from indi_picam.ccd.identity import DriverFacts
from indi_picam.driver import (
    DriverSettings,
    clean_name,
    device_names,
    first_named,
    with_first_named,
)

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


def test_a_name_given_to_the_first_camera_is_never_that_of_two() -> None:
    names = {HQ0.id: "Pi Camera imx477", HQ1.id: "Pi Camera imx477 2", GS.id: "Pi Camera imx296"}
    assert with_first_named(names, HQ0.id, "Finder") == names | {HQ0.id: "Finder"}
    assert with_first_named(names, HQ0.id, "Pi Camera imx477") == names
    assert with_first_named(names, HQ0.id, "Pi Camera imx296") == {
        HQ0.id: "Pi Camera imx296",
        HQ1.id: "Pi Camera imx477 2",
        GS.id: "Pi Camera imx477",
    }


@pytest.mark.parametrize(
    ("cameras", "remembered", "first"),
    [
        ([HQ0, GS], {}, HQ0),
        ([GS, HQ0], {"INDIDEV Main": HQ0.id}, HQ0),
        ([GS, HQ0], {"INDIDEV Finder": HQ0.id}, GS),
        # it is missing: one that has a name of its own does not take its place, a new one does
        ([GS], {"INDIDEV Main": HQ0.id, GS.id: "Pi Camera imx296"}, CameraId(HQ0.id, "")),
        ([GS, HQ1], {"INDIDEV Main": HQ0.id, GS.id: "Pi Camera imx296"}, HQ1),
    ],
)
def test_the_name_of_indidev_stays_with_its_camera(
    cameras: list[CameraId], remembered: dict[str, str], first: CameraId
) -> None:
    assert first_named(cameras, remembered, "Main") == first


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("My Finder", "My Finder"),
        ("  Käme\tra\n1 ", "Käme ra 1"),
        ("a/b/../c", "a b .. c"),
        ("\x00\x1f\udcff", ""),
        ("N" * 70, "N" * 55),
        ("ä" * 40, "ä" * 27),  # 54 bytes: never half a character
        ("x" * 54 + " y", "x" * 54),
    ],
)
def test_a_name_is_one_that_clients_can_hold(asked: str, name: str) -> None:
    assert clean_name(asked) == name
    assert len(f"{name} Focuser".encode()) <= 63
