"""How much of the BLOBs may be out: sent, and not yet let go by the server and its clients.

    a BLOB         is let go when
    attached       the lock on its descriptor is free: server and local clients have closed it
    in base64      the server has parsed it: nothing later can be seen through a pipe
    with a rate    the rate would have brought it through, and the above

indiserver cuts off a client that is 128 MB behind (its option -m), and answers a ping as soon as it
has parsed a BLOB, whatever its clients do. But a file description stays locked (flock) as long as
anybody holds it, so a second description of the same memory tells when the first is gone. A client
that hangs would stop everybody: what is not let go for very long is given up, and counts no more.
Devices wait in one line, but one that has nothing out passes those that have: a guider does not
wait for the client of another camera, and who has waited with nothing out is passed by nobody. Used
by the link alone; knows no message.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import deque
from dataclasses import dataclass

OUT_BYTES = 64_000_000
"""Base64 makes 85 MB of it, and the server's limit is 128 MB."""
MOST_OUT_BYTES = 92_000_000
"""With the frames of devices that had nothing out: 123 MB in base64."""
_PROBE_S = 0.01
_IDLE_PROBE_S = 1.0
"""Between two looks while nobody waits, to free memory."""
_HANGING_S = 10.0
_HANGING_BYTES_S = 250_000
"""A client that takes less hangs: 25 MB may need 100 s."""


@dataclass(slots=True, eq=False)
class _Out:
    """A BLOB that is out."""

    device: str
    size: int
    probe: int | None
    """A second description of its memory."""
    due_s: float
    """When the rate has brought it through, on the loop's clock."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A BLOB that would leave."""

    device: str
    size: int


class Pacing:
    """The BLOBs of a link that are out; needs a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._out: deque[_Out] = deque()
        self._line: list[_Waiting] = []
        self._progress_s = 0.0
        """When something of the device whose BLOB is out for longest was let go, or began to be
        out alone. Of that device: another's client may be well."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.rate_mb_s = 0.0
        """MB of BLOBs (not of base64) that clients may be sent in a second; 0 for no limit."""

    @property
    def out_bytes(self) -> int:
        """What is out, as far as it was looked at."""
        return sum(blob.size for blob in self._out)

    def sent(self, device: str, descriptor: int | None, size: int) -> None:
        """A BLOB leaves: its read-only descriptor, which is locked by this, or None for base64."""
        if self._closed:
            return
        now = self._loop.time()
        if not self._out:
            self._progress_s = now
        begin_s = max([now, *(blob.due_s for blob in self._out)])
        due_s = begin_s + size / (self.rate_mb_s * 1e6) if self.rate_mb_s > 0 else now
        probe = None if descriptor is None else _locked(descriptor)
        if probe is None and due_s <= now:
            return
        self._out.append(_Out(device, size, probe, due_s))
        self._look_later()

    async def room(self, device: str, size: int) -> None:
        """Waits until a BLOB of this size may leave; the first of all may, however large."""
        waiting = _Waiting(device, size)
        self._line.append(waiting)
        try:
            while not self._closed:
                self._look()
                if self._may_leave(waiting):
                    return
                await asyncio.sleep(_PROBE_S)
        finally:
            self._line.remove(waiting)

    def _may_leave(self, waiting: _Waiting) -> bool:
        then_out = self.out_bytes + waiting.size
        before = self._line[: self._line.index(waiting)]
        has_out = {blob.device for blob in self._out}
        if waiting.device not in has_out and has_out.issuperset(one.device for one in before):
            return then_out <= MOST_OUT_BYTES or not self._out
        return not before and then_out <= OUT_BYTES

    async def all_let_go(self) -> None:
        """Waits until nothing is out."""
        while not self._closed:
            self._look()
            if not self._out:
                return
            await asyncio.sleep(_PROBE_S)

    def close(self) -> None:
        """Forgets what is out; every wait ends."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._out:
            _close(self._out.popleft())

    def _look(self) -> None:
        """Strikes off what is let go, and what a client that hangs will not."""
        if not self._out:
            return
        now, oldest = self._loop.time(), self._out[0]
        gone = [blob for blob in self._out if blob.due_s <= now and _let_go(blob)]
        if any(blob.device == oldest.device for blob in gone):
            self._progress_s = now
        elif now - self._progress_s > _hanging_s(oldest, now):
            gone += [blob for blob in self._out if blob.device == oldest.device]
            self._progress_s = now
        for blob in gone:
            self._out.remove(blob)
            _close(blob)

    def _look_later(self) -> None:
        """Frees memory that was let go while nobody waits."""
        if self._timer is None:
            self._timer = self._loop.call_later(_IDLE_PROBE_S, self._look_and_again)

    def _look_and_again(self) -> None:
        self._timer = None
        self._look()
        if self._out:
            self._look_later()


def _locked(descriptor: int) -> int | None:
    """Locks a description and returns another one of the same memory; None where that cannot be.

    The lock is shared, as the same frame may be out twice, and the probe's exclusive.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _let_go(blob: _Out) -> bool:
    if blob.probe is None:
        return True
    try:
        fcntl.flock(blob.probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(blob.probe, fcntl.LOCK_UN)
    return True


def _close(blob: _Out) -> None:
    if blob.probe is not None:
        os.close(blob.probe)


def _hanging_s(blob: _Out, now: float) -> float:
    return max(_HANGING_S, blob.size / _HANGING_BYTES_S, blob.due_s - now)
