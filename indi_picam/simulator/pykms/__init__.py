"""The names that picamera2's DRM preview needs to be imported; there is no display behind them."""

from __future__ import annotations

import enum


class PixelFormat(enum.Enum):
    """The formats the preview names when it is imported."""

    RGB888 = "RG24"
    BGR888 = "BG24"
    XRGB8888 = "XR24"
    XBGR8888 = "XB24"
    YUV420 = "YU12"
    YVU420 = "YV12"
    NV12 = "NV12"
    YUYV = "YUYV"
    UYVY = "UYVY"
