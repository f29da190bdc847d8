"""`picam calibrate`: has the driver measure the camera, and shows what it found."""

from __future__ import annotations

import sys
from contextlib import suppress

from rich.console import Console
from rich.table import Table

from indi_picam.client.device import Device, connected_device
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Property, Server

LIMIT_S = 600.0
"""Some frames, of which the longest are the sensor's bad ones after a start, and a slow network."""


def run(server: Server, name: str | None) -> None:
    """Measures, and prints the figures.

    Raises:
        Failure: the driver does not measure, refuses, or fails.
    """
    device = connected_device(server, name)
    if device.get("CALIBRATE") is None:
        raise Failure(
            Exit.CAMERA, f"{device.name} cannot be calibrated: its driver does not do it."
        )
    # Without the frame that is sent, delivery would be measured to nobody.
    device.connection.want_blobs(device.name, "CALIBRATION1")
    before = device.connection.heard
    device.change("CALIBRATE", "MEASURE", until_done=False)
    try:
        while (ended := device.connection.wait_for(lambda: _ended(device), 1.0)) is None:
            device.pass_on()
            if device.get("CALIBRATE") is None or device.has_gone:
                raise Failure(Exit.CAMERA, f"{device.name} went away while it was measured.")
    except KeyboardInterrupt:
        with suppress(Failure):
            device.change("CALIBRATE", "ABORT", 5)
        raise
    device.connection.wait_for_quiet(0.2, 2)
    if ended.state == "Alert":
        raise device.refusal("to be calibrated", "CALIBRATE", before)
    if ended.state == "Idle":
        raise Failure(Exit.CAMERA, "Measuring was ended before it was finished.")
    device.pass_on()
    print_figures(device)


def _ended(device: Device) -> Property | None:
    known = device.get("CALIBRATE")
    return known if known is not None and known.state != "Busy" else None


def print_figures(device: Device) -> None:
    """Prints a table of what was measured."""
    figures = device.get("CALIBRATION")
    if figures is None:
        return
    table = Table(title=device.text("CALIBRATION_STATE", "SUBJECT") or None)
    table.add_column("measured")
    table.add_column("", justify="right")
    for element, value in figures.values.items():
        table.add_row(figures.labels.get(element, element), f"{value:g}" if value else "-")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if versions := device.text("CALIBRATION_STATE", "VERSIONS"):
        print(f"Holds for {versions}")
