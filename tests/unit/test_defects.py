"""What a sensor's kernel module says of its defect correction."""

from __future__ import annotations

from pathlib import Path

import pytest

from indi_picam.camera.defects import corrects_defects, module_of, parameter_of


@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("imx477", "imx477"),
        ("imx378", "imx477"),
        ("imx708_wide_noir", "imx708"),
        ("OV5647", "ov5647"),
    ],
)
def test_sensors_are_driven_by_these_modules(model: str, module: str) -> None:
    assert module_of(model) == module


def test_the_parameter_is_where_the_kernel_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INDI_PICAM_SYSFS", raising=False)
    assert str(parameter_of("imx477")) == "/sys/module/imx477/parameters/dpc_enable"


@pytest.mark.parametrize(
    ("text", "told"),
    [("1\n", True), ("0\n", False), ("Y\n", True), ("N\n", False), ("", None), (None, None)],
)
def test_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, told: bool | None
) -> None:
    monkeypatch.setenv("INDI_PICAM_SYSFS", str(tmp_path))
    parameter = parameter_of("imx477")
    parameter.parent.mkdir(parents=True)
    if text is not None:
        parameter.write_text(text)
    assert corrects_defects(parameter) is told
