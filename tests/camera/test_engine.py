"""The engine on a real worker: runs of frames that pause, fail, are aborted or shortened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from indi_picam.camera.modes import FrameFacts, Roi
from indi_picam.camera.remote import Frame
from indi_picam.capture import engine as engine_module
from indi_picam.capture.engine import DeliveryFault, Engine, State
from indi_picam.capture.plan import ExposurePlan, FrameType

from .conftest import Bench, request_of, run

TINY = Roi(0, 0, 16, 16)


@dataclass(slots=True)
class Told:
    """A listener that delivers when it may, and what it was told."""

    may_deliver: asyncio.Event = field(default_factory=asyncio.Event)
    fails_at: int = 0
    """The frame whose delivery fails; 0 for none."""
    begun: list[int] = field(default_factory=list)
    made_ready: list[FrameFacts] = field(default_factory=list)
    handed_over: list[FrameFacts] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def exposure_began(self, plan: ExposurePlan, at_ns: int) -> None:
        self.begun.append(at_ns)

    async def make_ready(self, plan: ExposurePlan, frame: Frame) -> None:
        os.close(frame.memory)
        self.made_ready.append(frame.facts)
        self.arrived.set()
        fails = len(self.made_ready) == self.fails_at
        await self.may_deliver.wait()
        if fails:
            raise DeliveryFault("The disk is full.")

    def hand_over(self, plan: ExposurePlan, frame: FrameFacts, ready: None, left: int) -> None:
        self.handed_over.append(frame)
        if not left:
            self.ended.set()

    def exposure_failed(self, plan: ExposurePlan, sentence: str) -> None:
        self.failed.append(sentence)
        self.ended.set()


@contextlib.asynccontextmanager
async def connected(bench: Bench, news: list[str]) -> AsyncIterator[tuple[Engine, ExposurePlan]]:
    """An engine with its camera, and the plan of a frame that is over in a moment."""
    bench.plug("imx477")
    async with bench.camera() as camera:
        await camera.close()
        engine = Engine(camera, news.append)
        _, mode, _ = await engine.connect("1332x990_10")
        yield engine, ExposurePlan(request_of(mode, 20_000, roi=TINY), mode, FrameType.LIGHT)
        await engine.disconnect()


async def within_10_s(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 10)


async def takes_more(engine: Engine, plan: ExposurePlan) -> None:
    """The next exposure is a whole one: nothing of what went before reaches into it."""
    told = Told()
    told.may_deliver.set()
    engine.start(plan.repeated(5), told)
    await within_10_s(told.ended)
    assert len(told.handed_over) == 5
    assert not told.failed
    assert engine.state is State.IDLE


def timestamps(frames: list[FrameFacts]) -> list[int]:
    return [facts.sensor_timestamp_ns for facts in frames]


@pytest.mark.parametrize("then", ["go on", "shorten", "fail", "abort", "disconnect"])
def test_a_run_pauses_while_memory_is_short_and_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    async def body() -> None:
        news: list[str] = []
        told, free = Told(fails_at=1 if then == "fail" else 0), 0
        monkeypatch.setattr(engine_module, "free_memory", lambda: free)
        async with connected(bench, news) as (engine, plan):
            engine.start(plan.repeated(20), told)
            async with asyncio.timeout(10):
                while not news:
                    await asyncio.sleep(0)
            taken, free = len(bench.log()), 1 << 40
            assert taken < 20
            if then == "shorten":
                engine.change_count(1)
            if then in ("abort", "disconnect"):
                await (engine.abort() if then == "abort" else engine.disconnect())
            else:
                told.may_deliver.set()
                await within_10_s(told.ended)
            shown = timestamps(told.handed_over)
            assert shown == sorted(set(shown))
            assert len(shown) == {"go on": 20, "shorten": 1}.get(then, 0)
            assert told.failed == (["The disk is full."] if then == "fail" else [])
            if then == "disconnect":
                await engine.connect("1332x990_10")
            await takes_more(engine, plan)
            assert len(news) == 1
            assert "memory is full" in news[0]

    run(body())


def test_a_run_whose_delivery_fails_is_told_once_and_stops_the_camera(bench: Bench) -> None:
    async def body() -> None:
        news: list[str] = []
        told = Told(fails_at=2)
        told.may_deliver.set()
        async with connected(bench, news) as (engine, plan):
            engine.start(plan.repeated(1000), told)
            await within_10_s(told.ended)
            assert engine.state is State.IDLE
            assert told.failed == ["The disk is full."]
            assert len(told.handed_over) == 1
            await takes_more(engine, plan)
            assert len(bench.log()) < 40
            assert not news

    run(body())


@pytest.mark.parametrize("moment", ["ordered", "begun", "made ready"])
def test_nothing_of_a_run_is_told_once_it_is_aborted(bench: Bench, moment: str) -> None:
    async def body() -> None:
        news: list[str] = []
        told = Told()
        async with connected(bench, news) as (engine, plan):
            engine.start(plan.repeated(1000), told)
            if moment == "made ready":
                await within_10_s(told.arrived)
            async with asyncio.timeout(10):
                while moment == "begun" and not told.begun:
                    await asyncio.sleep(0)
            await engine.abort()
            begun, made_ready = len(told.begun), len(told.made_ready)
            assert engine.state is State.IDLE
            told.may_deliver.set()
            await takes_more(engine, plan)
            assert (len(told.begun), len(told.made_ready)) == (begun, made_ready)
            assert not told.handed_over
            assert not told.failed
            assert not news

    run(body())


@pytest.mark.parametrize(("ordered", "changed_to"), [(1000, 1), (2, 6)])
def test_a_run_ends_after_the_frames_that_it_is_changed_to(
    bench: Bench, ordered: int, changed_to: int
) -> None:
    async def body() -> None:
        news: list[str] = []
        told = Told()
        async with connected(bench, news) as (engine, plan):
            engine.start(plan.repeated(ordered), told)
            await within_10_s(told.arrived)
            engine.change_count(changed_to)
            told.may_deliver.set()
            await within_10_s(told.ended)
            shown = timestamps(told.handed_over)
            assert len(shown) == changed_to
            assert shown == sorted(set(shown))
            await takes_more(engine, plan)
            assert not news

    run(body())


def test_frames_that_wait_are_kept_when_the_worker_dies_and_the_run_goes_on(bench: Bench) -> None:
    async def body() -> None:
        news: list[str] = []
        told = Told()
        async with connected(bench, news) as (engine, plan):
            engine.start(plan.repeated(12), told)
            async with asyncio.timeout(10):
                while len(told.begun) < 5:
                    await asyncio.sleep(0)
            worker = engine._camera._process
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
            told.may_deliver.set()
            await within_10_s(told.ended)
            shown = timestamps(told.handed_over)
            assert len(shown) == 12
            assert shown == sorted(set(shown))
            assert [facts.repeated for facts in told.handed_over].count(1) == 1
            assert told.handed_over[0].repeated == 0
            assert len(news) == 1
            assert "taken again" in news[0]
            await takes_more(engine, plan)

    run(body())


def test_an_abort_ends_the_wait_for_a_new_worker(bench: Bench) -> None:
    async def body() -> None:
        news: list[str] = []
        told = Told()
        async with connected(bench, news) as (engine, plan):
            worker = engine._camera._process
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                while not news:
                    await asyncio.sleep(0)
            engine.start(plan, told)
            await asyncio.sleep(0)
            await engine.abort()
            assert engine.state is State.IDLE
            await takes_more(engine, plan)
            assert not told.begun
            assert not told.failed

    run(body())
