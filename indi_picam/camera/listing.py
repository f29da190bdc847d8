"""Prints the cameras of this machine as JSON: ``python -m indi_picam.camera.listing``.

A short-lived process with libcamera alone (no picamera2, no numpy), because libcamera lists
cameras once and keeps the list: every run sees what is plugged in now. Started by :mod:`.remote`.
The order is that of picamera2; USB cameras are left out, as they have no raw frames. A fault is
printed as a sentence.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any


def cameras() -> list[dict[str, str]]:
    """Id and model of each camera, as libcamera lists them now, in picamera2's order."""
    import libcamera

    found = []
    for camera in libcamera.CameraManager.singleton().cameras:
        properties: dict[str, Any] = {key.name: value for key, value in camera.properties.items()}
        if "ColorFilterArrangement" in properties:  # how picamera2 tells a Pi camera from a USB one
            found.append({"id": camera.id, "model": str(properties.get("Model", "unknown"))})
    return sorted(found, key=lambda camera: camera["id"], reverse=True)


def report() -> dict[str, Any]:
    """What is printed: the cameras, or a fault."""
    for module, package in (("libcamera", "python3-libcamera"), ("picamera2", "python3-picamera2")):
        if importlib.util.find_spec(module) is None:
            return {
                "fault": f"The Python module {module} is missing: run `sudo apt install {package}`,"
                " and make a virtual environment with --system-site-packages."
            }
    try:
        try:
            __import__("libcamera")
        except RuntimeError as error:  # the simulated one: a sentence about what it was told
            return {"fault": str(error)}
        return {"cameras": cameras()}
    except Exception as error:
        return {
            "fault": f"libcamera cannot list the cameras ({error}): reboot, then run"
            " `rpicam-hello --list-cameras`."
        }


if __name__ == "__main__":
    json.dump(report(), sys.stdout)
