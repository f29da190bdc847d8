"""Settings that outlast the driver: CONFIG_PROCESS, and what is saved by itself.

    when                          what
    the driver starts             the settings in AT_START are taken over without a word
    CONFIG_LOAD, CONFIG_DEFAULT   every saved setting that can be set now, as if a client had asked
    CONFIG_SAVE                   all settings in SAVED_ORDER that are defined
    one of AT_ONCE is changed     that setting; the first time all that are defined

Clients send CONFIG_LOAD right after CONNECT. The file's form and place are INDI's own
(:mod:`indi_picam.indi.config`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from indi_picam import files
from indi_picam.ccd import image_controls
from indi_picam.indi import config
from indi_picam.indi.device import Answer, Device, Property
from indi_picam.indi.journal import note
from indi_picam.indi.messages import New
from indi_picam.indi.vectors import (
    AnyVector,
    Kind,
    Refused,
    Rule,
    State,
    Switch,
    SwitchVector,
    requested,
)

P = ParamSpec("P")
T = TypeVar("T")

CONFIG_PROCESS = SwitchVector(
    "CONFIG_PROCESS",
    "Configuration",
    "Options",
    (
        Switch("CONFIG_LOAD", "Load"),
        Switch("CONFIG_SAVE", "Save"),
        Switch("CONFIG_DEFAULT", "Default"),
        Switch("CONFIG_PURGE", "Purge"),
    ),
    timeout=0,
    rule=Rule.AT_MOST_ONE,
)
SAVED_ORDER = (
    "DEBUG",
    "POLLING_PERIOD",
    "DEBUG_LEVEL",
    "LOGGING_LEVEL",
    "LOG_OUTPUT",
    "ACTIVE_DEVICES",
    "UPLOAD_MODE",
    "UPLOAD_SETTINGS",
    "CCD_FAST_TOGGLE",
    "CCD_COMPRESSION",
    "PICAM_MODE",
    "PICAM_FLIP",
    "CCD_CAPTURE_FORMAT",
    "CCD_TRANSFER_FORMAT",
    "CCD_FRAME",
    "CCD_BINNING",
    "SCOPE_INFO",
    "CCD_GAIN",
    "PICAM_VALUES",
    *image_controls.NAMES,
    "BATCH_STORAGE",
    "BATCH_DELIVERY",
    "BATCH_RATE",
    "BATCH_KEEP",
    "BATCH_DIRECTORY",
)
"""INDI::CCD's order, in which it is applied again: the mode before the frame that lies in it."""
AT_START = (
    "DEBUG",
    "POLLING_PERIOD",
    "DEBUG_LEVEL",
    "LOGGING_LEVEL",
    "LOG_OUTPUT",
    "ACTIVE_DEVICES",
    "CCD_CAPTURE_FORMAT",
    "CCD_TRANSFER_FORMAT",
    "CCD_FAST_TOGGLE",
    "BATCH_DIRECTORY",
)
AT_ONCE = (
    "ACTIVE_DEVICES",
    "SCOPE_INFO",
    "CCD_CAPTURE_FORMAT",
    "CCD_TRANSFER_FORMAT",
    "CCD_FAST_TOGGLE",
    "BATCH_DIRECTORY",
)
_DISK = ThreadPoolExecutor(1, "settings")
"""One writer at a time: what is saved by itself may meet a CONFIG_SAVE, and all devices of the
process may have one file (INDICONFIG)."""
_SYNC = ThreadPoolExecutor(1, "settings to the disk")
"""Apart: beside frames that are saved a flush may take seconds, and requests do not wait for it.
(libindi leaves it to the kernel altogether.)"""


def texts_for(known: Property, setting: New) -> Mapping[str, str]:
    """What was saved of a property, without switches of other drivers that are Off.

    INDI's own CCD drivers save FORMAT_NATIVE with FORMAT_FITS, whether it is chosen or not.
    """
    texts = {name: on for name, on in setting.values.items() if name in known.values or on != "Off"}
    chosen = setting.kind is Kind.SWITCH and any(on != "Off" for on in texts.values())
    return texts if chosen else setting.values


