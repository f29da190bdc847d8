"""Measures what a sensor mode costs, with frames that nobody waits for.

    what                            how
    start, frames lost              restarts at two exposures: both lose the same number of frames
    primer                          at the longer one
    free-running                    single frames of a sensor that was left running
    frame length, readout, file     a run of frames without a gap
    disk, compressed size           the last file, as the store and the compressor treat it

In short form only what an estimate cannot do without: fewer frames, and no way that cannot be the
cheapest. A median of few stands against what delays one of them. Knows no INDI; called by the
calibration properties, which keep the result (:mod:`.calibration`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from indi_picam import clock, fits
from indi_picam.camera.modes import FrameFacts, FrameRequest, ModeFacts, Way
from indi_picam.camera.remote import Frame
from indi_picam.capture import manifest
from indi_picam.capture.calibration import Calibration
from indi_picam.capture.compressing import CompressionFault, Compressor
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan
from indi_picam.capture.storage import free_disk
from indi_picam.fits import Card, FitsFile

Cards = Callable[[ExposurePlan, FrameFacts], Iterable[Card]]

LONGER_US = 100_000
"""Between the two exposures of the restarts: more than any delay that is not a lost frame."""

_TRIAL = ".calibration-"
"""Begin of the directory that frames are written to for a moment."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How often each is measured."""

    restarts: int
    primers: int
    """When frames are lost after a start, or else no primer can be cheaper."""
    always_primer: bool
    free_running: int
    run: int
    files: int
    """Written to the disk, and compressed."""


_SHORT = _Form(restarts=2, primers=1, always_primer=False, free_running=0, run=4, files=1)
_FULL = _Form(restarts=3, primers=2, always_primer=True, free_running=4, run=8, files=3)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One frame."""

    wait_us: float
    """From the request to the start of its exposure."""
    finished_ns: int
    """When its FITS file was finished."""
    facts: FrameFacts

    @property
    def length_us(self) -> int:
        return self.facts.frame_duration_us


class Measuring:
    """The frames of one calibration; ``file`` is the last one's, until ``close``."""

    def __init__(self, engine: Engine, plan: ExposurePlan, cards: Cards, *, full: bool) -> None:
        """``plan`` is any exposure of whole frames, as everything else stands."""
        self.file: FitsFile | None = None
        self._engine = engine
        self._plan = plan
        self._cards = cards
        self._form = _FULL if full else _SHORT

    def close(self) -> None:
        """Lets the last file go."""
        if self.file is not None:
            os.close(self.file.memory)
            self.file = None

    async def camera(self) -> Calibration:
        """Takes the frames; raises CameraFault, and GaveWay when something else was asked."""
        form, (short_us, long_us) = self._form, exposures_us(self._plan.mode)
        await self._take(short_us, Way.RESTART)  # the first one after a change is slower
        short = [await self._take(short_us, Way.RESTART) for _ in range(form.restarts)]
        long = [await self._take(long_us, Way.RESTART) for _ in range(form.restarts)]
        start_us, lost = start_and_lost(_waits(short), _waits(long))
        run = await self._frames(short_us, None, form.run)
        primers: list[_Sample] = []
        if lost or form.always_primer:
            primers = [await self._take(long_us, Way.PRIMER) for _ in range(form.primers)]
        running: list[_Sample] = []
        if form.free_running:
            await self._take(short_us, Way.FREE_RUNNING)  # leaves the sensor running
            running = [
                await self._take(short_us, Way.FREE_RUNNING) for _ in range(form.free_running)
            ]
        gap_us = max(0, statistics.median_low(s.length_us for s in run) - short_us)
        assert self.file is not None  # noqa: S101 - frames were taken
        return Calibration(
            start_us=start_us,
            lost_frames=lost,
            primer_us=statistics.median_low(s.wait_us for s in primers) if primers else None,
            free_running_us=max(s.wait_us for s in running) if running else None,
            frame_us=max(1.0, _interval_us(run) - gap_us),
            gap_us=gap_us,
            readout_us=statistics.median_low(_readout_us(s.facts) for s in run),
            finishing_us=statistics.median_low(
                (s.finished_ns - s.facts.completed_ns) / 1000 for s in run
            ),
            frame_bytes=self.file.size,
        )

    async def _take(self, exposure_us: int, way: Way) -> _Sample:
        return (await self._frames(exposure_us, way, 1))[0]

    async def _frames(self, exposure_us: int, way: Way | None, count: int) -> list[_Sample]:
        request = replace(self._plan.request, exposure_us=exposure_us, way=way, count=count)
        plan = replace(self._plan, request=request)
        samples: list[_Sample] = []
        asked_ns = clock.monotonic_ns()

        def take_up(frame: Frame) -> None:
            self._finish(plan, frame)
            wait_us = (frame.facts.exposure_began_ns - asked_ns) / 1000
            samples.append(_Sample(wait_us, clock.monotonic_ns(), frame.facts))

        await self._engine.measure(request, take_up)
        return samples

    def _finish(self, plan: ExposurePlan, frame: Frame) -> None:
        self.close()
        try:
            self.file = fits.finish(frame.memory, frame.facts, self._cards(plan, frame.facts))
        except BaseException:
            os.close(frame.memory)
            raise

    async def disk(self, directory: Path) -> float:
        """Bytes a second of frames made safe in the directory of the store; raises OSError."""
        assert self.file is not None  # noqa: S101 - comes after camera()
        memory = os.dup(self.file.memory)
        return await asyncio.to_thread(
            _disk_bytes_s, directory, memory, self.file.size, self._form.files
        )

    async def compressing(self, compressor: Compressor) -> tuple[int, float]:
        """Size of the compressed file, and what that takes in us; raises CompressionFault."""
        assert self.file is not None  # noqa: S101 - comes after camera()
        took_us = list[float]()
        for _ in range(1 + self._form.files):
            began_ns = clock.monotonic_ns()
            memory, size = await compressor.compress(self.file.memory)
            took_us.append((clock.monotonic_ns() - began_ns) / 1000)
            os.close(memory)
        return size, statistics.median_low(took_us[1:])  # the process starts with the first

    async def files(
        self, known: Calibration, directory: Path | None, compressor: Compressor
    ) -> Calibration:
        """Adds what disk and compression cost; what cannot be measured is left out.

        ``compressor`` is best the one that pictures will go through: of two processes one may take
        half as long again for all its life (measured: 38 and 60 ms a frame).
        """
        if directory is not None:
            try:
                rate = await self.disk(directory)
                known = replace(known, disk=str(directory), disk_bytes_s=rate)
            except OSError:
                pass  # the store says what is wrong with its disk
        try:
            size, compressing_us = await self.compressing(compressor)
        except CompressionFault:
            return known
        return replace(known, compressed_bytes=size, compressing_us=compressing_us)


