"""Names of pictures that are saved on the Pi."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from pathlib import Path

import pytest

from indi_picam.ccd import uploading
from indi_picam.ccd.uploading import (
    Picture,
    _begun,
    clean_name,
    next_number,
    picture_name,
    write_picture,
)

NOW = datetime(2026, 11, 23, 21, 45, 17, 123_456)


@pytest.mark.parametrize(
    ("prefix", "there", "name"),
    [
        ("IMAGE_XXX", [], "IMAGE_001.fits"),
        ("IMAGE_XXX", ["IMAGE_001.fits", "IMAGE_007.fits"], "IMAGE_008.fits"),
        ("IMAGE_XXX", ["OTHER_009.fits", "IMAGE_notes.txt", "README"], "IMAGE_001.fits"),
        ("IMAGE_XXX", ["IMAGE_999.fits"], "IMAGE_1000.fits"),
        ("M31_ISO8601_XXX", ["M31_2026_004.fits"], "M31_2026-11-23T21-45-17.123_005.fits"),
        ("flat", ["flat.fits"], "flat.fits"),
    ],
)
def test_names_follow_indi_ccd(tmp_path: Path, prefix: str, there: list[str], name: str) -> None:
    for existing in there:
        (tmp_path / existing).touch()
    assert picture_name(prefix, next_number(tmp_path, prefix), ".fits", NOW) == name


@pytest.mark.parametrize(
    ("prefix", "cleaned"),
    [
        ("IMAGE_XXX", "IMAGE_XXX"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c\n\0d", "a_b_c__d"),
        (".hidden", "hidden"),
        ("", "IMAGE"),
        ("M 31 (north) [1]", "M 31 (north) [1]"),
        ("x" * 500, "x" * 200),
        ("ü" * 150, "ü" * 100),  # names are measured in bytes
        ("e\u0301toile", "\u00e9toile"),  # a Mac sends accents apart
    ],
)
def test_prefixes_are_cleaned(prefix: str, cleaned: str) -> None:
    assert clean_name(prefix) == cleaned


def test_a_picture_is_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    memory = os.memfd_create("picture")
    os.write(memory, content)
    folder = tmp_path / "new" / "folder"
    paths = [
        write_picture(folder, "IMAGE_XXX", ".fits", Picture(os.dup(memory), len(content)))
        for _ in range(3)
    ]
    os.close(memory)
    assert [path.name for path in paths] == ["IMAGE_001.fits", "IMAGE_002.fits", "IMAGE_003.fits"]
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in paths]
    assert all(path.read_bytes() == content for path in paths)


def test_what_a_killed_driver_left_is_removed_and_what_another_writes_is_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / ".indi_picam-left.fits").write_bytes(b"half")
    writing, path = _begun(folder, ".fits")
    memory = os.memfd_create("picture")
    os.write(memory, b"whole")
    written = write_picture(folder, "IMAGE_XXX", ".fits", Picture(memory, 5))
    assert sorted(folder.iterdir()) == sorted([path, written])
    os.close(writing)


def test_a_written_picture_is_safe_from_another_camera_until_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_meanwhile(folder: Path, prefix: str) -> int:
        uploading._remove_abandoned(folder)
        return 1

    monkeypatch.setattr(uploading, "next_number", look_meanwhile)
    memory = os.memfd_create("picture")
    os.write(memory, b"whole")
    path = write_picture(tmp_path / "pictures", "IMAGE_XXX", ".fits", Picture(memory, 5))
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("M31XXX", ["M31001.fits", "M31002.fits", "M31003.fits"]),
        ("XXX", ["001.fits", "002.fits", "003.fits"]),
        ("M31_XXX_L", ["M31_001_L.fits", "M31_002_L.fits", "M31_003_L.fits"]),
        ("flat", ["flat.fits"]),
    ],
)
def test_no_picture_with_a_number_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, names: list[str], links: bool
) -> None:
    """INDI's way to count finds no numbers but those at the end; a USB stick has no links."""
    if not links:
        monkeypatch.setattr("os.link", _refuse_link)
    folder = tmp_path / "pictures"
    for _ in range(3):
        memory = os.memfd_create("picture")
        os.write(memory, b"pixels")
        write_picture(folder, prefix, ".fits", Picture(memory, 6))
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(path.read_bytes() == b"pixels" for path in folder.iterdir())


def _refuse_link(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize(
    ("size", "wanted", "why"),
    [(3_000_000, False, "aborted"), (4_000_000, True, "shorter than it says")],
)
def test_a_picture_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, size: int, wanted: bool, why: str
) -> None:
    memory = os.memfd_create("picture")
    os.ftruncate(memory, 3_000_000)
    with pytest.raises(OSError, match=why):
        write_picture(tmp_path / "new", "IMAGE_XXX", ".fits", Picture(memory, size, wanted))
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(OSError):
        os.fstat(memory)  # whoever writes a picture closes it
