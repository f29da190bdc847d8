"""Saved settings: the form on disk, what is kept, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indi_picam.indi import config
from indi_picam.indi.config import ConfigFault
from indi_picam.indi.messages import New
from indi_picam.indi.vectors import (
    AnyVector,
    Kind,
    Number,
    NumberVector,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)

GAIN = NumberVector("CCD_GAIN", "Gain", "Main", (Number("GAIN", "Gain", 0.1, 0, 16),))
MODE = SwitchVector("MODE", "Mode", "Main", (Switch("A 1", "a", True), Switch("B", "b")))
PATH = TextVector("UPLOAD_SETTINGS", "Upload", "Options", (Text("DIR", "Dir", "/ä <&> 'x'\nfile"),))
NEWS = [
    New("Cam", "MODE", Kind.SWITCH, {"A 1": "On", "B": "Off"}),
    New("Cam", "CCD_GAIN", Kind.NUMBER, {"GAIN": "0.1"}),
    New("Cam", "UPLOAD_SETTINGS", Kind.TEXT, {"DIR": "/ä <&> 'x'\nfile"}),
]

# Written by libindi 1.9.9 (indi_simulator_ccd, CONFIG_SAVE), shortened.
OF_LIBINDI = """<INDIDriver>
<newSwitchVector device='Cam' name='DEBUG'>
  <oneSwitch name='ENABLE'>
      Off
  </oneSwitch>
  <oneSwitch name='DISABLE'>
      On
  </oneSwitch>
</newSwitchVector>
<newNumberVector device='Cam' name='POLLING_PERIOD'>
  <oneNumber name='PERIOD_MS'>
      1000
  </oneNumber>
</newNumberVector>
<newTextVector device='Other' name='ACTIVE_DEVICES'>
  <oneText name='ACTIVE_TELESCOPE'>
      Telescope Simulator
  </oneText>
</newTextVector>
</INDIDriver>
"""


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"HOME": "/home/a"}, "/home/a/.indi/Pi Camera imx477_config.xml"),
        ({"HOME": "/home/a", "INDICONFIG": "/etc/cam.xml"}, "/etc/cam.xml"),
        ({"HOME": "/home/a", "INDICONFIG": ""}, "/home/a/.indi/Pi Camera imx477_config.xml"),
    ],
)
def test_path(environment: dict[str, str], path: str) -> None:
    assert config.config_path("Pi Camera imx477", environment) == Path(path)


def test_saved_settings_come_back_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".indi" / "Cam_config.xml"
    config.save(path, "Cam", [MODE, GAIN, PATH])
    assert config.load(path, "Cam") == NEWS
    assert path.read_text() == (
        '<INDIDriver>\n<newSwitchVector device="Cam" name="MODE">\n'
        '<oneSwitch name="A 1">On</oneSwitch>\n<oneSwitch name="B">Off</oneSwitch>\n'
        "</newSwitchVector>\n"
        '<newNumberVector device="Cam" name="CCD_GAIN">\n'
        '<oneNumber name="GAIN">0.1</oneNumber>\n</newNumberVector>\n'
        '<newTextVector device="Cam" name="UPLOAD_SETTINGS">\n'
        '<oneText name="DIR">/ä &lt;&amp;&gt; &apos;x&apos;\nfile</oneText>\n'
        "</newTextVector>\n</INDIDriver>\n"
    )
    assert [entry.name for entry in path.parent.iterdir() if "new" in entry.name] == []


def test_libindis_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    path.write_text(OF_LIBINDI)
    assert config.load(path, "Cam") == [
        New("Cam", "DEBUG", Kind.SWITCH, {"ENABLE": "Off", "DISABLE": "On"}),
        New("Cam", "POLLING_PERIOD", Kind.NUMBER, {"PERIOD_MS": "1000"}),
    ]


def test_saving_keeps_what_other_devices_saved(tmp_path: Path) -> None:
    path = tmp_path / "shared.xml"
    path.write_text(OF_LIBINDI)
    config.save(path, "Cam", [GAIN])
    assert [setting.name for setting in config.load(path, "Cam")] == ["CCD_GAIN"]
    assert [setting.name for setting in config.load(path, "Other")] == ["ACTIVE_DEVICES"]


def test_the_first_default_settings_of_each_device_stay(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    default = config.default_path(path)
    config.keep_default(path, "Cam", [GAIN])
    config.keep_default(path, "Cam", [GAIN.with_values({"GAIN": 9.0})])
    config.keep_default(path, "Other", [MODE])
    assert config.load(default, "Cam") == [NEWS[1]]
    assert [setting.name for setting in config.load(default, "Other")] == ["MODE"]
    config.save(path, "Cam", [GAIN])
    config.purge(path)
    assert not path.exists()
    assert config.load(default, "Cam") == [NEWS[1]]


def test_one_property_is_saved_beside_the_others(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    config.save(path, "Cam", [MODE, GAIN, PATH])
    config.save_one(path, "Cam", "CCD_GAIN", [MODE, GAIN.with_values({"GAIN": 2.5})])
    changed = New("Cam", "CCD_GAIN", Kind.NUMBER, {"GAIN": "2.5"})
    assert config.load(path, "Cam") == [NEWS[0], changed, NEWS[2]]


def test_one_property_that_was_not_saved_has_all_saved(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    offset = NumberVector("CCD_OFFSET", "o", "g", (Number("OFFSET", "o"),))
    config.save_one(path, "Cam", "MODE", [MODE, PATH])
    assert config.load(path, "Cam") == [NEWS[0], NEWS[2]]
    config.save_one(path, "Cam", "CCD_GAIN", [offset, GAIN])
    zero = New("Cam", "CCD_OFFSET", Kind.NUMBER, {"OFFSET": "0"})
    assert config.load(path, "Cam") == [zero, NEWS[1], NEWS[0], NEWS[2]]


def test_what_another_driver_saved_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "shared.xml"

    def others() -> list[str]:
        return [setting.name for setting in config.load(path, "Other")]

    config.save(path, "Cam", [MODE, GAIN])
    path.write_text(OF_LIBINDI)
    config.save_one(path, "Cam", "CCD_GAIN", [GAIN])
    assert (others(), config.load(path, "Cam")[0]) == (["ACTIVE_DEVICES"], NEWS[1])
    path.unlink()
    config.save(path, "Cam", [GAIN])
    path.write_text(OF_LIBINDI)
    config.save(path, "Cam", [MODE])
    assert (others(), config.load(path, "Cam")) == (["ACTIVE_DEVICES"], [NEWS[0]])


def test_what_was_written_is_not_read_anew_to_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes some ms, for which an answer may have to wait."""
    paths = [tmp_path / "One_config.xml", tmp_path / "Two_config.xml"]
    for path in paths:
        config.save(path, "Cam", [MODE, GAIN])
    with monkeypatch.context() as patch:
        patch.setattr(config, "Decoder", None)
        for path in paths:
            config.save_one(path, "Cam", "CCD_GAIN", [MODE, GAIN.with_values({"GAIN": 2.5})])
            config.save(path, "Cam", [GAIN, PATH])
    assert [config.load(path, "Cam") for path in paths] == [NEWS[1:], NEWS[1:]]


