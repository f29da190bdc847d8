"""A connection to an INDI server, on pyindi-client: what was heard, changes, waits with a limit.

pyindi-client calls back in a thread of its own, hands out views into C++ memory that may vanish,
and ends the process when a callback raises. So a callback does one thing: it copies what it was
given into a frozen value and queues it; files wait there too when too many are queued, so that a
slow disk here slows the server down instead of filling the memory. Everything else happens in the
caller's thread, in :meth:`Connection.wait_for`. Knows INDI, but no camera.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import PyIndi

from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Asked, Blob, Message, Property, Server
from indi_picam.client.stop import Stop

T = TypeVar("T")
MOST_FILES_QUEUED = 3


@dataclass(frozen=True, slots=True)
class _Gone:
    device: str
    name: str | None


class _Lost:
    pass


_Event = Property | Blob | Message | _Gone | _Lost


def _copied(view: PyIndi.Property) -> Property:
    values: dict[str, float | str | bool] = {}
    limits: dict[str, tuple[float, float]] = {}
    labels: dict[str, str] = {}
    has_many = False
    kind = view.getType()
    if kind == PyIndi.INDI_NUMBER:
        for number in PyIndi.PropertyNumber(view):
            values[number.getName()] = number.getValue()
            limits[number.getName()] = number.getMin(), number.getMax()
            labels[number.getName()] = number.getLabel()
    elif kind == PyIndi.INDI_SWITCH:
        switches = PyIndi.PropertySwitch(view)
        has_many = switches.getRule() == PyIndi.ISR_NOFMANY
        for switch in switches:
            values[switch.getName()] = switch.getState() == PyIndi.ISS_ON
            labels[switch.getName()] = switch.getLabel()
    elif kind == PyIndi.INDI_TEXT:
        for text in PyIndi.PropertyText(view):
            values[text.getName()] = text.getText() or ""
            labels[text.getName()] = text.getLabel()
    return Property(
        view.getDeviceName(),
        view.getName(),
        view.getStateAsString(),
        values,
        limits,
        labels,
        view.getLabel(),
        view.getGroupName(),
        view.getPermission() != PyIndi.IP_RO,
        has_many,
    )


class _Listener(PyIndi.BaseClient):
    """Copies and queues, in pyindi-client's thread; an exception here would end the process."""

    def __init__(self, events: queue.SimpleQueue[_Event]) -> None:
        super().__init__()
        self._events = events
        self.room = threading.Semaphore(MOST_FILES_QUEUED)

    def newProperty(self, view: PyIndi.Property) -> None:
        self._events.put(_copied(view))

    def updateProperty(self, view: PyIndi.Property) -> None:
        if view.getType() == PyIndi.INDI_BLOB:
            for blob in PyIndi.PropertyBlob(view):
                if blob.getSize() > 0:
                    self.room.acquire()
                    file = Blob(
                        view.getDeviceName(), view.getName(), blob.getFormat(), blob.getblobdata()
                    )
                    self._events.put(file)
        else:
            self._events.put(_copied(view))

    def removeProperty(self, view: PyIndi.Property) -> None:
        self._events.put(_Gone(view.getDeviceName(), view.getName()))

    def removeDevice(self, view: PyIndi.BaseDevice) -> None:
        self._events.put(_Gone(view.getDeviceName(), None))

    def newMessage(self, view: PyIndi.BaseDevice, index: int) -> None:
        self._events.put(Message(view.getDeviceName(), view.messageQueue(index)))

    def serverDisconnected(self, _status: int) -> None:
        self._events.put(_Lost())


_KEPT: list[_Listener] = []


