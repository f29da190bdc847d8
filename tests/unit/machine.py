"""A store on a machine whose free memory and disk a test decides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from indi_picam.capture.storage import Where
from indi_picam.capture.store import Store

SIZE = 2880
PLENTY = 10**12


@dataclass
class Machine:
    """A store on a machine whose free memory and disk are what the test says."""

    directory: Path
    memory: int = PLENTY
    descriptors: int = PLENTY
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
            free_descriptors=lambda: self.descriptors - self.held() // SIZE,
            free_disk=lambda path: self.disk,
        )

    def held(self) -> int:
        """Bytes of the frames in memory."""
        return sum(tally.in_memory for tally in self.store.tallies) * SIZE

    def frame_counted(self, batch: str, number: int) -> None:
        self.counted.append((batch, number))

    def frames_pushed_out(self, batch: str) -> None:
        """The files themselves tell."""

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


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


@asynccontextmanager
async def machine(
    directory: Path, memory: int = PLENTY, disk: int = PLENTY, keep: int = PLENTY
) -> AsyncIterator[Machine]:
    made = Machine(directory, memory, disk=disk, keep=keep)
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
