"""What is asked of the camera, checked and frozen: settings become a plan or a refusal.

Knows the camera's limits and no INDI; the exposing group calls it with the settings as they stand
at the moment an exposure is ordered, so that later changes never touch a running one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from indi_picam.camera import messages
from indi_picam.camera.modes import (
    CameraFacts,
    CaptureFormat,
    ControlValues,
    FrameRequest,
    ModeFacts,
    Roi,
)

_LONGEST_S = 1e9
"""Beyond what any sensor can; larger numbers cannot be told in microseconds."""


class FrameType(StrEnum):
    """What a frame is taken for; the values are the words FITS files use (INDI::CCD, FRAME)."""

    LIGHT = "Light"
    BIAS = "Bias"
    DARK = "Dark"
    FLAT = "Flat"


@dataclass(frozen=True, slots=True)
class ExposureSettings:
    """All that decides a frame besides its length."""

    mode: ModeFacts
    roi: Roi
    bin_x: int
    bin_y: int
    gain: float
    scale_to_16_bit: bool
    frame_type: FrameType
    format: CaptureFormat = CaptureFormat.RAW
    controls: ControlValues = ()
    """For the lens, and for the ISP when it makes the picture."""
    bayer_pattern: str | None = None
    bayer_offsets: tuple[int, int] = (0, 0)
    """The last two as in FrameRequest."""


@dataclass(frozen=True, slots=True)
class ExposurePlan:
    """One order to the camera, valid as far as can be known before the shutter opens."""

    request: FrameRequest
    mode: ModeFacts
    frame_type: FrameType

    def __str__(self) -> str:
        asked, roi = self.request, self.request.roi
        return (
            f"{asked.count} x {self.frame_type.value} of {self.exposure_s:g} s, gain "
            f"{asked.gain:g}, {asked.format.value}, mode {asked.mode.name}, {roi.width} x "
            f"{roi.height} at ({roi.x}, {roi.y}), binned {asked.bin_x} x {asked.bin_y}"
        )

    @property
    def exposure_s(self) -> float:
        """Length of one exposure in seconds."""
        return self.request.exposure_us / 1e6

    @property
    def frame_s(self) -> float:
        """From one frame to the next in a run without gaps, in seconds."""
        return max(self.request.exposure_us, self.mode.frame_duration_min_us) / 1e6

    def order(self) -> dict[str, Any]:
        """The order as JSON values, for a later run of the driver; see :func:`ordered`."""
        words = messages.encode(messages.Take(0, self.request)).decode()
        return {"request": words, "frame_type": self.frame_type.value}

    def repeated(self, count: int) -> ExposurePlan:
        """The same exposure so many times without a gap."""
        return replace(self, request=replace(self.request, count=count))


def ordered(order: Mapping[str, Any]) -> tuple[FrameRequest, FrameType]:
    """What :meth:`ExposurePlan.order` wrote; raises ValueError with a sentence."""
    try:
        take = messages.decode(str(order["request"]).encode())
        frame_type = FrameType(order["frame_type"])
    except (KeyError, TypeError, ValueError) as fault:
        raise ValueError(f"The order of the batch cannot be read ({fault!r}).") from None
    if not isinstance(take, messages.Take):
        raise ValueError("The order of the batch is of another version of the driver.")
    return take.request, frame_type


def plan_exposure(
    exposure_s: float, settings: ExposureSettings, camera: CameraFacts, header_room: int
) -> ExposurePlan:
    """Checks an exposure against what the camera can do and freezes it.

    A bias frame always gets the shortest exposure (INDI::CCD). Raises ValueError with a sentence
    for the user when the exposure is out of the mode's limits, the binning differs in x and y, or
    the frame does not lie inside the mode.
    """
    mode = settings.mode
    exposure_us = round(max(-_LONGEST_S, min(exposure_s, _LONGEST_S)) * 1e6)
    if settings.frame_type is FrameType.BIAS:
        exposure_us = mode.exposure_min_us
    elif not mode.exposure_min_us <= exposure_us <= mode.exposure_max_us:
        raise ValueError(_out_of_limits(exposure_s, mode, camera))
    if settings.bin_x != settings.bin_y:
        raise ValueError(
            f"Binning {settings.bin_x} x {settings.bin_y} cannot be taken: "
            "set HOR_BIN and VER_BIN to the same value."
        )
    _check_roi(settings)
    request = FrameRequest(
        mode=mode.mode,
        exposure_us=exposure_us,
        gain=settings.gain,
        roi=settings.roi,
        bin_x=settings.bin_x,
        bin_y=settings.bin_y,
        scale_to_16_bit=settings.scale_to_16_bit,
        header_room=header_room,
        format=settings.format,
        orientation=mode.orientation,
        controls=settings.controls,
        bayer_pattern=settings.bayer_pattern,
        bayer_offsets=settings.bayer_offsets,
    )
    return ExposurePlan(request, mode, settings.frame_type)


def _out_of_limits(exposure_s: float, mode: ModeFacts, camera: CameraFacts) -> str:
    limits = (
        f"An exposure of {exposure_s:g} s cannot be taken: mode {mode.mode.name} allows "
        f"{mode.exposure_min_us / 1e6:g} to {mode.exposure_max_us / 1e6:g} s."
    )
    if exposure_s * 1e6 < mode.exposure_min_us:
        return limits
    longest_us, longest = max(
        zip(camera.exposure_max_us, camera.modes, strict=True), key=lambda pair: pair[0]
    )
    if longest_us < exposure_s * 1e6:
        return f"{limits} No mode of this camera allows it."
    return f"{limits} Mode {longest.name} allows up to {longest_us / 1e6:g} s."


def _check_roi(settings: ExposureSettings) -> None:
    roi, mode = settings.roi, settings.mode.mode
    if roi.x + roi.width > mode.width or roi.y + roi.height > mode.height:
        raise ValueError(
            f"The frame {roi.width} x {roi.height} at {roi.x}, {roi.y} reaches beyond the "
            f"{mode.width} x {mode.height} pixels of the sensor mode: make it smaller, or reset it."
        )
    if roi.width < settings.bin_x or roi.height < settings.bin_y:
        raise ValueError(
            f"The frame {roi.width} x {roi.height} is smaller than one binned pixel "
            f"({settings.bin_x} x {settings.bin_y}): make it larger."
        )
