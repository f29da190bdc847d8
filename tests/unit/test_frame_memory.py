"""Memory of frames: used again when nobody holds it, and never before, whatever holding means."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from indi_picam.camera import frame_memory
from indi_picam.camera.frame_memory import KEPT, FrameMemories, FrameMemory
from indi_picam.camera.modes import FITS_BLOCK, CameraFault, Roi, SensorMode
from indi_picam.camera.pixels import raw_layout, store_pixels
from indi_picam.holding import hold, is_held

SIZE = 3 * FITS_BLOCK
LARGE = 8000 * FITS_BLOCK
Holder = Callable[[int], Callable[[], None]]
"""Takes over a descriptor that was given out, and returns how to let it go."""


@pytest.fixture
def memories() -> Iterator[FrameMemories]:
    before = len(os.listdir("/proc/self/fd"))
    owned = FrameMemories()
    yield owned
    owned.drop()
    assert len(os.listdir("/proc/self/fd")) == before


def inode(memory: FrameMemory) -> int:
    return os.fstat(memory.descriptor).st_ino


def descriptor(given: int) -> Callable[[], None]:
    return lambda: os.close(given)


def duplicate(given: int) -> Callable[[], None]:
    copy = os.dup(given)
    os.close(given)
    return lambda: os.close(copy)


def mapping(given: int) -> Callable[[], None]:
    """As libindi's clients hold a picture; mmap keeps a duplicate too, so C is asked for it."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, given, ctypes.c_long(0))
    assert address not in (None, ctypes.c_void_p(-1).value)
    os.close(given)
    return lambda: libc.munmap(ctypes.c_void_p(address), SIZE)


def on_its_way(given: int) -> Callable[[], None]:
    """In a socket that nobody has read yet."""
    ours, theirs = socket.socketpair()
    socket.send_fds(ours, [b"x"], [given])
    os.close(given)

    def let_go() -> None:
        (received,) = socket.recv_fds(theirs, 1, 1)[1]
        os.close(received)
        ours.close()
        theirs.close()

    return let_go


def other_process(given: int) -> Callable[[], None]:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(given,)
    )
    os.close(given)

    def let_go() -> None:
        process.communicate()

    return let_go


def another_hold(given: int) -> Callable[[], None]:
    """As the store opens a frame once more while it is sent."""
    held = hold(given)
    os.close(given)
    return lambda: os.close(held)


@pytest.mark.parametrize(
    "holder", [descriptor, duplicate, mapping, on_its_way, other_process, another_hold]
)
def test_what_is_held_is_left_alone_and_used_again_when_it_is_let_go(
    memories: FrameMemories, holder: Holder
) -> None:
    memory = memories.reserve(SIZE)
    memory.map()[:] = 7
    first = inode(memory)
    let_go = holder(memory.give_out())
    memories.keep(memory)
    with reserved(memories) as other:
        assert inode(other) != first
    let_go()
    with reserved(memories) as again:
        assert inode(again) == first


@contextmanager
def reserved(memories: FrameMemories) -> Iterator[FrameMemory]:
    memory = memories.reserve(SIZE)
    yield memory
    memory.close()


