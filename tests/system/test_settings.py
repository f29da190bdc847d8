"""Settings, modes, names and missing cameras through a real indiserver."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from astropy.io import fits

from tests.system.client import picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect

ALWAYS = [
    "CONNECTION",
    "DRIVER_INFO",
    "POLLING_PERIOD",
    "DEBUG",
    "CONFIG_PROCESS",
    "ACTIVE_DEVICES",
]


def test_definitions_come_in_the_order_of_indi_ccd(server: Server) -> None:
    client = server.tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition(ALWAYS[-1])
    told = [m.get("name") for m in client.log if m.tag.startswith("def")]
    assert (told[: len(ALWAYS)], set(told)) == (ALWAYS, set(ALWAYS))
    position = len(client.log)
    client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    client.definition("PICAM_FRAME", since=position)
    new = client.log[position:]
    connected = next(
        i for i, m in enumerate(new) if m.get("name") == "CONNECTION" and m.get("state") == "Ok"
    )
    told = [m.get("name", "") for m in new[connected + 1 :] if m.tag.startswith("def")]
    assert told[: told.index("PICAM_FRAME") + 1] == [
        "CCD_EXPOSURE",
        "CCD_ABORT_EXPOSURE",
        "CCD_FRAME",
        "CCD_FRAME_RESET",
        "CCD_BINNING",
        "FITS_HEADER",
        "CCD_TEMPERATURE",
        "CCD_CAPTURE_FORMAT",
        "CCD_TRANSFER_FORMAT",
        "CCD_INFO",
        "CCD_COMPRESSION",
        "CCD1",
        "CCD_FRAME_TYPE",
        "CCD_CFA",
        "SCOPE_INFO",
        "WCS_CONTROL",
        "UPLOAD_MODE",
        "UPLOAD_SETTINGS",
        "CCD_FAST_TOGGLE",
        "CCD_FAST_COUNT",
        "CCD_GAIN",
        "PICAM_ISO",
        "PICAM_MODE",
        "PICAM_FLIP",
        "PICAM_VALUES",
        "PICAM_WHITE_BALANCE",
        "PICAM_COLOUR_GAINS",
        "PICAM_BRIGHTNESS",
        "PICAM_CONTRAST",
        "PICAM_SATURATION",
        "PICAM_SHARPNESS",
        "PICAM_NOISE_REDUCTION",
        "PICAM_EXPOSURE_MODE",
        "PICAM_METERING",
        "PICAM_ADC",
        "PICAM_FRAME",
    ]


def test_a_mode_change_tells_geometry_and_limits_in_one_burst(server: Server) -> None:
    client = server.tcp()
    connect(client)
    position = len(client.log)
    client.new("Switch", DEVICE, "PICAM_MODE", {"2028x1520_12": "On"})
    changed = client.set_of("PICAM_MODE", "Ok", since=position)
    assert [name for name, on in values(changed).items() if on == "On"] == ["2028x1520_12"]
    frame = client.set_of("CCD_FRAME", since=position)
    assert values(frame) == {"X": "0", "Y": "0", "WIDTH": "2028", "HEIGHT": "1520"}
    assert {one.get("name"): one.get("max") for one in frame} == {
        "X": "2027",
        "Y": "1519",
        "WIDTH": "2028",
        "HEIGHT": "1520",
    }
    info = values(client.set_of("CCD_INFO", since=position))
    assert (info["CCD_MAX_X"], info["CCD_MAX_Y"]) == ("2028", "1520")
    assert float(info["CCD_PIXEL_SIZE"]) == pytest.approx(3.1)
    assert info["CCD_BITSPERPIXEL"] == "16"
    exposure = client.set_of("CCD_EXPOSURE", since=position)
    assert 600 < float(exposure[0].get("max", "0")) < 700


def test_iso_and_gain_are_one(server: Server) -> None:
    client = server.tcp()
    connect(client)
    assert values(client.definition("CCD_GAIN")) == {"GAIN": "1"}
    for name, asked, other, follows in (
        ("PICAM_ISO", {"ISO": 800}, "CCD_GAIN", {"GAIN": "8"}),
        ("CCD_GAIN", {"GAIN": 2.5}, "PICAM_ISO", {"ISO": "250"}),
    ):
        position = len(client.log)
        client.new("Number", DEVICE, name, asked)
        client.set_of(name, "Ok", since=position)
        assert values(client.set_of(other, "Ok", since=position)) == follows


def test_saved_settings_come_back_with_a_new_driver(start_server: StartServer) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)
    wanted: list[tuple[str, str, dict[str, object]]] = [
        ("Switch", "PICAM_MODE", {"2028x1520_12": "On"}),
        ("Number", "CCD_FRAME", {"X": 11, "Y": 7, "WIDTH": 301, "HEIGHT": 201}),
        ("Number", "CCD_BINNING", {"HOR_BIN": 2, "VER_BIN": 2}),
        ("Number", "CCD_GAIN", {"GAIN": 3}),
        ("Switch", "CONFIG_PROCESS", {"CONFIG_SAVE": "On"}),
    ]
    for kind, name, asked in wanted:
        position = len(client.log)
        client.new(kind, DEVICE, name, asked)
        client.set_of(name, "Ok", since=position)
    server.stop()
    client = start_server().tcp()
    connect(client)
    position = len(client.log)
    client.new("Switch", DEVICE, "CONFIG_PROCESS", {"CONFIG_LOAD": "On"})
    client.set_of("CONFIG_PROCESS", "Ok", since=position)
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.1})
    header = fits.getheader(io.BytesIO(picture(client.set_of("CCD1", since=position))))
    found = {name: header[name] for name in ("SENSMODE", "XORGSUBF", "YORGSUBF", "XBINNING")}
    assert found == {"SENSMODE": "2028x1520_12", "XORGSUBF": 11, "YORGSUBF": 7, "XBINNING": 2}
    assert (header["NAXIS1"], header["NAXIS2"], header["GAINASKD"]) == (150, 100, 3.0)


def test_the_default_settings_are_all_that_held_at_first(
    start_server: StartServer, own_home: Path
) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)

    def ask(kind: str, name: str, asked: dict[str, object]) -> int:
        position = len(client.log)
        client.new(kind, DEVICE, name, asked)
        client.set_of(name, "Ok", since=position)
        return position

    ask("Text", "ACTIVE_DEVICES", {"ACTIVE_TELESCOPE": "Some Mount"})  # saved by itself
    ask("Switch", "CONFIG_PROCESS", {"CONFIG_LOAD": "On"})
    ask("Number", "CCD_GAIN", {"GAIN": 7})
    ask("Switch", "CONFIG_PROCESS", {"CONFIG_SAVE": "On"})
    position = ask("Switch", "CONFIG_PROCESS", {"CONFIG_DEFAULT": "On"})
    assert values(client.set_of("CCD_GAIN", "Ok", since=position)) == {"GAIN": "1"}
    files = [path.name for path in (own_home / ".indi").iterdir() if path.is_file()]
    saved = {name.removesuffix(".aside") for name in files}  # which stays until the disk has it all
    assert saved == {f"{DEVICE}_config.xml", f"{DEVICE}_config.xml.default"}


@pytest.mark.parametrize(("chosen", "bits"), [("INDI_MONO", "8"), ("INDI_RAW", "16")])
def test_the_format_last_chosen_holds_from_the_start(
    start_server: StartServer, chosen: str, bits: str
) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)
    client.new("Switch", DEVICE, "CCD_CAPTURE_FORMAT", {chosen: "On"})
    client.set_of("CCD_CAPTURE_FORMAT", "Ok")
    server.stop()
    client = start_server().tcp()
    connect(client)
    assert values(client.definition("CCD_CAPTURE_FORMAT"))[chosen] == "On"
    assert values(client.definition("CCD_INFO"))["CCD_BITSPERPIXEL"] == bits


def test_a_pi_with_too_little_memory_connects_in_a_smaller_mode(
    start_server: StartServer, tmp_path: Path
) -> None:
    settings, faults = tmp_path / "simulator.ini", tmp_path / "faults.ini"
    settings.write_text("[simulator]\nfault_file = faults.ini\n")
    faults.write_text("[faults]\nlargest_buffer = 12000000\n")
    environment = {"INDI_PICAM_SIMULATOR_CONFIG": str(settings)}
    client = start_server(environment=environment).tcp()
    connect(client)
    modes = values(client.definition("PICAM_MODE"))
    assert [name for name, value in modes.items() if value == "On"] == ["2028x1520_12"]
    told = [m.get("message", "") for m in client.log if "[WARNING]" in m.get("message", "")]
    assert "not enough contiguous (CMA) memory" in told[0], told
    position = len(client.log)
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.1})
    client.set_of("CCD_EXPOSURE", "Ok", since=position)


@pytest.mark.parametrize(("frames", "told_of_it"), [(1.5, True), (2.5, False)])
def test_memory_for_a_single_frame_is_told(
    start_server: StartServer, tmp_path: Path, frames: float, told_of_it: bool
) -> None:
    settings, faults = tmp_path / "simulator.ini", tmp_path / "faults.ini"
    settings.write_text("[simulator]\nfault_file = faults.ini\n")
    faults.write_text(f"[faults]\nheap = {frames * 2 * 4056 * 3040:.0f}\n")
    client = start_server(environment={"INDI_PICAM_SIMULATOR_CONFIG": str(settings)}).tcp()
    connect(client)
    sentence = "There is contiguous (CMA) memory for one frame only"
    assert any(sentence in m.get("message", "") for m in client.log) == told_of_it


def test_indidev_names_the_device(start_server: StartServer) -> None:
    client = start_server(environment={"INDIDEV": "My Finder"}).tcp()
    client.send("<getProperties version='1.7'/>")
    assert client.definition("CONNECTION").get("device") == "My Finder"


def test_indidev_may_be_what_another_camera_was_called(start_server: StartServer) -> None:
    cameras = {"INDI_PICAM_SIMULATOR": "imx477,imx296"}
    first = start_server(environment=cameras)
    client = first.tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition("CONNECTION", f"{DEVICE} 2")
    first.stop()
    client = start_server(environment={**cameras, "INDIDEV": f"{DEVICE} 2"}).tcp()
    widths = {}
    for device in (f"{DEVICE} 2", DEVICE):
        connect(client, device)
        widths[device] = values(client.definition("CCD_INFO", device))["CCD_MAX_X"]
    assert widths == {f"{DEVICE} 2": "4056", DEVICE: "1456"}


def test_a_name_that_is_too_long_is_cut_and_answers(start_server: StartServer) -> None:
    server = start_server(environment={"INDIDEV": "N" * 70, "INDI_PICAM_SIMULATOR": "imx708"})
    client = server.tcp()
    connect(client, "N" * 55)
    position = len(client.log)
    client.new("Switch", "N" * 55 + " Focuser", "CONNECTION", {"CONNECT": "On"})
    answer = client.set_of("CONNECTION", "Ok", since=position)
    assert answer.get("device") == "N" * 55 + " Focuser"


def test_the_camera_that_is_chosen_takes_the_name_that_another_had(
    start_server: StartServer, own_home: Path
) -> None:
    cameras = {"INDI_PICAM_SIMULATOR": "imx477,imx296", "INDIDEV": "Main"}
    server = start_server(environment=cameras)
    connect(server.tcp(), "Main")
    server.stop()
    (file,) = own_home.glob(".local/state/indi_picam/*names.json")
    names = json.loads(file.read_text())
    (other,) = names.keys() - {names["INDIDEV Main"], "INDIDEV Main"}
    client = start_server(environment={**cameras, "INDI_PICAM_CAMERA": other}).tcp()
    connect(client, "Main")
    assert values(client.definition("CCD_INFO"))["CCD_MAX_X"] == "1456"
    assert {message.get("device") for message in client.log} == {"Main"}


def is_picture_of(device: str) -> Callable[[Element], bool]:
    """Whether a message is a picture of a device."""
    return lambda message: (message.get("name"), message.get("device")) == ("CCD1", device)


def test_two_cameras_are_two_devices(start_server: StartServer) -> None:
    server = start_server(environment={"INDI_PICAM_SIMULATOR": "imx477,imx296"})
    client = server.tcp()
    second = f"{DEVICE} 2"
    connect(client)
    connect(client, second)
    info = client.definition("CCD_INFO", second)
    assert values(info)["CCD_MAX_X"] == "1456"
    position = len(client.log)
    for device in (DEVICE, second):
        client.new("Number", device, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.2})
    for device in (DEVICE, second):
        blob = client.wait(is_picture_of(device), position)
        header = fits.getheader(io.BytesIO(picture(blob)))
        assert header["INSTRUME"] == device
        assert ("BAYERPAT" in header) == (device == DEVICE)
    formats = client.definition("CCD_CAPTURE_FORMAT", second)
    assert [one.get("label") for one in formats] == ["Mono"]
    defined = {
        m.get("name") for m in client.log if m.get("device") == second and m.tag[:3] == "def"
    }
    assert "CCD_CFA" not in defined
    assert "CCD_TEMPERATURE" not in defined  # an imx296 reports none


@pytest.mark.parametrize(
    ("environment", "word"), [({}, "libcamera"), ({"INDI_PICAM_CAMERA": "/base/none"}, "libcamera")]
)
def test_without_a_camera_the_driver_stays_and_says_what_to_do(
    start_server: StartServer, environment: dict[str, str], word: str
) -> None:
    server = start_server("indi_picam", environment)
    client = server.tcp()
    client.send("<getProperties version='1.7'/>")
    assert client.definition("CONNECTION").get("device") == "Pi Camera"
    for _ in range(2):
        position = len(client.log)
        client.new("Switch", "Pi Camera", "CONNECTION", {"CONNECT": "On"})
        refused = client.set_of("CONNECTION", "Alert", since=position)
        assert values(refused) == {"CONNECT": "Off", "DISCONNECT": "On"}
        assert word in (refused.get("message") or "")
        assert "apt install" in (refused.get("message") or "")


def test_indis_own_tools_work(server: Server) -> None:
    tool = ["-p", str(server.port)]
    subprocess.run(["indi_setprop", *tool, f"{DEVICE}.CONNECTION.CONNECT=On"], check=True)
    evaluated = subprocess.run(
        ["indi_eval", *tool, "-t", "10", "-w", f'"{DEVICE}.CONNECTION._STATE"==1'], check=False
    )
    assert evaluated.returncode == 0
    got = subprocess.run(
        ["indi_getprop", *tool, "-t", "5", f"{DEVICE}.CCD_INFO.CCD_MAX_X"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert got.stdout.strip() == f"{DEVICE}.CCD_INFO.CCD_MAX_X=4056"


def test_a_real_device_can_rehearse_on_a_simulated_camera(start_server: StartServer) -> None:
    client = start_server("indi_picam").tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition("SIMULATION", "Pi Camera")
    position = len(client.log)
    client.new("Switch", "Pi Camera", "SIMULATION", {"ENABLE": "On"})
    client.set_of("SIMULATION", "Ok", since=position)
    client.new("Switch", "Pi Camera", "CONNECTION", {"CONNECT": "On"})
    client.set_of("CONNECTION", "Ok", since=position)
    assert values(client.definition("CCD_INFO"))["CCD_MAX_X"] == "4056"
    position = len(client.log)
    client.new("Switch", "Pi Camera", "SIMULATION", {"DISABLE": "On"})
    refused = client.set_of("SIMULATION", "Alert", since=position)
    assert "Disconnect" in (refused.get("message") or "")


def test_a_process_for_one_camera_gives_it_the_name_it_has(
    start_server: StartServer, own_home: Path
) -> None:
    cameras = {"INDI_PICAM_SIMULATOR": "imx477,imx296"}
    both = start_server(environment=cameras)
    client = both.tcp()
    client.send("<getProperties version='1.7'/>")
    client.definition("CONNECTION", f"{DEVICE} 2")
    both.stop()
    (names,) = own_home.glob(".local/state/indi_picam/*names.json")
    (camera,) = (id for id, name in json.loads(names.read_text()).items() if name.endswith(" 2"))
    client = start_server(environment={**cameras, "INDI_PICAM_CAMERA": camera}).tcp()
    connect(client, f"{DEVICE} 2")
    assert values(client.definition("CCD_INFO"))["CCD_MAX_X"] == "1456"
    assert {m.get("device") for m in client.log} == {f"{DEVICE} 2"}


def test_pixels_can_be_kept_as_the_adc_gave_them(server: Server) -> None:
    client = server.tcp()
    connect(client)
    levels = {}
    for choice in ("SCALED", "ADC"):
        position = len(client.log)
        client.new("Switch", DEVICE, "PICAM_VALUES", {choice: "On"})
        client.set_of("PICAM_VALUES", "Ok", since=position)
        client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 0.1})
        content = picture(client.set_of("CCD1", since=position))
        client.set_of("CCD_EXPOSURE", "Ok", since=position)
        with fits.open(io.BytesIO(content)) as hdus:
            header, pixels = hdus[0].header, hdus[0].data
            levels[choice] = (header["BLKLEVEL"], header["SATURATE"])
            assert abs(float(pixels.mean()) - header["BLKLEVEL"]) < 0.1 * header["BLKLEVEL"]
            assert header["ADCBITS"] == 12
            if choice == "SCALED":
                assert not (pixels & 15).any()
    assert levels == {"SCALED": (4096, 65520), "ADC": (256, 4095)}
    assert values(client.definition("PICAM_ADC"))["BITS"] == "12"
