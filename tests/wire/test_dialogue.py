"""Dialogues with a device over its link, byte by byte in, exact bytes out.

``>`` is what the server sends, ``<`` what the driver answers before it rests; times read
``TIME``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from typing import Any

import pytest

from indi_picam.indi.device import Answer, Device
from indi_picam.indi.link import Link
from indi_picam.indi.vectors import (
    Number,
    NumberVector,
    Refused,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
    within_limits,
)

CONNECTION = SwitchVector(
    "CONNECTION",
    "Connection",
    "Main Control",
    (Switch("CONNECT", "Connect"), Switch("DISCONNECT", "Disconnect", True)),
)
DRIVER_INFO = TextVector(
    "DRIVER_INFO", "Driver Info", "General Info", (Text("DRIVER_NAME", "Name", "A & B"),), "ro"
)
EXPOSURE = NumberVector(
    "CCD_EXPOSURE",
    "Expose",
    "Main Control",
    (Number("CCD_EXPOSURE_VALUE", "Duration (s)", 1, 0.01, 3600, 1, "%5.2f"),),
)


def camera(link: Link) -> Device:
    """As small as a camera can be: connecting shows the exposure, which refuses 13 s."""
    device = Device("Cam", link.send)

    async def connect(values: dict[str, Any]) -> Answer:
        if values["CONNECT"]:
            return Answer(then=lambda: device.define(exposure))
        return Answer(State.IDLE, then=lambda: device.delete(exposure))

    async def expose(values: dict[str, Any]) -> Answer:
        within_limits(EXPOSURE, values)
        if values["CCD_EXPOSURE_VALUE"] == 13:
            raise Refused("Not 13 s.")
        return Answer(State.BUSY)

    connection = device.add(CONNECTION, connect)
    exposure = device.add(EXPOSURE, expose, check_limits=False)
    device.define(connection, device.add(DRIVER_INFO))
    return device


DIALOGUES = {
    "defined, connected, exposed, disconnected": """
> <getProperties version='1.7'/>
< <defSwitchVector device="Cam" name="CONNECTION" label="Connection" group="Main Control" \
state="Idle" perm="rw" rule="OneOfMany" timeout="60" timestamp="TIME">
< <defSwitch name="CONNECT" label="Connect">Off</defSwitch>
< <defSwitch name="DISCONNECT" label="Disconnect">On</defSwitch>
< </defSwitchVector>
< <defTextVector device="Cam" name="DRIVER_INFO" label="Driver Info" group="General Info" \
state="Idle" perm="ro" timeout="60" timestamp="TIME">
< <defText name="DRIVER_NAME" label="Name">A &amp; B</defText>
< </defTextVector>
> <?xml version='1.0'?>
> <newSwitchVector device="Cam" name="CONNECTION">
>     <oneSwitch name="CONNECT">
> On
>     </oneSwitch>
> </newSwitchVector>
< <setSwitchVector device="Cam" name="CONNECTION" state="Ok" timeout="60" timestamp="TIME">
< <oneSwitch name="CONNECT">On</oneSwitch>
< <oneSwitch name="DISCONNECT">Off</oneSwitch>
< </setSwitchVector>
< <defNumberVector device="Cam" name="CCD_EXPOSURE" label="Expose" group="Main Control" \
state="Idle" perm="rw" timeout="60" timestamp="TIME">
< <defNumber name="CCD_EXPOSURE_VALUE" label="Duration (s)" format="%5.2f" min="0.01" max="3600" \
step="1">1</defNumber>
< </defNumberVector>
> <newNumberVector device='Cam' name='CCD_EXPOSURE'><oneNumber name='CCD_EXPOSURE_VALUE'>0:0:36\
</oneNumber></newNumberVector>
< <setNumberVector device="Cam" name="CCD_EXPOSURE" state="Busy" timeout="60" timestamp="TIME">
< <oneNumber name="CCD_EXPOSURE_VALUE">0.01</oneNumber>
< </setNumberVector>
""",
    "a request for what is not there yet": """
> <newNumberVector device='Cam' name='CCD_EXPOSURE'><oneNumber name='CCD_EXPOSURE_VALUE'>1\
</oneNumber></newNumberVector>
< <message device="Cam" timestamp="TIME" message="[WARNING] Cam has no property \
&apos;CCD_EXPOSURE&apos; now."/>
> <getProperties version='1.7' device='Cam' name='CCD_EXPOSURE'/>
> <getProperties version='1.7' device='Dome'/>
> <pingRequest uid='1'/>
< <pingReply uid="1"/>
""",
    "all off, and text for what is read-only": """
