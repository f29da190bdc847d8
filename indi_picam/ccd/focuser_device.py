"""The lens of a camera as an INDI device of its own: ``<camera name> Focuser``.

    CONNECTION   what is defined
    Off          CONNECTION, DRIVER_INFO
    Busy         the same; the camera is being connected, or expected to be: clients connect all
                 devices of a profile at the same moment
    On           the focuser's properties, as long as the camera is connected

Positions are steps of a hundredth of a dioptre, about a third of what lens drivers resolve: 0 is
infinity, and outward is nearer. A position travels in the order of each exposure, and a frame is
delivered only when its metadata says that the lens stood there (see ``camera/ways.py``); so a move
is over as soon as it is asked for, as far as clients can tell. libcamera's autofocus is off.

Names, labels and order as in INDI's FocuserInterface (indifocuserinterface.cpp). Owned by the
camera device, which tells it of the camera.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress

from indi_picam.camera.modes import CameraFacts, ControlValues, FrameFacts
from indi_picam.ccd.identity import (
    CONNECTION,
    FOCUSER_INTERFACE,
    DriverFacts,
    driver_info,
    focuser_name,
)
from indi_picam.fits import Card
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.messages import Outgoing
from indi_picam.indi.vectors import (
    Number,
    NumberVector,
    Refused,
    Rule,
    State,
    Switch,
    SwitchVector,
)

MAIN_CONTROL = "Main Control"
STEPS_PER_DIOPTRE = 100
MOTION = SwitchVector(
    "FOCUS_MOTION",
    "Direction",
    MAIN_CONTROL,
    (Switch("FOCUS_INWARD", "Focus In", True), Switch("FOCUS_OUTWARD", "Focus Out")),
    state=State.OK,
)
RELATIVE = NumberVector(
    "REL_FOCUS_POSITION",
    "Relative Position",
    MAIN_CONTROL,
    (Number("FOCUS_RELATIVE_POSITION", "Steps", 0, 0, 1, 10, "%.f"),),
    state=State.OK,
)
ABSOLUTE = NumberVector(
    "ABS_FOCUS_POSITION",
    "Absolute Position",
    MAIN_CONTROL,
    (Number("FOCUS_ABSOLUTE_POSITION", "Steps", 0, 0, 1, 10, "%.f"),),
    state=State.OK,
)
LARGEST = NumberVector(
    "FOCUS_MAX",
    "Max. Position",
    MAIN_CONTROL,
    (Number("FOCUS_MAX_VALUE", "Steps", 0, 0, 1, 100, "%.f"),),
    state=State.OK,
)
ABORT = SwitchVector(
    "FOCUS_ABORT_MOTION",
    "Abort Motion",
    MAIN_CONTROL,
    (Switch("ABORT", "Abort"),),
    rule=Rule.AT_MOST_ONE,
)
EXPECTED_S = 3.0
"""Real time in which the camera must begin to connect, when it was not asked to before."""
OPENING_S = 60.0
"""The same to end it; it has limits of its own, which are shorter."""


class FocuserDevice:
    """The INDI device of the lens of one camera."""

    def __init__(
        self,
        camera_name: str,
        driver: DriverFacts,
        send: Callable[[Outgoing], None],
        *,
        from_start: bool,
    ) -> None:
        """``from_start`` shows it before a camera has said that it has a lens."""
        self.indi = Device(focuser_name(camera_name), send)
        self._camera_name = camera_name
        add = self.indi.add
        self._connection = add(CONNECTION, self._connect_or_not, from_start=from_start)
        self._info = add(driver_info(driver, FOCUSER_INTERFACE), from_start=from_start)
        self._motion = add(MOTION)
        self._relative = add(RELATIVE, self._move_by)
        self._absolute = add(ABSOLUTE, self._move_to)
        self._largest = add(LARGEST, self._set_largest)
        self._abort = add(ABORT, self._stop)
        self._range: tuple[int, int] | None = None
        """Least and greatest position of the connected camera's lens; None without one."""
        self._camera_opens = self._camera_is_there = False
        self._camera_told = asyncio.Event()
        """Set when the camera is there, or gone."""

    @property
    def shown(self) -> bool:
        """Whether clients know it."""
        return self._connection.defined

    # -- what the camera device tells and asks ---------------------------------------------------

    def camera_opens(self) -> None:
        """The camera is being connected."""
        self._camera_opens = True

    def camera_opened(self, camera: CameraFacts) -> None:
        """The camera is connected; the focuser is shown from now on if it has a lens."""
        lens = camera.control("LensPosition")
        if lens is None:
            self._range = None
        else:
            low, high = lens.min * STEPS_PER_DIOPTRE, lens.max * STEPS_PER_DIOPTRE
            self._range = (math.ceil(low), math.floor(high))
            self.indi.define(self._connection, self._info)
            self._limit(round(self._largest["FOCUS_MAX_VALUE"]))
        self._camera_opens, self._camera_is_there = False, True
        self._camera_told.set()

    def camera_gone(self) -> None:
        """The camera is not connected, or could not be."""
        self._camera_opens, self._camera_is_there, self._range = False, False, None
        self._camera_told.set()
        if self._is_connected:
            told = f"{self._camera_name} was disconnected, and with it its lens."
            self.indi.set(self._connection, {"DISCONNECT": True}, state=State.IDLE, message=told)
            self._hide()

    @property
    def told(self) -> ControlValues:
        """What the lens is told with each frame; nothing when there is none."""
        if self._range is None:
            return ()
        dioptres = self._position / STEPS_PER_DIOPTRE
        return ("AfMode", (0,)), ("LensPosition", (dioptres,))

    @staticmethod
    def cards(facts: FrameFacts) -> list[Card]:
        """Where the lens stood for a frame, as header cards."""
        if facts.lens_position is None:
            return []
        steps = round(facts.lens_position * STEPS_PER_DIOPTRE)
        return [Card("FOCUSPOS", steps, f"[step] of the lens, {STEPS_PER_DIOPTRE} a dioptre")]

    # -- connection ------------------------------------------------------------------------------

    @property
    def _is_connected(self) -> bool:
        return bool(self._connection["CONNECT"])

    async def _connect_or_not(self, asked: Mapping[str, bool]) -> Answer:
        if asked["CONNECT"] == self._is_connected:
            return Answer(State.OK if asked["CONNECT"] else State.IDLE)
        if not asked["CONNECT"]:
            return Answer(State.IDLE, then=self._hide)
        self.indi.set(self._connection, state=State.BUSY)
        await self._camera_comes()
        if not self._camera_is_there:
            sentence = f"Connect {self._camera_name} first: its focuser moves the lens in front."
            return Answer(State.ALERT, {"DISCONNECT": True}, sentence)
        if self._range is None:
            sentence = f"{self._camera_name} has no lens that can be moved."
            return Answer(State.ALERT, {"DISCONNECT": True}, sentence)
        return Answer(message="The lens moves with the next frame.", then=self._show)

    async def _camera_comes(self) -> None:
        """Waits while the camera is being connected, or may be asked to in a moment."""
        if self._camera_is_there:
            return
        for patience_s in (EXPECTED_S, OPENING_S):
            self._camera_told.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._camera_told.wait(), patience_s)
            if not self._camera_opens:
                return

    def _show(self) -> None:
        self.indi.define(self._motion, self._relative, self._absolute, self._largest, self._abort)

    def _hide(self) -> None:
        self.indi.delete(self._motion, self._relative, self._absolute, self._largest, self._abort)

    # -- moves -------------------------------------------------------------------------------------

    @property
    def _position(self) -> int:
        return int(self._absolute["FOCUS_ABSOLUTE_POSITION"])

    def _limit(self, largest: int) -> None:
        """Tells the limits of positions, all of the lens if ``largest`` is none within them.

        A lens beyond comes back into them.
        """
        low, high = self._range or (0, 1)
        largest = largest if low < largest <= high else high
        position = min(max(self._position, low), largest)
        step = max(1, round((largest - low) / 50))
        self.indi.set(
            self._absolute,
            {"FOCUS_ABSOLUTE_POSITION": position},
            limits={"FOCUS_ABSOLUTE_POSITION": (low, largest, step)},
        )
        self.indi.set(self._relative, limits={"FOCUS_RELATIVE_POSITION": (0, largest - low, step)})
        if (known := self._largest)["FOCUS_MAX_VALUE"] != largest or not known.defined:
            limits = {"FOCUS_MAX_VALUE": (low + 1, high, step)}
            self.indi.set(known, {"FOCUS_MAX_VALUE": largest}, limits=limits)

    async def _move_to(self, asked: Mapping[str, float]) -> Answer:
        return Answer(values={name: round(steps) for name, steps in asked.items()})

    async def _move_by(self, asked: Mapping[str, float]) -> Answer:
        steps = round(asked["FOCUS_RELATIVE_POSITION"])
        inward = self._motion["FOCUS_INWARD"]
        position = self._position - steps if inward else self._position + steps
        (limits,) = self._absolute.vector.elements
        if not isinstance(limits, Number) or not limits.min <= position <= limits.max:
            raise Refused(
                f"{steps} steps {'inward' if inward else 'outward'} from {self._position} would end"
                f" at {position}, beyond the lens."
            )
        moved = {"FOCUS_ABSOLUTE_POSITION": position}
        return Answer(
            values={"FOCUS_RELATIVE_POSITION": steps},
            then=lambda: self.indi.set(self._absolute, moved, state=State.OK),
        )

    async def _set_largest(self, asked: Mapping[str, float]) -> Answer:
        largest = round(asked["FOCUS_MAX_VALUE"])
        return Answer(values={"FOCUS_MAX_VALUE": largest}, then=lambda: self._limit(largest))

    async def _stop(self, asked: Mapping[str, bool]) -> Answer:
        # A move is over when it has been answered.
        return Answer(values={"ABORT": False})
