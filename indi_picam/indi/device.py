"""One INDI device: its properties, what clients ask of them, and what it follows of other devices.

Every request (``new*``) is answered with exactly one ``set*``, whatever its handler does:

=================================  ==============================================================
request                            answer
=================================  ==============================================================
nonsense                           values unchanged, Alert (Busy stays Busy), a sentence
refused by the guard or handler    the refusal's values (none) and state (Alert), its sentence
fits, handler returns              the Answer's values and state
fits, no handler                   the values asked for, Ok
one of many with all Off           values unchanged, Ok
for a read-only property           values and state unchanged, a sentence
for a property not defined         no set (clients know none), a message of the device
handler fails otherwise            values unchanged, Alert, a sentence; traceback to stderr
=================================  ==============================================================

Requests are handled one after the other in the order they came; a handler is therefore short, and
what lasts runs as a task of its own. ``getProperties`` is answered at once, between the steps of a
running handler too. Knows no camera and no descriptor: ``send`` takes what goes out. The rooms
above declare properties here.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from indi_picam.indi.journal import note
from indi_picam.indi.messages import (
    Def,
    DelProperty,
    GetProperties,
    Incoming,
    Malformed,
    Message,
    New,
    Outgoing,
    Set,
    SetBlob,
)
from indi_picam.indi.vectors import (
    AnyVector,
    Limits,
    NumberVector,
    Refused,
    State,
    SwitchVector,
    requested,
)

Level = Literal["INFO", "WARNING", "ERROR", "DEBUG"]
SnoopUpdate = Callable[[dict[str, Any], State], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A handler's answer; ``values`` None takes what was asked, ``then`` runs after the set."""

    state: State = State.OK
    values: Mapping[str, Any] | None = None
    message: str | None = None
    then: Callable[[], None] | None = None


Handler = Callable[[dict[str, Any]], Awaitable[Answer | None]]
"""Gets the checked values (see ``vectors``); returns Answer, or None for Ok; may raise Refused."""


class Property:
    """A property of a device as it is now; only its device changes it."""

    __slots__ = ("check_limits", "defined", "handler", "vector")

    def __init__(self, vector: AnyVector, handler: Handler | None, check_limits: bool) -> None:
        self.vector = vector
        self.handler = handler
        self.check_limits = check_limits
        self.defined = False

    @property
    def name(self) -> str:
        """Its name on the wire."""
        return self.vector.name

    @property
    def state(self) -> State:
        """Its present state."""
        return self.vector.state

    @property
    def values(self) -> dict[str, Any]:
        """Its present values by element name."""
        return self.vector.values

    @property
    def selected(self) -> str | None:
        """The name of the switch that is On; None when none is, or when it is no switch vector."""
        return self.vector.selected if isinstance(self.vector, SwitchVector) else None

    def __getitem__(self, element: str) -> Any:
        return self.vector.values[element]


@dataclass(slots=True, eq=False)
class _Snoop:
    device: str
    name: str
    on_update: SnoopUpdate
    values: dict[str, Any] = field(default_factory=dict)


