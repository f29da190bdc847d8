"""The scale of time that the environment asks for, and what is made of nonsense."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NESTED = """
import subprocess, sys
from indi_picam import clock
print(clock.SCALE, flush=True)
subprocess.run([sys.executable, "-c", "from indi_picam import clock; print(clock.SCALE)"])
"""


def scales(text: str) -> tuple[list[str], str]:
    """The scales of a process and of its child, and what both said."""
    done = subprocess.run(
        [sys.executable, "-c", NESTED],
        env=os.environ | {"INDI_PICAM_TIME_SCALE": text},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("text", "scale"), [("100", "100.0"), ("0.5", "0.5"), ("1", "1.0"), ("", "1.0")]
)
def test_a_scale(text: str, scale: str) -> None:
    assert scales(text) == ([scale, scale], "")


@pytest.mark.parametrize("text", ["abc", "0", "-1", "nan", "inf", "1,5", "x" * 5000])
def test_nonsense_is_told_once_and_time_goes_as_it_does(text: str) -> None:
    found, said = scales(text)
    assert found == ["1.0", "1.0"]
    assert said.count("\n") == 1 and "INDI_PICAM_TIME_SCALE=" in said, said
    assert len(said) < 200
