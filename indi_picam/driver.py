"""The driver process: finds the cameras, makes each one an INDI device, carries messages.

    start     the cameras are listed by a short-lived child, so that nothing heavy is loaded here;
              messages wait meanwhile, and then every device defines itself
    running   each message goes to the device it names, or to all
    end       the server closed its end: the workers are ended, and with them the driver

One asyncio loop, one thread. Called by :mod:`indi_picam.__main__`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indi_picam import files, fits, pointing
from indi_picam.camera.modes import CameraFault, CameraId
from indi_picam.camera.remote import list_cameras
from indi_picam.capture.storage import raise_descriptor_limit
from indi_picam.ccd.camera_device import CameraDevice
from indi_picam.ccd.identity import DriverFacts, focuser_name
from indi_picam.indi.journal import note
from indi_picam.indi.link import Link

PIPE_RATE_MB_S = 10.0
"""Through a pipe nothing tells what clients have let go: what a Pi's Wi-Fi takes, until changed."""
LONGEST_NAME = 63
"""Bytes of a device name that INDI's own clients and servers hold (MAXINDIDEVICE)."""


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """What distinguishes one driver process from another: executable and environment."""

    driver: DriverFacts
    """Its name is that of the device when there is no camera, and of simulated ones."""
    names_by_model: bool
    """Whether a device is called after its sensor model."""
    first_name: str | None = None
    """Instead of what the first camera would be called."""
    only_camera: str | None = None
    names_file: Path = Path("names.json")


async def run(
    settings: DriverSettings, listing: subprocess.Popen[bytes], read_fd: int, write_fd: int
) -> None:
    """Serves the cameras that are being listed until the server closes its end."""
    raise_descriptor_limit()
    link = Link(read_fd, write_fd)
    if not link.attaches:
        link.pacing.rate_mb_s = PIPE_RATE_MB_S
    devices = [
        CameraDevice(name, camera, settings.driver, link)
        for name, camera in await _named_cameras(settings, listing)
    ]
    # After the definitions: importing astropy takes 0.3 to 2 s.
    preparing = asyncio.create_task(asyncio.to_thread(_prepare))
    async for message in link:
        for device in devices:
            await device.receive(message)
    await asyncio.gather(preparing, *(device.close() for device in devices))


def _prepare() -> None:
    fits.prepare()
    pointing.prepare()
    # What was imported stays: to look for garbage in it takes 20 ms, in the middle of anything.
    gc.freeze()


async def _named_cameras(
    settings: DriverSettings, listing: subprocess.Popen[bytes]
) -> list[tuple[str, CameraId]]:
    """A device name for each camera; for one without Id and model if there is none."""
    try:
        cameras: Sequence[CameraId] = await list_cameras(listing)
    except CameraFault as fault:
        note(str(fault))
        cameras = ()
    if settings.only_camera:
        cameras = [camera for camera in cameras if camera.id == settings.only_camera]
    wanted = clean_name(settings.first_name or "")
    remembered = _remembered_names(settings.names_file)
    if not cameras:
        unknown = settings.only_camera or remembered.get(_given(wanted), "")
        return [(wanted or settings.driver.name, CameraId(unknown, ""))]
    names = device_names(cameras, settings, remembered)
    known = remembered | names
    if wanted:
        first = cameras[0]
        if not settings.only_camera:
            first = first_named(cameras, remembered, wanted)
        known[_given(wanted)] = first.id
        if first not in cameras:
            note(f"The camera that was {wanted} is missing: none of the others takes its name.")
            cameras = [first, *cameras]
            names[first.id] = known.get(first.id, settings.driver.name)
        names = with_first_named(names, first.id, wanted)
    if known != remembered:
        await asyncio.to_thread(_remember_names, settings.names_file, known)
    return [(names[camera.id], camera) for camera in cameras]


def _given(name: str) -> str:
    """Under this the camera is remembered that INDIDEV gave a name to."""
    return f"INDIDEV {name}"


def first_named(cameras: Sequence[CameraId], remembered: Mapping[str, str], name: str) -> CameraId:
    """The camera that INDIDEV gives this name to: the one that had it, at first the first.

    In the place of one that is missing only a camera that was never seen comes. Settings go by
    name: a finder must not become the main camera because that one's cable is loose.
    """
    had_it = remembered.get(_given(name))
    if had_it is None:
        return cameras[0]
    unseen = [camera for camera in cameras if camera.id not in remembered]
    there = [camera for camera in cameras if camera.id == had_it]
    return [*there, *unseen, CameraId(had_it, "")][0]


def clean_name(name: str) -> str:
    """A device name that clients, their config files and a focuser's name have room for."""
    legal = "".join(c if c.isprintable() and c != "/" else " " for c in name)
    room = LONGEST_NAME - len(focuser_name(""))
    return " ".join(legal.split()).encode()[:room].decode(errors="ignore").strip()


def with_first_named(names: Mapping[str, str], first: str, name: str) -> dict[str, str]:
    """The names with this one for the camera of that Id; who has it already gets its."""
    others = {id: names[first] if known == name else known for id, known in names.items()}
    return others | {first: name}


def device_names(
    cameras: Sequence[CameraId], settings: DriverSettings, remembered: Mapping[str, str]
) -> dict[str, str]:
    """The device name of each camera by Id: its old one, else one that no camera ever had.

    ``Pi Camera imx477``; a second camera of the same model is ``Pi Camera imx477 2``.
    """
    names = {camera.id: remembered[camera.id] for camera in cameras if camera.id in remembered}
    taken = set(remembered.values())
    for camera in cameras:
        if camera.id in names:
            continue
        plain = (
            f"{settings.driver.name} {camera.model}"
            if settings.names_by_model
            else settings.driver.name
        )
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain} {number}"
        names[camera.id] = name
        taken.add(name)
    return names


def _remembered_names(path: Path) -> dict[str, str]:
    try:
        saved = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as fault:
        note(f"The names of the cameras cannot be read from {path} ({fault}); they are given anew.")
        return {}
    return {str(key): str(value) for key, value in saved.items()} if isinstance(saved, dict) else {}


def _remember_names(path: Path, names: Mapping[str, str]) -> None:
    try:
        files.replace(path, json.dumps(names, indent=1).encode())
    except OSError as fault:
        note(f"The names of the cameras cannot be kept in {path}: {fault}.")
