"""A batch as `picam` follows it: started or taken up, each frame kept once, fetched to the last.

    BATCH_STATUS, BATCH_START    what is done here
    Busy                         frames are kept and acknowledged as they come
    Ok, Ok                       the last frames are waited for
    Ok, Idle or Alert            what was taken and is not here is asked for; then the end is told
    connection or driver gone    found again, what is missing asked for, and taken if need be

A frame is acknowledged when it is safely on the disk here, never before; so the driver's list of
batches tells what is still to come. Frames are told apart by the id and the number in their header.
Knows nothing of files or the screen; called by ``capture``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from indi_picam.client.device import Device
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.files import batch_frame
from indi_picam.client.heard import Blob
from indi_picam.client.stored import StoredBatch, stored_batches

NEEDED = ("BATCH_START", "BATCH_STATUS", "BATCH_PROGRESS", "BATCH_LIST", "BATCH_REDELIVER")
BEGIN_LIMIT_S = 60.0
SILENCE_S = 60.0
"""A frame that is due and does not come for so long is asked for again, and a driver that tells
nothing for so long beyond an exposure is asked whether it is there."""
MOST_REQUESTS = 3
"""In vain, one after the other."""


@dataclass(frozen=True, slots=True)
class BatchWish:
    """How a batch is to be kept and sent; None leaves it as the camera has it."""

    storage: str = "AUTO"
    delivery: str = "LIVE"
    rate_mb_s: float | None = None
    patience_s: float = 300.0
    """How long a lost connection or driver is waited for."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is, in frames."""

    asked: int
    taken: int
    here: int
    on_disk: int
    """Of those waiting on the camera."""
    left_s: float
    """Until the last is taken."""


