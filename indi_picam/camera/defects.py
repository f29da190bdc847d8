"""Whether a sensor removes by itself what it takes for defects: faint stars are among it.

The drivers of imx477 and imx378 switch it by a module parameter, on by default, read whenever the
sensor starts (picamera2 #827, raspberrypi/linux #4570); other drivers have none. Only root may
change it, so it is only read here. Called by :mod:`.pi` and, for what to tell the user, by
:mod:`indi_picam.ccd.sensor_state`.
"""

from __future__ import annotations

import os
from pathlib import Path

MODULES = {"imx378": "imx477"}
"""Kernel modules that are not called like the sensor."""


def module_of(model: str) -> str:
    """The kernel module that drives a sensor of this model name (``imx708_wide``: ``imx708``)."""
    name = model.split("_")[0].lower()
    return MODULES.get(name, name)


def parameter_of(model: str) -> Path:
    """The module parameter, there or not; below ``INDI_PICAM_SYSFS`` instead of ``/sys``."""
    root = Path(os.environ.get("INDI_PICAM_SYSFS") or "/sys")
    return root / "module" / module_of(model) / "parameters" / "dpc_enable"


def corrects_defects(parameter: Path) -> bool | None:
    """Whether the correction is on now; None where the sensor's driver does not say."""
    try:
        text = parameter.read_bytes().strip()
    except OSError:
        return None
    return text not in (b"0", b"N") if text else None
