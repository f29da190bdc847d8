"""What is followed of other devices, and what clients tell of the telescope.

    ACTIVE_DEVICES names   followed of it
    the telescope          where it points (of date, J2000), optics, site, side of the pier
    the rotator            its angle
    the focuser            position, temperature
    the filter wheel       slot, names of the filters
    the sky quality meter  brightness of the sky

A device not yet there, or gone again, is waited for; an empty name follows nothing. A value that
cannot be read, makes no sense or was deleted, as at a disconnect, is unknown. (That a driver died
indiserver tells its clients, but no other driver.) :meth:`Snooped.now` gives everything as one
frozen value; the heading group takes it when an exposure begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from indi_picam.ccd.identity import focuser_name
from indi_picam.ccd.surroundings import Surroundings
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import (
    Number,
    NumberVector,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)
from indi_picam.pointing import Equatorial, Site

OPTIONS, WCS = "Options", "WCS"

ACTIVE_DEVICES = TextVector(
    "ACTIVE_DEVICES",
    "Snoop devices",
    OPTIONS,
    (
        Text("ACTIVE_TELESCOPE", "Telescope", "Telescope Simulator"),
        Text("ACTIVE_ROTATOR", "Rotator", "Rotator Simulator"),
        Text("ACTIVE_FOCUSER", "Focuser", "Focuser Simulator"),
        Text("ACTIVE_FILTER", "Filter", "CCD Simulator"),
        Text("ACTIVE_SKYQUALITY", "Sky Quality", "SQM"),
    ),
)
SCOPE_INFO = NumberVector(
    "SCOPE_INFO",
    "Scope",
    OPTIONS,
    (
        Number("FOCAL_LENGTH", "Focal Length (mm)", 0, 0, 10_000, 1, "%g"),
        Number("APERTURE", "Aperture (mm)", 0, 0, 3000, 1, "%g"),
    ),
)
WCS_CONTROL = SwitchVector(
    "WCS_CONTROL",
    "WCS",
    WCS,
    (Switch("WCS_ENABLE", "Enable"), Switch("WCS_DISABLE", "Disable", True)),
    timeout=0,
)
ROTATION = NumberVector(
    "CCD_ROTATION",
    "Orientation",
    WCS,
    (Number("CCD_ROTATION_VALUE", "Angle", 0, -360, 360, 1, "%.2f"),),
)
FOLLOWED = {
    "ACTIVE_TELESCOPE": (
        "EQUATORIAL_EOD_COORD",
        "EQUATORIAL_COORD",
        "TELESCOPE_INFO",
        "GEOGRAPHIC_COORD",
        "TELESCOPE_PIER_SIDE",
    ),
    "ACTIVE_ROTATOR": ("ABS_ROTATOR_ANGLE",),
    "ACTIVE_FOCUSER": ("ABS_FOCUS_POSITION", "FOCUS_TEMPERATURE"),
    "ACTIVE_FILTER": ("FILTER_SLOT", "FILTER_NAME"),
    "ACTIVE_SKYQUALITY": ("SKY_QUALITY",),
}


class Snooped:
    """The properties of one camera about what stands around it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._heard: dict[str, Mapping[str, Any]] = {}
        """What is known of other devices, by the name of their property."""
        self._fresh_j2000 = False
        self._names = dict.fromkeys(FOLLOWED, "")
        self._stops: dict[str, list[Callable[[], None]]] = {role: [] for role in FOLLOWED}
        self._told_of_optics = False
        self._orientation_known = False
        self._active = device.add(ACTIVE_DEVICES, self._set_active, from_start=True)
        self._scope = device.add(SCOPE_INFO)
        self._wcs = device.add(WCS_CONTROL, self._set_wcs)
        self._rotation = device.add(ROTATION, self._set_rotation)

    def follow(self) -> None:
        """Follows the devices that ACTIVE_DEVICES names now, and no others any more."""
        for role, name in self._active.values.items():
            if name == self._names[role]:
                continue
            self._names[role] = name
            for stop in self._stops[role]:
                stop()
            for followed in FOLLOWED[role]:
                self._heard.pop(followed, None)
            self._stops[role] = [
                self._device.snoop(name, followed, self._listener(followed))
                for followed in (FOLLOWED[role] if name else ())
            ]

    def now(self) -> Surroundings:
        """Everything as it stands."""
        of_date, j2000 = self._position("EQUATORIAL_EOD_COORD"), self._position("EQUATORIAL_COORD")
        if of_date is not None and not self._fresh_j2000:
            j2000 = None
        focuser_position = self._number("ABS_FOCUS_POSITION", "FOCUS_ABSOLUTE_POSITION")
        if self._names["ACTIVE_FOCUSER"] == focuser_name(self._device.name):
            focuser_position = None  # each frame tells itself where its lens stood
        return Surroundings(
            telescope=self._names["ACTIVE_TELESCOPE"],
            focal_length_mm=self._optics("FOCAL_LENGTH", "TELESCOPE_FOCAL_LENGTH"),
            aperture_mm=self._optics("APERTURE", "TELESCOPE_APERTURE"),
            of_date=of_date,
            j2000=j2000,
            site=self._site(),
            pier_side=self._pier_side(),
            rotator_angle_deg=self._number("ABS_ROTATOR_ANGLE", "ANGLE"),
            focuser_position=None if focuser_position is None else round(focuser_position),
            focuser_temperature_c=self._number("FOCUS_TEMPERATURE", "TEMPERATURE"),
            filter_name=self._filter_name(),
            sky_brightness=self._number("SKY_QUALITY", "SKY_BRIGHTNESS"),
            orientation_deg=self._rotation["CCD_ROTATION_VALUE"]
            if self._orientation_known
            else None,
        )

    def j2000_used(self) -> None:
        """A frame was given its position: from now on that of date counts, if there is one.

        As INDI::CCD has it: a mount may report J2000 with a slew and never again, while the other
        follows its every move.
        """
        self._fresh_j2000 = False

    def tell_of_missing_optics(self, around: Surroundings) -> None:
        """Says once that the telescope is not known (INDI::CCD says it with every frame)."""
        if self._told_of_optics:
            return
        unknown = [
            name
            for name, value in (
                ("focal length", around.focal_length_mm),
                ("aperture", around.aperture_mm),
            )
            if value is None
        ]
        if unknown:
            self._told_of_optics = True
            self._device.message(
                f"Telescope {' and '.join(unknown)} not known, so not in the FITS header: "
                "set Scope among the options.",
                "WARNING",
            )

    @property
    def shows_rotation(self) -> bool:
        """Whether CCD_ROTATION is to be defined: while world coordinates are on."""
        return bool(self._wcs["WCS_ENABLE"])

    # -- what clients tell -------------------------------------------------------------------------

    async def _set_active(self, asked: Mapping[str, str]) -> Answer:
        return Answer(then=self.follow)

    async def _set_wcs(self, asked: Mapping[str, bool]) -> Answer:
        self._orientation_known = False
        if asked["WCS_ENABLE"]:
            self._device.define(self._rotation)
            return Answer(message="World Coordinate System is enabled.")
        self._device.delete(self._rotation)
        return Answer(message="World Coordinate System is disabled.")

    async def _set_rotation(self, asked: Mapping[str, float]) -> Answer:
        self._orientation_known = True
        angle = asked.get("CCD_ROTATION_VALUE", self._rotation["CCD_ROTATION_VALUE"])
        return Answer(message=f"Camera Orientation updated to {angle:.2f} degrees.")

    # -- what other devices tell -------------------------------------------------------------------

    def _listener(self, followed: str) -> Callable[[dict[str, Any], State], None]:
        def hear(values: dict[str, Any], state: State) -> None:
            self._heard[followed] = values
            if followed == "EQUATORIAL_COORD":
                self._fresh_j2000 = True

        return hear

    def _number(
        self, followed: str, element: str, low: float = -math.inf, high: float = math.inf
    ) -> float | None:
        value = self._heard.get(followed, {}).get(element)
        known = isinstance(value, float) and math.isfinite(value) and low <= value <= high
        return value if known else None

    def _position(self, followed: str) -> Equatorial | None:
        hours = self._number(followed, "RA", 0, 24)
        dec_deg = self._number(followed, "DEC", -90, 90)
        return None if hours is None or dec_deg is None else Equatorial(15 * hours, dec_deg)

    def _site(self) -> Site | None:
        latitude = self._number("GEOGRAPHIC_COORD", "LAT", -90, 90)
        longitude = self._number("GEOGRAPHIC_COORD", "LONG", -180, 360)
        if latitude is None or longitude is None:
            return None
        return Site(latitude, longitude - 360 if longitude > 180 else longitude)

    def _pier_side(self) -> str | None:
        sides = self._heard.get("TELESCOPE_PIER_SIDE", {})
        on = [side for side in ("EAST", "WEST") if sides.get(f"PIER_{side}") is True]
        return on[0] if len(on) == 1 else None

    def _filter_name(self) -> str | None:
        names = list(self._heard.get("FILTER_NAME", {}).values())
        slot = self._number("FILTER_SLOT", "FILTER_SLOT_VALUE", 1, len(names))
        name = None if slot is None else names[round(slot) - 1]
        return name if isinstance(name, str) and name else None

    def _optics(self, element: str, snooped: str) -> float | None:
        """From SCOPE_INFO; 0 is what the mount says, in a property that newer ones have no more."""
        value = self._scope[element] or self._number("TELESCOPE_INFO", snooped)
        return value if value is not None and value > 0 else None
