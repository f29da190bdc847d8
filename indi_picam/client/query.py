"""`picam query`: what a camera can do as it is set, how many frames fit, how long a batch takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from indi_picam.client.device import Device, connected_device
from indi_picam.client.heard import Server


def run(
    server: Server,
    name: str | None,
    count: int | None,
    exposure_s: float | None,
    *,
    as_json: bool,
) -> None:
    """Prints the facts, as a table or as JSON; raises Failure when there is no such camera."""
    device = connected_device(server, name, "CCD_EXPOSURE", "CCD_INFO")
    facts = _facts(device) | _estimate(device, count, exposure_s)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    table = Table(show_header=False, title=device.name)
    for label, words in _lines(facts):
        table.add_row(label, words)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _facts(device: Device) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "device": device.name,
        "driver": device.text("DRIVER_INFO", "DRIVER_EXEC"),
        "version": device.text("DRIVER_INFO", "DRIVER_VERSION"),
        "model": device.text("CALIBRATION_STATE", "SUBJECT").partition(" ")[0] or None,
        "width": int(device.number("CCD_INFO", "CCD_MAX_X")),
        "height": int(device.number("CCD_INFO", "CCD_MAX_Y")),
        "pixel_um": device.number("CCD_INFO", "CCD_PIXEL_SIZE"),
        "bits": int(device.number("CCD_INFO", "CCD_BITSPERPIXEL")),
    }
    for key, property, element in (
        ("exposure_s", "CCD_EXPOSURE", "CCD_EXPOSURE_VALUE"),
        ("gain", "CCD_GAIN", "GAIN"),
        ("iso", "PICAM_ISO", "ISO"),
        ("binning", "CCD_BINNING", "HOR_BIN"),
    ):
        known = device.get(property)
        limits = known.limits.get(element) if known is not None else None
        facts[key] = {"min": limits[0], "max": limits[1]} if limits else None
        if limits and key != "exposure_s":
            facts[key]["now"] = device.number(property, element)
    for key, property in (("modes", "PICAM_MODE"), ("formats", "CCD_CAPTURE_FORMAT")):
        known = device.get(property)
        facts[key] = [known.labels[name] for name in known.values] if known else []
        facts[key[:-1]] = known.labels[known.selected] if known and known.selected else None
    has_adc, has_thermometer = device.get("PICAM_ADC"), device.get("CCD_TEMPERATURE")
    facts["adc_bits"] = int(device.number("PICAM_ADC", "BITS")) if has_adc else None
    facts["temperature_c"] = (
        device.number("CCD_TEMPERATURE", "CCD_TEMPERATURE_VALUE") if has_thermometer else None
    )
    return facts


def _estimate(device: Device, count: int | None, exposure_s: float | None) -> dict[str, Any]:
    """Of a batch; the camera's last one, where not told."""
    asked_for = device.get("ESTIMATE_FOR")
    if asked_for is None:
        return {"estimate": None, "calibration": None}
    count = count or int(device.number("ESTIMATE_FOR", "COUNT"))
    if exposure_s is None:
        exposure_s = device.number("ESTIMATE_FOR", "EXPOSURE")
    before = device.connection.heard
    device.change("ESTIMATE_FOR", {"COUNT": float(count), "EXPOSURE": exposure_s})

    def told() -> str | None:
        known = device.get("ESTIMATE")
        return known.state if known is not None and known.number > before else None

    state = device.connection.wait_for(told, 5)
    known, measured = device.get("ESTIMATE"), device.get("CALIBRATION")
    values = {name.lower(): value for name, value in known.values.items()} if known else {}
    return {
        "estimate": {
            "count": count,
            "exposure_s": exposure_s,
            "possible": state != "Alert",
            "measured": state == "Ok",
            "frame_bytes": int(values.get("frame_bytes", 0)),
            "frames_in_memory": int(values.get("in_memory", 0)),
            "frames_on_disk": int(values.get("on_disk", 0)),
            "taken_s": values.get("taken"),
            "delivered_s": values.get("delivered"),
        },
        "calibration": {
            "holds_for": device.text("CALIBRATION_STATE", "VERSIONS"),
            "state": device.text("CALIBRATION_STATE", "WORDS"),
            **(
                {name.lower(): value for name, value in measured.values.items()} if measured else {}
            ),
        },
    }


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "driver", f"{facts['driver']} {facts['version']}"
    if facts["model"]:
        yield "model", facts["model"]
    yield "frame", f"{facts['width']} x {facts['height']} pixels of {facts['pixel_um']:g} µm"
    depth = f"{facts['bits']} bit"
    yield "pixel values", depth + (f", true depth {facts['adc_bits']}" if facts["adc_bits"] else "")
    for key in ("modes", "formats"):
        if facts[key]:
            yield key, ", ".join(f"{m} (now)" if m == facts[key[:-1]] else m for m in facts[key])
    for key, unit in (("exposure_s", " s"), ("gain", ""), ("iso", ""), ("binning", "")):
        if limits := facts[key]:
            now = f", now {limits['now']:g}" if "now" in limits else ""
            yield key.removesuffix("_s"), f"{limits['min']:g} to {limits['max']:g}{unit}{now}"
    if facts["temperature_c"] is not None:
        yield "temperature", f"{facts['temperature_c']:.1f} °C"
    if estimate := facts["estimate"]:
        yield "file of a frame", f"{estimate['frame_bytes'] / 1e6:.2f} MB"
        fit = f"{estimate['frames_in_memory']} in memory, {estimate['frames_on_disk']} on disk"
        yield "frames that fit", fit
        batch = f"{estimate['count']} x {estimate['exposure_s']:g} s"
        if not estimate["possible"]:
            yield batch, "would be refused: too long an exposure, or too many frames"
            return
        basis = "" if estimate["measured"] else " (not measured yet: picam calibrate)"
        taken_s, delivered_s = estimate["taken_s"], estimate["delivered_s"]
        yield batch, f"{taken_s:.1f} s until taken, {delivered_s:.1f} s until delivered{basis}"