@pytest.mark.parametrize("advice", [frame_memory._MADV_POPULATE_WRITE, 9999])
def test_a_new_memory_is_there_and_zero(advice: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On older kernels too, which do not know this advice."""
    monkeypatch.setattr(frame_memory, "_MADV_POPULATE_WRITE", advice)
    memory = FrameMemory(SIZE)
    facts = os.fstat(memory.descriptor)
    assert facts.st_size == SIZE <= facts.st_blocks * 512
    memory.map()
    assert os.lseek(memory.descriptor, 0, os.SEEK_HOLE) == SIZE  # it has been touched
    assert not any(os.pread(memory.descriptor, SIZE, 0))
    memory.close()


def test_others_run_while_pages_are_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of picamera2, in the same process."""
    spans, ran_at, ended = [], list[float](), threading.Event()
    touch = frame_memory._madvise

    def timed(*arguments: int) -> int:
        began = time.monotonic()
        try:
            return int(touch(*arguments))
        finally:
            spans.append((began, time.monotonic()))

    def run() -> None:
        while not ended.wait(0.0001):
            ran_at.append(time.monotonic())

    monkeypatch.setattr(frame_memory, "_madvise", timed)
    other = threading.Thread(target=run)
    other.start()
    for _ in range(11):
        memory = FrameMemory(LARGE)
        memory.map()
        memory.close()
    ended.set()
    other.join()
    shares = []
    for began, over in spans:
        times = [began, *(at for at in ran_at if began < at < over), over]
        gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
        shares.append(max(gaps) / (over - began))
    assert statistics.median(shares) < 0.5


def test_nothing_of_the_last_frame_is_left_behind_fewer_pixels(memories: FrameMemories) -> None:
    """A region of another shape may need as many blocks."""
    layout = raw_layout(SensorMode(60, 20, 12), "SBGGR12", 120)
    raw = np.full(120 * 20, 15, np.uint8)
    for roi in (Roi(0, 0, 60, 20), Roi(0, 0, 59, 20)):
        memory = memories.reserve(FITS_BLOCK)
        store_pixels(raw, layout, memory.map(), roi, 1, 1, True)
        written = os.pread(memory.descriptor, FITS_BLOCK, 0)
        assert any(written[: 2 * roi.width * roi.height])
        assert not any(written[2 * roi.width * roi.height :])
        memories.keep(memory)


def test_little_is_kept(memories: FrameMemories, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept_after(frames: int, size: int) -> list[int]:
        given = []
        for _ in range(frames):
            memory = memories.reserve(size)
            given.append(memory.give_out())
            memories.keep(memory)
        for held in given:
            os.close(held)
        return [memory.size for memory in memories._kept]

    assert kept_after(KEPT + 1, SIZE) == [SIZE] * KEPT
    assert kept_after(1, 2 * SIZE) == [2 * SIZE]
    monkeypatch.setattr(frame_memory, "MOST_BYTES", SIZE)
    assert kept_after(2, SIZE) == [SIZE]
    assert kept_after(2, 2 * SIZE) == [2 * SIZE]


def test_memory_of_another_size_makes_room_before_it_is_missed(memories: FrameMemories) -> None:
    memories.keep(memories.reserve(SIZE))
    before = len(os.listdir("/proc/self/fd"))
    memory = memories.reserve(2 * SIZE)
    assert len(os.listdir("/proc/self/fd")) == before
    memories.keep(memory)


def test_what_is_used_again_is_mapped_and_what_is_new_is_not(memories: FrameMemories) -> None:
    """To map costs a frame that is taken only once more than it saves."""
    memory = memories.reserve(SIZE)
    assert not memory.is_mapped
    memory.write(np.full(SIZE, 7, np.uint8), 0)
    given = memory.give_out()
    memories.keep(memory)
    with reserved(memories) as other:
        assert not other.is_mapped
    os.close(given)
    assert memories.reserve(SIZE) is memory
    assert memory.is_mapped
    wanted = bytes([7]) * (SIZE - FITS_BLOCK) + bytes(FITS_BLOCK)
    assert os.pread(memory.descriptor, SIZE, 0) == wanted
    memories.keep(memory)


def test_what_others_keep_while_more_is_needed_is_left_to_them(memories: FrameMemories) -> None:
    both = [memories.reserve(SIZE) for _ in range(KEPT)]
    held = [memory.give_out() for memory in both]
    for memory in both:
        memories.keep(memory)
    with reserved(memories) as new:
        assert list(memories._kept) == both[-1:]
        assert inode(new) not in {os.fstat(given).st_ino for given in held}
    for given in held:
        os.close(given)
    assert memories.reserve(SIZE) is both[-1]
    both[-1].close()


def test_memory_that_cannot_be_had_is_told_and_tried_again(memories: FrameMemories) -> None:
    before = memories.reserve(SIZE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE - 1, limits[1]))
    try:
        with pytest.raises(CameraFault, match="not enough memory for a frame of 0 MB"):
            memories.reserve(SIZE)
        for at in (0, SIZE):  # in part, and nothing at all
            with pytest.raises(CameraFault, match="not enough memory for a frame of 0 MB"):
                before.write(np.ones(SIZE, np.uint8), at)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    memories.keep(before)
    memories.keep(memories.reserve(SIZE))


def test_pacings_lock_holds_nothing(memories: FrameMemories) -> None:
    """It asks another question: whether others than the driver have what was sent."""
    memory = memories.reserve(SIZE)
    fcntl.flock(memory.descriptor, fcntl.LOCK_SH)
    assert not is_held(memory.descriptor)
    held = memory.give_out()
    assert is_held(memory.descriptor)
    os.close(held)
    memories.keep(memory)
