"""Finding and opening a camera with picamera2, and the sentences for everything that may be wrong.

Called by :mod:`.pi` alone, in the worker process.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from indi_picam.camera.modes import CameraFault

if TYPE_CHECKING:
    from picamera2 import Picamera2


def open_camera(camera_id: str) -> Picamera2:
    """The camera of this Id, or without one the first that libcamera lists."""
    picamera2 = _import_picamera2()
    _import_compiled_part()
    ids = [camera["Id"] for camera in picamera2.Picamera2.global_camera_info()]
    if not ids:
        raise CameraFault(
            "libcamera finds no camera: check its cable with the power off, and that"
            " `rpicam-hello --list-cameras` shows it; then connect again.",
            retry=False,
        )
    if camera_id and camera_id not in ids:
        raise CameraFault(
            f"The camera {camera_id} is not there (libcamera lists {', '.join(ids)}):"
            " check its cable with the power off, then connect again.",
            retry=False,
        )
    try:
        camera: Picamera2 = picamera2.Picamera2(ids.index(camera_id or ids[0]))
    except (RuntimeError, OSError) as error:
        raise _opening_fault(error) from error
    return camera


def _import_picamera2() -> Any:
    for package, remedy in (("libcamera", "python3-libcamera"), ("picamera2", "python3-picamera2")):
        try:
            module = __import__(package)
        except ModuleNotFoundError as error:
            raise CameraFault(
                f"The Python module {error.name or package} is missing: run"
                f" `sudo apt install {remedy}`, and make a virtual environment with"
                " --system-site-packages.",
                retry=False,
            ) from error
        except Exception as error:
            if package == "libcamera" and isinstance(error, RuntimeError):
                # The simulated one alone: a whole sentence about what it was told.
                raise CameraFault(str(error), retry=False) from error
            # A numpy of another build than picamera2's parts raises ValueError, others ImportError.
            raise CameraFault(
                f"The Python module {package} cannot be loaded ({error}): numpy and picamera2"
                " must both come from apt; remove the ones that pip installed.",
                retry=False,
            ) from error
    return module


def _import_compiled_part() -> None:
    try:
        import indi_picam.camera.pixel_pass  # noqa: F401 - whether it can be
    except ImportError as error:
        raise CameraFault(
            f"The compiled part of indi_picam cannot be loaded ({error}): install it again"
            " (`sudo packaging/install`, or `pip install .` in a checkout).",
            retry=False,
        ) from error


def _opening_fault(error: BaseException) -> CameraFault:
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    if any("busy" in reason.lower() for reason in reasons):
        return CameraFault(
            "The camera is held by another program: end it (`fuser -v /dev/media*` names it; often"
            " rpicam-hello, motion or a second driver) and connect again.",
            retry=False,
        )
    return CameraFault(
        f"The camera could not be opened ({reasons[-1]}): check its cable and power, then connect"
        " again.",
        retry=True,
    )


def raw_modes(picam2: Picamera2) -> list[tuple[int, tuple[int, int], str, tuple[object, ...]]]:
    """Depth, size, unpacked format and exposure limits of every raw mode.

    picamera2 allocates buffers for each mode to learn its limits, and small Pis have run out of
    memory there (picamera2 #1358): then the limits stay unknown until a mode is configured.
    """
    try:
        modes = [mode for mode in picam2.sensor_modes if "bit_depth" in mode]
        return [
            (m["bit_depth"], m["size"], m["unpacked"], tuple(m["exposure_limits"])) for m in modes
        ]
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
    from libcamera import StreamRole
    from picamera2 import SensorFormat

    formats = picam2.camera.generate_configuration([StreamRole.Raw]).at(0).formats
    found: list[tuple[int, tuple[int, int], str, tuple[object, ...]]] = []
    for pixel_format in formats.pixel_formats:
        raw = SensorFormat(str(pixel_format))
        found += [
            (raw.bit_depth, (size.width, size.height), raw.unpacked, ())
            for size in formats.sizes(pixel_format)
        ]
    return found
