"""Every message survives the wire as it was, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from indi_picam.camera import messages
from indi_picam.camera.messages import Message, decode, encode
from indi_picam.camera.modes import (
    CameraFacts,
    CaptureFormat,
    ControlLimits,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    Orientation,
    Roi,
    SensorMode,
    Way,
)

MODE = SensorMode(4056, 3040, 12)
CAMERA = CameraFacts(
    camera_id="/base/soc/i2c0mux/i2c@1/imx477@1a",
    model="imx477",
    pixel_size_um=(1.55, 1.55),
    pixel_array=(4056, 3040),
    modes=(MODE, SensorMode(1332, 990, 10)),
    exposure_max_us=(694_422_939, 0),
    has_temperature=True,
)
GRANTED = ModeFacts(
    mode=MODE,
    raw_format="R12",
    bayer_pattern=None,
    pixel_size_um=(1.55, 1.55),
    exposure_min_us=114,
    exposure_max_us=694_422_939,
    exposure_step_us=28.6,
    gain_min=1.0,
    gain_max=22.26,
    frame_duration_min_us=100_000,
    frame_duration_max_us=694_434_742,
    buffers=2,
)
FRAME = FrameFacts(
    exposure_us=99_972,
    gain=3.9961,
    digital_gain=1.001,
    frame_duration_us=100_600,
    sensor_timestamp_ns=2**62,
    completed_ns=2**62 + 1,
    temperature_c=None,
    black_level=4096.0,
    saturation=65520,
    width=4056,
    height=3040,
    bayer_pattern="BGGR",
    header_room=8640,
    datasum=2**32 - 1,
    way=Way.PRIMER,
    skipped=3,
    dropped=2,
)
REQUEST = FrameRequest(MODE, 100_000, 4.0, Roi(1, 3, 641, 480), way=Way.FREE_RUNNING)
PICTURE: dict[str, Any] = {
    "format": CaptureFormat.MONO,
    "orientation": Orientation(vflip=True),
    "controls": (("ColourGains", (2.0, 1.5)), ("AwbEnable", (0.0,))),
}
CONTROLS = (
    ControlLimits("Contrast", 0.0, 32.0, 1.0),
    ControlLimits("ColourGains", 0.0, 32.0, None),
)

MESSAGES: list[Message] = [
    messages.Open(CAMERA.camera_id),
    messages.Configure(MODE),
    messages.Configure(MODE, Orientation(hflip=True)),
    messages.Take(7, REQUEST),
    messages.Take(8, dataclasses.replace(REQUEST, way=None, bin_x=2, bin_y=2, count=20)),
    messages.Take(9, dataclasses.replace(REQUEST, **PICTURE)),
    messages.Abort(),
    messages.Close(),
    messages.Opened(CAMERA),
    messages.Opened(dataclasses.replace(CAMERA, controls=CONTROLS, corrects_defects=True)),
    messages.Configured(GRANTED),
    messages.Began(7, 2**62),
    messages.Finished(7, FRAME),
    messages.Finished(7, dataclasses.replace(FRAME, temperature_c=-12.0, bayer_pattern=None)),
    messages.Finished(
        8,
        dataclasses.replace(
            FRAME,
            format=CaptureFormat.RGB,
            lens_position=0.5,
            colour_gains=(2.25, 1.5),
            colour_temperature_k=4500,
            corrects_defects=False,
        ),
    ),
    messages.Stopped(),
    messages.Failed(None, "Something \u201codd\u201d \u2013 \U0001f52d", False),
    messages.Failed(7, "", True),
    messages.Alive(0.25),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_were(message: Message) -> None:
    packet = encode(message)
    assert len(packet) < messages.MAX_BYTES
    again = decode(packet)
    assert again == message
    assert type(again) is type(message)


def test_no_message_is_left_out_above() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize(
    "packet",
    [b"", b"[]", b"{}", b'["Nonsense", {}]', b'["Open", {}]', b'["Abort", {"x": 1}]', b"\xff"],
)
def test_rubbish_is_refused(packet: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(packet)
