"""One INDI device as `picam` talks to it: connected, asked for changes, found again when lost.

Every wait has a limit, and what the driver says about a refusal reaches the user. Called by what
knows cameras and batches; knows neither.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from indi_picam.client.connection import Connection
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.finding import FIND_LIMIT_S, find
from indi_picam.client.heard import Asked, Property, Server
from indi_picam.client.stop import Requests, Stop

CONNECT_LIMIT_S = 60.0
CHANGE_LIMIT_S = 15.0


def open_device(server: Server, name: str | None, say: Callable[[str], None], stop: Stop) -> Device:
    """The camera of that name, or the only one of a server; raises Failure if there is none."""
    connection = Connection(server, stop)
    return Device(connection, find(connection, name), say)


def connected_device(server: Server, name: str | None, *needed: str) -> Device:
    """The same, connected, for commands that take no pictures; its sentences go to stderr."""
    device = open_device(
        server, name, lambda sentence: print(sentence, file=sys.stderr), Stop(Requests())
    )
    device.connect(*needed)
    return device


class Device:
    """A camera of a server, by device name; ``say`` takes sentences for the user."""

    def __init__(self, connection: Connection, name: str, say: Callable[[str], None]) -> None:
        self.connection = connection
        self.name = name
        self.say = say
        self._needed: tuple[str, ...] = ()
        self._departures = 0
        self._warned: set[str] = set()
        self._passed_on = 0

    def get(self, name: str) -> Property | None:
        """A property of this device as last heard of."""
        return self.connection.get(self.name, name)

    def number(self, name: str, element: str) -> float:
        """A number as last heard of; 0 while there is none."""
        known = self.get(name)
        return float(known.values.get(element, 0)) if known is not None else 0.0

    def text(self, name: str, element: str) -> str:
        """A text as last heard of; empty while there is none."""
        known = self.get(name)
        return str(known.values.get(element, "")) if known is not None else ""

    @property
    def has_gone(self) -> bool:
        """Whether its driver ended since it was connected."""
        return self.connection.departures[self.name] > self._departures

    def connect(self, *needed: str) -> None:
        """Has the driver connect to the camera, and waits for what is needed of it.

        Raises:
            Failure: it does not connect, or does not have what is needed.
        """
        connection = self.connection
        if connection.wait_for(lambda: self.get("CONNECTION"), FIND_LIMIT_S) is None:
            raise Failure(Exit.NO_DEVICE, f"{self.name} has no CONNECTION: it cannot be used.")
        self._departures = connection.departures[self.name]
        known = self.get("CONNECTION")
        if known is None or not known.values.get("CONNECT") or known.state != "Ok":
            self.change("CONNECTION", "CONNECT", CONNECT_LIMIT_S)
        if connection.wait_for(lambda: all(map(self.get, needed)) or None, FIND_LIMIT_S) is None:
            missing = " and ".join(name for name in needed if self.get(name) is None)
            raise Failure(Exit.NO_DEVICE, f"{self.name} has no {missing}: it cannot take pictures.")
        connection.wait_for_quiet(0.2, 2)
        self._needed = needed
        self._passed_on = connection.heard

    def come_back(self, limit_s: float) -> None:
        """Finds the device again after its driver or its server was lost, and connects it.

        Raises:
            Failure: it did not come back in that time.
        """
        deadline = time.monotonic() + limit_s
        while True:
            try:
                if self.connection.lost:
                    self.connection = Connection(self.connection.server, self.connection.stop)
                find(self.connection, self.name, max(1.0, deadline - time.monotonic()))
                self.connect(*self._needed)
            except Failure:
                if time.monotonic() > deadline:
                    raise
                self._pause(1.0)
            else:
                return

    def _pause(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.connection.stop.check()
            time.sleep(0.05)

    def change(
        self,
        name: str,
        asked: Asked,
        limit_s: float = CHANGE_LIMIT_S,
        *,
        until_done: bool = True,
    ) -> Property:
        """Sends one change and waits for the driver's answer to it.

        Without ``until_done`` Busy is an answer: what was asked for has begun.

        Raises:
            Failure: the driver refuses (with its sentence), or does not answer.
        """
        before = self.connection.send(self.name, name, asked)

        def answer() -> Property | None:
            known = self.get(name)
            is_new = known is not None and known.number > before
            return (
                known if known and is_new and not (until_done and known.state == "Busy") else None
            )

        def good_answer() -> Property | None:
            found = answer()
            return found if found is not None and found.state != "Alert" else None

        answered = self.connection.wait_for(answer, limit_s)
        if answered is not None and answered.state == "Alert":
            # The sentence may come after the state, and libindi repeats an old Alert before an Ok.
            answered = self.connection.wait_for(good_answer, 0.3) or answered
        if answered is None:
            raise Failure(
                Exit.TIMED_OUT,
                f"{self.name} did not answer {name} {_shown(asked)} within {limit_s:g} s: "
                "is it alive?",
            )
        if answered.state == "Alert":
            raise self.refusal(f"{name} {_shown(asked)}", name, before)
        return answered

    def refusal(self, what: str, name: str, since: int) -> Failure:
        """What to tell when the driver answered Alert: its own sentence, or the limits."""
        sentence = self.connection.complaint(self.name, since)
        if sentence is None:
            known = self.get(name)
            limits = known.limits if known is not None else {}
            ranges = ", ".join(
                f"{element} {low:g} to {high:g}" for element, (low, high) in limits.items()
            )
            sentence = "no reason given" + (f"; the limits are {ranges}" if ranges else "")
        return Failure(Exit.CAMERA, f"{self.name} refused {what}: {sentence}")

    def sentences(self, since: int) -> list[str]:
        """What the driver said after the event numbered ``since``, warnings left out."""
        return [
            message.sentence
            for message in self.connection.messages
            if message.number > since and message.device == self.name and not message.is_serious
        ]

    def pass_on(self) -> None:
        """Tells the user what the driver said since the last time; each warning once."""
        for message in self.connection.messages:
            if message.number <= self._passed_on or message.device != self.name:
                continue
            if not message.is_serious:
                self.say(message.sentence)
            elif message.sentence not in self._warned:
                self._warned.add(message.sentence)
                self.say(f"{self.name}: {message.sentence}")
        self._passed_on = self.connection.heard


def _shown(asked: Asked) -> str:
    if isinstance(asked, Mapping):
        return ", ".join(
            f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}"
            for name, value in asked.items()
        )
    return asked
