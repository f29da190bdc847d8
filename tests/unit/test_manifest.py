"""The manifest of a batch: what a kill, a damage or a newer version leaves behind."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indi_picam.capture import manifest
from indi_picam.capture.manifest import ASIDE, NAME, FrameRecord

ID = "000007-20260727T210355-a3f1"
SIZE = 2880


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


def memory(data: bytes) -> int:
    descriptor = os.memfd_create("frame", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return descriptor


def write(folder: Path, *numbers: int) -> None:
    for number in numbers:
        # More memory than file: a frame's memory may be prepared larger.
        descriptor = memory(content(number) + b"unused")
        try:
            manifest.write_frame(folder, number, descriptor, SIZE, {"exposure_us": number})
        finally:
            os.close(descriptor)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A batch of five of which three are taken, the first is safe at a client."""
    folder = tmp_path / ID
    manifest.create(folder, {"count": 5})
    write(folder, 1, 2, 3)
    manifest.append(folder, [{"delivered": [1, 2]}, {"acknowledged": [1]}])
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_a_batch_is_read_as_it_was_written(folder: Path) -> None:
    manifest.append(folder, [{"ended": "aborted"}])
    record, sentences = manifest.read(folder)
    assert record is not None
    assert sentences == []
    assert (record.id, record.asked, record.ended) == (ID, {"count": 5}, "aborted")
    assert record.frames == {
        number: FrameRecord(number, SIZE, zlib.crc32(content(number)), {"exposure_us": number})
        for number in (1, 2, 3)
    }
    assert (record.delivered, record.acknowledged) == ({1, 2}, {1})
    for number in (1, 2, 3):
        assert manifest.frame_path(folder, number).read_bytes() == content(number)


def test_every_cut_of_the_manifest_keeps_every_frame_and_nothing_false(folder: Path) -> None:
    """As a power cut may leave it: byte by byte."""
    whole = (folder / NAME).read_bytes()
    for length in range(len(whole)):
        (folder / NAME).write_bytes(whole[:length])
        record, _ = manifest.read(folder)
        assert record is not None
        assert list(record.frames) == [1, 2, 3]
        assert record.acknowledged <= {1}
        written = {zlib.crc32(content(number)) for number in (1, 2, 3)}
        assert {frame.crc32 for frame in record.frames.values()} <= written | {None}
        again, sentences = manifest.read(folder)
        assert (again, sentences) == (record, []), "it was mended"
        for aside in folder.glob(f"{ASIDE}*"):
            aside.unlink()


def test_a_torn_last_line_is_no_damage_and_spoils_nothing_after_it(folder: Path) -> None:
    with (folder / NAME).open("ab") as file:
        file.write(b'{"delivered": [3')
    record, sentences = manifest.read(folder)
    assert sentences == []
    manifest.append(folder, [{"delivered": [3]}])
    assert lines(folder)[-1] == {"delivered": [3]}
    record, _ = manifest.read(folder)
    assert record is not None
    assert record.delivered == {1, 2, 3}


@pytest.mark.parametrize(
    ("name", "position", "line", "acknowledged", "asked"),
    [
        ("rubbish", 1, b"\0\0\0\xff\xfe garbage", {1}, {"count": 5}),
        ("no object", 1, b"[1, 2]", {1}, {"count": 5}),
        ("an unknown entry", 1, b'{"frobbed": [1]}', {1}, {"count": 5}),
        ("wrong types", 1, b'{"delivered": [{}]}', {1}, {"count": 5}),
        ("a size as text", 1, b'{"taken": 1, "size": "2880", "crc32": 1}', {1}, {"count": 5}),
        ("the first line", 0, b'{"manifest": 1, "ba', {1}, {}),
        ("the first line's version", 0, b'{"manifest": "x", "asked": {}}', {1}, {}),
        ("the acknowledged", -1, b'{"acknowledged" [1]}', set(), {"count": 5}),
    ],
)
def test_a_damaged_line_costs_itself_alone(
    folder: Path, name: str, position: int, line: bytes, acknowledged: set[int], asked: object
) -> None:
    original = (folder / NAME).read_bytes().splitlines()
    original[position] = line
    damaged = b"\n".join(original) + b"\n"
    (folder / NAME).write_bytes(damaged)
    record, sentences = manifest.read(folder)
    assert record is not None
    assert list(record.frames) == [1, 2, 3]
    assert (record.acknowledged, record.asked) == (acknowledged, asked)
    (sentence,) = sentences
    assert "is damaged or gone: its 3 frames are offered" in sentence
    assert (folder / ASIDE).read_bytes() == damaged
    again, sentences = manifest.read(folder)
    assert (again, sentences) == (record, [])


