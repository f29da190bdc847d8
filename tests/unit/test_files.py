"""The user's directories, and files that are replaced whole or not at all."""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
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


def test_what_replaces_at_once_renames_over_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There ext4 writes the new file out first, and whoever renames waits for it."""
    path = tmp_path / "deep" / "file"
    replace, over = os.replace, list[bool]()

    def watched(source: Path, target: Path) -> None:
        over.append(target.exists())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    for content in (b"first", b"second"):
        files.replace_at_once(path, content)
        assert files.read(path, 100) == path.read_bytes() == content
        files.settle(path)
        assert os.listdir(path.parent) == ["file"]
    assert over == [False, False, False]


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _half_written(path: Path) -> None:
    path.write_bytes(b"\0" * 4096 + b"rest")


POWER_CUTS = pytest.mark.parametrize("power_cut", [_emptied, _half_written, Path.unlink])


@POWER_CUTS
def test_a_power_cut_leaves_what_was_on_the_disk(
    tmp_path: Path, power_cut: Callable[[Path], None]
) -> None:
    """After it a file that was renamed but not written out lacks its bytes, or is not there."""
    path = tmp_path / "deep" / "file"
    files.replace_at_once(path, b"on the disk")
    files.settle(path)
    files.replace_at_once(path, b"not yet")
    files.replace_at_once(path, b"nor this")
    assert files.read(path, 4) == b"nor "
    power_cut(path)
    assert files.read(path, 100) == b"on the disk"
    with suppress(FileNotFoundError):
        files.settle(path)
    assert files.read(path, 100) == b"on the disk"
    files.replace_at_once(path, b"after it")
    assert files.read(path, 100) == b"after it"
    files.settle(path)
    assert os.listdir(path.parent) == ["file"]


@POWER_CUTS
def test_what_is_written_while_another_is_flushed_has_one_to_fall_back_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power_cut: Callable[[Path], None]
) -> None:
    path = tmp_path / "deep" / "file"
    files.replace_at_once(path, b"flushed")
    fsync = os.fsync

    def meanwhile(descriptor: int) -> None:
        fsync(descriptor)
        monkeypatch.setattr(os, "fsync", fsync)
        files.replace_at_once(path, b"meanwhile")

    monkeypatch.setattr(os, "fsync", meanwhile)
    files.settle(path)
    assert files.read(path, 100) == b"meanwhile"
    power_cut(path)
    assert files.read(path, 100) == b"flushed"


def test_the_old_file_stays_until_the_new_one_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    for content in (b"old", b"new"):
        files.replace_at_once(path, content)

    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            files.settle(path)
    _emptied(path)
    assert files.read(path, 100) == b"old"


def test_what_is_deleted_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    for content in (b"old", b"new"):
        files.replace_at_once(path, content)
    files.delete(path)
    assert os.listdir(path.parent) == []
    files.replace_at_once(path, b"old")
    path.rename(f"{path}.aside")  # the driver ended between the two
    assert files.read(path, 100) == b"old"
    files.delete(path)
    with pytest.raises(FileNotFoundError):
        files.delete(path)


def test_a_directory_is_not_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace_at_once(path, b"content")
    assert path.is_dir()
    assert not [entry for entry in os.listdir(tmp_path) if entry.startswith("directory.")]


@pytest.mark.parametrize("failing", [1, 2])
def test_what_cannot_take_the_place_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    path = tmp_path / "deep" / "file"
    files.replace_at_once(path, b"old")
    replace, calls = os.replace, itertools.count(1)

    def failing_once(source: Path, target: Path) -> None:
        if next(calls) == failing:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing_once)
    with pytest.raises(OSError, match="Input/output"):
        files.replace_at_once(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
