"""Names of files, and that a file is there whole or not at all."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indi_picam.client import files
from indi_picam.client.failure import Exit, Failure

BEGUN = datetime(2026, 11, 23, 21, 45, 17, 900_000, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty place for frames."""
    place = tmp_path / "frames"
    place.mkdir()
    return place


def save(directory: Path, frame: bytes = b"frame", base: str = "astroimage") -> str:
    return files.save(directory, base, frame, BEGUN, ".fits").name


def test_the_name_says_number_and_time_without_colons(directory: Path) -> None:
    assert save(directory) == "astroimage00001_2026-11-23_21-45-17.fits"
    assert (directory / "astroimage00001_2026-11-23_21-45-17.fits").read_bytes() == b"frame"


def test_numbering_goes_on_and_nothing_is_overwritten(directory: Path) -> None:
    for name in (
        "astroimage00007_2020-01-01_00-00-00.fits",
        "astroimage00012_2019-01-01_00-00-00.fits.fz",
        "astroimage_notes.txt",
        "moon00099_2020-01-01_00-00-00.fits",
    ):
        (directory / name).write_bytes(b"old")
    assert save(directory) == "astroimage00013_2026-11-23_21-45-17.fits"
    assert save(directory) == "astroimage00014_2026-11-23_21-45-17.fits"
    assert save(directory, base="moon") == "moon00100_2026-11-23_21-45-17.fits"
    assert save(directory, base="a.+") == "a.+00001_2026-11-23_21-45-17.fits"
    assert (directory / "astroimage00007_2020-01-01_00-00-00.fits").read_bytes() == b"old"


def test_numbering_goes_beyond_five_digits(directory: Path) -> None:
    (directory / "astroimage99999_2020-01-01_00-00-00.fits").touch()
    assert save(directory) == "astroimage100000_2026-11-23_21-45-17.fits"
    assert save(directory) == "astroimage100001_2026-11-23_21-45-17.fits"


def test_a_name_taken_meanwhile_is_left_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = directory / "astroimage00001_2026-11-23_21-45-17.fits"
    taken.write_bytes(b"of another picam")
    monkeypatch.setattr(files, "next_number", lambda directory, base: 1)
    assert save(directory) == "astroimage00002_2026-11-23_21-45-17.fits"
    assert taken.read_bytes() == b"of another picam"


def test_a_disk_without_links_works_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EPERM, "no links on FAT")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(files, "next_number", lambda directory, base: 1)
    first, second = save(directory, b"one"), save(directory, b"two")
    assert sorted(path.name for path in directory.iterdir()) == sorted([first, second])
    assert (directory / first).read_bytes() == b"one"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "The disk is full"), (errno.EACCES, "cannot be saved"), (errno.EIO, "cannot")],
)
def test_a_failed_write_leaves_nothing_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Failure, match=words) as caught:
        save(directory)
    assert caught.value.exit_status == Exit.NOT_SAVED
    assert list(directory.iterdir()) == []


def test_room_is_checked_before_it_is_needed(directory: Path) -> None:
    files.check_room(directory, 1000)
    files.check_room(directory, 1000, 20)
    with pytest.raises(Failure, match="disk is full: 20 frames need 20"):
        files.check_room(directory, 10**18, 20)
    with pytest.raises(Failure, match="disk is full: a frame needs 10"):
        files.check_room(directory, 10**18)


@pytest.mark.parametrize(
    ("cards", "begun"),
    [
        (
            ["DATE-OBS= '2026-11-23T21:45:17.123456' / start"],
            datetime(2026, 11, 23, 21, 45, 17, 123456, UTC),
        ),
        (["DATE-OBS= '2026-11-23T21:45:17.123'"], datetime(2026, 11, 23, 21, 45, 17, 123000, UTC)),
        (["DATE-OBS= 'yesterday'"], None),
        (["EXPTIME =                  1.0"], None),
        (["END", "DATE-OBS= '2026-11-23T21:45:17'"], None),
    ],
)
def test_the_start_of_the_exposure_from_the_header(
    cards: list[str], begun: datetime | None
) -> None:
    header = "".join(card.ljust(80) for card in ["SIMPLE  =                    T", *cards])
    assert files.date_obs(header.encode()) == begun
