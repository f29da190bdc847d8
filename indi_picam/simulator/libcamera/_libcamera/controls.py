"""Controls and properties: their ids, types and enumerators, and the conversion of values.

Names, numbers and types as in libcamera's control_ids and property_ids lists (core, draft and rpi);
only those that a Raspberry Pi camera has or picamera2 names.
"""

from __future__ import annotations

import enum
import functools
import operator
from typing import Any

from .geometry import Rectangle, Size


class ControlType(enum.Enum):
    """The type of a control's value, or of the elements of an array."""

    Null = 0
    Bool = 1
    Byte = 2
    Integer32 = 5
    Integer64 = 6
    Float = 7
    String = 8
    Rectangle = 9
    Size = 10


class ControlId:
    """The name of a control or property; one object for each, so they compare by identity."""

    def __init__(self, number: int, name: str, vendor: str, kind: ControlType, size: int) -> None:
        self._number, self._name, self._vendor = number, name, vendor
        self._type, self._size = kind, size

    @property
    def id(self) -> int:
        """Its number."""
        return self._number

    @property
    def name(self) -> str:
        """Its name, without vendor."""
        return self._name

    @property
    def vendor(self) -> str:
        """``libcamera``, ``draft`` or ``rpi``."""
        return self._vendor

    @property
    def type(self) -> ControlType:
        """Of its value or of each element."""
        return self._type

    @property
    def isArray(self) -> bool:
        """Whether it has several elements."""
        return self._size != 0

    @property
    def size(self) -> int:
        """Elements of the array; 0 for a single value."""
        return self._size

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        kind = f"ControlType.{self._type.name}"
        return f"libcamera.ControlId({self._number}, {self._vendor}.{self._name}, {kind})"


class ControlInfo:
    """The limits of a control: least, greatest and default value; all values where few."""

    def __init__(
        self, low: Any, high: Any, default: Any = None, values: tuple[Any, ...] = ()
    ) -> None:
        self._min, self._max, self._default, self._values = low, high, default, values

    @property
    def min(self) -> Any:
        """The least value."""
        return self._min

    @property
    def max(self) -> Any:
        """The greatest value."""
        return self._max

    @property
    def default(self) -> Any:
        """The value when nothing was set; None where there is none."""
        return self._default

    @property
    def values(self) -> list[Any]:
        """All values, where they are few."""
        return list(self._values)

    def __str__(self) -> str:
        return f"[{self._min}..{self._max}]"

    def __repr__(self) -> str:
        return f"libcamera.ControlInfo({self})"


ANY_SIZE = (1 << 64) - 1
_B, _I, _L, _F = ControlType.Bool, ControlType.Integer32, ControlType.Integer64, ControlType.Float
_S, _R, _Z = ControlType.String, ControlType.Rectangle, ControlType.Size

_Table = dict[str, tuple[int, ControlType, int, str]]
# name: (number, type, array size, enumerators in their order)
_CORE: _Table = {
    "AeEnable": (1, _B, 0, ""),
    "AeState": (2, _I, 0, "Idle Searching Converged"),
    "AeMeteringMode": (3, _I, 0, "CentreWeighted Spot Matrix Custom"),
    "AeConstraintMode": (4, _I, 0, "Normal Highlight Shadows Custom"),
    "AeExposureMode": (5, _I, 0, "Normal Short Long Custom"),
    "ExposureValue": (6, _F, 0, ""),
    "ExposureTime": (7, _I, 0, ""),
    "ExposureTimeMode": (8, _I, 0, "Auto Manual"),
    "AnalogueGain": (9, _F, 0, ""),
    "AnalogueGainMode": (10, _I, 0, "Auto Manual"),
    "AeFlickerMode": (11, _I, 0, "Off Manual Auto"),
    "AeFlickerPeriod": (12, _I, 0, ""),
    "Brightness": (14, _F, 0, ""),
    "Contrast": (15, _F, 0, ""),
    "Lux": (16, _F, 0, ""),
    "AwbEnable": (17, _B, 0, ""),
    "AwbMode": (18, _I, 0, "Auto Incandescent Tungsten Fluorescent Indoor Daylight Cloudy Custom"),
    "ColourGains": (20, _F, 2, ""),
    "ColourTemperature": (21, _I, 0, ""),
    "Saturation": (22, _F, 0, ""),
    "SensorBlackLevels": (23, _I, 4, ""),
    "Sharpness": (24, _F, 0, ""),
    "FocusFoM": (25, _I, 0, ""),
    "ColourCorrectionMatrix": (26, _F, 9, ""),
    "ScalerCrop": (27, _R, 0, ""),
    "DigitalGain": (28, _F, 0, ""),
    "FrameDuration": (29, _L, 0, ""),
    "FrameDurationLimits": (30, _L, 2, ""),
    "SensorTemperature": (31, _F, 0, ""),
    "SensorTimestamp": (32, _L, 0, ""),
    "AfMode": (33, _I, 0, "Manual Auto Continuous"),
    "AfRange": (34, _I, 0, "Normal Macro Full"),
    "AfSpeed": (35, _I, 0, "Normal Fast"),
    "AfMetering": (36, _I, 0, "Auto Windows"),
    "AfWindows": (37, _R, ANY_SIZE, ""),
    "AfTrigger": (38, _I, 0, "Start Cancel"),
    "AfPause": (39, _I, 0, "Immediate Deferred Resume"),
    "LensPosition": (40, _F, 0, ""),
    "AfState": (41, _I, 0, "Idle Scanning Focused Failed"),
    "HdrMode": (43, _I, 0, "Off MultiExposureUnmerged MultiExposure SingleExposure Night"),
    "FrameWallClock": (47, _L, 0, ""),
}
_DRAFT: _Table = {
    "NoiseReductionMode": (10002, _I, 0, "Off Fast HighQuality Minimal ZSL"),
}
_RPI: _Table = {
    "StatsOutputEnable": (20001, _B, 0, ""),
    "ScalerCrops": (20003, _R, ANY_SIZE, ""),
}
_PROPERTIES: _Table = {
    "Location": (1, _I, 0, "Front Back External"),
    "Rotation": (2, _I, 0, ""),
    "Model": (3, _S, 0, ""),
    "UnitCellSize": (4, _Z, 0, ""),
    "PixelArraySize": (5, _Z, 0, ""),
    "PixelArrayActiveAreas": (7, _R, ANY_SIZE, ""),
    "ScalerCropMaximum": (8, _R, 0, ""),
    "SensorSensitivity": (9, _F, 0, ""),
    "SystemDevices": (10, _L, ANY_SIZE, ""),
}
_DRAFT_PROPERTIES: _Table = {
    "ColorFilterArrangement": (10001, _I, 0, "RGGB GRBG GBRG BGGR RGB MONO"),
}