> <newSwitchVector device='Cam' name='CONNECTION'><oneSwitch name='CONNECT'>Off</oneSwitch>\
<oneSwitch name='DISCONNECT'>Off</oneSwitch></newSwitchVector>
< <setSwitchVector device="Cam" name="CONNECTION" state="Ok" timeout="60" timestamp="TIME">
< <oneSwitch name="CONNECT">Off</oneSwitch>
< <oneSwitch name="DISCONNECT">On</oneSwitch>
< </setSwitchVector>
> <newTextVector device='Cam' name='DRIVER_INFO'><oneText name='DRIVER_NAME'>mine</oneText>\
</newTextVector>
< <setTextVector device="Cam" name="DRIVER_INFO" state="Idle" timeout="60" timestamp="TIME" \
message="[INFO] DRIVER_INFO can only be read.">
< <oneText name="DRIVER_NAME">A &amp; B</oneText>
< </setTextVector>
""",
    "what is no message, and one that breaks": """
> Segmentation fault
> <newSwitchVector device='Cam' name='CONNECTION'><oneSwitch name='CONNECT'>On</newSwitchVector>
> <getProperties version='1.7' device='Cam' name='NONE'/>
< <message device="Cam" timestamp="TIME" message="[WARNING] Ignored what cannot be read: \
There was text outside of any message."/>
< <setSwitchVector device="Cam" name="CONNECTION" state="Alert" timeout="60" timestamp="TIME" \
message="[ERROR] oneSwitch was ended by newSwitchVector.">
< <oneSwitch name="CONNECT">Off</oneSwitch>
< <oneSwitch name="DISCONNECT">On</oneSwitch>
< </setSwitchVector>
""",
}

REFUSED = [
    (
        "<oneNumber name='CCD_EXPOSURE_VALUE'>abc</oneNumber>",
        "{v} is refused, 'abc' is not a number.",
    ),
    (
        "<oneNumber name='CCD_EXPOSURE_VALUE'>nan</oneNumber>",
        "{v} is refused, 'nan' is not a number.",
    ),
    (
        "<oneNumber name='CCD_EXPOSURE_VALUE'>-1</oneNumber>",
        "{v} -1 is refused, allowed is 0.01 to 3600.",
    ),
    ("<oneNumber name='SHUTTER'>1</oneNumber>", "CCD_EXPOSURE has no element 'SHUTTER', only {e}."),
    ("", "The request for CCD_EXPOSURE names none of {e}."),
    ("<oneNumber>1</oneNumber>", "CCD_EXPOSURE has no element '', only {e}."),
    ("<oneNumber name='CCD_EXPOSURE_VALUE'>13</oneNumber>", "Not 13 s."),
]


class Dialogue:
    """The server's end of a link to the camera."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.setblocking(False)

    async def say(self, text: str) -> None:
        for byte in text.encode():
            self.end.send(bytes([byte]))
            await asyncio.sleep(0)

    async def answered(self) -> str:
        """All that the driver says until it rests: nothing in it waits for a time."""
        for _ in range(20):
            await asyncio.sleep(0)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                data += self.end.recv(1 << 16)
        return re.sub(r'timestamp="[\d-]{10}T[\d:]{8}"', 'timestamp="TIME"', data.decode())


def talk(lines: list[str]) -> list[str]:
    """What really was said, in the form of the dialogues."""

    async def scene() -> list[str]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            link = Link(os.dup(ours.fileno()), os.dup(ours.fileno()))
            ours.close()
            device = camera(link)

            async def serve() -> None:
                async for message in link:
                    await device.receive(message)

            serving = asyncio.create_task(serve())
            dialogue = Dialogue(theirs)
            await dialogue.answered()
            said: list[str] = []
            for number, line in enumerate(lines):
                if not line.startswith("> "):
                    continue
                said.append(line)
                await dialogue.say(line[2:] + "\n")
                if number + 1 == len(lines) or not lines[number + 1].startswith("> "):
                    said += [f"< {answer}" for answer in (await dialogue.answered()).splitlines()]
            theirs.close()
            await serving
            return said

    return asyncio.run(asyncio.wait_for(scene(), 30))


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(name: str) -> None:
    lines = DIALOGUES[name].strip().splitlines()
    assert talk(lines) == lines


@pytest.mark.parametrize(("elements", "sentence"), REFUSED)
def test_nonsense_is_answered_once_and_changes_nothing(elements: str, sentence: str) -> None:
    connect = (
        "<newSwitchVector device='Cam' name='CONNECTION'><oneSwitch name='CONNECT'>On</oneSwitch>"
        "</newSwitchVector>"
    )
    request = f"<newNumberVector device='Cam' name='CCD_EXPOSURE'>{elements}</newNumberVector>"
    sentence = sentence.format(e="CCD_EXPOSURE_VALUE", v="CCD_EXPOSURE: CCD_EXPOSURE_VALUE")
    quoted = sentence.replace("'", "&apos;")
    assert talk([f"> {connect}", "", f"> {request}"])[-4:] == [
        f"> {request}",
        '< <setNumberVector device="Cam" name="CCD_EXPOSURE" state="Alert" timeout="60" '
        f'timestamp="TIME" message="[ERROR] {quoted}">',
        '< <oneNumber name="CCD_EXPOSURE_VALUE">1</oneNumber>',
        "< </setNumberVector>",
    ]
