"""The way of a finished file out of the driver: to disk, compressor and clients.

Used by single exposures and by batches alike; it waits where waiting is due (a disk, the
compressor, the link's turn), and hands over at once when asked to.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from indi_picam import fits
from indi_picam.camera.modes import FrameFacts
from indi_picam.camera.remote import Frame
from indi_picam.capture.compressing import CompressionFault, Compressor
from indi_picam.capture.engine import DeliveryFault
from indi_picam.capture.plan import ExposurePlan
from indi_picam.ccd.uploading import Uploading
from indi_picam.indi.device import Device, Property
from indi_picam.indi.link import Link
from indi_picam.indi.vectors import Refused

_PATIENCE_S = 3.0
"""Real time that a picture may wait for its turn before it is told."""


@dataclass(frozen=True, slots=True)
class FrameExchange:
    """What taking a frame asks of and tells to the groups of the device."""

    cards: Callable[[ExposurePlan, FrameFacts], Iterable[fits.Card]]
    """Asked for the header of a frame."""
    began: Callable[[int], None]
    """Told when the exposure of each frame began, on the camera's clock."""
    taken: Callable[[FrameFacts], None]
    """Told of each frame."""


def finished(frame: Frame, cards: Iterable[fits.Card]) -> fits.FitsFile:
    """The FITS file of a frame, whose memory it takes over; raises DeliveryFault."""
    try:
        return fits.finish(frame.memory, frame.facts, cards)
    except BaseException as fault:
        os.close(frame.memory)
        if isinstance(fault, (OSError, ValueError)):
            raise DeliveryFault(f"The picture could not be finished: {fault}") from None
        raise


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file that is saved if that was wanted, and whose turn on the link has come; for at once."""

    saved: Path | None
    """Where it lies here."""
    memory: int | None
    """None when it is not to be sent."""
    size: int
    format: str


class Sending:
    """The way out for the pictures of one device."""

    def __init__(self, device: Device, link: Link, uploading: Uploading) -> None:
        self._device = device
        self._link = link
        self._uploading = uploading
        self.compressor = Compressor()

    async def prepare(self, memory: int, size: int, *, of_batch: bool = False) -> Outgoing:
        """Saves a file if wanted, and waits for its turn if it is to be sent.

        Takes over the descriptor. Nobody waits for a frame of a batch; that any other has to wait
        is told. Raises DeliveryFault with a sentence.
        """
        saved, format = None, ".fits"
        try:
            if self._uploading.saves:
                saved = await self._uploading.save(memory, size, of_batch=of_batch)
            if not self._uploading.sends:
                os.close(memory)
                return Outgoing(saved, None, size, format)
            if self._uploading.compresses:
                memory, size, format = await self._compressed(memory, size)
            await self._turn(size, tell=not of_batch)
        except BaseException as fault:
            os.close(memory)
            if isinstance(fault, (OSError, RuntimeError, Refused)):
                raise DeliveryFault(f"The picture could not be delivered: {fault}") from None
            raise
        return Outgoing(saved, memory, size, format)

    async def _turn(self, size: int, *, tell: bool) -> None:
        loop = asyncio.get_running_loop()
        telling = loop.call_later(_PATIENCE_S, self._tell_of_waiting) if tell else None
        try:
            await self._link.blob_slot(self._device.name, size)
        finally:
            if telling is not None:
                telling.cancel()

    def _tell_of_waiting(self) -> None:
        self._device.message(
            "The picture waits: a client has not taken those before it. Its network may be slow, "
            "or the client hang.",
            "WARNING",
        )

    async def _compressed(self, memory: int, size: int) -> tuple[int, int, str]:
        """Memory, size and format of a file that is compressed, if that succeeds."""
        try:
            smaller, smaller_size = await self.compressor.compress(memory)
        except CompressionFault as fault:
            self._device.message(f"{fault} It is sent as it is.", "WARNING")
            return memory, size, ".fits"
        os.close(memory)
        return smaller, smaller_size, ".fits.fz"

    def send(self, image: Property, outgoing: Outgoing) -> None:
        """Tells where a file lies, and hands it over to the link."""
        if outgoing.saved is not None:
            self._uploading.tell_of(outgoing.saved)
        if outgoing.memory is not None:
            self._device.send_blob(
                image, image.name, outgoing.memory, size=outgoing.size, format=outgoing.format
            )

    async def close(self) -> None:
        """Ends the compressing process."""
        await self.compressor.close()
