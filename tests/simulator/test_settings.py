"""What the simulation says when it is told nonsense: one sentence, with what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from indi_picam.simulator import settings
from indi_picam.simulator.models import SENSORS

ROOM = 254 - len("[ERROR] ")
"""Bytes of a sentence in an INDI message."""


@pytest.mark.parametrize("name", ["imx999", "imx477@pi6", "imx477,", "", "x" * 5000, "☄" * 500])
def test_a_sensor_that_is_not_simulated(tmp_path: Path, name: str) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "INDI_PICAM_SIMULATOR": name or " "}
    with pytest.raises(RuntimeError) as caught:
        settings.load(environment)
    sentence = str(caught.value)
    assert "INDI_PICAM_SIMULATOR" in sentence and "simulator.ini" not in sentence
    assert all(sensor in sentence for sensor in SENSORS)
    assert len(sentence.encode()) <= ROOM, len(sentence.encode())


def load_with(file: Path, text: str | None) -> str:
    """The sentence about a settings file of this text; None: there is none."""
    if text is not None:
        file.write_text(text)
    with pytest.raises(RuntimeError) as caught:
        settings.load({"INDI_PICAM_SIMULATOR_CONFIG": str(file)})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["INDI_PICAM_SIMULATOR_CONFIG", "not there"]),
        ("temperature = 3\n", ["no INI file"]),
        ("[simulator]\ntemperature = warm\n", ["'warm'"]),
        ("[simulator]\nnoise_seed = 1.5\n", ["'1.5'"]),
        ("[sky]\nstars = many\n", ["'many'"]),
        ("[simulator]\ncameras = imx999\n", ["'imx999'", *SENSORS]),
    ],
)
def test_a_settings_file_that_is_wrong(tmp_path: Path, text: str | None, words: list[str]) -> None:
    file = tmp_path / "own.ini"
    sentence = load_with(file, text)
    assert all(word in sentence for word in [*words, str(file)]), sentence
    assert "\n" not in sentence


def test_a_settings_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert str(tmp_path) in load_with(tmp_path, None)
