"""The user's directories, and files that are replaced whole or not at all."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from indi_picam import files
from indi_picam.capture import calibration, storage
from indi_picam.indi import config


def test_home_is_what_the_environment_says_else_the_users_own(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.home() == own_home
    of_passwd = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for nothing in ("", "relative"):
        monkeypatch.setenv("HOME", nothing)
        assert files.home() == of_passwd
    monkeypatch.delenv("HOME")
    assert files.home() == of_passwd


def test_a_user_without_home_has_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert files.home() == Path("/")
    assert storage.default_directory() == Path("/.local/share/indi_picam")
    assert calibration.state_directory() == Path("/.local/state/indi_picam/calibration")
    assert config.config_path("Cam", {}) == Path("/.indi/Cam_config.xml")


@pytest.mark.parametrize(
    ("given", "directory"),
    [(None, "home/.local/state"), ("relative", "home/.local/state"), ("/var/state", "/var/state")],
)
def test_a_relative_xdg_directory_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, directory: str
) -> None:
    if given is not None:
        monkeypatch.setenv("XDG_STATE_HOME", given)
    assert files.user_directory("XDG_STATE_HOME", ".local/state") == tmp_path / directory


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    files.replace(path, b"old")
    files.replace(path, b"new")
    assert path.read_bytes() == b"new"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(path, b"newest")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]
