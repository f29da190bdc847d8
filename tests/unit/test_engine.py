"""The engine where only the order of the turns of the loop decides; the camera has no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from indi_picam.camera.modes import FrameRequest, Roi, SensorMode
from indi_picam.camera.remote import Frame, RemoteCamera
from indi_picam.capture.engine import Engine, GaveWay, State

REQUEST = FrameRequest(SensorMode(16, 16, 10), 1000, 1.0, Roi(0, 0, 16, 16))


class EndsAtOnce(RemoteCamera):
    """Every run of frames ends when it is told to, with none."""

    def __init__(self) -> None:
        super().__init__("camera")
        self.end = asyncio.Event()

    @property
    def alive(self) -> bool:
        return True

    async def take(
        self,
        request: FrameRequest,
        on_start: Callable[[int], None] | None = None,
        on_frame: Callable[[Frame, int], None] | None = None,
    ) -> AsyncGenerator[Frame, None]:
        await self.end.wait()
        return
        yield

    async def abort(self) -> None:
        await asyncio.sleep(0)


def test_measuring_that_has_just_ended_gives_way_to_an_abort() -> None:
    async def abort_at_its_end() -> None:
        camera = EndsAtOnce()
        engine = Engine(camera, on_trouble=lambda sentence: None)
        engine.state = State.IDLE
        measuring = asyncio.create_task(engine.measure(REQUEST, take_up=lambda frame: None))
        while (frames := engine._exposure) is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        camera.end.set()
        while not frames.done():
            await asyncio.sleep(0)
        await engine.abort()  # before who waits for the frames is told that they have ended
        with pytest.raises(GaveWay):
            await measuring
        assert engine.state is State.IDLE

    asyncio.run(abort_at_its_end())
