"""How long a batch would take, and how many frames would fit, before it is started.

ESTIMATE is told anew when a setting that it depends on is changed, twice a second at most; which
batch it is of, a client says with ESTIMATE_FOR, or by starting one. It rests on what was measured
of the camera, and shows Ok then, else Idle; Alert if the batch would be refused. Called by the
camera device; batches ask it for their time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from indi_picam.capture import calibration, storage
from indi_picam.capture.calibration import BatchOutlook, Calibration, Estimate
from indi_picam.capture.plan import ExposurePlan
from indi_picam.capture.storage import StoragePlan, StoreFault, Where
from indi_picam.ccd.calibrating import CALIBRATION
from indi_picam.ccd.uploading import Uploading
from indi_picam.indi.device import Device, Property
from indi_picam.indi.link import Link
from indi_picam.indi.pacing import OUT_BYTES
from indi_picam.indi.vectors import Number, NumberVector, Refused, State

ESTIMATE_FOR = NumberVector(
    "ESTIMATE_FOR",
    "Estimate for a batch of",
    CALIBRATION,
    (
        Number("COUNT", "Frames", 10, 1, 100_000, 1, "%.f"),
        Number("EXPOSURE", "Exposure of each (s)", 1, 0, 3600, 1, "%.3f"),
    ),
)
ESTIMATE = NumberVector(
    "ESTIMATE",
    "Estimate",
    CALIBRATION,
    (
        Number("FRAME_BYTES", "File of a frame (bytes)", 0, 0, 1e12, 0, "%.f"),
        Number("IN_MEMORY", "Frames that fit in memory", 0, 0, 1e9, 0, "%.f"),
        Number("ON_DISK", "Frames that fit on disk", 0, 0, 1e9, 0, "%.f"),
        Number("TAKEN", "Until the last is taken (s)", 0, 0, 1e9, 0, "%.3f"),
        Number("DELIVERED", "Until the last is delivered (s)", 0, 0, 1e9, 0, "%.3f"),
    ),
    perm="ro",
)
CONCERNS = {
    "BATCH_START",
    "BATCH_STORAGE",
    "BATCH_DELIVERY",
    "BATCH_RATE",
    "BATCH_DIRECTORY",
    "BATCH_DISCARD",
    "BATCH_ACKNOWLEDGE",
    "CCD_FRAME",
    "CCD_FRAME_RESET",
    "CCD_BINNING",
    "CCD_FRAME_TYPE",
    "CCD_CAPTURE_FORMAT",
    "CCD_COMPRESSION",
    "PICAM_MODE",
    "UPLOAD_MODE",
    "ESTIMATE_FOR",
}
"""Settings that an estimate depends on."""
_PAUSE_S = 0.5
"""Real time from one to the next: clients acknowledge frames as fast as they come."""


@dataclass(frozen=True, slots=True)
class EstimateExchange:
    """What estimating asks of the other groups of its device."""

    plan: Callable[[float], ExposurePlan]
    """The order for an exposure of so many seconds, as everything stands; may raise Refused."""
    known: Callable[[ExposurePlan], Calibration | None]
    """What was measured of the camera for it."""
    believed: Callable[[ExposurePlan], Calibration]
    """What is taken for true otherwise."""
    place: Callable[[int, int], Awaitable[StoragePlan]]
    """Where a batch of so many frames of that size would be kept; may raise StoreFault."""
    directory: Callable[[], Path | None]
    """Of batches on disk."""
    sends_live: Callable[[], bool]
    """Whether frames of batches are sent as they come."""


class Estimating:
    """The estimates of one camera."""

    def __init__(
        self, device: Device, link: Link, uploading: Uploading, exchange: EstimateExchange
    ) -> None:
        self._device = device
        self._link = link
        self._uploading = uploading
        self._exchange = exchange
        self._showing: asyncio.Task[None] | None = None
        self._stale = False
        self._asked_for = device.add(ESTIMATE_FOR)
        self._estimate = device.add(ESTIMATE)
        device.on_change.append(self._changed)

    def expected(self, plan: ExposurePlan, count: int, where: Where) -> Estimate:
        """How long a batch will take that is asked for now."""
        uploading, size = self._uploading, plan.request.file_bytes
        known = self._exchange.known(plan) or self._exchange.believed(plan)
        outlook = BatchOutlook(
            count=count,
            exposure_us=plan.request.exposure_us,
            frame_bytes=size,
            disk=str(self._exchange.directory() or "") if where is Where.DISK else "",
            live=self._exchange.sends_live(),
            compressed=uploading.compresses and uploading.sends,
            saved=uploading.saves,
            rate_bytes_s=self._link.pacing.rate_mb_s * 1e6 if uploading.sends else 0.0,
            ahead_bytes=OUT_BYTES,
        )
        return calibration.estimate(known, outlook)

    def _changed(self, changed: Property) -> None:
        """A client's request was followed."""
        if changed.name == "BATCH_START":
            self._device.set(self._asked_for, changed.values)
        if changed.name in CONCERNS:
            self.refresh()

    def refresh(self) -> None:
        """Tells the estimate anew, as everything stands."""
        self._stale = True
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show_latest(), name="estimate")

    async def _show_latest(self) -> None:
        while self._stale:
            self._stale = False
            await self._show()
            await asyncio.sleep(_PAUSE_S)

    async def _show(self) -> None:
        asked, directory = self._asked_for.values, self._exchange.directory()
        count, shown = round(asked["COUNT"]), dict.fromkeys(self._estimate.values, 0.0)
        try:
            plan = self._exchange.plan(asked["EXPOSURE"])
        except Refused:
            self._device.set(self._estimate, shown, state=State.ALERT)
            return
        size = plan.request.file_bytes
        where, state = Where.MEMORY, State.OK if self._exchange.known(plan) else State.IDLE
        try:
            where = (await self._exchange.place(count, size)).where
        except StoreFault:
            state = State.ALERT  # fits nowhere
        expected = self.expected(plan, count, where)
        in_memory = min(storage.free_memory() // size, storage.free_descriptors())
        shown |= {"FRAME_BYTES": size, "IN_MEMORY": in_memory}
        with suppress(OSError):
            if directory is not None:
                shown["ON_DISK"] = await asyncio.to_thread(storage.free_disk, directory) // size
        shown |= {"TAKEN": expected.taken_s, "DELIVERED": expected.delivered_s}
        if not self._stale:
            self._device.set(self._estimate, shown, state=state)
