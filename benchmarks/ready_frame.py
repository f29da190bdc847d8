"""The floor: a driver of a few lines that only hands over a frame which is ready.

``python -m benchmarks.ready_frame``, started by indiserver. When an exposure is asked for it fills
a memfd, says that the exposure is over, and attaches the memfd: from that moment on it does what no
driver can leave out, and nothing else.
"""

from __future__ import annotations

import array
import os
import re
import socket

DEVICE = "Ready Frame"
SIZE = int(os.environ.get("INDI_PICAM_BENCHMARK_BYTES", 4056 * 3040 * 2 + 2880))

_DEFINITIONS = f"""
<defSwitchVector device="{DEVICE}" name="CONNECTION" label="" group="" state="Ok" perm="rw"
 rule="OneOfMany"><defSwitch name="CONNECT">On</defSwitch></defSwitchVector>
<defNumberVector device="{DEVICE}" name="CCD_EXPOSURE" label="" group="" state="Idle" perm="rw">
<defNumber name="CCD_EXPOSURE_VALUE" format="%g" min="0" max="9" step="0">0</defNumber>
</defNumberVector>
<defBLOBVector device="{DEVICE}" name="CCD1" label="" group="" state="Idle" perm="ro">
<defBLOB name="CCD1"/></defBLOBVector>
"""
_VALUE = '<oneNumber name="CCD_EXPOSURE_VALUE">0</oneNumber></setNumberVector>\n'
_OVER = f'<setNumberVector device="{DEVICE}" name="CCD_EXPOSURE" state="Busy">{_VALUE}'
_DONE = f'<setNumberVector device="{DEVICE}" name="CCD_EXPOSURE" state="Ok">{_VALUE}'
_PICTURE = (
    f'<setBLOBVector device="{DEVICE}" name="CCD1" state="Ok"><oneBLOB name="CCD1" size="{SIZE}"'
    f' len="{SIZE}" format=".fits" attached="true"/></setBLOBVector>\n'
)


def main() -> None:
    """Serves until the server closes its end."""
    server = socket.socket(fileno=os.dup(1))
    pixels = os.urandom(SIZE)
    asked = b""
    while data := os.read(0, 65536):
        asked += data
        if b"getProperties" in asked:
            server.sendall(_DEFINITIONS.encode())
        for _ in re.findall(b"</newNumberVector>", asked):
            _hand_over(server, pixels)
        asked = asked[asked.rfind(b">") + 1 :]


def _hand_over(server: socket.socket, pixels: bytes) -> None:
    memory = os.memfd_create("ready frame")
    os.write(memory, pixels)
    server.sendall(_OVER.encode())
    rights = array.array("i", [memory])
    server.sendmsg([_PICTURE.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os.close(memory)
    server.sendall(_DONE.encode())


if __name__ == "__main__":
    main()
