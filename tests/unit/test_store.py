"""The store: where frames wait, what is written when, what survives, and when the camera pauses."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from indi_picam.capture import manifest
from indi_picam.capture.manifest import NAME
from indi_picam.capture.storage import StoreFault, Where, Wish
from indi_picam.capture.store import Store
from tests.unit.test_storage import small_disk

ROOT = Path(__file__).parents[2]
SIZE = 2880
PLENTY = 10**12


@dataclass
class Machine:
    """A store on a machine whose free memory and disk are what the test says."""

    directory: Path
    memory: int = PLENTY
    disk: int = PLENTY
    keep: int = PLENTY
    news: list[str] = field(default_factory=list)
    counted: list[tuple[str, int]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(
            self,
            keep_bytes=self.keep,
            free_memory=lambda: self.memory - self.held(),
            free_disk=lambda path: self.disk,
        )

    def held(self) -> int:
        """Bytes of the frames in memory."""
        return sum(batch.in_memory for batch in self.store.batches) * SIZE

    def frame_counted(self, batch: str, number: int) -> None:
        self.counted.append((batch, number))

    def store_news(self, sentence: str) -> None:
        self.news.append(sentence)

    async def begin(self, count: int, where: Where) -> str:
        return await self.store.begin(count, SIZE, where, {"exposure_us": 1000})

    def put(self, batch: str, *numbers: int) -> None:
        for number in numbers:
            descriptor = os.memfd_create("frame", os.MFD_CLOEXEC)
            os.write(descriptor, content(number))
            self.store.put(batch, number, descriptor, SIZE, {"number": number})

    async def read(self, batch: str, number: int) -> bytes:
        frame = await self.store.open(batch, number)
        try:
            assert frame.facts == {"number": number}
            assert (frame.number, frame.size) == (number, SIZE)
            return os.pread(frame.descriptor, frame.size + 1, 0)
        finally:
            os.close(frame.descriptor)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


@asynccontextmanager
async def machine(
    directory: Path, memory: int = PLENTY, disk: int = PLENTY, keep: int = PLENTY
) -> AsyncIterator[Machine]:
    made = Machine(directory, memory, disk, keep)
    await made.store.use(directory)
    try:
        yield made
    finally:
        await made.store.close()


Scene = Callable[[], Coroutine[None, None, None]]


def run(scene: Scene) -> None:
    """Runs a scene; no descriptor may be left after it."""

    async def main() -> None:
        await asyncio.to_thread(lambda: None)
        before = len(os.listdir("/proc/self/fd"))
        await asyncio.wait_for(scene(), 30)
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())


def test_frames_in_memory_are_counted_at_once_and_freed_when_acknowledged(place: Path) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            batch = await m.begin(3, Where.MEMORY)
            m.put(batch, 1, 2)
            assert m.counted == [(batch, 1), (batch, 2)]
            assert await m.read(batch, 2) == content(2)
            m.store.delivered(batch, [2])
            m.store.acknowledge(batch, [2, 3, 99])
            await m.store.settled()
            view = m.store.batch(batch)
            assert (view.taken, view.in_memory, view.on_disk) == (2, 1, 0)
            assert (view.delivered, view.acknowledged) == (1, 1)
            assert (view.waiting, view.missing) == ((1,), (3,))
            assert m.held() == SIZE
            with pytest.raises(StoreFault, match=f"Frame 2 of batch {batch} is not in the store"):
                await m.store.open(batch, 2)
            assert os.listdir(place) == []

    run(scene)


def test_frames_on_disk_are_counted_when_they_are_safe(place: Path) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            batch = await m.begin(3, Where.DISK)
            m.put(batch, 1, 2)
            assert m.counted == []
            assert (m.store.batch(batch).taken, m.store.batch(batch).in_memory) == (0, 2)
            await m.store.settled()
            assert m.counted == [(batch, 1), (batch, 2)]
            view = m.store.batch(batch)
            assert (view.taken, view.in_memory, view.on_disk, view.missing) == (2, 0, 2, (3,))
            assert await m.read(batch, 2) == content(2)
            assert manifest.frame_path(place / batch, 1).read_bytes() == content(1)

    run(scene)


def test_when_memory_runs_short_the_oldest_not_being_delivered_goes_to_disk(
    place: Path,
) -> None:
    async def scene() -> None:
        async with machine(place, memory=10 * SIZE) as m:
            batch = await m.begin(10, Where.MEMORY)
            m.put(batch, 1, 2, 3, 4)
            delivering = await m.store.open(batch, 1)
            m.store.delivered(batch, [3])
            await m.store.settled()
            assert m.store.batch(batch).on_disk == 0
            m.memory = 8 * SIZE  # 4 are held, 6 are to come: two have to go
            m.store.release(batch, 4)
            await m.store.settled()
            there = sorted(path.name for path in (place / batch).glob("*.fits"))
            assert there == ["000002.fits", "000003.fits"]
            assert m.news == [
                f"Memory runs short: frames of batch {batch} are written to {place / batch}."
            ]
            assert os.pread(delivering.descriptor, SIZE, 0) == content(1)
            os.close(delivering.descriptor)
            m.store.delivered(batch, [1])
            m.memory = 7 * SIZE
            m.put(batch, 5)
            await m.store.settled()
            assert m.store.batch(batch).on_disk == 3
            assert manifest.frame_path(place / batch, 1).exists()
            record, sentences = manifest.read(place / batch)
            assert record is not None
            assert (record.delivered, sentences) == ({1, 3}, [])
            m.memory = -1
            m.put(batch, *range(6, 11))
            await m.store.settled()
            view = m.store.batch(batch)
            assert (view.taken, view.in_memory, view.on_disk) == (10, 0, 10)
            assert [await m.read(batch, n) for n in view.waiting] == [
                content(n) for n in range(1, 11)
            ]

    run(scene)


def test_the_camera_pauses_only_when_memory_and_disk_are_full_and_goes_on(place: Path) -> None:
    async def scene() -> None:
        async with machine(place, memory=3 * SIZE, disk=SIZE - 1) as m:
            batch = await m.begin(6, Where.DISK)
            for number in (1, 2):
                m.put(batch, number)
                await m.store.room(SIZE)
            m.put(batch, 3)
            waiting = asyncio.create_task(m.store.room(SIZE))
            while not any("The camera pauses" in sentence for sentence in m.news):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert m.counted == []
            assert "its disk is full. Frames wait in memory: make room" in " ".join(m.news)
            assert await m.read(batch, 3) == content(3)
            m.store.release(batch, 3)
            m.disk = PLENTY
            await waiting
            await m.store.settled()
            assert [number for _, number in m.counted] == [1, 2, 3]
            assert m.news[-1] == "There is room for frames again: the camera goes on."
            assert sum("The camera pauses" in sentence for sentence in m.news) == 1

    run(scene)


def test_a_full_disk_pushes_out_what_is_acknowledged_before_it_pauses(place: Path) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            old = await m.begin(3, Where.DISK)
            m.put(old, 1, 2, 3)
            await m.store.settled()
            m.store.acknowledge(old, [1, 2])
            m.store.end(old, "complete")
            await m.store.settled()

            def free(path: Path) -> int:
                return 3 * SIZE - sum(b.on_disk for b in m.store.batches) * SIZE

            m.store._writing._free_disk = m.store._free_disk = free
            plan = await m.store.plan(2, SIZE, Wish.DISK)
            assert plan.where is Where.DISK
            with pytest.raises(StoreFault, match="fits nowhere"):
                await m.store.plan(3, SIZE, Wish.DISK)
            new = await m.begin(2, Where.DISK)
            m.put(new, 1)
            await m.store.settled()
            assert m.store.batch(old).on_disk == 2
            m.put(new, 2)
            await m.store.settled()
            assert m.store.batch(old).waiting == (3,)
            assert m.store.batch(new).on_disk == 2
            assert m.news == []

    run(scene)


def test_the_keep_limit_pushes_out_acknowledged_frames_oldest_first(place: Path) -> None:
    async def scene() -> None:
        async with machine(place, keep=4 * SIZE) as m:
            first, second = await m.begin(3, Where.DISK), await m.begin(3, Where.DISK)
            m.put(second, 1, 2, 3)
            m.put(first, 1, 2, 3)
            await m.store.settled()
            (told,) = m.news
            assert "more than its limit of 11.5 kB" in told
            assert [m.store.batch(b).on_disk for b in (first, second)] == [3, 3]
            m.store.end(first, "complete")
            m.store.acknowledge(second, [1])
            await m.store.settled()
            assert [m.store.batch(b).on_disk for b in (first, second)] == [3, 2]
            m.store.acknowledge(first, [1, 2, 3])
            m.store.acknowledge(second, [2])
            await m.store.settled()
            assert [m.store.batch(b).on_disk for b in (first, second)] == [2, 2]
            assert not manifest.frame_path(place / first, 1).exists()
            m.store.keep_bytes = 0
            await m.store.settled()
            assert m.store.batch(second).waiting == (3,)
            assert os.listdir(place) == [second]
            assert m.news == [told, told.replace("11.5 kB", "0 bytes")]

    run(scene)


def test_after_a_restart_everything_is_offered_again_in_order(place: Path) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            batches = [await m.begin(3, Where.DISK) for _ in range(12)]
            for batch in batches:
                m.put(batch, 2, 1)
            lost = await m.begin(1, Where.MEMORY)
            m.put(lost, 1)
            m.store.delivered(batches[0], [1, 2])
            m.store.acknowledge(batches[1], [2])
            m.store.end(batches[2], "aborted")
        async with machine(place) as m:
            assert [view.id for view in m.store.batches] == batches
            views = {view.id: view for view in m.store.batches}
            assert {views[b].waiting for b in batches if b != batches[1]} == {(1, 2)}
            assert views[batches[0]].delivered == 2
            assert (views[batches[1]].waiting, views[batches[1]].missing) == ((1,), (3,))
            assert [views[b].ended for b in batches[:3]] == [None, None, "aborted"]
            assert views[batches[0]].asked["exposure_us"] == 1000
            assert await m.read(batches[11], 2) == content(2)
            m.store.resume(batches[2])
            m.put(batches[2], 3)
            await m.store.settled()
            m.store.end(batches[2], "complete")
            assert await m.begin(1, Where.MEMORY) > batches[-1]
            await m.store.discard(batches[5])
            with pytest.raises(StoreFault, match="There is no batch"):
                m.store.batch(batches[5])
        async with machine(place) as m:
            assert batches[5] not in {view.id for view in m.store.batches}
            assert m.store.batch(batches[2]).missing == ()
            assert m.store.batch(batches[2]).ended == "complete"

    run(scene)


def test_a_batch_may_be_discarded_while_it_is_written(place: Path) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            for turns in range(20):
                batch = await m.begin(5, Where.DISK)
                m.put(batch, 1, 2, 3, 4, 5)
                for _ in range(turns):
                    await asyncio.sleep(0.0005)
                await m.store.discard(batch)
                assert os.listdir(place) == []
                assert m.held() == 0
            assert m.news == []

    run(scene)


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
        first = writer.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            writer.wait(moments.uniform(0, 0.08))
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