class Connection:
    """A client of one server, until the process ends; used by one thread at a time.

    It cannot be closed: pyindi-client's destructor waits for its thread, which may itself be
    waiting for Python, for ever. So it is kept alive, and ``__main__`` ends the process without
    destructors.

    Raises:
        Failure: there is no server at that address.
    """

    def __init__(self, server: Server, stop: Stop) -> None:
        """Waits end with KeyboardInterrupt when ``stop`` says so."""
        self.server = server
        self.stop = stop
        self.properties: dict[tuple[str, str], Property] = {}
        self.blobs: list[Blob] = []
        self.messages: deque[Message] = deque(maxlen=1000)
        """What devices said, in the order it came."""
        self.departures: Counter[str] = Counter()
        """How often each device went away as a whole."""
        self.heard = 0
        """How many events were heard."""
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self.lost = False
        host, port = server
        self._knock(host, port)
        self._listener = _Listener(self._events)
        _KEPT.append(self._listener)
        self._listener.setServer(host, port)
        with _silent_stderr:
            connected = self._listener.connectServer()
        if not connected:
            raise Failure(Exit.NO_SERVER, f"{self.server} answers, but not as an INDI server.")

    def _knock(self, host: str, port: int) -> None:
        """One plain connection first: pyindi-client does not say why it cannot connect."""
        try:
            socket.create_connection((host, port), timeout=5).close()
        except socket.gaierror:
            raise Failure(
                Exit.NO_SERVER, f"There is no computer named {host} in this network."
            ) from None
        except ConnectionRefusedError:
            raise Failure(
                Exit.NO_SERVER,
                f"No INDI server runs at {self.server}. Start one there: indiserver indi_picam",
            ) from None
        except OSError as error:
            reason = (
                "no answer within 5 s"
                if isinstance(error, TimeoutError)
                else error.strerror or str(error)
            )
            raise Failure(
                Exit.NO_SERVER, f"The INDI server at {self.server} cannot be reached: {reason}."
            ) from None

    @property
    def devices(self) -> list[str]:
        """Names of the devices known so far, sorted."""
        return sorted({device for device, _name in self.properties})

    def get(self, device: str, name: str) -> Property | None:
        """A property as last heard of, None while it is not defined."""
        return self.properties.get((device, name))

    def complaint(self, device: str, since: int) -> str | None:
        """The last warning or error of a device after the event numbered ``since``."""
        for message in reversed(self.messages):
            if message.is_serious and message.device == device and message.number > since:
                return message.sentence
        return None

    def send(self, device: str, name: str, asked: Asked) -> int:
        """Asks for new values; returns the number of the last event heard before that."""
        self._take_all_waiting()
        vector = _vector(asked)
        vector.setDeviceName(device)
        vector.setName(name)
        self._listener.sendNewProperty(vector)
        return self.heard

    def want_blobs(self, device: str, name: str) -> None:
        """Asks the server to send the files of one property too."""
        self._listener.setBLOBMode(PyIndi.B_ALSO, device, name)

    def wait_for(
        self,
        condition: Callable[[], T | None],
        limit_s: float,
        tick: Callable[[], None] | None = None,
    ) -> T | None:
        """What ``condition`` gives once it gives something, or None when the limit passes.

        It is asked after every event; ``tick`` is called about ten times a second meanwhile.

        Raises:
            Failure: the connection was lost.
            KeyboardInterrupt: the user does not want to wait.
        """
        limit = time.monotonic() + limit_s
        while True:
            self._take_all_waiting()
            self.stop.check()
            if (found := condition()) is not None:
                return found
            left = limit - time.monotonic()
            if left <= 0:
                return None
            if tick is not None:
                tick()
            try:
                self._take(self._events.get(timeout=min(left, 0.1)))
            except queue.Empty:
                continue

    def wait_for_quiet(self, quiet_s: float, limit_s: float) -> None:
        """Returns when nothing was heard for ``quiet_s``: INDI marks no end of definitions."""
        last, at = self.heard, time.monotonic()

        def quiet() -> bool | None:
            nonlocal last, at
            if self.heard != last:
                last, at = self.heard, time.monotonic()
            return True if time.monotonic() - at >= quiet_s else None

        self.wait_for(quiet, limit_s)

    def _take_all_waiting(self) -> None:
        while True:
            if self.lost:
                raise Failure(
                    Exit.CONNECTION_LOST,
                    f"The connection to the INDI server at {self.server} was lost.",
                )
            try:
                self._take(self._events.get_nowait())
            except queue.Empty:
                return

    def _take(self, event: _Event) -> None:
        self.heard += 1
        match event:
            case Property():
                key = event.device, event.name
                self.properties[key] = replace(event, number=self.heard)
            case Blob():
                self._listener.room.release()
                self.blobs.append(event)
            case Message():
                self.messages.append(replace(event, number=self.heard))
            case _Gone(device=device, name=name):
                self.departures[device] += name in (None, "CONNECTION")
                for key in [
                    key for key in self.properties if key[0] == device and name in (None, key[1])
                ]:
                    del self.properties[key]
            case _Lost():
                self.lost = True


def _vector(asked: Asked) -> PyIndi.Property:
    if isinstance(asked, str):
        asked = {asked: True}
    if all(isinstance(value, bool) for value in asked.values()):
        switches = PyIndi.PropertySwitch(len(asked))
        if len(asked) > 1:
            switches.setRule(PyIndi.ISR_NOFMANY)  # or only the first that is On would be sent
        for switch, (name, is_on) in zip(switches, asked.items(), strict=True):
            switch.setName(name)
            switch.setState(PyIndi.ISS_ON if is_on else PyIndi.ISS_OFF)
        return switches
    if all(isinstance(value, str) for value in asked.values()):
        texts = PyIndi.PropertyText(len(asked))
        for text, (name, words) in zip(texts, asked.items(), strict=True):
            text.setName(name)
            text.setText(cast(str, words))
        return texts
    numbers = PyIndi.PropertyNumber(len(asked))
    for number, (name, value) in zip(numbers, asked.items(), strict=True):
        number.setName(name)
        number.setValue(float(cast(float, value)))
    return numbers


class _SilentStderr:
    """Keeps libindi's own remarks about connecting, written by C++ to fd 2, from the user.

    One thread at a time, or one would put back what another had put away.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def __enter__(self) -> None:
        self._turn.acquire()
        self._kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_exception: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
        self._turn.release()


_silent_stderr = _SilentStderr()
