"""What `picam` reads out of a camera's properties."""

from __future__ import annotations

from typing import cast

import pytest

from indi_picam.client.camera import Camera
from indi_picam.client.device import Device
from indi_picam.client.heard import Property


class Known:
    """A device of which properties are known."""

    def __init__(self, **values: dict[str, float | str | bool]) -> None:
        self._values = values

    def get(self, name: str) -> Property | None:
        known = self._values.get(name)
        return None if known is None else Property("Cam", name, "Ok", known)


FRAME: dict[str, float | str | bool] = {"X": 0, "Y": 0, "WIDTH": 4056, "HEIGHT": 3040}


@pytest.mark.parametrize(
    ("bits", "binned", "format", "size"),
    [
        (16, 1, "INDI_RAW", 2 * 4056 * 3040),
        (16, 2, "INDI_RAW", 2 * 2028 * 1520),
        (8, 1, "INDI_MONO", 4056 * 3040),
        (8, 1, "INDI_RGB", 3 * 4056 * 3040),
    ],
)
def test_the_size_of_a_frame_is_that_of_all_its_planes(
    bits: int, binned: int, format: str, size: int
) -> None:
    device = Known(
        CCD_FRAME=FRAME,
        CCD_INFO={"CCD_BITSPERPIXEL": bits},
        CCD_BINNING={"HOR_BIN": binned, "VER_BIN": binned},
        CCD_CAPTURE_FORMAT={"INDI_RAW": False, format: True},
    )
    assert Camera(cast(Device, device)).frame_bytes == size


def test_the_size_of_a_frame_is_not_known_of_a_camera_that_does_not_say() -> None:
    assert Camera(cast(Device, Known(CCD_FRAME=FRAME))).frame_bytes == 0
