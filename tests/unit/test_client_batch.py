"""Which frames of a batch are here, what their files are numbered, and how frames are listed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indi_picam.ccd.batch_properties import numbers_of, words_of
from indi_picam.client import arguments, files
from indi_picam.client.batch import numbers, ranges
from indi_picam.client.heard import Server
from indi_picam.client.stop import Requests, Stop

BEGUN = datetime(2026, 11, 23, 21, 45, 17, tzinfo=UTC)


def frame(batch: str, number: int) -> bytes:
    cards = ["SIMPLE  =                    T", f"BATCHID = '{batch}'", f"BATCHNUM= {number:20}"]
    return "".join(card.ljust(80) for card in [*cards, "END"]).ljust(2880).encode()


def save(directory: Path, batch: str, number: int, at: int | None = None) -> str:
    return files.save(
        directory, "astroimage", frame(batch, number), BEGUN, ".fits", at
    ).name.partition("_")[0]


@pytest.mark.parametrize(
    ("several", "words"),
    [
        ([1], "1"),
        ([1, 2], "1-2"),
        ([8, 1, 2, 3, 5, 4], "1-5,8"),
        ({2, 4, 6}, "2,4,6"),
        ([], ""),
    ],
)
def test_numbers_as_a_list_of_ranges(several: Iterable[int], words: str) -> None:
    assert ranges(list(several)) == words_of(several) == words
    assert numbers(words) == sorted(several)
    if words:
        assert numbers_of(words, 8) == sorted(several)


def test_frames_of_a_batch_are_found_again(tmp_path: Path) -> None:
    for batch, number in (("one", 3), ("one", 1), ("two", 1), ("one", 12)):
        save(tmp_path, batch, number)
    (tmp_path / "astroimage00009_2026-11-23_21-45-17.fits").write_bytes(b"no FITS file")
    (tmp_path / "moon00009_2026-11-23_21-45-17.fits").write_bytes(frame("one", 77))
    assert files.frames_here(tmp_path, "astroimage", "one") == {3: 1, 1: 2, 12: 4}
    assert files.frames_here(tmp_path, "astroimage", "none") == {}


def test_a_late_frame_gets_the_number_that_was_left_for_it(tmp_path: Path) -> None:
    names = [save(tmp_path, "one", number, 10 + number) for number in (1, 3, 2)]
    assert names == ["astroimage00011", "astroimage00013", "astroimage00012"]
    assert save(tmp_path, "two", 2, 12) == "astroimage00014", "taken by another batch"


def test_what_a_killed_picam_left_half_written_goes(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".astroimage-999999999.part", tmp_path / ".astroimage-1.part"
    for part in (dead, alive):
        part.write_bytes(b"half")
    files.prepare(tmp_path)
    assert (dead.exists(), alive.exists()) == (False, True)


def test_what_was_left_under_our_own_process_id_is_not_in_the_way(tmp_path: Path) -> None:
    # Containers begin to count anew.
    (tmp_path / f".astroimage-{os.getpid()}.part").write_bytes(b"half")
    files.prepare(tmp_path)
    assert save(tmp_path, "one", 1) == "astroimage00001"
    assert list(tmp_path.glob(".*.part")) == []


def test_a_number_of_frames_that_is_none_is_told_the_limits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text in ("0", "-1", "1.5", "many", "10000000", "99999999", "1" * 5000):
        with pytest.raises(SystemExit):
            arguments.parser().parse_args(["query", "--", text])
        said = capsys.readouterr().err
        assert "is not a number of frames from 1 to 9999999" in said and len(said) < 400
    assert arguments._count("9999999") == 9_999_999


def test_each_of_several_servers_has_a_directory_of_its_own() -> None:
    servers = [Server(*words) for words in (("pi1", 1), ("pi2", 1), ("pi2", 2), ("fe80::1", 1))]
    names = [arguments._directory(server, servers) for server in servers]
    assert names == ["pi1", "pi2_1", "pi2_2", "fe80__1"]
    assert arguments._directory(servers[0], servers[:1]) == ""


def test_the_second_request_to_stop_interrupts_what_the_first_one_began() -> None:
    requests = Requests()
    here, elsewhere = Stop(requests), Stop(requests)
    here.check()
    requests.number = 1
    with pytest.raises(KeyboardInterrupt):
        here.check()
    here.follow()
    here.check()
    with pytest.raises(KeyboardInterrupt):
        elsewhere.check()
    requests.number = 2
    with pytest.raises(KeyboardInterrupt):
        here.check()
