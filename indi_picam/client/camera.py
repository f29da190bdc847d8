"""A camera set up as asked: mode, rectangle, gain; and left as it was found.

Works with any INDI CCD: what a driver does not have is said and left out. Called by ``capture``;
knows nothing of files or the screen.
"""

from __future__ import annotations

import math
from contextlib import suppress

from indi_picam.client import choosing
from indi_picam.client.device import Device
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Property
from indi_picam.client.options import Wish


class Camera:
    """The settings of a connected camera."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._upload_mode: str | None = None

    @property
    def settings(self) -> str:
        """What the next frame is taken with: mode, rectangle, binning and gain, where known."""
        words = []
        get = self._device.get
        modes, frame, binning = map(get, ("PICAM_MODE", "CCD_FRAME", "CCD_BINNING"))
        gain = get("CCD_GAIN")
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
    def takes_bias(self) -> bool:
        """Whether the shortest exposure is taken, whatever is asked for, as of every INDI CCD."""
        types = self._device.get("CCD_FRAME_TYPE")
        return types is not None and types.selected == "FRAME_BIAS"

    @property
    def is_raw(self) -> bool:
        """Whether frames come as the sensor gives them; of other makers' cameras it is assumed."""
        formats = self._device.get("CCD_CAPTURE_FORMAT")
        if formats is None or self._device.get("PICAM_MODE") is None:
            return True
        # A mono sensor has one format, which is raw under another name.
        return "INDI_RAW" not in formats.values or formats.selected == "INDI_RAW"

    @property
    def remarks(self) -> list[str]:
        """Sentences about a type or format of frames that somebody left on, and that surprises."""
        remarks = []
        types, formats = map(self._device.get, ("CCD_FRAME_TYPE", "CCD_CAPTURE_FORMAT"))
        if types is not None and types.selected not in (None, "FRAME_LIGHT"):
            kind = types.selected.removeprefix("FRAME_").lower()
            rest = ": the shortest exposure, whatever shutter says" if self.takes_bias else ""
            remarks.append(f"Taking {kind} frames, as CCD_FRAME_TYPE says{rest}.")
        if formats is not None and formats.selected is not None and not self.is_raw:
            format = formats.labels.get(formats.selected) or formats.selected
            remarks.append(
                f"Taking pictures of the camera's processor ({format}, 8 bits), as"
                " CCD_CAPTURE_FORMAT says. For raw frames: picam settings set format=raw"
            )
        return remarks

    @property
    def frame_bytes(self) -> int:
        """How big the next frame's file will be, roughly; 0 when the camera does not say."""
        get = self._device.get
        frame, info, binning = map(get, ("CCD_FRAME", "CCD_INFO", "CCD_BINNING"))
        if frame is None or info is None:
            return 0
        pixels = float(frame.values["WIDTH"]) * float(frame.values["HEIGHT"])
        if binning is not None:
            pixels /= max(1, math.prod(map(float, binning.values.values())))
        formats = get("CCD_CAPTURE_FORMAT")
        planes = 3 if formats is not None and formats.selected == "INDI_RGB" else 1
        return int(pixels * planes * float(info.values.get("CCD_BITSPERPIXEL", 16)) / 8)

    def set_up(self, wish: Wish) -> None:
        """Brings mode, rectangle and gain to what was asked; says what is not there.

        Raises:
            Failure: something asked for is not to be had; the driver's sentence says why.
        """
        for name, what in (("CCD_EXPOSURE", "an exposure"), ("BATCH_START", "a batch")):
            running = self._device.get(name)
            if running is not None and running.state == "Busy":
                raise Failure(
                    Exit.CAMERA, f"{self._device.name} is busy with {what} of another client."
                )
        self._set_mode(wish)
        self._set_frame(wish)
        if wish.gain is not None:
            self._set_gain(wish.gain)
        if wish.iso is not None:
            self._set_number("PICAM_ISO", "ISO", wish.iso, "an ISO setting", f"ISO={wish.iso:g}")

    def have_frames_sent(self) -> None:
        """Has pictures sent to clients, if they would stay on the Pi only."""
        upload = self._device.get("UPLOAD_MODE")
        if upload is not None and upload.selected != "UPLOAD_CLIENT":
            self._upload_mode = upload.selected
            self._device.change("UPLOAD_MODE", "UPLOAD_CLIENT")
        # What follows from a change comes just behind it.
        self._device.connection.wait_for_quiet(0.1, 1)

    def leave(self) -> None:
        """Gives the upload mode back; raises nothing."""
        if self._upload_mode is None or self._device.connection.lost:
            return
        with suppress(Failure):
            if self._device.get("UPLOAD_MODE") is not None:
                self._device.change("UPLOAD_MODE", self._upload_mode, 5)
                self._upload_mode = None

    def _set_mode(self, wish: Wish) -> None:
        if wish.mode is None:
            return
        modes = self._device.get("PICAM_MODE")
        if modes is None:
            name = self._device.name
            self._device.say(f"{name} has no sensor modes to choose from: mode is left out.")
            return
        mode = choosing.choose_mode(wish.mode, list(modes.values))
        if modes.selected != mode:
            self._device.change("PICAM_MODE", mode)

    def _set_frame(self, wish: Wish) -> None:
        frame = self._device.get("CCD_FRAME")
        if frame is None:
            if wish.roi is not None:
                self._device.say(f"{self._device.name} has no CCD_FRAME: roi is left out.")
            return
        names = ("X", "Y", "WIDTH", "HEIGHT")
        wanted = dict(
            zip(names, choosing.choose_frame(wish.roi, *self._frame_size(frame)), strict=True)
        )
        if any(frame.values.get(name) != value for name, value in wanted.items()):
            self._device.change("CCD_FRAME", wanted)

    def _frame_size(self, frame: Property) -> tuple[int, int]:
        """Of the selected mode, whose limits may still be on their way; else the camera's."""
        modes = self._device.get("PICAM_MODE")
        if modes is not None and modes.selected is not None:
            with suppress(ValueError):
                return choosing.size(modes.selected)[:2]
        return int(frame.limits["WIDTH"][1]), int(frame.limits["HEIGHT"][1])

    def _set_gain(self, gain: float) -> None:
        own = self._device.get("CCD_GAIN")
        controls = self._device.get("CCD_CONTROLS")  # where drivers of other makers keep it
        if own is None and controls is not None and "Gain" in controls.values:
            self._set_number("CCD_CONTROLS", "Gain", gain, "a gain", f"analoggain={gain:g}")
        else:
            self._set_number("CCD_GAIN", "GAIN", gain, "a gain", f"analoggain={gain:g}")

    def _set_number(self, name: str, element: str, value: float, what: str, option: str) -> None:
        known = self._device.get(name)
        if known is None:
            self._device.say(f"{self._device.name} does not have {what}: {option} is left out.")
        elif known.values.get(element) != value:
            taken = self._device.change(name, {element: value}).values[element]
            if not math.isclose(float(taken), value, rel_tol=0.05):
                self._device.say(f"{self._device.name} did not take {option}: it is {taken:g} now.")
