"""Settings that are saved by themselves."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from indi_picam.ccd.saving import AT_ONCE, AT_START, SAVED_ORDER, Saving
from indi_picam.indi import config
from indi_picam.indi.device import Device
from indi_picam.indi.messages import New
from indi_picam.indi.vectors import Kind, Text, TextVector

ACTIVE = TextVector("ACTIVE_DEVICES", "Devices", "Options", (Text("ACTIVE_TELESCOPE", "Mount"),))


def test_what_is_taken_over_at_the_start_is_saved_with_all_else() -> None:
    assert set(AT_START) | set(AT_ONCE) <= set(SAVED_ORDER)


def test_two_devices_with_one_file_lose_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "both.xml"
    monkeypatch.setenv("INDICONFIG", str(path))
    sync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.05)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)

    async def change() -> None:
        devices = [Device(name, lambda message: None) for name in ("One", "Two")]
        savings = [Saving(device) for device in devices]
        for device in devices:
            device.define(device.add(ACTIVE))
            mount = {"ACTIVE_TELESCOPE": f"Mount of {device.name}"}
            await device.receive(New(device.name, ACTIVE.name, Kind.TEXT, mount))
        for device, saving in zip(devices, savings, strict=True):
            while device[ACTIVE.name]["ACTIVE_TELESCOPE"] == "":
                await asyncio.sleep(0)
            await saving._on_disk(lambda: None)

    asyncio.run(change())
    for name in ("One", "Two"):
        (saved,) = config.load(path, name)
        assert saved.values == {"ACTIVE_TELESCOPE": f"Mount of {name}"}
