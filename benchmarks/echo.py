"""The floor of answers: a driver that sends every value back as it came, and does nothing else.

``python -m benchmarks.echo``, started by indiserver beside another driver: what it is late is what
server, scheduler and machine are late.
"""

from __future__ import annotations

import os
import re

DEVICE = "Echo"
_DEFINITION = f"""
<defNumberVector device="{DEVICE}" name="ECHO" label="" group="" state="Idle" perm="rw">
<defNumber name="VALUE" format="%g" min="0" max="0" step="0">0</defNumber></defNumberVector>
"""
_ANSWER = (
    f'<setNumberVector device="{DEVICE}" name="ECHO" state="Ok"><oneNumber name="VALUE">'
    "%s</oneNumber></setNumberVector>\n"
)


def main() -> None:
    """Serves until the server closes its end."""
    asked = b""
    while data := os.read(0, 65536):
        asked += data
        if b"getProperties" in asked:
            os.write(1, _DEFINITION.encode())
        for value in re.findall(rb">\s*([-+.\d]+)\s*</oneNumber>", asked):
            os.write(1, (_ANSWER % value.decode()).encode())
        asked = asked[asked.rfind(b">") + 1 :]


if __name__ == "__main__":
    main()
