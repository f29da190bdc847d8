"""The store: where frames wait, what is written when, what is kept, when the camera pauses."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

import pytest

from indi_picam.capture import manifest
from indi_picam.capture.storage import StoreFault, Where, Wish
from tests.unit.machine import PLENTY, SIZE, content, machine, run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory."""
    place = tmp_path / "place"
    place.mkdir()
    return place


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


def test_a_batch_is_forgotten_when_nothing_is_left_and_the_next_begins(place: Path) -> None:
    async def scene() -> None:
        async with machine(place, keep=0) as m:
            ends = ("complete", "complete", "aborted", "aborted", "aborted")
            taken: list[list[int]] = [[1, 2], [1, 2], [1], [], [1, 2]]
            wheres = (Where.MEMORY, Where.DISK, Where.MEMORY, Where.MEMORY, Where.MEMORY)
            ids = []
            for where, numbers, how in zip(wheres, taken, ends, strict=True):
                ids.append(await m.begin(2, where))
                m.put(ids[-1], *numbers)
                await m.store.settled()
                m.store.end(ids[-1], how)
            whole, on_disk, to_continue, nothing, waiting = ids
            for batch in (whole, on_disk, to_continue):
                m.store.acknowledge(batch, [1, 2])
            await m.store.settled()
            assert m.store.tally(whole).acknowledged == 2  # still told
            assert m.store.tally(on_disk).on_disk == 0
            new = await m.begin(1, Where.MEMORY)
            assert [tally.id for tally in m.store.tallies] == [to_continue, waiting, new]
            assert int(new[:6]) == 6
            m.store.resume(to_continue)
            m.put(to_continue, 2)
            m.store.end(to_continue, "complete")
            with pytest.raises(StoreFault, match="no batch"):
                m.store.tally(nothing)

    run(scene)


@pytest.mark.parametrize("where", list(Where))
def test_a_tally_counts_as_a_whole_view_does(place: Path, where: Where) -> None:
    async def scene() -> None:
        async with machine(place, keep=2 * SIZE) as m:
            batch = await m.begin(6, where)

            def check() -> None:
                view, tally = m.store.batch(batch), m.store.tally(batch)
                frames = m.store._known(batch).frames.values()
                held = [f for f in frames if f.memory is not None]
                assert (tally.in_memory, tally.on_disk) == (
                    len(held),
                    sum(f.on_disk for f in frames),
                )
                assert tally.taken == sum(f.counted for f in frames)
                assert view.stored_bytes == (len(held) + tally.on_disk) * SIZE
                assert m.store._known(batch).disk_bytes == tally.on_disk * SIZE

            m.put(batch, 1, 2, 3)
            check()
            m.put(batch, 3)  # once more, in the place of the first
            await m.store.settled()
            check()
            assert m.store.tally(batch).taken == 3
            m.store.delivered(batch, [1])
            m.store.acknowledge(batch, [1, 2])
            await m.store.settled()
            check()
            assert (m.store.tally(batch).delivered, m.store.tally(batch).acknowledged) == (2, 2)
            m.memory = -1
            m.put(batch, 4, 5)
            await m.store.settled()
            check()
            assert m.store.tally(batch).in_memory == 0

    run(scene)


def test_a_frame_costs_no_more_in_a_large_batch(place: Path) -> None:
    """Steps are counted, not time: the same for the 20th frame as for the 2000th."""

    async def scene() -> None:
        async with machine(place) as m:
            batch = await m.begin(2000, Where.MEMORY)
            costs = []
            for number in range(1, 2001):
                descriptor = os.memfd_create("frame", os.MFD_CLOEXEC)
                steps = 0

                def step(frame: object, event: str, argument: object) -> None:
                    nonlocal steps
                    steps += 1

                sys.setprofile(step)
                m.store.put(batch, number, descriptor, SIZE)
                m.store.tally(batch)
                m.store._writing._next_to_write()
                sys.setprofile(None)
                costs.append(steps)
            assert costs[-1] <= costs[20]

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


def test_a_frame_that_could_not_be_opened_does_not_count_as_being_delivered(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(memory: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def scene() -> None:
        async with machine(place) as m:
            batch = await m.begin(1, Where.MEMORY)
            m.put(batch, 1)
            with monkeypatch.context() as patch:
                patch.setattr("indi_picam.capture.store.hold", too_many)
                with pytest.raises(StoreFault, match="Too many open files"):
                    await m.store.open(batch, 1)
            m.memory = 0
            m.store.keep_bytes = PLENTY  # it looks around
            await m.store.settled()
            assert m.store.tally(batch).on_disk == 1

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


def test_without_free_descriptors_frames_go_to_disk_and_the_camera_waits(place: Path) -> None:
    async def scene() -> None:
        async with machine(place) as m:
            m.descriptors = 3
            assert (await m.store.plan(3, SIZE, Wish.AUTO)).where is Where.MEMORY
            assert (await m.store.plan(4, SIZE, Wish.AUTO)).where is Where.DISK
            batch = await m.begin(3, Where.MEMORY)
            m.put(batch, 1, 2)
            m.disk = 0
            m.descriptors = 2  # another camera of the driver took one
            assert m.store.is_full(SIZE)
            m.disk = PLENTY
            m.store.release(batch, 2)
            await m.store.room(SIZE)
            m.put(batch, 3)
            await m.store.settled()
            assert m.store.batch(batch).on_disk >= 1
            assert m.store.batch(batch).waiting == (1, 2, 3)

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