class _Names(type):
    """Makes enumerations when they are first asked for: all twenty would cost 8 ms."""

    _table: _Table

    def __getattr__(cls, name: str) -> Any:
        row = cls._table.get(name.removesuffix("Enum"))
        if row is None or not name.endswith("Enum") or not row[3]:
            raise AttributeError(name)
        members = [(text, value) for value, text in enumerate(row[3].split())]
        made = enum.IntEnum(name, members)  # type: ignore[misc]  # a name made up at run time
        setattr(cls, name, made)
        return made

    def __dir__(cls) -> list[str]:
        enumerations = [f"{name}Enum" for name, row in cls._table.items() if row[3]]
        return [*type.__dir__(cls), *enumerations]


def _fill(holder: _Names, table: _Table, vendor: str) -> None:
    holder._table = table
    for name, (number, kind, size, _) in table.items():
        setattr(holder, name, ControlId(number, name, vendor, kind, size))


class controls(metaclass=_Names):
    """Every control by its name."""

    class draft(metaclass=_Names):
        """Controls that are not yet settled."""

    class rpi(metaclass=_Names):
        """Controls of Raspberry Pi cameras alone."""


class properties(metaclass=_Names):
    """Every property by its name."""

    class draft(metaclass=_Names):
        """Properties that are not yet settled."""


_fill(controls, _CORE, "libcamera")
_fill(controls.draft, _DRAFT, "draft")
_fill(controls.rpi, _RPI, "rpi")
_fill(properties, _PROPERTIES, "libcamera")
_fill(properties.draft, _DRAFT_PROPERTIES, "draft")


@functools.cache  # every frame names some twenty
def control(name: str) -> ControlId:
    """The id of the control of that name."""
    found = next(
        vars(holder)[name]
        for holder in (controls, controls.draft, controls.rpi)
        if name in vars(holder)
    )
    if not isinstance(found, ControlId):
        raise KeyError(name)
    return found


def _cast(value: Any, kind: ControlType) -> Any:
    """One element as the C++ type; RuntimeError where pybind11 cannot cast."""
    bits = {_I: 32, _L: 64, ControlType.Byte: 8}.get(kind)
    if bits and not isinstance(value, float) and hasattr(value, "__index__"):
        number = operator.index(value)
        signed = kind is not ControlType.Byte
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        if low <= number < high:
            return number
    elif kind is _F and (hasattr(value, "__float__") or hasattr(value, "__index__")):
        return float(value)
    elif kind is _B and (value is None or hasattr(value, "__bool__")):
        return bool(value)
    elif (
        (kind is _S and isinstance(value, str))
        or (kind is _R and isinstance(value, Rectangle))
        or (kind is _Z and isinstance(value, Size))
    ):
        return value
    raise RuntimeError(
        f"Unable to cast Python instance of type {type(value)} to C++ type {kind.name}"
    )


def control_value(value: Any, kind: ControlType) -> Any:
    """A value as the control would hold it: lists become tuples; RuntimeError when unfit."""
    arrays = kind in (_I, _L, _F, _R, ControlType.Byte)
    if arrays and isinstance(value, (list, tuple)):
        return tuple(_cast(element, kind) for element in value)
    return _cast(value, kind)
