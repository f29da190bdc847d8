"""Settings that are saved by themselves."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from indi_picam.ccd.saving import AT_ONCE, AT_START, SAVED_ORDER, Saving
from indi_picam.indi import config
from indi_picam.indi.device import Device
from indi_picam.indi.messages import New, Outgoing, Set
from indi_picam.indi.vectors import Kind, State, Switch, SwitchVector, Text, TextVector

ACTIVE = TextVector("ACTIVE_DEVICES", "Devices", "Options", (Text("ACTIVE_TELESCOPE", "Mount"),))


def test_what_is_taken_over_at_the_start_is_saved_with_all_else() -> None:
    assert set(AT_START) | set(AT_ONCE) <= set(SAVED_ORDER)


FORMAT = SwitchVector(
    "CCD_TRANSFER_FORMAT",
    "Encode",
    "Image Settings",
    (Switch("FORMAT_FITS", "FITS", True), Switch("FORMAT_FINE", "Fine")),
)


@pytest.mark.parametrize(
    ("saved", "selected", "answer"),
    [
        ({"FORMAT_FITS": "Off", "FORMAT_FINE": "On"}, "FORMAT_FINE", State.OK),
        (
            {"FORMAT_FITS": "Off", "FORMAT_NATIVE": "Off", "FORMAT_FINE": "On"},
            "FORMAT_FINE",
            State.OK,
        ),
        ({"FORMAT_FITS": "Off", "FORMAT_NATIVE": "On"}, "FORMAT_FITS", State.ALERT),
        ({"FORMAT_NATIVE": "Off"}, "FORMAT_FITS", State.ALERT),
    ],
)
def test_choices_that_another_driver_has_are_passed_over_where_they_are_off(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saved: dict[str, str],
    selected: str,
    answer: State,
) -> None:
    path = tmp_path / "saved.xml"
    monkeypatch.setenv("INDICONFIG", str(path))
    ones = "".join(f"<oneSwitch name='{name}'>{on}</oneSwitch>" for name, on in saved.items())
    path.write_text(
        "<INDIDriver><newSwitchVector device='Cam' name='CCD_TRANSFER_FORMAT'>"
        f"{ones}</newSwitchVector></INDIDriver>"
    )

    async def load() -> None:
        sent: list[Outgoing] = []
        device = Device("Cam", sent.append)
        saving, known = Saving(device), device.add(FORMAT, from_start=True)
        saving.restore()
        assert known.selected == selected
        device.set(known, {"FORMAT_FITS": True})
        sent.clear()
        await device.receive(New("Cam", "CONFIG_PROCESS", Kind.SWITCH, {"CONFIG_LOAD": "On"}))
        assert device._serving is not None
        await device._serving
        sets = {message.name: message.state for message in sent if isinstance(message, Set)}
        assert sets == {"CCD_TRANSFER_FORMAT": answer, "CONFIG_PROCESS": State.OK}
        assert known.selected == selected

    asyncio.run(load())


def test_two_devices_with_one_file_lose_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "both.xml"
    monkeypatch.setenv("INDICONFIG", str(path))
    replace = os.replace

    def slow(beside: Path, path: Path) -> None:
        time.sleep(0.05)
        replace(beside, path)

    monkeypatch.setattr(os, "replace", slow)

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


def test_a_save_is_answered_before_a_busy_disk_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside frames that are saved a flush may last seconds; requests of the device would wait."""
    path = tmp_path / "Cam_config.xml"
    monkeypatch.setenv("INDICONFIG", str(path))
    answered, flushed = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        assert answered.wait(10)
        flushed.set()

    monkeypatch.setattr(os, "fsync", slow)

    async def save() -> Outgoing:
        sent: list[Outgoing] = []
        device = Device("Cam", sent.append)
        Saving(device)
        device.define(device.add(ACTIVE))
        asked = {"CONFIG_SAVE": "On"}
        await device.receive(New("Cam", "CONFIG_PROCESS", Kind.SWITCH, asked))
        while not any(isinstance(message, Set) for message in sent):
            await asyncio.sleep(0)
        return sent[-1]

    answer = asyncio.run(save())
    answered.set()
    assert isinstance(answer, Set)
    assert answer.state is State.OK
    assert config.load(path, "Cam")
    assert flushed.wait(10)


@pytest.mark.parametrize(
    ("then", "kept"), [("CONFIG_LOAD", "New"), ("CONFIG_PURGE", None), ("CONFIG_SAVE", "New")]
)
def test_what_follows_a_change_at_once_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, kept: str | None
) -> None:
    path = tmp_path / "Cam_config.xml"
    monkeypatch.setenv("INDICONFIG", str(path))
    config.save(path, "Cam", [ACTIVE])

    async def change() -> Device:
        device = Device("Cam", lambda message: None)
        saving = Saving(device)
        device.define(device.add(ACTIVE))
        await device.receive(New("Cam", ACTIVE.name, Kind.TEXT, {"ACTIVE_TELESCOPE": "New"}))
        await device.receive(New("Cam", "CONFIG_PROCESS", Kind.SWITCH, {then: "On"}))
        assert device._serving is not None
        await device._serving
        await saving._on_disk(lambda: None)
        return device

    assert asyncio.run(change())[ACTIVE.name]["ACTIVE_TELESCOPE"] == "New"
    assert path.exists() == (kept is not None)
    if kept is not None:
        (saved,) = config.load(path, "Cam")
        assert saved.values == {"ACTIVE_TELESCOPE": kept}


def test_an_answer_leaves_before_what_it_changed_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link writes in the next turn of the loop; a thread that computes would delay it."""
    monkeypatch.setenv("INDICONFIG", str(tmp_path / "Cam_config.xml"))
    order: list[str] = []
    monkeypatch.setattr(config, "save_one", lambda *_: order.append("saved"))

    async def change() -> None:
        def write_later(message: Outgoing) -> None:
            asyncio.get_running_loop().call_soon(order.append, "written")

        device = Device("Cam", write_later)
        saving = Saving(device)
        device.define(device.add(ACTIVE))
        await asyncio.sleep(0)
        order.clear()
        await device.receive(New("Cam", ACTIVE.name, Kind.TEXT, {"ACTIVE_TELESCOPE": "New"}))
        assert device._serving is not None
        await device._serving
        await saving._on_disk(lambda: None)

    asyncio.run(change())
    assert order == ["written", "saved"]
