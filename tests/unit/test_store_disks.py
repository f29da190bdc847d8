"""The store on disks that are damaged, unfit, full or read-only, and killed while it writes."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from indi_picam.capture import manifest
from indi_picam.capture.manifest import NAME
from indi_picam.capture.storage import StoreFault, Where, Wish
from tests.unit.machine import SIZE, Machine, content, machine, run
from tests.unit.test_storage import small_disk

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def test_damaged_and_newer_batches_are_told_and_delivered_and_never_pushed_out(
    place: Path,
) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            damaged, newer, bad = [await m.begin(2, Where.DISK) for _ in range(3)]
            for batch in (damaged, newer, bad):
                m.put(batch, 1, 2)
        (place / damaged / NAME).write_bytes(b"\0" * 300 + b"\n")
        (place / newer / NAME).write_bytes(b'{"manifest": 9}\n')
        with manifest.frame_path(place / bad, 2).open("r+b") as file:
            file.write(b"?")
        m = Machine(place, keep=0)
        try:
            sentences = await m.store.use(place)
            assert [damaged in sentences[0], newer in sentences[1]] == [True, True]
            assert len(sentences) == 2
            for batch in (damaged, newer):
                frame = await m.store.open(batch, 2)
                assert os.pread(frame.descriptor, SIZE, 0) == content(2)
                os.close(frame.descriptor)
            m.store.acknowledge(newer, [1, 2])
            await m.store.settled()
            assert len(list((place / newer).glob("*.fits"))) == 2
            with pytest.raises(StoreFault, match=r"is damaged: its checksum .* its file is /"):
                await m.store.open(bad, 2)
            assert m.store.batch(bad).missing == (2,)
            with pytest.raises(StoreFault, match="cannot be added to"):
                m.store.resume(newer)
            await m.store.discard(newer)
            assert not (place / newer).exists()
        finally:
            await m.store.close()

    run(scene)


def test_a_directory_in_use_or_unfit_leaves_the_one_before_in_use(place: Path) -> None:
    async def scene() -> None:
        one, two = place / "one", place / "two"
        (place / "link").symlink_to(one)
        async with machine(one) as m, machine(two) as other:
            assert other.store.directory == two
            for refused, says in ((two, "another driver"), (place / "link", "is a link")):
                with pytest.raises(StoreFault, match=says):
                    await m.store.use(refused)
            assert m.store.directory == one
            await m.store.use(place / "three")
            batch = await m.begin(1, Where.DISK)
            assert os.listdir(place / "three") == [batch]
            await m.store.use(one)
            assert m.store.directory == one
            m.put(batch, 1)  # goes where its batch began
            await m.store.settled()
            assert manifest.frame_path(place / "three" / batch, 1).exists()

    run(scene)


def test_directories_in_which_no_batch_lies_are_given_back(place: Path) -> None:
    async def scene() -> None:
        async with machine(place / "kept") as m, machine(place / "other") as other:
            batch = await m.begin(1, Where.DISK)
            m.put(batch, 1)
            await m.store.settled()
            for number in range(20):
                await m.store.use(place / str(number))
            assert m.store._locks.keys() == {place / "kept", place / "19"}
            await other.store.use(place / "18")  # ours no longer
            for held in ("kept", "19"):
                with pytest.raises(StoreFault, match="in use by another driver"):
                    await other.store.use(place / held)
            await m.store.use(place / "0")
            assert (await m.read(batch, 1)) == content(1)

    run(scene)


def test_without_a_directory_memory_serves_and_the_disk_is_refused_with_the_reason(
    place: Path,
) -> None:
    async def scene() -> None:
        m = Machine(place, memory=2 * SIZE)
        (place / "file").write_text("")
        with pytest.raises(StoreFault, match="it is no directory"):
            await m.store.use(place / "file")
        assert (await m.store.plan(2, SIZE, Wish.AUTO)).where is Where.MEMORY
        for wish, says in ((Wish.DISK, "it is no directory"), (Wish.AUTO, "fits nowhere")):
            with pytest.raises(StoreFault, match=says):
                await m.store.plan(3, SIZE, wish)
        with pytest.raises(StoreFault, match="it is no directory"):
            await m.begin(3, Where.DISK)
        await m.store.close()

    run(scene)


def test_a_card_that_became_read_only_still_delivers(place: Path) -> None:
    with small_disk(place / "disk", "size=1m") as disk:

        async def first() -> None:
            async with machine(disk) as m:
                m.put(await m.begin(2, Where.DISK), 1, 2)

        async def then() -> None:
            m = Machine(disk)
            (sentence,) = await m.store.use(disk)
            assert "its disk is read-only" in sentence
            (view,) = m.store.batches
            assert [await m.read(view.id, n) for n in view.waiting] == [content(1), content(2)]
            m.store.acknowledge(view.id, [1])
            for attempt in (m.store.discard(view.id), m.begin(1, Where.DISK)):
                with pytest.raises(StoreFault, match="its disk is read-only"):
                    await attempt
            await m.store.close()

        run(first)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        run(then)


def test_a_disk_that_fills_up_while_a_frame_is_written_loses_nothing(place: Path) -> None:
    """The reserve should prevent it; others may take that too."""
    with small_disk(place / "disk", "size=64k") as disk:

        async def scene() -> None:
            async with machine(disk) as m:
                batch = await m.begin(20, Where.DISK)
                (disk / "others").write_bytes(bytes(30_000))
                m.put(batch, *range(1, 21))
                while not m.news:
                    await asyncio.sleep(0.01)
                held = m.store.batch(batch)
                assert 0 < held.on_disk < 20
                assert held.on_disk + held.in_memory == 20
                assert not list((disk / batch).glob(".*"))
                (disk / "others").unlink()
                await asyncio.to_thread(
                    subprocess.run, ["mount", "-o", "remount,size=1m", str(disk)], check=True
                )
                await m.store.settled()
                assert m.counted == [(batch, number) for number in range(1, 21)]
                assert [await m.read(batch, n) for n in range(1, 21)] == [
                    content(n) for n in range(1, 21)
                ]

        run(scene)


def test_a_disk_that_fails_holds_up_nothing_on_another(place: Path) -> None:
    with small_disk(place / "stick", "size=1m") as stick, small_disk(place / "card", "size=1m"):

        async def scene() -> None:
            async with machine(stick) as m:
                batch = await m.begin(2, Where.DISK)
                m.put(batch, 1)
                await m.store.settled()
                await asyncio.to_thread(
                    subprocess.run, ["mount", "-o", "remount,ro", str(stick)], check=True
                )
                m.put(batch, 2)
                m.store.acknowledge(batch, [1])
                while not m.news:
                    await asyncio.sleep(0.01)
                await m.store.use(place / "card")
                other = await m.begin(2, Where.DISK)
                m.put(other, 1, 2)
                await m.store.all_counted(other)
                assert m.counted[-1] == (other, 2)
                assert m.news == [
                    f"Nothing can be written in {stick}, its disk is read-only. "
                    "Frames wait in memory: make room there."
                ]
                assert await m.read(batch, 2) == content(2)
                subprocess.run(["mount", "-o", "remount,rw", str(stick)], check=True)
                await m.store.settled()
                assert (batch, 2) in m.counted

        run(scene)


def test_what_lies_on_another_disk_makes_no_room_on_a_full_one(place: Path) -> None:
    with small_disk(place / "stick", "size=1m") as stick, small_disk(place / "card", "size=1m"):

        async def scene() -> None:
            async with machine(stick) as m:
                kept = await m.begin(2, Where.DISK)
                m.put(kept, 1, 2)
                m.store.end(kept, "complete")
                m.store.acknowledge(kept, [1, 2])
                await m.store.settled()
                m.disk = SIZE - 1
                assert (await m.store.plan(2, SIZE, Wish.DISK)).where is Where.DISK
                await m.store.use(place / "card")
                with pytest.raises(StoreFault, match="Take at most 0 frames"):
                    await m.store.plan(1, SIZE, Wish.DISK)
                m.put(await m.begin(1, Where.DISK), 1)
                while not m.news:
                    await asyncio.sleep(0.01)
                assert "its disk is full" in m.news[0]
                assert len(list((stick / kept).glob("*.fits"))) == 2
                m.disk = SIZE
                await m.store.settled()

        run(scene)


def test_a_batch_whose_first_line_could_not_be_written_is_begun_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with machine(place, memory=0) as m:
            batch = await m.begin(1, Where.MEMORY)
            append = manifest.append
            monkeypatch.setattr(manifest, "append", _full)
            m.put(batch, 1)
            while not m.news:
                await asyncio.sleep(0.01)
            monkeypatch.setattr(manifest, "append", append)
            await m.store.settled()
        record, sentences = manifest.read(place / batch)
        assert record is not None
        assert (record.asked["exposure_us"], list(record.frames), sentences) == (1000, [1], [])

    run(scene)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_batch_whose_disk_was_taken_out_can_be_struck_off(place: Path) -> None:
    async def scene() -> None:
        with small_disk(place / "stick", "size=1m") as stick:
            async with machine(stick) as m:
                batch = await m.begin(1, Where.DISK)
                m.put(batch, 1)
                await m.store.settled()
                await m.store.use(place)
                os.rename(stick / batch, stick / "elsewhere")
                await m.store.discard(batch)
                assert m.store.tallies == ()

    run(scene)


# -- kill -9 ---------------------------------------------------------------------------------------

KILLS = 50
WRITER = f"""
import asyncio, os, sys, zlib
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from indi_picam.capture.store import Store
from indi_picam.capture.storage import Where