class Batch:
    """One batch of a connected camera."""

    def __init__(
        self,
        device: Device,
        wish: BatchWish,
        keep: Callable[[Blob, int, BatchProgress], None],
        show: Callable[[BatchProgress], None],
    ) -> None:
        """``keep`` has a frame with its number saved when it returns; ``show`` is called often."""
        self.id = ""
        self.here: set[int] = set()
        self.is_lost = False
        """Whether its camera has no memory of it."""
        self._device = device
        self._wish = wish
        self._keep = keep
        self._show = show
        self._count = 0
        self._is_ours = False
        """Whether it was begun here, not taken up."""
        self._running = False
        self._wants_no_more = False
        self._fault: Failure | None = None
        self._frames = ""
        """Those that are wanted; empty: all."""
        self._due: set[int] | None = None
        """Those of them that the driver sends and that did not come yet."""
        self._requests = 0
        self._news: tuple[int, ...] = ()
        self._news_at = time.monotonic()
        device.connection.want_blobs(device.name, "BATCH1")

    @property
    def progress(self) -> BatchProgress:
        """How far it is."""
        names = ("TAKEN", "ON_DISK", "TIME_LEFT")
        taken, on_disk, left_s = (self._device.number("BATCH_PROGRESS", name) for name in names)
        if not self._running and (stored := self._stored) is not None:
            taken = stored.taken
        taken = max(taken, len(self.here))
        left_s = max(0.0, left_s - (time.monotonic() - self._news_at))
        return BatchProgress(self._count, int(taken), len(self.here), int(on_disk), left_s)

    # -- beginning ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Has frames kept and sent as wished; raises Failure if that is refused."""
        device = self._device
        wanted = {"BATCH_STORAGE": self._wish.storage, "BATCH_DELIVERY": self._wish.delivery}
        for name, switch in wanted.items():
            known = device.get(name)
            if known is None or known.selected != switch:
                device.change(name, switch)
        if self._wish.rate_mb_s is not None:
            device.change("BATCH_RATE", {"RATE": self._wish.rate_mb_s})

    def start(self, count: int, exposure_s: float) -> None:
        """Has it begun, and tells the driver's sentences about where it is kept and how long.

        Raises:
            Failure: the driver refuses.
        """
        device, connection = self._device, self._device.connection
        before = connection.heard
        try:
            asked = {"COUNT": float(count), "EXPOSURE": exposure_s}
            device.change("BATCH_START", asked, BEGIN_LIMIT_S, until_done=False)
            self.id = connection.wait_for(lambda: self._told_id(before), BEGIN_LIMIT_S) or ""
        except KeyboardInterrupt:
            connection.send(device.name, "BATCH_CONTROL", "ABORT")
            raise
        if not self.id:
            raise Failure(Exit.TIMED_OUT, f"{device.name} does not tell which batch it began.")
        device.pass_on()
        self._count, self._running, self._is_ours = count, True, True

    def _told_id(self, since: int) -> str | None:
        status = self._device.get("BATCH_STATUS")
        is_new = status is not None and status.number > since
        return self._device.text("BATCH_STATUS", "BATCH") or None if is_new else None

    def resume(self, id: str, here: Collection[int]) -> None:
        """Takes up an earlier batch, of which these frames are here already.

        Raises:
            Failure: there is no such batch, or its missing frames cannot be taken.
        """
        self.id, self.here = id, set(here)
        self._take_up()

    def redeliver(self, id: str, here: Collection[int], frames: str) -> None:
        """Has frames (``1-5,8``; empty: all) sent that the camera still keeps; takes none.

        Raises:
            Failure: there is no such batch or frame.
        """
        self.id, self.here, self._frames, self._wants_no_more = id, set(here), frames, True
        self._ask_for_the_rest()

    # -- following ---------------------------------------------------------------------------------

    def follow(self) -> None:
        """Keeps frames until all that are taken are here.

        Raises:
            Failure: the batch failed or was aborted by somebody else, and all frames that were
                taken are here; or it cannot be followed any longer.
            KeyboardInterrupt: the user asked to stop.
        """
        while not self._is_over:
            try:
                self._step()
            except Failure as failure:
                if failure.exit_status not in (Exit.CONNECTION_LOST, Exit.TIMED_OUT):
                    raise
                self._come_back(failure)
        self._acknowledge(self.here)
        if self._fault is not None:
            raise self._fault
        if self._due is None:
            self._tell_of_others()

    def _tell_of_others(self) -> None:
        """Frames may have gone to another client or to the Pi's disk, or be damaged there.

        Raises:
            Failure: so did frames that were asked for here.
        """
        wanted = self.progress.taken
        if self._is_ours and not self._wants_no_more:
            wanted = max(wanted, self._count)
        elsewhere = wanted - len(self.here)
        if elsewhere <= 0:
            return
        sentence = (
            f"{elsewhere} frames of batch {self.id} are not here: another client acknowledged "
            "them, they were saved on the Pi (UPLOAD_MODE), or are damaged there."
        )
        if self._is_ours:
            raise Failure(Exit.CAMERA, sentence)
        self._device.say(sentence)

    def abort(self) -> None:
        """Has no more frames taken; ``follow`` then fetches those that are."""
        self._wants_no_more = True
        if not self._running:
            return
        try:
            self._device.change("BATCH_CONTROL", "ABORT")
        except Failure as refusal:
            if refusal.exit_status is not Exit.CAMERA:  # it has just ended by itself
                raise

    @property
    def _is_over(self) -> bool:
        if self._due is not None:
            return not self._due
        if self._count and len(self.here) >= self._count:
            return True
        if self._running or (stored := self._stored) is None:
            return False
        return stored.acknowledged >= stored.taken

    @property
    def _stored(self) -> StoredBatch | None:
        """What the driver's list of batches says of it: while it is taken, what was before."""
        return next((b for b in stored_batches(self._device) if b.id == self.id), None)

    def _step(self) -> None:
        device, connection = self._device, self._device.connection
        connection.wait_for(self._heard_something, 1.0, lambda: self._show(self.progress))
        device.pass_on()
        if device.has_gone:
            raise Failure(Exit.CONNECTION_LOST, f"The driver of {device.name} ended.")
        while connection.blobs:
            self._take(connection.blobs.pop(0))
        if self._running and not self._runs_there:
            self._ended()
        if time.monotonic() - self._news_at > self._silence_s:
            self._news_at = time.monotonic()
            self._ask_why()

    def _heard_something(self) -> bool | None:
        properties = map(self._device.get, ("BATCH_START", "BATCH_STATUS", "BATCH_PROGRESS"))
        news = tuple(known.number if known is not None else 0 for known in properties)
        if news != self._news:
            self._news, self._news_at = news, time.monotonic()
            return True
        return True if self._device.connection.blobs or self._device.has_gone else None

    @property
    def _runs_there(self) -> bool:
        # BATCH_START is in Alert when another batch was asked for and refused.
        status = self._device.get("BATCH_STATUS")
        is_ours = self._device.text("BATCH_STATUS", "BATCH") == self.id
        return status is not None and status.state == "Busy" and is_ours

    def _take(self, blob: Blob) -> None:
        known = batch_frame(blob.data)
        if known is None or known[0] != self.id:
            return
        number = known[1]
        if self._due is not None:
            self._due.discard(number)
        if number not in self.here:
            self._keep(blob, number, self.progress)
            self.here.add(number)
            self._requests = 0
        self._news_at = time.monotonic()
        frames = {"BATCH": self.id, "FRAMES": str(number)}
        self._device.connection.send(self._device.name, "BATCH_ACKNOWLEDGE", frames)

    def _ended(self) -> None:
        self._running = False
        start, stored = self._device.get("BATCH_START"), self._stored
        # BATCH_START may be another batch's by now.
        if start is None or (stored is not None and stored.taken >= stored.asked):
            return
        if start.state == "Alert":
            why = self._device.connection.complaint(self._device.name, 0) or "no reason given"
            self._fault = Failure(Exit.CAMERA, f"The batch failed: {why}")
        elif not self._wants_no_more:
            self._fault = Failure(Exit.CAMERA, "Somebody else aborted the batch.")
        self._device.connection.wait_for_quiet(0.3, 3)  # frames on their way to the disk there
        self._ask_for_the_rest()

    # -- what does not come by itself --------------------------------------------------------------

    @property
    def _silence_s(self) -> float:
        if self._running:
            return self._device.number("BATCH_START", "EXPOSURE") + SILENCE_S
        rate = self._device.number("BATCH_RATE", "RATE")
        return SILENCE_S * (1 + 10 / rate if rate else 1)

    def _ask_why(self) -> None:
        """Nothing came for long: a running batch may be paused, but its driver must answer."""
        if self._running:
            mode = self._device.get("BATCH_DELIVERY")
            delivery = mode.selected if mode is not None else None
            self._device.change("BATCH_DELIVERY", delivery or self._wish.delivery)
            return
        self._requests += 1
        if self._requests > MOST_REQUESTS:
            raise Failure(
                Exit.CAMERA,
                f"Frames of batch {self.id} did not come, asked for {MOST_REQUESTS} times.",
            )
        self._ask_for_the_rest()

    def _ask_for_the_rest(self) -> None:
        """Has all frames sent that are there and not here."""
        self._acknowledge(self.here)
        device, before = self._device, self._device.connection.heard
        device.change("BATCH_REDELIVER", {"BATCH": self.id, "FRAMES": self._frames})
        if self._frames:
            self._due = set(numbers(device.text("BATCH_REDELIVER", "FRAMES")))

        def told() -> bool | None:
            known = device.get("BATCH_PROGRESS" if self._running else "BATCH_LIST")
            return True if known is not None and known.number > before else None

        device.connection.wait_for(told, 5)
        stored = self._stored
        if stored is not None and not self._running:
            self._count = stored.asked
        else:
            self._count = int(device.number("BATCH_PROGRESS", "ASKED"))

    def _acknowledge(self, numbers: Collection[int]) -> None:
        if numbers:
            frames = {"BATCH": self.id, "FRAMES": ranges(numbers)}
            self._device.change("BATCH_ACKNOWLEDGE", frames)

    def _come_back(self, failure: Failure) -> None:
        device = self._device
        # What does not answer may be behind a connection that broke without a word.
        device.connection.lost |= failure.exit_status is Exit.TIMED_OUT
        device.say(f"{failure} Waiting for it, up to {self._wish.patience_s:g} s.")
        try:
            device.come_back(self._wish.patience_s)
        except Failure as missing:
            raise Failure(Exit.CONNECTION_LOST, f"{failure} It did not come back.") from missing
        device.say(f"{device.name} is back.")
        device.connection.want_blobs(device.name, "BATCH1")
        if self._wish.rate_mb_s is not None:
            device.change("BATCH_RATE", {"RATE": self._wish.rate_mb_s})
        self._take_up()

    def _take_up(self) -> None:
        """Goes on where the driver is: has what is there sent, and what is missing taken."""
        device = self._device
        self._running = self._runs_there
        try:
            self._ask_for_the_rest()
        except Failure as refusal:
            if refusal.exit_status is not Exit.CAMERA or not self.here:
                raise
            self.is_lost = True
            raise Failure(
                Exit.CAMERA,
                f"{refusal} Frames kept in memory are lost when their driver ends; "
                f"{len(self.here)} of {self._count} are saved here.",
            ) from None
        progress = self.progress
        wanted = not self._wants_no_more and self._fault is None and progress.taken < progress.asked
        if self._running or not wanted:
            return
        device.change("BATCH_CONTINUE", {"BATCH": self.id}, BEGIN_LIMIT_S)
        device.connection.wait_for(lambda: self._runs_there or None, BEGIN_LIMIT_S)
        device.say(f"Taking the {progress.asked - progress.taken} missing frames.")
        self._running = True


def numbers(text: str) -> list[int]:
    """1, 2, 3, 4, 5 and 8 for ``1-5,8``."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def ranges(numbers: Collection[int]) -> str:
    """``1-5,8`` for 1, 2, 3, 4, 5 and 8."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
