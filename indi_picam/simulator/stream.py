"""The free-running sensor: which frames there are, and which request gets which.

Sans IO: it is told the time. Frames follow each other at the frame length whether or not anybody
takes them.

    frame start (readout begins)   the oldest request queued before it gets the frame; none: missed
    end of readout                 the frame is completed; the controls of its request are in force
                                   ``delay_frames`` frames after the next frame start
    silence, a request waiting     after max(1 s, 5 x the longest of the last 10 frame lengths)
                                   libcamera times out

Called by the sensor's process alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .ipa import Ipa
from .truth import Mode, Registers, Sensor


@dataclass(slots=True)
class Asked:
    """A request waiting for its frame."""

    number: int
    cookie: int
    queued_ns: int
    controls: dict[str, Any]
    buffers: list[int]


@dataclass(slots=True)
class Frame:
    """One frame of the sensor."""

    index: int
    """Since this start."""
    settings: Registers
    readout_start_ns: int
    readout_ns: int
    status: str
    asked: Asked | None = None

    @property
    def exposure_start_ns(self) -> int:
        """When its first row began to see light."""
        return self.readout_start_ns - self.settings.exposure_ns

    @property
    def end_ns(self) -> int:
        """When its last row has been read."""
        return self.readout_start_ns + self.readout_ns


class Stream:
    """One start of the sensor."""

    def __init__(
        self,
        sensor: Sensor,
        mode: Mode,
        ipa: Ipa,
        start_ns: int,
        *,
        bad: int = 0,
        startup: int = 0,
        drops_bad: bool = False,
    ) -> None:
        self._sensor, self._mode, self._ipa = sensor, mode, ipa
        self._bad, self._startup, self._drops_bad = bad, startup, drops_bad
        self._programme: deque[tuple[int, Registers]] = deque([(0, ipa.registers(mode))])
        self.waiting: deque[Asked] = deque()
        self.reading: deque[Frame] = deque()
        first = self._settings_of(0)
        self.begun = 0
        """Frames that have started."""
        self.next: Frame | None = self._frame(0, first, start_ns + first.exposure_ns)
        self._lengths_ns = deque([first.frame_ns], maxlen=10)
        self._sign_of_life_ns = start_ns

    def _settings_of(self, index: int) -> Registers:
        while len(self._programme) > 1 and self._programme[1][0] <= index:
            self._programme.popleft()
        return self._programme[0][1]

    def _frame(self, index: int, settings: Registers, readout_start_ns: int) -> Frame:
        status = "startup" if index < self._startup else "success"
        if index < self._bad:
            status = "error"
        readout_ns = round(self._mode.height * settings.line_ns)
        return Frame(index, settings, readout_start_ns, readout_ns, status)

    def queue(self, asked: Asked) -> None:
        """Put a request in the row; it gets a frame that starts after ``queued_ns``."""
        if not self._wanted():
            self._sign_of_life_ns = max(self._sign_of_life_ns, asked.queued_ns)
        self.waiting.append(asked)

    def _wanted(self) -> bool:
        return bool(self.waiting) or any(frame.asked for frame in self.reading)

    def stall(self) -> None:
        """Fall silent: no frame starts or ends any more, and who waits goes on waiting."""
        self.next = None
        for frame in reversed(self.reading):
            if frame.asked:
                self.waiting.appendleft(frame.asked)
        self.reading.clear()

    def coming(self) -> tuple[Frame, Asked] | None:
        """The next frame to be completed and the request that gets it, if known yet."""
        for frame in self.reading:
            if frame.asked:
                return frame, frame.asked
        if self.next and self.waiting and self.waiting[0].queued_ns < self.next.readout_start_ns:
            return self.next, self.waiting[0]
        return None

    @property
    def next_ns(self) -> int | None:
        """When something happens next; None when nothing will."""
        times = [self.reading[0].end_ns] if self.reading else []
        if self.next:
            times.append(self.next.readout_start_ns)
        deadline = self.deadline_ns
        if deadline:
            times.append(deadline)
        return min(times, default=None)

    @property
    def deadline_ns(self) -> int | None:
        """When libcamera gives up; None while nobody waits."""
        if not self._wanted():
            return None
        return self._sign_of_life_ns + max(1_000_000_000, 5 * max(self._lengths_ns))

    def advance(self, now_ns: int) -> Iterator[Frame]:
        """Let happen what is due; yields each completed frame, missed ones too, in order."""
        while True:
            end = self.reading[0].end_ns if self.reading else None
            start = self.next.readout_start_ns if self.next else None
            if end is not None and end <= now_ns and (start is None or end <= start):
                frame = self.reading.popleft()
                self._completed(frame)
                yield frame
            elif start is not None and start <= now_ns:
                self._started()
            else:
                return

    def _started(self) -> None:
        frame = self.next
        if frame is None:
            return
        if self.waiting and self.waiting[0].queued_ns < frame.readout_start_ns:
            frame.asked = self.waiting.popleft()
        self.reading.append(frame)
        self.begun += 1
        settings = self._settings_of(frame.index + 1)
        start_ns = frame.readout_start_ns + settings.frame_ns
        self.next = self._frame(frame.index + 1, settings, start_ns)

    def _completed(self, frame: Frame) -> None:
        self._sign_of_life_ns = frame.end_ns
        if frame.asked and self._drops_bad and frame.status != "success":
            frame.asked.queued_ns = frame.end_ns
            self.waiting.appendleft(frame.asked)
            frame.asked = None
        if frame.asked is None:
            return
        self._ipa.apply(frame.asked.controls)
        programmed = self._ipa.registers(self._mode)
        self._lengths_ns.append(programmed.frame_ns)
        if self.next and programmed != self._programme[-1][1]:
            self._programme.append((self.next.index + self._sensor.delay_frames, programmed))
