"""One D-Bus service seen from a test: calls, properties, and every signal it sent, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    Properties,
    new_method_call,
)
from jeepney import message_bus as bus_itself
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import unwrap_msg


@dataclass(frozen=True, slots=True)
class Signal:
    """What a service told of its own accord."""

    path: str
    member: str
    body: tuple[Any, ...]


class Service:
    """A connection to a bus that talks with one service on it. Every wait has a limit."""

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self.signals: list[Signal] = []
        self._connection = open_dbus_connection(address)
        for rule in (
            MatchRule(type="signal", sender=name),
            MatchRule(type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged"),
        ):
            self._ask(bus_itself.AddMatch(rule), 5)

    def is_there(self) -> bool:
        """Whether the service has come up."""
        return bool(self._ask(bus_itself.NameHasOwner(self.name), 5)[0])

    def call(
        self, path: str, interface: str, method: str, signature: str = "", *arguments: object
    ) -> Any:
        """What a method returns: its one value, or a tuple. DBusErrorResponse if it cannot."""
        address = DBusAddress(path, self.name, interface)
        answer = self._ask(new_method_call(address, method, signature, arguments), 30)
        return answer[0] if len(answer) == 1 else answer

    def get(self, path: str, interface: str, name: str) -> Any:
        """The value of a property."""
        address = DBusAddress(path, self.name, interface)
        return self._ask(Properties(address).get(name), 30)[0][1]

    def wait(
        self, wanted: Callable[[], Any], what: str, timeout: float = 20, again: float = 0.2
    ) -> Any:
        """What ``wanted`` returns once that is true; asked after each signal, and now and then."""
        deadline = time.monotonic() + timeout
        while not (found := wanted()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"waited {timeout} s in vain for {what}")
            try:
                self._keep(self._connection.receive(timeout=min(left, again)))
            except TimeoutError:
                pass
        return found

    def told(self, member: str, since: int = 0) -> list[tuple[Any, ...]]:
        """What the signals of a name said, from a position of ``signals`` on."""
        return [signal.body for signal in self.signals[since:] if signal.member == member]

    def close(self) -> None:
        """Leaves the bus."""
        self._connection.close()

    def _ask(self, message: Message, timeout: float) -> Sequence[Any]:
        serial = next(self._connection.outgoing_serial)
        self._connection.send(message, serial=serial)
        deadline = time.monotonic() + timeout
        while True:
            answer = self._connection.receive(timeout=max(deadline - time.monotonic(), 0))
            if answer.header.fields.get(HeaderFields.reply_serial) == serial:
                return tuple(unwrap_msg(answer))
            self._keep(answer)

    def _keep(self, message: Message) -> None:
        if message.header.message_type is MessageType.signal:
            fields = message.header.fields
            self.signals.append(
                Signal(fields[HeaderFields.path], fields[HeaderFields.member], message.body)
            )
