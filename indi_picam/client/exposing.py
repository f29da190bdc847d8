"""Frames one by one, from any INDI CCD: exposed, watched, aborted when we leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from indi_picam.client.device import Device
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Blob, Property

EXPOSURE_MARGIN_S = 180.0
"""What readout, a second try of the driver and a slow network may take together."""


class Exposing:
    """Takes frames of one connected camera."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._exposing = False
        device.connection.want_blobs(device.name, "CCD1")

    def expose(self, shutter_s: float, progress: Callable[[float], None]) -> Blob:
        """Takes one frame; ``progress`` gets the seconds left, about ten times a second.

        Raises:
            Failure: refused, failed, aborted by another client, or no frame within
                exposure + 180 s.
        """
        device, connection = self._device, self._device.connection
        connection.blobs.clear()
        countdown = _Countdown(shutter_s)

        def finished() -> Property | None:
            exposure = device.get("CCD_EXPOSURE")
            if exposure is None:
                sentence = (
                    connection.complaint(device.name, before)
                    or "its driver has ended or been disconnected"
                )
                raise Failure(
                    Exit.CAMERA, f"{device.name} went away during the exposure: {sentence}"
                )
            if exposure.number <= before:
                return None
            if was_busy and not countdown.has_begun and connection.complaint(device.name, before):
                # Refused, while the exposure of another client goes on.
                raise device.refusal(f"an exposure of {shutter_s:g} s", "CCD_EXPOSURE", before)
            countdown.heard(exposure)
            has_ended = exposure.state == "Alert" or (
                exposure.state == "Idle" and countdown.has_begun
            )
            return exposure if connection.blobs or has_ended else None

        was_busy = self._is_busy
        before = connection.send(device.name, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": shutter_s})
        self._exposing = True
        limit_s = shutter_s + EXPOSURE_MARGIN_S
        ended = connection.wait_for(finished, limit_s, lambda: progress(countdown.left_s))
        if ended is None:
            raise Failure(
                Exit.TIMED_OUT,
                f"{device.name} sent no frame within {limit_s:g} s of an exposure's start.",
            )
        if not connection.blobs:
            connection.wait_for(
                lambda: True if connection.blobs else None, 0.3
            )  # a sentence, or the frame, may be just behind
        if not connection.blobs:
            self._exposing = False
            if ended.state == "Alert":
                raise device.refusal(f"an exposure of {shutter_s:g} s", "CCD_EXPOSURE", before)
            raise Failure(Exit.CAMERA, f"Somebody else aborted the exposure on {device.name}.")
        connection.wait_for(
            lambda: None if self._is_busy else True, 5
        )  # the Ok comes just behind the frame
        self._exposing = False
        return connection.blobs.pop(0)

    @property
    def _is_busy(self) -> bool:
        exposure = self._device.get("CCD_EXPOSURE")
        return exposure is not None and exposure.state == "Busy"

    def leave(self) -> None:
        """Aborts our exposure if it still runs; raises nothing."""
        connection = self._device.connection
        if connection.lost or not self._exposing:
            return
        with suppress(Failure):
            if self._device.get("CCD_ABORT_EXPOSURE") is not None:
                connection.send(self._device.name, "CCD_ABORT_EXPOSURE", "ABORT")
                connection.wait_for(lambda: None if self._is_busy else True, 5)


class _Countdown:
    """The seconds left of an exposure: what the driver said last, less what has passed since."""

    def __init__(self, shutter_s: float) -> None:
        self._left_s = shutter_s
        self._at: float | None = None
        self._number = 0

    def heard(self, exposure: Property) -> None:
        if exposure.state == "Busy" and exposure.number != self._number:
            self._left_s = float(exposure.values["CCD_EXPOSURE_VALUE"])
            self._at, self._number = time.monotonic(), exposure.number

    @property
    def has_begun(self) -> bool:
        return self._at is not None

    @property
    def left_s(self) -> float:
        if self._at is None:
            return self._left_s
        return max(0.0, self._left_s - (time.monotonic() - self._at))
