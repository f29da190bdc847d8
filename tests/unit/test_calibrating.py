"""The calibration properties when measuring fails in a way that nobody foresaw."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from indi_picam.camera.remote import RemoteCamera
from indi_picam.capture.compressing import Compressor
from indi_picam.capture.engine import Engine, State
from indi_picam.capture.plan import ExposurePlan, FrameType
from indi_picam.ccd.calibrating import Calibrating, CalibrationExchange
from indi_picam.ccd.uploading import Uploading
from indi_picam.indi.device import Device
from indi_picam.indi.messages import New, Outgoing, Set
from indi_picam.indi.vectors import Kind
from indi_picam.indi.vectors import State as Light
from tests.unit.header_rig import MODE, REQUEST


class Broken(RemoteCamera):
    """Fails with what is no CameraFault."""

    @property
    def alive(self) -> bool:
        raise LookupError("of our own making")


def test_an_unforeseen_fault_ends_measuring_with_a_sentence() -> None:
    sent: list[Outgoing] = []

    async def measure() -> None:
        device = Device("Cam", sent.append)
        engine = Engine(Broken("camera"), on_trouble=lambda sentence: None)
        engine.state = State.IDLE
        plan = ExposurePlan(REQUEST, MODE, FrameType.LIGHT)
        calibrating = Calibrating(
            device,
            engine,
            link=cast(Any, None),
            uploading=Uploading(device),
            exchange=CalibrationExchange(
                plan=lambda exposure_s: plan,
                cards=lambda plan, facts: (),
                refuse_while_running=lambda: None,
                directory=lambda: None,
                compressor=Compressor(),
                on_figures=lambda: None,
            ),
        )
        device.define(device["CALIBRATE"])
        calibrating.mode_changed(MODE)
        await device.receive(New("Cam", "CALIBRATE", Kind.SWITCH, {"MEASURE": "On"}))
        while len(told()) < 2:
            await asyncio.sleep(0)
        calibrating.refuse_while_measuring()
        await calibrating.disconnected()

    def told() -> list[Set]:
        return [each for each in sent if isinstance(each, Set) and each.name == "CALIBRATE"]

    asyncio.run(measure())
    assert [each.state for each in told()] == [Light.BUSY, Light.ALERT]
    assert "of our own making" in str(told()[1].message)
