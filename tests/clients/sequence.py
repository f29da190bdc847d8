"""Ekos sequence files (``.esq``): jobs as a table in a test writes them, as XML in the form Ekos
reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

UPLOAD_CLIENT, UPLOAD_LOCAL, UPLOAD_BOTH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Job:
    """A row of Ekos' queue. Sizes are unbinned pixels; a frame of None leaves it as it is."""

    name: str
    exposure_s: float = 0.1
    count: int = 1
    frame: tuple[int, int, int, int] | None = None
    binning: int = 1
    format: str = "Raw"
    upload: int = UPLOAD_CLIENT
    type: str = "Light"
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Properties to set before the job, by vector and element."""


def write(file: Path, jobs: Sequence[Job], pictures: Path, on_camera: Path) -> None:
    """Writes a queue; each job saves below its name, in KStars and on the camera."""
    queue = Element("SequenceQueue", version="2.6")
    SubElement(queue, "GuideDeviation", enabled="false").text = "2"
    SubElement(queue, "GuideStartDeviation", enabled="false").text = "2"
    for job in jobs:
        _add(SubElement(queue, "Job"), job, pictures, on_camera)
    ElementTree(queue).write(file, "utf-8", xml_declaration=True)


def _add(element: Element, job: Job, pictures: Path, on_camera: Path) -> None:
    x, y, width, height = job.frame or (0, 0, 0, 0)
    texts = {
        "Exposure": job.exposure_s,
        "Format": job.format,
        "Encoding": "FITS",
        "Binning": {"X": job.binning, "Y": job.binning},
        "Frame": {"X": x, "Y": y, "W": width, "H": height},
        "Type": job.type,
        "Count": job.count,
        "Delay": 0,
        "TargetName": job.name,
        "GuideDitherPerJob": -1,
        "FITSDirectory": pictures / job.name,
        "PlaceholderFormat": "/%t/%t_%T",
        "PlaceholderSuffix": 3,
        "UploadMode": job.upload,
        **({"RemoteDirectory": on_camera / job.name} if job.upload else {}),
        "Calibration": {"PreAction": {"Type": 0}},
    }
    _fill(element, texts)
    SubElement(element, "Temperature", force="false").text = "0"
    flat = SubElement(element.find("Calibration"), "FlatDuration", dark="false")  # type: ignore[arg-type]
    SubElement(flat, "Type").text = "Manual"
    properties = SubElement(element, "Properties")
    for name, numbers in job.numbers.items():
        vector = SubElement(properties, "PropertyVector", name=name)
        for key, value in numbers.items():
            SubElement(vector, "OneElement", name=key).text = str(value)


def _fill(element: Element, texts: Mapping[str, object]) -> None:
    for name, value in texts.items():
        child = SubElement(element, name)
        if isinstance(value, Mapping):
            _fill(child, value)
        else:
            child.text = str(value)
