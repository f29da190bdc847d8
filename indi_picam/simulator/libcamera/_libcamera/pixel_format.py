"""PixelFormat and how each format lies in memory."""

from __future__ import annotations

# fourcc of drm_fourcc.h, of the formats that have one there.
_FOURCC = {
    "RGB888": "RG24",
    "BGR888": "BG24",
    "XRGB8888": "XR24",
    "XBGR8888": "XB24",
    "YUV420": "YU12",
    "YVU420": "YV12",
    "NV12": "NV12",
    "NV21": "NV21",
    "YUYV": "YUYV",
    "YVYU": "YVYU",
    "UYVY": "UYVY",
    "VYUY": "VYUY",
    "R8": "R8  ",
}
BYTES = {
    "RGB888": 3,
    "BGR888": 3,
    "XRGB8888": 4,
    "XBGR8888": 4,
    "YUYV": 2,
    "YVYU": 2,
    "UYVY": 2,
    "VYUY": 2,
}
"""Bytes per pixel of the one-plane formats of the processed streams."""
PLANAR = frozenset({"YUV420", "YVU420", "NV12", "NV21"})
"""Formats with colour at half size behind the luminance."""
PROCESSED = (*BYTES, *sorted(PLANAR))
"""Every format the processed streams offer."""


def raw_name(order: str, bits: int, packing: str) -> str:
    """The name of a raw format: ``SBGGR12_CSI2P``, ``R10``, ``MONO_PISP_COMP1``."""
    if packing == "PISP_COMP1":
        return f"{order}_PISP_COMP1"
    start = "R" if order == "MONO" else f"S{order}"
    return f"{start}{bits}" + (f"_{packing}" if packing and bits > 8 else "")


RAW = {
    raw_name(order, bits, packing): (order, bits, packing if bits > 8 else "")
    for order in ("RGGB", "GRBG", "GBRG", "BGGR", "MONO")
    for packing, depths in (("", (8, 10, 12, 16)), ("CSI2P", (10, 12)), ("PISP_COMP1", (16,)))
    for bits in depths
}
"""(Bayer order or ``MONO``, bits, packing) of every raw format; PISP_COMP1 stands for 16 bits."""


class PixelFormat:
    """A pixel format, by its name or its four characters; unknown ones are invalid."""

    def __init__(self, name: str | int | None = None, modifier: int = 0) -> None:
        if isinstance(name, int):
            text = name.to_bytes(4, "little").decode("latin-1")
            name = next((key for key, code in _FOURCC.items() if code == text), None)
        elif not (name is None or isinstance(name, str)):
            raise TypeError(f"incompatible constructor arguments for PixelFormat: {name!r}")
        self._name = name if name in RAW or name in _FOURCC else "<INVALID>"

    @property
    def fourcc(self) -> int:
        """The four characters as a number; 0 for raw formats, of which nothing here needs it."""
        return int.from_bytes(_FOURCC.get(str(self._name), "\0\0\0\0").encode(), "little")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PixelFormat) and self._name == other._name

    __hash__ = None  # type: ignore[assignment]  # as pybind11 does where == is defined

    def __str__(self) -> str:
        return str(self._name)

    def __repr__(self) -> str:
        return f"libcamera.PixelFormat('{self._name}')"


def layout(name: str, width: int, height: int, stride: int, align: int) -> tuple[int, int]:
    """Stride and bytes of a frame; the stride that was asked is rounded up to ``align``."""

    def aligned(least: int) -> int:
        return -(-max(least, stride) // align) * align

    if name in RAW:
        _, bits, packing = RAW[name]
        if packing == "CSI2P":
            least = -(-width * bits // 8)
        else:
            least = width if packing or bits == 8 else 2 * width
        return aligned(least), aligned(least) * height
    if name in PLANAR:
        # The colour planes have half the stride, so the luminance is aligned to twice as much.
        align *= 2 if name in ("YUV420", "YVU420") else 1
        return aligned(width), aligned(width) * height * 3 // 2
    return aligned(width * BYTES[name]), aligned(width * BYTES[name]) * height
