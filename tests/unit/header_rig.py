"""The groups that make a header beyond the camera, with devices and clients to talk to them."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import Any

from astropy.io import fits as astropy_fits
from astropy.io.fits import Header

from indi_picam import clock, fits
from indi_picam.camera.modes import (
    FITS_BLOCK,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    Roi,
    SensorMode,
    Way,
)
from indi_picam.capture.plan import ExposurePlan, FrameType
from indi_picam.ccd.heading import Heading
from indi_picam.ccd.snooped import Snooped
from indi_picam.indi.decoder import Decoder
from indi_picam.indi.device import Device
from indi_picam.indi.encoder import encode
from indi_picam.indi.messages import Outgoing, Set

MODE = ModeFacts(
    mode=SensorMode(4056, 3040, 12),
    raw_format="SBGGR12",
    bayer_pattern="BGGR",
    pixel_size_um=(1.55, 1.55),
    exposure_min_us=114,
    exposure_max_us=694_000_000,
    exposure_step_us=28.6,
    gain_min=1.0,
    gain_max=22.26,
    frame_duration_min_us=99_990,
    frame_duration_max_us=694_400_000,
    buffers=2,
)
REQUEST = FrameRequest(MODE.mode, 2_000_000, 2.0, Roi(0, 0, 4056, 3040), bin_x=2, bin_y=2)
MOUNT = "Telescope Simulator"
M42 = (5.608, -5.37)
"""Where M 42 was in 2026, of date, in hours and degrees."""


class Rig:
    """The groups under test on a device of their own, clients and other devices to talk to them."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.device = Device("Cam", self.sent.append)
        self.snooped = Snooped(self.device)
        self.heading = Heading(self.device, self.snooped)
        for name in ("SCOPE_INFO", "WCS_CONTROL", "FITS_HEADER"):
            self.device.define(self.device[name])
        self.snooped.follow()
        self.sent.clear()

    async def hear(self, xml: str) -> None:
        """What the server passes on, as bytes."""
        for message in Decoder().feed(xml.encode()):
            await self.device.receive(message)
        if self.device._serving is not None:
            await self.device._serving

    async def mount_points(self, ra: object, dec: object) -> None:
        """The mount tells where it points, of date; None is not told."""
        await self.number("EQUATORIAL_EOD_COORD", RA=ra, DEC=dec)

    async def number(self, name: str, device: str = MOUNT, /, **values: object) -> None:
        """Another device defines numbers; a value of None is left out."""
        ones = "".join(
            f"<defNumber name='{key}' label='' format='%g' min='0' max='0' step='0'>{value}"
            "</defNumber>"
            for key, value in values.items()
            if value is not None
        )
        await self.hear(
            f"<defNumberVector device='{device}' name='{name}' state='Ok' perm='rw'>{ones}"
            "</defNumberVector>"
        )

    async def ask(self, kind: str, name: str, **values: object) -> Set:
        """A client asks; the one answer."""
        ones = "".join(f"<one{kind} name='{key}'>{one}</one{kind}>" for key, one in values.items())
        self.sent.clear()
        await self.hear(f"<new{kind}Vector device='Cam' name='{name}'>{ones}</new{kind}Vector>")
        (answer,) = [m for m in self.sent if isinstance(m, Set)]
        encode(answer)
        return answer

    async def write(self, name: str = "", value: str = "", comment: str = "") -> Set:
        """A client writes a keyword."""
        return await self.ask(
            "Text", "FITS_HEADER", KEYWORD_NAME=name, KEYWORD_VALUE=value, KEYWORD_COMMENT=comment
        )

    def header(self, frame_type: FrameType = FrameType.LIGHT, **facts: Any) -> Header:
        """The header of a whole file, as astropy reads it without a complaint."""
        memory = os.memfd_create("frame")
        os.ftruncate(memory, fits.HEADER_ROOM + FITS_BLOCK)
        now_ns = clock.monotonic_ns()
        told = FrameFacts(
            exposure_us=2_000_000,
            gain=2.0,
            digital_gain=1.0,
            frame_duration_us=2_100_000,
            sensor_timestamp_ns=now_ns,
            completed_ns=now_ns,
            temperature_c=None,
            black_level=4096.0,
            saturation=65520,
            width=40,
            height=30,
            bayer_pattern=None,
            header_room=fits.HEADER_ROOM,
            datasum=0,
            way=Way.RESTART,
            skipped=0,
            dropped=0,
        )
        told = replace(told, **facts)
        plan = ExposurePlan(REQUEST, MODE, frame_type)
        cards = [
            fits.Card("INSTRUME", "Cam"),
            *fits.exposure_cards(REQUEST, told, MODE),
            *self.heading.cards(plan, told),
        ]
        file = fits.finish(memory, told, cards)
        content = os.pread(file.memory, file.size, 0)
        os.close(file.memory)
        with astropy_fits.open(io.BytesIO(content), checksum=True) as hdus:
            hdus.verify("exception")
            return hdus[0].header

    def next_header(self, at_s: float) -> Header:
        """The header of a light frame that begins so many seconds from now, as it is told."""
        at_ns = clock.monotonic_ns() + int(at_s * 1e9)
        self.heading.exposure_began(at_ns)
        return self.header(sensor_timestamp_ns=at_ns + 2_000_000_000)
