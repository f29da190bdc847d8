"""The stand-in offers nothing that libcamera's real Python bindings lack.

``real_bindings.json`` lists the names, members, arguments, numbers and types of the real ones; it
says itself of which version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Simulation

REAL: dict[str, Any] = json.loads(Path(__file__).with_name("real_bindings.json").read_text())

INVENTORY = """
import enum, inspect, json, types
import libcamera
from libcamera import _libcamera

def members(cls):
    found = {}
    for name, value in vars(cls).items():
        if name.startswith("_") or isinstance(value, type):
            continue
        if isinstance(value, property):
            found[name] = {"kind": "readwrite" if value.fset else "readonly"}
        elif isinstance(value, staticmethod):
            found[name] = {"kind": "static"}
        elif isinstance(value, types.FunctionType):
            found[name] = {"kind": "method", "args": list(inspect.signature(value).parameters)[1:]}
        else:
            found[name] = {"kind": "value"}
    init = vars(cls).get("__init__")
    if init:
        found["__init__"] = {"kind": "method", "args": list(inspect.signature(init).parameters)[1:]}
    return found

classes = {}
def walk(cls, name):
    if issubclass(cls, enum.Enum):
        classes[name] = {"kind": "enum", "members": {m: {"kind": "value"} for m in cls.__members__}}
        return
    classes[name] = {"kind": "class", "members": members(cls)}
    for inner, value in vars(cls).items():
        if isinstance(value, type) and not inner.startswith("_"):
            walk(value, f"{name}.{inner}")

def ids(holder):
    found = {}
    for name in dir(holder):
        value = getattr(holder, name)
        if isinstance(value, libcamera.ControlId):
            found[name] = {"id": value.id, "type": value.type.name, "vendor": value.vendor}
            if value.size:
                found[name]["size"] = "n" if value.size == (1 << 64) - 1 else value.size
        elif name.endswith("Enum"):
            found.setdefault(name[:-4], {})["enum"] = {m.name: m.value for m in value}
        elif isinstance(value, type) and not name.startswith("_"):
            found[name] = ids(value)
    return found

plain = [name for name in dir(libcamera) if not name.startswith("_")]
for name in plain:
    if name not in ("controls", "properties"):
        walk(getattr(libcamera, name), name)
assert all(getattr(_libcamera, name) is getattr(libcamera, name) for name in plain)
print(json.dumps({"classes": classes, "controls": ids(libcamera.controls),
                  "properties": ids(libcamera.properties)}))
"""

# Not to be made from Python with the real ones; ours are made by the stand-in itself, in Python.
MADE_INSIDE = {
    "Camera",
    "CameraConfiguration",
    "CameraManager",
    "ControlId",
    "ControlInfo",
    "FrameMetadata",
    "FrameMetadata.Plane",
    "Request",
    "Stream",
    "StreamConfiguration",
    "StreamFormats",
}


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    simulation = Simulation(tmp_path_factory.mktemp("bindings"))
    code, output, errors = simulation.python(INVENTORY)
    assert code == 0, errors
    return json.loads(output)


def test_every_class_and_member_is_real(offered: Any) -> None:
    assert set(offered["classes"]) <= set(REAL["classes"])
    for name, found in offered["classes"].items():
        real = REAL["classes"][name]
        assert found["kind"] == real["kind"], name
        invented = set(found["members"]) - set(real["members"])
        if name in MADE_INSIDE:
            invented -= {"__init__"}
        assert not invented, f"{name} has {invented}, which the real one lacks"
        for member, described in found["members"].items():
            if member in real["members"]:
                got, wanted = described["kind"], real["members"][member]["kind"]
                # CameraManager.version is a property of the class itself.
                assert got == wanted or (got, wanted) == ("value", "readonly"), (name, member)


def test_argument_names_are_the_real_ones(offered: Any) -> None:
    for name, found in offered["classes"].items():
        for member, real in REAL["classes"][name]["members"].items():
            if "args" in real and member in found["members"]:
                assert found["members"][member]["args"] == real["args"], (name, member)


@pytest.mark.parametrize("kind", ["controls", "properties"])
def test_controls_have_the_real_numbers_types_and_enumerators(offered: Any, kind: str) -> None:
    found, real = dict(offered[kind]), dict(REAL[kind])
    for vendor in ("draft", "rpi"):
        if vendor in found:
            compare(found.pop(vendor), real.pop(vendor), vendor)
    compare(found, real, "libcamera")


def compare(found: Any, real: Any, vendor: str) -> None:
    assert len(found) > 0
    for name, described in found.items():
        assert described.pop("vendor") == vendor, name
        assert described == real[name], name


def test_listing_cameras_needs_nothing_heavy(simulation: Simulation) -> None:
    simulation.cameras = "imx477,imx477,imx290@pi5"
    code, output, errors = simulation.python(
        "import json, sys, libcamera\n"
        "cameras = libcamera.CameraManager.singleton().cameras\n"
        "print(json.dumps([[camera.id for camera in cameras], list(sys.modules)]))"
    )
    assert code == 0, errors
    ids, modules = json.loads(output)
    assert ids == [
        "/base/soc/i2c0mux/i2c@1/imx477@1a",
        "/base/soc/i2c0mux/i2c@0/imx477@1a",
        "/base/axi/pcie@1000120000/rp1/i2c@88000/imx290@1a",
    ]
    assert not {"numpy", "subprocess", "dataclasses", "logging"} & set(modules)


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("Size(1.5, 2)", "TypeError"),
        ("Size(-1, 2)", "TypeError"),
        ("Rectangle(0, 0, 2.0, 2)", "TypeError"),
        ("PixelFormat(1.5)", "TypeError"),
        ("Transform(rotation=45)", "ValueError"),
        ("FrameBuffer.Plane(0, -1, 5)", "TypeError"),
        ("request.set_control(controls.ExposureTime, 20000.0)", "RuntimeError"),
        ("request.set_control(controls.ExposureTime, 1 << 31)", "RuntimeError"),
        ("request.set_control(controls.ExposureTime, '5')", "RuntimeError"),
        ("request.set_control(controls.FrameDurationLimits, (1, 2.5))", "RuntimeError"),
        ("request.set_control(controls.AnalogueGain, 'high')", "RuntimeError"),
        ("request.set_control('ExposureTime', 5)", "TypeError"),
        ("request.set_control(controls.ScalerCrop, (0, 0, 1, 1))", "RuntimeError"),
        ("request.set_control(controls.ExposureTime, (1 << 31) - 1)", None),
        ("request.set_control(controls.AnalogueGain, 2)", None),
        ("request.set_control(controls.AwbEnable, 0)", None),
        ("request.set_control(controls.draft.NoiseReductionMode,"
         " controls.draft.NoiseReductionModeEnum.Off)", None),
        ("hash(Size(1, 2))", "TypeError"),
        ("hash(Transform()) and hash(ColorSpace.Sycc())", None),
    ],
)  # fmt: skip
def test_conversions_are_as_strict_as_the_real_ones(
    simulation: Simulation, expression: str, error: str | None
) -> None:
    code, output, errors = simulation.python(
        "from libcamera import *\n"
        "request = CameraManager.singleton().cameras[0].create_request(3)\n"
        f"try:\n    {expression}\n    print('None')\n"
        "except Exception as error:\n    print(type(error).__name__)"
    )
    assert code == 0, errors
    assert output.strip() == str(error)
