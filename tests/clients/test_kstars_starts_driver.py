"""KStars starts the driver itself, from its driver file, as most of its users have it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.clients.conftest import CAMERA, DRIVER_FILES
from tests.clients.kstars import Profile, kstars

NAME = "Pi Camera Simulator"
ROOF = "Camera on the Roof"


@pytest.mark.parametrize(
    ("changes", "label", "device"),
    [
        pytest.param({}, NAME, NAME, id="as it is installed"),
        # KStars asks a driver of many devices for no name, and takes each that begins with its own.
        pytest.param({f'name="{NAME}"': 'name="Pi Camera"'}, NAME, NAME, id="named by its model"),
        # All others get their label in INDIDEV, and nothing else is a device of theirs.
        pytest.param(
            {f'label="{NAME}"': f'label="{ROOF}"', ' mdpd="true"': ""}, ROOF, ROOF, id="INDIDEV"
        ),
    ],
)
def test_kstars_finds_starts_and_connects_the_driver(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    label: str,
    device: str,
) -> None:
    files = tmp_path / "drivers"
    files.mkdir()
    for file in DRIVER_FILES.glob("*.xml"):
        text = file.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (files / file.name).write_text(text)
    monkeypatch.setenv("INDI_PICAM_SIMULATOR", CAMERA)
    home = tmp_path / "kstars"
    with kstars(home, [Profile("local", label)], files) as program:
        program.start("local")
        assert program.devices() == [device]
        assert program.exposure_state(device) == "Idle"
    deadline = time.monotonic() + 5
    while left := [pid for pid in os.listdir("/proc") if pid.isdigit() and _lives_in(home, pid)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


def _lives_in(home: Path, pid: str) -> bool:
    try:
        return f"HOME={home}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
