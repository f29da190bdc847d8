"""Where frames can be kept: the choice, what is free, and directories that cannot be used."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indi_picam.capture import storage
from indi_picam.capture.storage import StoreFault, Where, Wish, plan_storage, size_text

FRAME = 24_690_240
GB = 1_000_000_000
PLENTY = 10**6


@pytest.mark.parametrize(
    ("count", "memory", "disk", "wish", "where", "says"),
    [
        (20, 1 * GB, 5 * GB, Wish.AUTO, Where.MEMORY, "20 frames of 24.7 MB need 494 MB"),
        (20, 20 * FRAME, 0, Wish.AUTO, Where.MEMORY, "494 MB of memory are free"),
        (20, 20 * FRAME - 1, 5 * GB, Wish.AUTO, Where.DISK, "as only 494 MB of memory are free"),
        (41, 1 * GB, 5 * GB, Wish.AUTO, Where.DISK, "5 GB of disk are free"),
        (1, 1 * GB, 5 * GB, Wish.DISK, Where.DISK, "as was asked for: 1 frame of 24.7 MB need"),
        (1, 1 * GB, 5 * GB, Wish.MEMORY, Where.MEMORY, "is lost if the driver ends"),
        (202, 0, 202 * FRAME, Wish.AUTO, Where.DISK, "202 frames of 24.7 MB need 4.99 GB"),
    ],
)
def test_the_choice_is_told_with_its_numbers(
    count: int, memory: int, disk: int, wish: Wish, where: Where, says: str
) -> None:
    plan = plan_storage(count, FRAME, memory, PLENTY, disk, wish)
    assert plan.where is where
    assert says in plan.reason


@pytest.mark.parametrize(
    ("count", "memory", "disk", "wish", "says"),
    [
        (41, GB, GB, Wish.AUTO, ("1.01 GB, but 1 GB of memory", "1 GB of disk", "at most 40 ")),
        (41, GB, 0, Wish.DISK, ("fits nowhere", "but 0 bytes of disk are free", "at most 0 ")),
        (41, GB, 9 * GB, Wish.MEMORY, ("does not fit in memory", "at most 40", "AUTO or DISK")),
        (41, GB, 0, Wish.MEMORY, ("does not fit in memory", "at most 40 frames")),
        (0, GB, GB, Wish.AUTO, ("batch of 0 frames",)),
        (-3, GB, GB, Wish.DISK, ("batch of -3 frames",)),
        (10**9, GB, GB, Wish.AUTO, ("need 24690240 GB",)),
    ],
)
def test_what_fits_nowhere_is_refused_with_the_numbers(
    count: int, memory: int, disk: int, wish: Wish, says: tuple[str, ...]
) -> None:
    with pytest.raises(StoreFault) as refusal:
        plan_storage(count, FRAME, memory, PLENTY, disk, wish)
    for part in says:
        assert part in str(refusal.value)


def test_small_frames_are_limited_by_descriptors() -> None:
    """Each frame in memory is one; the memory for these alone would do."""
    plan = plan_storage(896, 20_160, GB, 896, GB, Wish.AUTO)
    assert plan.where is Where.MEMORY
    plan = plan_storage(897, 20_160, GB, 896, GB, Wish.AUTO)
    assert plan.where is Where.DISK
    assert "as only 896 file descriptors are free: 897 frames of 20.2 kB need" in plan.reason
    with pytest.raises(StoreFault, match=r"but 896 file descriptors are free\. Take at most 896 "):
        plan_storage(897, 20_160, GB, 896, GB, Wish.MEMORY)


def test_descriptors_are_counted_below_the_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        before = storage.free_descriptors()
        assert 0 < before <= 1024 - storage.DESCRIPTOR_RESERVE - 3
        some = [os.memfd_create("frame") for _ in range(50)]
        after = storage.free_descriptors()
        for each in some:
            os.close(each)
        assert after == before - 50
        storage.raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (999, "999 bytes"),
        (1000, "1 kB"),
        (FRAME, "24.7 MB"),
        (999_499_999, "999 MB"),
        (999_999_999, "1 GB"),
        (1_234_000_000, "1.23 GB"),
        (2_000_000_000_000, "2000 GB"),
    ],
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("total", "available", "cma", "free"),
    [
        (8_000_000, 6_000_000, 300_000, (5_700_000 - 800_000) << 10),  # a tenth is kept
        (1_000_000, 600_000, 0, (600_000 << 10) - (128 << 20)),  # at least 128 MiB are kept
        (400_000, 160_000, 60_000, 0),
    ],
)
def test_free_memory_is_what_is_available_without_cma_and_reserve(
    tmp_path: Path, total: int, available: int, cma: int, free: int
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n"
        f"HugePages_Total: 0\nCmaFree: {cma} kB\n"
    )
    assert storage.free_memory(meminfo) == free


def test_free_memory_of_this_machine() -> None:
    assert 0 <= storage.free_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("blocks", "available", "free"),
    [
        (8_000_000, 1_000_000, 4096 * 1_000_000 - 4096 * 400_000),  # 5 % of 33 GB
        (1_000_000, 500_000, 4096 * 500_000 - GB),
        (1_000_000, 200_000, 0),
    ],
)
def test_1_gb_or_5_percent_of_the_disk_stays_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blocks: int, available: int, free: int
) -> None:
    answer = os.statvfs_result((4096, 4096, blocks, available + 7, available, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: answer)
    assert storage.free_disk(tmp_path) == free


@pytest.mark.parametrize(
    ("xdg", "expected"), [(None, ".local/share"), ("relative", ".local/share"), ("/data", "/data")]
)
def test_the_default_directory(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, xdg: str | None, expected: str
) -> None:
    if xdg is not None:
        monkeypatch.setenv("XDG_DATA_HOME", xdg)
    assert storage.default_directory() == own_home / expected / "indi_picam"


def test_a_users_files_survive_the_trial(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / ".writable").write_text("mine")
    assert storage.writing_fault(place) is None
    assert os.listdir(place) == [".writable"]
    assert (place / ".writable").read_text() == "mine"


def test_a_directory_that_is_not_there_is_made_and_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    descriptor, fault = storage.take_directory(path)
    try:
        assert fault is None
        assert os.listdir(path) == []
        with pytest.raises(StoreFault, match="in use by another driver: choose another"):
            storage.take_directory(path)
    finally:
        os.close(descriptor)
    os.close(storage.take_directory(path)[0])


def _refused(path: Path, says: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StoreFault, match=says):
        storage.take_directory(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    _refused(tmp_path / "link", f"is a link to {tmp_path}: name that directory itself")


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere")
    _refused(tmp_path / "link", "is a link to /nowhere")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _refused(tmp_path / "file", "it is no directory: choose another directory")
    _refused(tmp_path / "file" / "below", "it is no directory, or lies in none")


def test_half_a_path_is_refused() -> None:
    _refused(Path("somewhere"), "give a whole path, from / on")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    _refused(tmp_path, "belongs to user 12345, not to root, who runs the driver")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    _refused(tmp_path / "below", "may not write there: choose another")


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[Path]:
    """A file system of its own; skips the test where it cannot be mounted."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system can only be mounted by root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [("size=64k,ro", "its disk is read-only"), ("size=64k", "its disk is full")],
)
def test_a_disk_that_takes_nothing_is_told_and_can_still_be_read(
    tmp_path: Path, options: str, says: str
) -> None:
    with small_disk(tmp_path / "disk", options) as path:
        if "ro" not in options:
            with pytest.raises(OSError, match="No space left"), (path / "filler").open("wb") as f:
                f.write(bytes(1 << 20))
        descriptor, fault = storage.take_directory(path)
        os.close(descriptor)
        assert f"Nothing can be written in {path}, {says}" in str(fault)