def exposures_us(mode: ModeFacts) -> tuple[int, int]:
    """The two that are measured with: as long as the shortest frame, and longer."""
    shortest = max(mode.exposure_min_us, mode.frame_duration_min_us)
    short = min(shortest, mode.exposure_max_us)
    return short, min(short + LONGER_US, mode.exposure_max_us)


def start_and_lost(
    short: Sequence[tuple[float, int]], long: Sequence[tuple[float, int]]
) -> tuple[float, int]:
    """What a start takes in us, and how many frames are lost after it.

    From waits for the exposure and frame lengths, in us, at two exposures: each lost frame lasts as
    long as a good one.
    """
    (wait, length), (longer_wait, longer) = (_median(samples) for samples in (short, long))
    lost = max(0, round((longer_wait - wait) / (longer - length))) if longer > length else 0
    return max(0.0, statistics.median_low(w - lost * n for w, n in (*short, *long))), lost


def _median(samples: Sequence[tuple[float, int]]) -> tuple[float, int]:
    return statistics.median_low(w for w, _ in samples), samples[0][1]


def _waits(samples: list[_Sample]) -> list[tuple[float, int]]:
    return [(sample.wait_us, sample.length_us) for sample in samples]


def _interval_us(run: list[_Sample]) -> float:
    """From frame to frame, those included that were lost between."""
    stamps = [sample.facts.sensor_timestamp_ns for sample in run]
    return statistics.median_low((after - before) / 1000 for before, after in pairwise(stamps))


def _readout_us(facts: FrameFacts) -> float:
    return (facts.completed_ns - facts.sensor_timestamp_ns) / 1000


def _disk_bytes_s(directory: Path, memory: int, size: int, writes: int) -> float:
    """In a thread; closes the memory."""
    try:
        for left in directory.glob(f"{_TRIAL}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        if free_disk(directory) < writes * size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return _written_bytes_s(directory, memory, size, writes)
    finally:
        os.close(memory)


def _written_bytes_s(directory: Path, memory: int, size: int, writes: int) -> float:
    folder = Path(tempfile.mkdtemp(prefix=_TRIAL, dir=directory))
    try:
        manifest.create(folder / "batch", {})
        began_ns = clock.monotonic_ns()
        for number in range(1, writes + 1):
            manifest.write_frame(folder / "batch", number, memory, size, {})
        return writes * size / ((clock.monotonic_ns() - began_ns) / 1e9)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def request_of_whole_frames(request: FrameRequest, mode: ModeFacts) -> FrameRequest:
    """The same without a window and binning, so that it holds for every other."""
    return replace(request, roi=mode.mode.full_frame, bin_x=1, bin_y=1)
