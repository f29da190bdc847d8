"""One INDI camera as `picam` uses it: found, connected, set up, exposed, left as it was found.

Works with any INDI CCD: what a driver does not have is said and left out. Every wait has a limit,
and what the driver says about a refusal reaches the user. Called by the subcommands; knows nothing
of files or the screen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from indi_picam.client import choosing
from indi_picam.client.connection import Blob, Connection, Property
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.options import Wish

CCD_INTERFACE = 2
"""Bit of DRIVER_INTERFACE that cameras set (libindi, basedevice.h)."""

FIND_LIMIT_S = 5.0
CONNECT_LIMIT_S = 60.0
CHANGE_LIMIT_S = 15.0
EXPOSURE_MARGIN_S = 180.0
"""What readout, a second try of the driver and a slow network may take together."""


def find(connection: Connection, name: str | None) -> str:
    """The name of the camera to use: the one named, or the only one.

    Raises:
        Failure: it is not there, no camera, or one of several; the sentence lists what is there.
    """
    if name is None:
        connection.wait_for(lambda: _cameras(connection) or None, FIND_LIMIT_S)
    else:
        connection.wait_for(lambda: connection.get(name, "DRIVER_INFO"), FIND_LIMIT_S)
    if name is None or name not in _cameras(connection):
        connection.wait_for_quiet(0.3, 3)  # for whom else there is
    cameras, devices = _cameras(connection), connection.devices
    there = f"Devices there: {', '.join(devices)}." if devices else "It has no device at all."
    if name is None and len(cameras) == 1:
        return cameras[0]
    if name is None and cameras:
        raise Failure(
            Exit.NO_DEVICE,
            f"There are several cameras: say which with --device: {', '.join(cameras)}.",
        )
    if name is None:
        raise Failure(Exit.NO_DEVICE, f"The server at {connection.address} has no camera. {there}")
    if name not in devices:
        raise Failure(
            Exit.NO_DEVICE, f"The server at {connection.address} has no device {name!r}. {there}"
        )
    if name not in cameras:
        raise Failure(
            Exit.NO_DEVICE,
            f"{name} is not a camera. Cameras there: {', '.join(cameras) or 'none'}.",
        )
    return name


def _cameras(connection: Connection) -> list[str]:
    return [
        device for device in connection.devices if _is_camera(connection.get(device, "DRIVER_INFO"))
    ]


def _is_camera(driver_info: Property | None) -> bool:
    if driver_info is None:
        return False
    interface = str(driver_info.values.get("DRIVER_INTERFACE", "0"))
    return interface.isdigit() and bool(int(interface) & CCD_INTERFACE)


class Camera:
    """A camera of a server, by device name; ``say`` takes sentences for the user."""

    def __init__(self, connection: Connection, device: str, say: Callable[[str], None]) -> None:
        self.device = device
        self._connection = connection
        self._say = say
        self._upload_mode: str | None = None
        self._exposing = False
        self._warned: set[str] = set()

    def get(self, name: str) -> Property | None:
        """A property of this camera as last heard of."""
        return self._connection.get(self.device, name)

    @property
    def settings(self) -> str:
        """What the next frame is taken with: mode, rectangle, binning and gain, where known."""
        words = []
        modes, frame, binning = map(self.get, ("PICAM_MODE", "CCD_FRAME", "CCD_BINNING"))
        gain = self.get("CCD_GAIN")
        if modes is not None and modes.selected is not None:
            words.append(f"mode {modes.selected.replace('_', ':')}")
        if frame is not None:
            x, y, width, height = (frame.values[name] for name in ("X", "Y", "WIDTH", "HEIGHT"))
            words.append(
                f"{width:g} x {height:g} pixels" + (f" from {x:g}:{y:g}" if x or y else "")
            )
        if binning is not None and set(binning.values.values()) != {1.0}:
            words.append("binned " + " x ".join(f"{value:g}" for value in binning.values.values()))
        if gain is not None:
            words.append(f"gain {gain.values['GAIN']:g}")
        return ", ".join(words)

    @property
    def frame_bytes(self) -> int:
        """How big the next frame's file will be, roughly; 0 when the camera does not say."""
        frame, info, binning = map(self.get, ("CCD_FRAME", "CCD_INFO", "CCD_BINNING"))
        if frame is None or info is None:
            return 0
        cell = math.prod(float(value) for value in binning.values.values()) if binning else 1
        bits = float(info.values.get("CCD_BITSPERPIXEL", 16))
        return int(
            float(frame.values["WIDTH"]) * float(frame.values["HEIGHT"]) / max(cell, 1) * bits / 8
        )

    def connect(self) -> None:
        """Has the driver connect to the camera, and waits for what an exposure needs.

        Raises:
            Failure: it does not connect, or what appears is no camera that sends pictures.
        """
        if self._connection.wait_for(lambda: self.get("CONNECTION"), FIND_LIMIT_S) is None:
            raise Failure(Exit.NO_DEVICE, f"{self.device} has no CONNECTION: it cannot be used.")
        connection = self.get("CONNECTION")
        if connection is None or not connection.values.get("CONNECT") or connection.state != "Ok":
            self._change("CONNECTION", CONNECT_LIMIT_S, switch="CONNECT")
        needed = ("CCD_EXPOSURE", "CCD1")
        if (
            self._connection.wait_for(lambda: all(map(self.get, needed)) or None, FIND_LIMIT_S)
            is None
        ):
            missing = " and ".join(name for name in needed if self.get(name) is None)
            raise Failure(
                Exit.NO_DEVICE, f"{self.device} has no {missing}: it cannot take pictures."
            )
        self._connection.wait_for_quiet(0.2, 2)
        self._connection.want_blobs(self.device, "CCD1")

    def set_up(self, wish: Wish) -> None:
        """Brings mode, rectangle, gain and upload to what was asked; says what is not there.

        Raises:
            Failure: something asked for is not to be had; the driver's sentence says why.
        """
        exposure = self.get("CCD_EXPOSURE")
        if exposure is not None and exposure.state == "Busy":
            raise Failure(Exit.CAMERA, f"{self.device} is busy with an exposure of another client.")
        self._set_mode(wish)
        self._set_frame(wish)
        if wish.gain is not None:
            self._set_gain(wish.gain)
        if wish.iso is not None:
            self._set_number("PICAM_ISO", "ISO", wish.iso, "an ISO setting", f"ISO={wish.iso:g}")
        upload = self.get("UPLOAD_MODE")
        if upload is not None and upload.selected != "UPLOAD_CLIENT":
            self._upload_mode = upload.selected
            self._change("UPLOAD_MODE", switch="UPLOAD_CLIENT")
        self._connection.wait_for_quiet(0.1, 1)  # what follows from a change comes just behind it

    def _set_mode(self, wish: Wish) -> None:
        if wish.mode is None:
            return
        modes = self.get("PICAM_MODE")
        if modes is None:
            self._say(f"{self.device} has no sensor modes to choose from: mode is left out.")
            return
        mode = choosing.choose_mode(wish.mode, list(modes.values))
        if modes.selected != mode:
            self._change("PICAM_MODE", switch=mode)

    def _set_frame(self, wish: Wish) -> None:
        frame = self.get("CCD_FRAME")
        if frame is None:
            if wish.roi is not None:
                self._say(f"{self.device} has no CCD_FRAME: roi is left out.")
            return
        names = ("X", "Y", "WIDTH", "HEIGHT")
        wanted = dict(
            zip(names, choosing.choose_frame(wish.roi, *self._frame_size(frame)), strict=True)
        )
        if any(frame.values.get(name) != value for name, value in wanted.items()):
            self._change("CCD_FRAME", numbers=wanted)

    def _frame_size(self, frame: Property) -> tuple[int, int]:
        """Of the selected mode, whose limits may still be on their way; else the camera's."""
        modes = self.get("PICAM_MODE")
        if modes is not None and modes.selected is not None:
            with suppress(ValueError):
                return choosing.size(modes.selected)[:2]
        return int(frame.limits["WIDTH"][1]), int(frame.limits["HEIGHT"][1])

    def _set_gain(self, gain: float) -> None:
        own = self.get("CCD_GAIN")
        controls = self.get("CCD_CONTROLS")  # where the drivers of other makers keep it
        if own is None and controls is not None and "Gain" in controls.values:
            self._set_number("CCD_CONTROLS", "Gain", gain, "a gain", f"analoggain={gain:g}")
        else:
            self._set_number("CCD_GAIN", "GAIN", gain, "a gain", f"analoggain={gain:g}")

    def _set_number(self, name: str, element: str, value: float, what: str, option: str) -> None:
        known = self.get(name)
        if known is None:
            self._say(f"{self.device} does not have {what}: {option} is left out.")
        elif known.values.get(element) != value:
            taken = self._change(name, numbers={element: value}).values[element]
            if not math.isclose(float(taken), value, rel_tol=0.05):
                self._say(f"{self.device} did not take {option}: it is {taken:g} now.")

    def _change(
        self,
        name: str,
        limit_s: float = CHANGE_LIMIT_S,
        *,
        switch: str | None = None,
        numbers: Mapping[str, float] | None = None,
    ) -> Property:
        """Sends one change and waits for the driver's answer to it.

        Raises:
            Failure: the driver refuses (with its sentence), or does not answer.
        """
        if switch is not None:
            before = self._connection.send_switch(self.device, name, switch)
        else:
            before = self._connection.send_numbers(self.device, name, numbers or {})

        def answer() -> Property | None:
            known = self.get(name)
            return (
                known
                if known is not None and known.number > before and known.state != "Busy"
                else None
            )

        def good_answer() -> Property | None:
            found = answer()
            return found if found is not None and found.state != "Alert" else None

        answered = self._connection.wait_for(answer, limit_s)
        if answered is not None and answered.state == "Alert":
            # The sentence may come after the state, and libindi repeats an old Alert before an Ok.
            answered = self._connection.wait_for(good_answer, 0.3) or answered
        asked = switch or ", ".join(
            f"{element}={value:g}" for element, value in (numbers or {}).items()
        )
        if answered is None:
            raise Failure(
                Exit.TIMED_OUT,
                f"{self.device} did not answer {name} {asked} within {limit_s:g} s: is it alive?",
            )
        if answered.state == "Alert":
            raise self._refusal(f"{name} {asked}", name, before)
        return answered

    def _refusal(self, what: str, name: str, since: int) -> Failure:
        sentence = self._connection.complaint(self.device, since)
        if sentence is None:
            known = self.get(name)
            limits = known.limits if known is not None else {}
            ranges = ", ".join(
                f"{element} {low:g} to {high:g}" for element, (low, high) in limits.items()
            )
            sentence = "no reason given" + (f"; the limits are {ranges}" if ranges else "")
        return Failure(Exit.CAMERA, f"{self.device} refused {what}: {sentence}")

    def expose(self, shutter_s: float, progress: Callable[[float], None]) -> Blob:
        """Takes one frame; ``progress`` gets the seconds left, about ten times a second.

        Raises:
            Failure: refused, failed, aborted by another client, or no frame within
                exposure + 180 s.
        """
        connection = self._connection
        connection.blobs.clear()
        countdown = _Countdown(shutter_s)

        def finished() -> Property | None:
            exposure = self.get("CCD_EXPOSURE")
            if exposure is None:
                sentence = (
                    connection.complaint(self.device, before)
                    or "its driver has ended or been disconnected"
                )
                raise Failure(
                    Exit.CAMERA, f"{self.device} went away during the exposure: {sentence}"
                )
            if exposure.number <= before:
                return None
            countdown.heard(exposure)
            has_ended = exposure.state == "Alert" or (
                exposure.state == "Idle" and countdown.has_begun
            )
            return exposure if connection.blobs or has_ended else None

        asked = {"CCD_EXPOSURE_VALUE": shutter_s}
        before = connection.send_numbers(self.device, "CCD_EXPOSURE", asked)
        self._exposing = True
        limit_s = shutter_s + EXPOSURE_MARGIN_S
        ended = self._connection.wait_for(finished, limit_s, lambda: progress(countdown.left_s))
        if ended is None:
            raise Failure(
                Exit.TIMED_OUT,
                f"{self.device} sent no frame within {limit_s:g} s of an exposure's start.",
            )
        if not connection.blobs:
            self._connection.wait_for(
                lambda: True if connection.blobs else None, 0.3
            )  # a sentence, or the frame, may be just behind
        if not connection.blobs:
            self._exposing = False
            if ended.state == "Alert":
                raise self._refusal(f"an exposure of {shutter_s:g} s", "CCD_EXPOSURE", before)
            raise Failure(Exit.CAMERA, f"Somebody else aborted the exposure on {self.device}.")
        self._connection.wait_for(
            lambda: None if self._is_busy else True, 5
        )  # the Ok comes just behind the frame
        self._exposing = False
        return connection.blobs.pop(0)

    def new_warnings(self) -> list[str]:
        """What the driver warned of, each sentence once."""
        complaints = [c.sentence for c in self._connection.complaints if c.device == self.device]
        fresh = [sentence for sentence in dict.fromkeys(complaints) if sentence not in self._warned]
        self._warned.update(fresh)
        return fresh

    @property
    def _is_busy(self) -> bool:
        exposure = self.get("CCD_EXPOSURE")
        return exposure is not None and exposure.state == "Busy"

    def leave(self) -> None:
        """Aborts our exposure if it still runs, and gives the upload mode back; raises nothing."""
        if self._connection.lost:
            return
        with suppress(Failure):
            if self._exposing and self.get("CCD_ABORT_EXPOSURE") is not None:
                self._connection.send_switch(self.device, "CCD_ABORT_EXPOSURE", "ABORT")
                self._connection.wait_for(lambda: None if self._is_busy else True, 5)
        with suppress(Failure):
            if self._upload_mode is not None and self.get("UPLOAD_MODE") is not None:
                self._change("UPLOAD_MODE", 5, switch=self._upload_mode)
                self._upload_mode = None


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