class Device:
    """A device under its name; ``send`` queues a message for the server and never blocks."""

    def __init__(self, name: str, send: Callable[[Outgoing], None]) -> None:
        self.name = name
        self.tells: Callable[[Level, str], bool] = lambda level, text: level != "DEBUG"
        """Asked with every sentence: whether clients shall see it."""
        self.guard: Callable[[Property, Mapping[str, Any]], None] = lambda known, asked: None
        """Asked before a request is handled; may raise Refused."""
        self.on_change: list[Callable[[Property], None]] = []
        """Told of each request that was followed, after its answer."""
        self._send = send
        self._properties: dict[str, Property] = {}
        self._defined: list[Property] = []
        self._snoops: list[_Snoop] = []
        self._requests: deque[New | Malformed] = deque()
        self._serving: asyncio.Task[None] | None = None

    # -- properties ----------------------------------------------------------------------

    def add(
        self,
        declaration: AnyVector,
        handler: Handler | None = None,
        *,
        check_limits: bool = True,
        from_start: bool = False,
    ) -> Property:
        """Register a property, not yet visible; it may replace an undefined one of that name.

        Without a handler every fitting request is taken. ``check_limits`` False leaves the limits
        of numbers to the handler (``vectors.within_limits``). With ``from_start`` it is visible,
        and told with the first getProperties, which every server sends at once. ValueError when
        the name is defined now.
        """
        known = self._properties.get(declaration.name)
        if known is not None and known.defined:
            raise ValueError(f"{declaration.name} is defined; delete it first")
        declaration = declaration.with_values(declaration.values)
        self._properties[declaration.name] = added = Property(declaration, handler, check_limits)
        if from_start:
            added.defined = True
            self._defined.append(added)
        return added

    def __getitem__(self, name: str) -> Property:
        """The property of that name, defined or not; KeyError when it was never added."""
        return self._properties[name]

    def shows(self, name: str) -> bool:
        """Whether a property of that name is defined now."""
        return name in self._properties and self._properties[name].defined

    def define(self, *properties: Property) -> None:
        """Make properties visible, in this order; nothing happens to those that are."""
        for shown in properties:
            if not shown.defined:
                shown.defined = True
                self._defined.append(shown)
                self._send(Def(self.name, shown.vector, _now()))

    def delete(self, *properties: Property) -> None:
        """Make properties vanish; they keep their values and may be defined again."""
        for gone in properties:
            if gone.defined:
                gone.defined = False
                self._defined.remove(gone)
                self._send(DelProperty(self.name, gone.name, _now()))

    def set(
        self,
        changed: Property,
        values: Mapping[str, Any] | None = None,
        *,
        state: State | None = None,
        limits: Mapping[str, Limits] | None = None,
        message: str | None = None,
        level: Level | None = None,
        tell: bool = True,
    ) -> None:
        """Change values, state or limits, and tell the clients when the property is defined.

        The message is an error when the state is Alert, unless a level says otherwise. With
        ``tell`` False it is left to the next set to tell what changed.
        ValueError, with nothing changed or sent, for an element it has not or a number that is not
        finite.
        """
        vector = changed.vector.with_values(values or {})
        if limits:
            if not isinstance(vector, NumberVector):
                raise ValueError(f"{vector.name} has no limits")
            vector = vector.with_limits(limits)
        if state is not None:
            vector = replace(vector, state=state)
        changed.vector = vector
        if not tell:
            return
        if message is not None:
            by_state: Level = "ERROR" if vector.state is State.ALERT else "INFO"
            message = self._told(level or by_state, message)
        if changed.defined:
            self._send(
                Set(
                    device=self.name,
                    name=vector.name,
                    kind=vector.kind,
                    values=vector.values,
                    state=vector.state,
                    timeout=vector.timeout,
                    limits=limits or {},
                    timestamp=_now(),
                    message=message,
                )
            )
        elif message is not None:
            self._send(Message(self.name, message, _now()))

    def send_blob(
        self,
        changed: Property,
        element: str,
        attachment: int,
        *,
        size: int,
        format: str,
        length: int | None = None,
    ) -> None:
        """Deliver a BLOB as ``SetBlob`` says; its descriptor belongs to the link from now on."""
        changed.vector = replace(changed.vector, state=State.OK)
        self._send(
            SetBlob(
                device=self.name,
                name=changed.name,
                element=element,
                format=format,
                size=size,
                attachment=attachment,
                length=length,
                timeout=changed.vector.timeout,
                timestamp=_now(),
            )
        )

    def message(self, text: str, level: Level = "INFO") -> None:
        """Tell the user a sentence; clients show ``[LEVEL]`` as INDI's own logger writes it."""
        if told := self._told(level, text):
            self._send(Message(self.name, told, _now()))

    def _told(self, level: Level, text: str) -> str | None:
        return f"[{level}] {text}" if self.tells(level, text) else None

    # -- what others say -----------------------------------------------------------------

    def snoop(self, device: str, name: str, on_update: SnoopUpdate) -> Callable[[], None]:
        """Follow a property of another device, there already or not; call what is returned to stop.

        ``on_update`` gets all values known of it and its state; an empty dict when it is gone.
        """
        snoop = _Snoop(device, name, on_update)
        self._snoops.append(snoop)
        self._send(GetProperties(device, name))

        def stop() -> None:
            if snoop in self._snoops:
                self._snoops.remove(snoop)

        return stop

    async def receive(self, message: Incoming) -> None:
        """Take one message of the server; a request is only queued until its turn comes."""
        match message:
            case GetProperties(device, name) if device in (None, self.name):
                for shown in list(self._defined):
                    if name in (None, shown.name):
                        self._send(Def(self.name, shown.vector, _now()))
            case New() if message.device == self.name:
                self._queue(message)
            case Malformed() if message.device in (None, self.name):
                self._queue(message)
            case Def() | Set() | DelProperty() | Malformed():
                self._heard(message)

    def _heard(self, message: Def | Set | DelProperty | Malformed) -> None:
        for snoop in [snoop for snoop in self._snoops if snoop.device == message.device]:
            match message:
                case Def(_, vector) if vector.name == snoop.name:
                    snoop.values = vector.values
                    self._tell(snoop, vector.state)
                case Set() if message.name == snoop.name:
                    snoop.values |= message.values
                    self._tell(snoop, message.state or State.OK)
                case Malformed(_, _, snoop.name, request=False):
                    # A value that is no number, say: what was known before holds no more.
                    snoop.values = {}
                    self._tell(snoop, State.ALERT)
                case DelProperty(_, name) if name in (None, snoop.name):
                    snoop.values = {}
                    self._tell(snoop, State.IDLE)
                    if name is None:
                        # Asked again, or a server that forgets with the device would never tell of
                        # its return. Not for one property: libindi's drivers would answer with
                        # what they have just deleted.
                        self._send(GetProperties(snoop.device, snoop.name))

    def _tell(self, snoop: _Snoop, state: State) -> None:
        try:
            snoop.on_update(dict(snoop.values), state)
        except Exception:
            what = f"{self.name}: following {snoop.device} {snoop.name}"
            note(f"{what} failed.\n{traceback.format_exc()}")

    # -- requests ------------------------------------------------------------------------

    async def apply(self, requests: Iterable[New]) -> None:
        """Handle saved settings now, answered like a client's; skip what is undefined or read-only.

        Only from within a handler, or before the first message is received: requests stay one
        after the other.
        """
        for request in requests:
            known = self._properties.get(request.name)
            if known is not None and known.defined and known.vector.perm != "ro":
                await self._handle(known, request)

    def _queue(self, request: New | Malformed) -> None:
        self._requests.append(request)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        while self._requests:
            request = self._requests.popleft()
            known = self._properties.get(request.name or "")
            if isinstance(request, Malformed):
                self._answer_malformed(known, request)
            elif known is None or not known.defined:
                self.message(f"{self.name} has no property {request.name[:63]!r} now.", "WARNING")
            elif known.vector.perm == "ro":
                self.set(known, message=f"{known.name} can only be read.")
            else:
                await self._handle(known, request)

    async def _handle(self, known: Property, request: New) -> None:
        try:
            values = requested(
                known.vector, request.kind, request.values, check_limits=known.check_limits
            )
        except Refused as refusal:
            self._refuse_nonsense(known, str(refusal))
            return
        try:
            answer = Answer(values={})
            if values is not None:
                self.guard(known, values)
                answer = (known.handler and await known.handler(values)) or Answer()
            shown = values if answer.values is None else answer.values
            self.set(known, shown, state=answer.state, message=answer.message)
        except Refused as refusal:
            sentence = str(refusal)
            self.set(known, refusal.values, state=refusal.state, message=sentence, level="ERROR")
            return
        except Exception as fault:
            note(f"{self.name}: {known.name} failed.\n{traceback.format_exc()}")
            self.set(
                known,
                state=State.ALERT,
                message=f"{known.name} failed inside the driver: {fault!r}.",
            )
            return
        try:
            if answer.then is not None:
                answer.then()
            for tell in self.on_change:
                tell(known)
        except Exception as fault:
            note(f"{self.name}: what follows {known.name} failed.\n{traceback.format_exc()}")
            self.message(f"What follows {known.name} failed inside the driver: {fault!r}.", "ERROR")

    def _refuse_nonsense(self, known: Property, sentence: str) -> None:
        """What was begun before goes on, so its Busy stays."""
        state = State.BUSY if known.vector.state is State.BUSY else State.ALERT
        self.set(known, state=state, message=sentence, level="ERROR")

    def _answer_malformed(self, known: Property | None, broken: Malformed) -> None:
        if broken.request and known is not None and known.defined:
            self._refuse_nonsense(known, broken.sentence)
        else:
            self.message(f"Ignored what cannot be read: {broken.sentence}", "WARNING")


def _now() -> str:
    return _timestamp(int(time.time()))


@lru_cache(maxsize=1)
def _timestamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