SIZE = 100 * 2880

class Listener:
    crcs = {{}}
    def frame_counted(self, batch, number):
        os.write(1, f"{{batch}} {{number}} {{self.crcs[batch, number]}}\\n".encode())
    def frames_pushed_out(self, batch):
        pass
    def store_news(self, sentence):
        os.write(1, f"news {{sentence}}\\n".encode())

async def main():
    listener = Listener()
    store = Store(listener, free_disk=lambda path: 10**12)
    for sentence in await store.use(Path(sys.argv[1])):
        listener.store_news(sentence)
    while True:
        batch = await store.begin(4, SIZE, Where.DISK, {{}})
        for number in range(1, 5):
            data = os.urandom(SIZE)
            listener.crcs[batch, number] = zlib.crc32(data)
            memory = os.memfd_create("frame")
            os.write(memory, data)
            store.put(batch, number, memory, SIZE, {{}})
            await asyncio.sleep(0)
        store.delivered(batch, [1, 2])
        if int(batch[:6]) % 2:
            store.end(batch, "complete")
        await store.settled()
        if int(batch[:6]) % 3 == 0:
            os.write(1, f"discard {{batch}}\\n".encode())
            await store.discard(batch)

asyncio.run(main())
"""


def test_kill_9_at_any_moment_costs_no_counted_frame(place: Path) -> None:
    """50 kills in a row on one directory: what was counted is there, with its bytes."""
    moments = random.Random(4)
    counted: dict[tuple[str, int], int] = {}
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        taking_up = moments.random() < 0.3
        first = b"" if taking_up else writer.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            writer.wait(moments.uniform(0, 0.3 if taking_up else 0.08))
        writer.kill()
        lines = (first + writer.stdout.read()).decode().splitlines()
        writer.stdout.close()
        writer.wait(10)
        for line in lines:
            assert not line.startswith("news"), line
            match line.split():
                case ["discard", batch]:
                    counted = {key: crc for key, crc in counted.items() if key[0] != batch}
                case [batch, number, crc]:
                    counted[batch, int(number)] = int(crc)

    async def scene() -> None:
        m = Machine(place)
        assert await m.store.use(place) == []
        there = {(view.id, number) for view in m.store.batches for number in view.waiting}
        assert there >= counted.keys()
        assert len(counted) > KILLS
        assert len(there) <= len(counted) + KILLS, "one frame a kill may be there uncounted"
        for (batch, number), crc in counted.items():
            frame = await m.store.open(batch, number)
            assert zlib.crc32(os.pread(frame.descriptor, frame.size, 0)) == crc
            os.close(frame.descriptor)
        assert not list(place.rglob("*.part"))
        await m.store.close()

    run(scene)