def test_without_a_manifest_the_frames_are_offered(folder: Path) -> None:
    (folder / NAME).unlink()
    record, (sentence,) = manifest.read(folder)
    assert record is not None
    assert [(f.number, f.size, f.crc32) for f in record.frames.values()] == [
        (number, SIZE, None) for number in (1, 2, 3)
    ]
    assert "3 frames are offered" in sentence
    assert manifest.read(folder) == (record, [])


def test_a_newer_manifest_is_left_alone_and_its_frames_are_offered(folder: Path) -> None:
    newer = b'{"manifest": 2, "batch": "x", "holds": "who knows"}\n{"taken": {}}\n'
    (folder / NAME).write_bytes(newer)
    part = folder / ".000004.fits.part"
    part.write_bytes(b"x")
    record, (sentence,) = manifest.read(folder)
    assert record is not None
    assert record.newer
    assert list(record.frames) == [1, 2, 3]
    assert "newer version: its 3 frames are offered" in sentence
    assert (folder / NAME).read_bytes() == newer
    assert part.exists()


def _between_rename_and_line(folder: Path) -> None:
    manifest.frame_path(folder, 4).write_bytes(content(4))


def _while_a_frame_is_written(folder: Path) -> None:
    (folder / ".000004.fits.part").write_bytes(b"half a fra")


def _while_frames_are_deleted(folder: Path) -> None:
    manifest.append(folder, [{"discarded": [1, 2]}])
    manifest.frame_path(folder, 1).unlink()


@pytest.mark.parametrize(
    ("killed", "frames"),
    [
        (_between_rename_and_line, [1, 2, 3, 4]),
        (_while_a_frame_is_written, [1, 2, 3]),
        (_while_frames_are_deleted, [3]),
    ],
)
def test_what_a_kill_cut_off_is_ended(
    folder: Path, killed: Callable[[Path], None], frames: list[int]
) -> None:
    killed(folder)
    record, sentences = manifest.read(folder)
    assert record is not None
    assert sentences == []
    assert list(record.frames) == frames
    names = sorted(os.listdir(folder))
    assert names == [*(f"{number:06d}.fits" for number in frames), NAME]


@pytest.mark.parametrize("left", [[], [NAME], [NAME, "000002.fits"]])
def test_a_deletion_that_was_cut_off_is_ended(folder: Path, left: list[str]) -> None:
    manifest.append(folder, [{"discarded": "all"}])
    for name in set(os.listdir(folder)) - set(left):
        (folder / name).unlink()
    assert manifest.read(folder) == (None, [])
    assert not folder.exists()


def test_deleting_a_batch_spares_what_the_user_put_there(folder: Path) -> None:
    (folder / "notes.txt").write_text("seeing was bad")
    manifest.delete_batch(folder)
    assert os.listdir(folder) == ["notes.txt"]


def test_a_frame_of_another_size_is_told_kept_and_not_offered(folder: Path) -> None:
    damaged = manifest.frame_path(folder, 2)
    os.truncate(damaged, 100)
    manifest.frame_path(folder, 3).unlink()
    for _ in range(2):
        record, sentences = manifest.read(folder)
        assert record is not None
        assert list(record.frames) == [1]
        assert f"{damaged} has 100 bytes, not 2880" in sentences[0]
        assert "Frame 3 of batch" in sentences[1]
        assert damaged.exists()
        with (folder / NAME).open("ab") as file:
            file.write(b"torn")  # so that it is written anew


def _one_bit(data: bytearray) -> None:
    data[1234] ^= 4


@pytest.mark.parametrize(
    ("change", "whole"),
    [(lambda data: None, True), (lambda data: data.pop(), False), (_one_bit, False)],
)
def test_a_checksum_tells_a_changed_file(
    folder: Path, change: Callable[[bytearray], Any], whole: bool
) -> None:
    path = manifest.frame_path(folder, 1)
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    expected = FrameRecord(1, SIZE, zlib.crc32(content(1)))
    with path.open("rb") as file:
        assert manifest.check_frame(file.fileno(), expected) is whole


def test_half_a_line_on_a_full_disk_is_taken_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / NAME).read_bytes()
    real_write = os.write

    def write_half(descriptor: int, data: Any) -> int:
        if len(data) < 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        manifest.append(folder, [{"delivered": [3]}])
    assert (folder / NAME).read_bytes() == before


def test_a_frame_that_cannot_be_written_leaves_nothing(folder: Path) -> None:
    short = memory(b"x" * 10)
    try:
        with pytest.raises(OSError, match="ends after 10 of 2880 bytes"):
            manifest.write_frame(folder, 4, short, SIZE, {})
    finally:
        os.close(short)
    assert sorted(os.listdir(folder)) == ["000001.fits", "000002.fits", "000003.fits", NAME]