def test_an_unchanged_property_costs_no_write(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    config.save(path, "Cam", [GAIN])
    before = path.stat()
    config.save_one(path, "Cam", "CCD_GAIN", [GAIN])
    assert path.stat().st_ino == before.st_ino


DAMAGED = [
    b"",
    b"\x00" * 4096,
    OF_LIBINDI[:-20].encode(),
    OF_LIBINDI[:200].encode(),
    OF_LIBINDI.replace("</oneSwitch>", "", 1).encode(),
    OF_LIBINDI.replace("</oneSwitch>", "&evil;</oneSwitch>", 1).encode(),
    OF_LIBINDI.replace("newNumberVector", "setNumberVector").encode(),
    b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + OF_LIBINDI.encode(),
    b"<INDIDriver>" + b"x" * config.MAX_FILE_BYTES + b"</INDIDriver>",
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_refused_and_can_be_saved_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Cam_config.xml"
    path.write_bytes(content)
    with pytest.raises(ConfigFault, match=r"Cam_config.xml is damaged; save the settings anew"):
        config.load(path, "Cam")
    config.save(path, "Cam", [GAIN])
    assert config.load(path, "Cam") == [NEWS[1]]


def test_an_empty_root_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    for content in ("<INDIDriver/>", "<?xml version='1.0'?>\n<INDIDriver>\n</INDIDriver>\n"):
        path.write_text(content)
        assert config.load(path, "Cam") == []


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "Cam_config.xml"
    with pytest.raises(ConfigFault, match=r"There are no saved settings yet: .*Cam_config.xml"):
        config.load(path, "Cam")
    with pytest.raises(ConfigFault, match=r"There are no saved settings to delete"):
        config.purge(path)
    with pytest.raises(ConfigFault, match=r"cannot be read: Is a directory"):
        config.load(tmp_path, "Cam")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Cam_config.xml"
    config.save(path, "Cam", [GAIN])

    def full(beside: Path, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    vectors: list[AnyVector] = [GAIN.with_values({"GAIN": 9.0})]
    with pytest.raises(ConfigFault, match=r"cannot be written: No space left on device\.$"):
        config.save(path, "Cam", vectors)
    assert config.load(path, "Cam") == [NEWS[1]]
    assert [entry.name for entry in tmp_path.glob("Cam*")] == ["Cam_config.xml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can own a file as root")
def test_a_file_of_root_is_refused_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Cam_config.xml"
    config.save(path, "Cam", [GAIN])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigFault, match=r"belongs to root; run: sudo chown -R"):
        config.load(path, "Cam")
    with pytest.raises(ConfigFault, match=r"belongs to root"):
        config.save(path, "Cam", [GAIN])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.xml", tmp_path / "Cam_config.xml"
    link.symlink_to(real)
    config.save(link, "Cam", [GAIN])
    assert link.is_symlink()
    assert config.load(real, "Cam") == [NEWS[1]]
