"""The buttons of a program that a user would press, found by what they tell people who cannot see.

For what a program does not offer over D-Bus. Needs Qt's bridge to AT-SPI, the accessibility bus.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.clients.bus import Service

ACCESSIBLE = "org.a11y.atspi.Accessible"
ROOT = "/org/a11y/atspi/accessible/root"
BIG = {"table", "tree", "combo box", "menu", "menu bar"}
"""Roles of what holds much and no button."""


def press(session_bus: str, description: str) -> None:
    """Presses the one button that describes itself so, in the one program of a desktop."""
    session = Service(session_bus, "org.a11y.Bus")
    address = session.call("/org/a11y/bus", "org.a11y.Bus", "GetAddress")
    session.close()
    registry = Service(address, "org.a11y.atspi.Registry")
    programs = registry.wait(
        lambda: registry.call(ROOT, ACCESSIBLE, "GetChildren"), "an accessible program"
    )
    registry.close()
    program = Service(address, programs[0][0])
    found = [
        path
        for path, role in _below(program, ROOT)
        if role == "push button" and program.get(path, ACCESSIBLE, "Description") == description
    ]
    assert len(found) == 1, f"{len(found)} buttons say {description!r}"
    assert program.call(found[0], "org.a11y.atspi.Action", "DoAction", "i", 0)
    program.close()


def _below(program: Service, path: str) -> Iterator[tuple[str, str]]:
    for _, child in program.call(path, ACCESSIBLE, "GetChildren"):
        role = program.call(child, ACCESSIBLE, "GetRoleName")
        yield child, role
        if role not in BIG:
            yield from _below(program, child)
