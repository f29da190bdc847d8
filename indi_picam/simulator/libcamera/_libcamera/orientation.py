"""Orientation, Transform, ColorSpace and StreamRole: how a stream lies and what its colours mean.

Transform and ColorSpace have no ``==`` here, as in the real bindings: picamera2 adds its own and
keeps them in a set and a dictionary, by identity.
"""

from __future__ import annotations

import enum


class Orientation(enum.Enum):
    """How the image is turned against the scene; numbered as in EXIF."""

    Rotate0 = 1
    Rotate0Mirror = 2
    Rotate180 = 3
    Rotate180Mirror = 4
    Rotate90Mirror = 5
    Rotate270 = 6
    Rotate270Mirror = 7
    Rotate90 = 8


class StreamRole(enum.Enum):
    """What a stream is for."""

    Raw = 0
    StillCapture = 1
    VideoRecording = 2
    Viewfinder = 3


# Rotation, clockwise, as flips: 90 and 270 need a transposition, which no Pi sensor can do.
_ROTATIONS = {
    0: (False, False, False),
    180: (True, True, False),
    90: (False, True, True),
    270: (True, False, True),
}


class Transform:
    """Flips and a transposition; also made as a copy of another one."""

    def __init__(
        self,
        rotation: int | Transform = 0,
        hflip: bool = False,
        vflip: bool = False,
        transpose: bool = False,
    ) -> None:
        if isinstance(rotation, Transform):
            other = rotation
            turned = (other.hflip, other.vflip, other.transpose)
        elif rotation % 360 in _ROTATIONS:
            turned = _ROTATIONS[rotation % 360]
        else:
            raise ValueError("Invalid rotation")
        self.hflip: bool = turned[0] ^ bool(hflip)
        self.vflip: bool = turned[1] ^ bool(vflip)
        self.transpose: bool = turned[2] ^ bool(transpose)

    def __str__(self) -> str:
        parts = [name for name in ("hflip", "vflip", "transpose") if getattr(self, name)]
        return f"<libcamera.Transform '{','.join(parts) or 'identity'}'>"


class ColorSpace:
    """Primaries, transfer function, encoding and range; also made as a copy of another one."""

    class Primaries(enum.Enum):
        """What the colours are."""

        Raw = 0
        Smpte170m = 1
        Rec709 = 2
        Rec2020 = 3

    class TransferFunction(enum.Enum):
        """How light becomes a number."""

        Linear = 0
        Srgb = 1
        Rec709 = 2

    class YcbcrEncoding(enum.Enum):
        """How colours become differences."""

        Null = 0
        Rec601 = 1
        Rec709 = 2
        Rec2020 = 3

    class Range(enum.Enum):
        """Whether all numbers are used."""

        Full = 0
        Limited = 1

    def __init__(
        self,
        primaries: ColorSpace.Primaries | ColorSpace,
        transferFunction: ColorSpace.TransferFunction | None = None,
        ycbcrEncoding: ColorSpace.YcbcrEncoding | None = None,
        range: ColorSpace.Range | None = None,
    ) -> None:
        self.primaries: ColorSpace.Primaries
        self.transferFunction: ColorSpace.TransferFunction
        self.ycbcrEncoding: ColorSpace.YcbcrEncoding
        self.range: ColorSpace.Range
        if isinstance(primaries, ColorSpace):
            other = primaries
            self.primaries, self.transferFunction = other.primaries, other.transferFunction
            self.ycbcrEncoding, self.range = other.ycbcrEncoding, other.range
        elif transferFunction is None or ycbcrEncoding is None or range is None:
            raise TypeError("incompatible constructor arguments for ColorSpace")
        else:
            self.primaries, self.transferFunction = primaries, transferFunction
            self.ycbcrEncoding, self.range = ycbcrEncoding, range

    @staticmethod
    def _named(primaries: str, transfer: str, encoding: str, range: str) -> ColorSpace:
        cls = ColorSpace
        return ColorSpace(
            cls.Primaries[primaries],
            cls.TransferFunction[transfer],
            cls.YcbcrEncoding[encoding],
            cls.Range[range],
        )

    @staticmethod
    def Raw() -> ColorSpace:
        """The colour space of that name."""
        return ColorSpace._named("Raw", "Linear", "Null", "Full")

    @staticmethod
    def Srgb() -> ColorSpace:
        """The colour space of that name."""
        return ColorSpace._named("Rec709", "Srgb", "Null", "Full")

    @staticmethod
    def Sycc() -> ColorSpace:
        """The colour space of that name."""
        return ColorSpace._named("Rec709", "Srgb", "Rec601", "Full")

    @staticmethod
    def Smpte170m() -> ColorSpace:
        """The colour space of that name."""
        return ColorSpace._named("Smpte170m", "Rec709", "Rec601", "Limited")

    @staticmethod
    def Rec709() -> ColorSpace:
        """The colour space of that name."""
        return ColorSpace._named("Rec709", "Rec709", "Rec709", "Limited")

    @staticmethod
    def Rec2020() -> ColorSpace:
        """The colour space of that name."""
        return ColorSpace._named("Rec2020", "Rec709", "Rec2020", "Limited")

    def __str__(self) -> str:
        parts = (self.primaries, self.transferFunction, self.ycbcrEncoding, self.range)
        return f"<libcamera.ColorSpace '{'/'.join(part.name for part in parts)}'>"
