"""Sends frames of batches from the store to clients, in the order they are due.

A frame that is sent counts as delivered; only a client's acknowledgement lets it go. With
UPLOAD_MODE LOCAL a frame is written to its directory instead, which acknowledges it. Knows nothing
of how frames are taken; the batch properties tell it which are due.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress

from indi_picam.capture.engine import DeliveryFault
from indi_picam.capture.storage import StoreFault
from indi_picam.capture.store import Store
from indi_picam.ccd.sending import Sending
from indi_picam.indi.device import Device, Property
from indi_picam.indi.journal import note


class BatchDelivery:
    """The frames that are due to go out; needs a running loop."""

    def __init__(
        self,
        device: Device,
        store: Store,
        sending: Sending,
        image: Property,
        on_sent: Callable[[str], None],
    ) -> None:
        """``on_sent`` is told the batch of each frame that went out, or could not."""
        self._device = device
        self._store = store
        self._sending = sending
        self._image = image
        self._on_sent = on_sent
        self._due: OrderedDict[tuple[str, int], None] = OrderedDict()
        """Batches and numbers, in the order in which they are sent."""
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, batch: str, numbers: Iterable[int]) -> None:
        """Sends these frames after those that are due; one due already keeps its place."""
        for number in numbers:
            self._due.setdefault((batch, number))
        self._more.set()
        if self._task is None:
            self._task = asyncio.create_task(self._send_all(), name="batch delivery")

    def drop(self, batch: str) -> None:
        """Sends no more of a batch for now."""
        for due in [due for due in self._due if due[0] == batch]:
            del self._due[due]

    def close(self) -> None:
        """Sends no more at all."""
        self._due.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _send_all(self) -> None:
        while True:
            while not self._due:
                self._more.clear()
                await self._more.wait()
            (batch, number), _ = self._due.popitem(last=False)
            try:
                await self._send(batch, number)
            except Exception as fault:
                if not isinstance(fault, (StoreFault, DeliveryFault)):
                    note(f"{self._device.name}: sending failed.\n{traceback.format_exc()}")
                self._device.message(f"Frame {number} of batch {batch}: {fault}", "WARNING")
                self._on_sent(batch)  # a damaged one counts as missing from now on

    async def _send(self, batch: str, number: int) -> None:
        frame = await self._store.open(batch, number)
        try:
            outgoing = await self._sending.prepare(frame.descriptor, frame.size, of_batch=True)
        except BaseException:
            with suppress(StoreFault):  # discarded meanwhile
                self._store.release(batch, number)
            raise
        self._sending.send(self._image, outgoing)
        if outgoing.memory is None:
            self._store.acknowledge(batch, [number])
        else:
            self._store.delivered(batch, [number])
        self._on_sent(batch)
