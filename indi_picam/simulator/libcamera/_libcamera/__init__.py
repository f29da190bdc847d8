"""Where the real bindings keep everything; ``libcamera`` takes its names from here."""

from indi_picam.simulator import dma_heap as _dma_heap
from indi_picam.simulator import settings as _settings
from indi_picam.simulator.faults import Faults as _Faults

from .allocator import FrameBufferAllocator
from .buffers import FrameBuffer, FrameMetadata
from .camera import Camera
from .camera_manager import CameraManager
from .configuration import (
    CameraConfiguration,
    SensorConfiguration,
    Stream,
    StreamConfiguration,
    StreamFormats,
)
from .controls import ControlId, ControlInfo, ControlType, controls, properties
from .geometry import Rectangle, Size
from .orientation import ColorSpace, Orientation, StreamRole, Transform
from .pixel_format import PixelFormat
from .request import Request

__all__ = [
    "Camera",
    "CameraConfiguration",
    "CameraManager",
    "ColorSpace",
    "ControlId",
    "ControlInfo",
    "ControlType",
    "FrameBuffer",
    "FrameBufferAllocator",
    "FrameMetadata",
    "Orientation",
    "PixelFormat",
    "Rectangle",
    "Request",
    "SensorConfiguration",
    "Size",
    "Stream",
    "StreamConfiguration",
    "StreamFormats",
    "StreamRole",
    "Transform",
    "controls",
    "properties",
]

_faults = _Faults(_settings.load().fault_file, "")
_dma_heap.install(lambda: (_faults.largest_buffer, _faults.heap))
