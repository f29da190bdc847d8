"""Buffers of the process that uses the camera, and frames on their way into them.

Called by the sensor's process. A frame is drawn while it is exposed, in steps short enough to keep
every appointment between them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from . import isp
from .isp import Look
from .layouts import Layout, draw_processed, draw_raw, fill_padding
from .picture import Exposure, Picture
from .stream import Asked, Frame

_MADV_POPULATE_WRITE = 23
"""madvise(2): the memory of a real buffer is all there before the first frame."""


class Buffer:
    """A buffer of the other process, mapped here; takes over the descriptor."""

    def __init__(self, descriptor: int, length: int, layout: Layout) -> None:
        self.layout = layout
        self._map = mmap.mmap(descriptor, length)
        os.close(descriptor)
        with suppress(OSError):  # before Linux 5.14 its first frame is drawn more slowly
            self._map.madvise(_MADV_POPULATE_WRITE)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self.used_before = False


class Drawing:
    """One frame being drawn into the buffers of the request that gets it."""

    def __init__(
        self,
        frame: Frame,
        asked: Asked,
        exposure: Exposure,
        picture: Picture,
        look: Look,
        buffers: Sequence[Buffer],
        now_ns: int,
    ) -> None:
        self._frame, self._asked = frame, asked
        self.exposure, self.look = exposure, look
        # Whoever got the last frame works on it now, at the speed of the memory, of which a real
        # sensor takes a hundredth and drawing half.
        self.begins_ns = now_ns + (frame.end_ns - now_ns) // 4
        """When to take the first step."""
        self._steps = _draw(picture, exposure, look, buffers)
        self.finished = False

    def is_of(self, frame: Frame, asked: Asked) -> bool:
        """Whether this is that frame for that request."""
        return self._frame is frame and self._asked is asked

    def step(self) -> None:
        """Draw a little more."""
        self.finished = next(self._steps, self) is self

    def finish(self) -> None:
        """Draw all the rest."""
        while not self.finished:
            self.step()


def _draw(
    picture: Picture, exposure: Exposure, look: Look, buffers: Sequence[Buffer]
) -> Iterator[None]:
    raw = next((buffer for buffer in buffers if buffer.layout.packing != "processed"), None)
    if raw is None:
        return
    if not raw.used_before:
        raw.used_before = True
        yield from fill_padding(raw.bytes, raw.layout)
    yield from draw_raw(picture, exposure, raw.bytes, raw.layout)
    for buffer in buffers:
        if buffer is not raw:
            yield
            black = picture.sensor.black_level
            full = (buffer.layout.width, buffer.layout.height) == (
                raw.layout.width,
                raw.layout.height,
            )
            if full and not raw.layout.packing and buffer.layout.format in isp.FORMATS:
                yield from isp.draw_full(
                    raw.bytes, raw.layout, buffer.bytes, buffer.layout, black, look
                )
            else:
                draw_processed(raw.bytes, raw.layout, buffer.bytes, buffer.layout)
