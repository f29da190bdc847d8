"""How much of the BLOBs may be out: sent, and not yet let go by the server and its clients.

    a BLOB         is let go when
    attached       the lock on its descriptor is free: server and local clients have closed it
    in base64      the server has parsed it: nothing later can be seen through a pipe
    with a rate    the rate would have brought it through, and the above

indiserver cuts off a client that is 128 MB behind (its option -m), and answers a ping as soon as it
has parsed a BLOB, whatever its clients do. But a second description of the same memory tells when
the one that was sent is gone (:mod:`indi_picam.holding`). A client that hangs would stop everybody:
what is not let go for very long is given up, and counts no more.
Used by the link alone; knows no message.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from dataclasses import dataclass

from indi_picam.holding import hold, is_held_by_others, keep_held

OUT_BYTES = 64_000_000
"""Base64 makes 85 MB of it, and the server's limit is 128 MB."""
_PROBE_S = 0.01
_IDLE_PROBE_S = 0.05, 1.0
"""While nobody waits: the first and the longest time between two looks, to free the memory."""
_HANGING_S = 10.0
_HANGING_BYTES_S = 250_000
"""A client that takes less hangs: 25 MB may need 100 s."""


@dataclass(slots=True, eq=False)
class _Out:
    """A BLOB that is out."""

    size: int
    probe: int | None
    """A second description of its memory, which keeps it from being used again."""
    due_s: float
    """When the rate has brought it through, on the loop's clock."""


class Pacing:
    """The BLOBs of a link that are out; needs a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._out: deque[_Out] = deque()
        self._progress_s = 0.0
        """When something was let go last, or began to be out alone."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.rate_mb_s = 0.0
        """MB of BLOBs (not of base64) that clients may be sent in a second; 0 for no limit."""

    @property
    def out_bytes(self) -> int:
        """What is out, as far as it was looked at."""
        return sum(blob.size for blob in self._out)

    def sent(self, descriptor: int | None, size: int) -> None:
        """A BLOB leaves: its read-only descriptor, which is locked by this, or None for base64."""
        if self._closed:
            return
        now = self._loop.time()
        if not self._out:
            self._progress_s = now
        begin_s = max([now, *(blob.due_s for blob in self._out)])
        due_s = begin_s + size / (self.rate_mb_s * 1e6) if self.rate_mb_s > 0 else now
        probe = None if descriptor is None else self._probe(descriptor)
        if probe is None and due_s <= now:
            return
        self._out.append(_Out(size, probe, due_s))
        self._look_later(_IDLE_PROBE_S[0])

    async def room(self, size: int) -> None:
        """Waits until a BLOB of this size may leave; the first of all may, however large."""
        while not self._closed:
            self.look()
            if not self._out or self.out_bytes + size <= OUT_BYTES:
                return
            await asyncio.sleep(_PROBE_S)

    def close(self) -> None:
        """Forgets what is out; every wait ends."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._out:
            _close(self._out.popleft())

    def _probe(self, descriptor: int) -> int | None:
        """Locks a description and returns another of the same memory; None where that cannot be.

        A frame that is out twice has one probe, as two would find each other.
        """
        try:
            keep_held(descriptor)
            probes = (blob.probe for blob in self._out if blob.probe is not None)
            same = next((p for p in probes if os.path.sameopenfile(p, descriptor)), None)
            return hold(descriptor) if same is None else os.dup(same)
        except OSError:
            return None

    def look(self) -> None:
        """Strikes off what is let go, and everything if nothing was for very long."""
        now = self._loop.time()
        held = [blob for blob in self._out if blob.due_s > now or not _let_go(blob)]
        if len(held) < len(self._out):
            self._progress_s = now
        elif held and now - self._progress_s > _hanging_s(held[0], now):
            held = []
        for blob in self._out:
            if blob not in held:
                _close(blob)
        self._out = deque(held)

    def _look_later(self, delay_s: float) -> None:
        """Frees memory that was let go while nobody waits."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._look_and_again, delay_s)

    def _look_and_again(self, delay_s: float) -> None:
        self._timer = None
        self.look()
        if self._out:
            self._look_later(min(2 * delay_s, _IDLE_PROBE_S[1]))


def _let_go(blob: _Out) -> bool:
    if blob.probe is None:
        return True
    held = is_held_by_others(blob.probe)
    keep_held(blob.probe)
    return not held


def _close(blob: _Out) -> None:
    if blob.probe is not None:
        os.close(blob.probe)


def _hanging_s(blob: _Out, now: float) -> float:
    return max(_HANGING_S, blob.size / _HANGING_BYTES_S, blob.due_s - now)