class Saving:
    """The saved settings of one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._path = config.config_path(device.name)
        self._loading = False
        self._has_default = False
        """Whether default settings are known to be there."""
        device.add(CONFIG_PROCESS, self._process, from_start=True)
        device.on_change.append(self._changed)

    def restore(self) -> None:
        """Takes over what was saved and holds from the start; a few milliseconds."""
        try:
            saved = config.load(self._path, self._device.name)
        except config.ConfigFault:
            return  # told when a client asks for CONFIG_LOAD
        for setting in saved:
            if setting.name not in AT_START:
                continue
            known = self._device[setting.name]
            try:
                values = requested(known.vector, setting.kind, texts_for(known, setting))
            except Refused as refusal:
                note(f"{self._path}: {refusal}")
            else:
                self._device.set(known, values)

    def _changed(self, changed: Property) -> None:
        """A client changed a setting: some are saved at once."""
        if changed.name in AT_ONCE and not self._loading:
            save = partial(self._save_one, changed.name, self._saved(), whole=self._is_whole)
            # When the answer is written, which would wait for a thread that computes.
            asyncio.get_running_loop().call_soon(_DISK.submit, save)

    def _save_one(self, name: str, vectors: list[AnyVector], *, whole: bool) -> None:
        """In a thread."""
        try:
            config.save_one(self._path, self._device.name, name, vectors)
        except config.ConfigFault as fault:
            note(str(fault))
        self._keep_default(vectors, whole=whole)
        _sync_later(self._path)

    def _save_all(self, vectors: list[AnyVector], *, whole: bool) -> None:
        """In a thread."""
        config.save(self._path, self._device.name, vectors)
        self._keep_default(vectors, whole=whole)

    def _keep_default(self, vectors: list[AnyVector], *, whole: bool) -> None:
        """In a thread: those after the first load or save become the default ones (INDI::CCD)."""
        if not whole or self._has_default:
            return
        try:
            config.keep_default(self._path, self._device.name, vectors)
        except config.ConfigFault as fault:
            note(str(fault))
        else:
            self._has_default = True
            _sync_later(config.default_path(self._path))

    @property
    def _is_whole(self) -> bool:
        """Whether all settings are there: those of a camera that is not connected are but a few."""
        return self._device.shows("CCD_EXPOSURE")

    def _saved(self) -> list[AnyVector]:
        return [self._device[name].vector for name in SAVED_ORDER if self._device.shows(name)]

    async def _process(self, asked: Mapping[str, bool]) -> Answer:
        actions: dict[str, tuple[str, Callable[[], Awaitable[None]], str]] = {
            "CONFIG_LOAD": ("Loading", self._load, "applied"),
            "CONFIG_DEFAULT": ("Loading default", self._load_default, "applied"),
            "CONFIG_SAVE": ("Saving", self._save, "saved"),
            "CONFIG_PURGE": ("", self._purge, "deleted"),
        }
        off = dict.fromkeys(asked, False)
        for name, (doing, action, done) in actions.items():
            if asked[name]:
                if doing:
                    self._device.message(f"{doing} device configuration...")
                try:
                    await action()
                except config.ConfigFault as fault:
                    return Answer(State.ALERT, off, str(fault))
                return Answer(State.OK, off, f"Device configuration {done}.")
        return Answer(values=off)

    async def _load(self) -> None:
        await self._apply(self._path)
        await self._on_disk(self._keep_default, self._saved(), whole=self._is_whole)

    async def _load_default(self) -> None:
        await self._apply(config.default_path(self._path))

    async def _apply(self, path: Path) -> None:
        settings = await self._on_disk(config.load, path, self._device.name)
        self._loading = True
        try:
            await self._device.apply(
                replace(setting, values=texts_for(self._device[setting.name], setting))
                for setting in settings
                if self._device.shows(setting.name)
            )
        finally:
            self._loading = False

    async def _save(self) -> None:
        await self._on_disk(self._save_all, self._saved(), whole=self._is_whole)
        # After the answer, which the next turn writes; it would wait for the thread that wakes.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, _sync_later, self._path)

    async def _purge(self) -> None:
        await self._on_disk(config.purge, self._path)

    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = partial(work, *args, **kwargs)
        await asyncio.sleep(0)  # what was changed before is saved before
        return await asyncio.get_running_loop().run_in_executor(_DISK, call)


_unsynced: set[Path] = set()


def _sync_later(path: Path) -> None:
    if path not in _unsynced:
        _unsynced.add(path)
        with suppress(RuntimeError):  # at the very end the kernel is left to it
            _SYNC.submit(_sync, path)


def _sync(path: Path) -> None:
    """In a thread."""
    _unsynced.discard(path)
    with suppress(OSError):  # it may be deleted meanwhile
        files.settle(path)
