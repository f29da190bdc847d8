"""Capture formats, mirrors, image controls and defect correction through a real indiserver."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from indi_picam.simulator import frame_log, isp, truth
from indi_picam.simulator import settings as simulator_settings
from indi_picam.simulator.truth import order_after
from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, StartServer, connect
from tests.system.test_batches import delivered, numbers, start_batch

SMALL = "1332x990_10"


class Camera:
    """A connected client and a simulated camera whose truth is in a log."""

    def __init__(self, start: StartServer, directory: Path, cameras: str = "imx477") -> None:
        configuration = directory / "simulator.ini"
        configuration.write_text("[simulator]\nlog_file = log.jsonl\n[sky]\nstars = 50\n")
        environment = {
            "INDI_PICAM_SIMULATOR": cameras,
            "INDI_PICAM_SIMULATOR_CONFIG": str(configuration),
            "INDI_PICAM_TIME_SCALE": "20",
            "INDI_PICAM_SYSFS": str(directory / "sys"),
        }
        self.server = start(environment=environment)
        self.client: Client = self.server.tcp()
        self.settings = simulator_settings.load(environment)
        self._log = directory / "log.jsonl"
        connect(self.client)

    def set(self, kind: str, name: str, state: str = "Ok", /, **asked: object) -> Element:
        """Asks for a setting; the answer."""
        position = len(self.client.log)
        self.client.new(kind, DEVICE, name, asked)
        return self.client.set_of(name, state, since=position)

    def shown(self, name: str) -> dict[str, str]:
        """The values of a property as last told."""
        last = [m for m in self.client.log if m.get("name") == name and len(m)]
        return values(last[-1])

    def take(self, seconds: float = 10) -> tuple[fits.Header, NDArray[Any]]:
        """Header and pixels of a picture."""
        self.client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": seconds})
        blob = picture(self.client.set_of("CCD1"))
        assert len(blob) % 2880 == 0
        with fits.open(io.BytesIO(blob), checksum=True) as hdus:
            assert len(hdus) == 1
            return hdus[0].header.copy(), hdus[0].data.copy()

    def logged(self) -> dict[str, Any]:
        """The log's line of the last frame that a request got and that was good."""
        return [line for line in frame_log.read(self._log) if line["request"]][-1]

    def true_image(self) -> NDArray[np.uint8]:
        """What the ISP made of the last frame: height x width x (red, green, blue)."""
        logged, sensor = self.logged(), self.settings.cameras[0].sensor
        bits = sensor.mode(logged["mode"]).bits
        raw = truth.render(logged, self.settings)
        order = order_after(sensor.order, logged["hflip"], logged["vflip"])
        top = (1 << bits) - 1
        return isp.picture(raw, order, sensor.black(bits), top, isp.look_of(logged))


@pytest.fixture
def camera(start_server: StartServer, tmp_path: Path) -> Camera:
    """A simulated imx477 in its smallest mode at a high gain."""
    connected = Camera(start_server, tmp_path)
    connected.set("Switch", "PICAM_MODE", **{SMALL: "On"})
    connected.set("Number", "CCD_GAIN", GAIN=10)
    return connected


def test_a_colour_camera_offers_three_formats_and_a_mono_one_its_own(
    start_server: StartServer, tmp_path: Path
) -> None:
    colour = Camera(start_server, tmp_path, "imx477,imx296")
    told = colour.client.definition("CCD_CAPTURE_FORMAT", DEVICE)
    assert [(s.get("name"), s.get("label")) for s in told] == [
        ("INDI_RAW", "Raw"),
        ("INDI_MONO", "Mono"),
        ("INDI_RGB", "RGB"),
    ]
    assert values(told) == {"INDI_RAW": "On", "INDI_MONO": "Off", "INDI_RGB": "Off"}
    second = f"{DEVICE} 2"
    position = len(colour.client.log)
    colour.client.new("Switch", second, "CONNECTION", {"CONNECT": "On"})
    colour.client.definition("PICAM_FRAME", second)
    defined = {m.get("name") for m in colour.client.log[position:] if m.tag.startswith("def")}
    told = colour.client.definition("CCD_CAPTURE_FORMAT", second)
    assert [(s.get("name"), s.get("label")) for s in told] == [("INDI_MONO", "Mono")]
    assert not defined & {"PICAM_WHITE_BALANCE", "PICAM_CONTRAST", "CCD_CFA", "PICAM_DEFECTS"}


def test_colour_filter_and_depth_follow_the_format(camera: Camera) -> None:
    client = camera.client
    for element, bits, mosaic in (("INDI_MONO", 8, False), ("INDI_RAW", 16, True)):
        position = len(client.log)
        camera.set("Switch", "CCD_CAPTURE_FORMAT", **{element: "On"})
        info = client.set_of("CCD_INFO", since=position)
        assert values(info)["CCD_BITSPERPIXEL"] == str(bits)
        client.set_of("PICAM_ADC", since=position)
        told = [m.tag for m in client.log[position:] if m.get("name") == "CCD_CFA"]
        assert told == ["defTextVector" if mosaic else "delProperty"]
        levels = {key: float(value) for key, value in camera.shown("PICAM_ADC").items()}
        expected = (10, 4096, 65472) if mosaic else (8, 0, 255)
        assert (levels["BITS"], levels["BLACK_LEVEL"], levels["SATURATION"]) == expected
    position = len(client.log)
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RAW="On")  # the same again
    client.read_for(0.3)
    names = {m.get("name") for m in client.log[position:]}
    assert names <= {"CCD_CAPTURE_FORMAT", "CCD_TEMPERATURE", "ESTIMATE"}


def test_formats_of_the_same_depth_do_not_tell_it_again(camera: Camera) -> None:
    """Ekos sets its frame back to the whole sensor whenever it hears of CCD_INFO."""
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_MONO="On")
    camera.set("Number", "CCD_GAIN", GAIN=2)
    position = len(camera.client.log)
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    camera.set("Number", "CCD_GAIN", GAIN=1)  # answered after all that the format tells
    assert "CCD_INFO" not in {m.get("name") for m in camera.client.log[position:]}


def test_the_colour_filter_may_be_told_until_the_sensor_is_set_up_anew(camera: Camera) -> None:
    def told(pattern: str, x: int = 0, y: int = 0) -> dict[str, str]:
        return {"CFA_OFFSET_X": str(x), "CFA_OFFSET_Y": str(y), "CFA_TYPE": pattern}

    def written(header: fits.Header) -> tuple[object, ...]:
        return header["BAYERPAT"], header["XBAYROFF"], header["YBAYROFF"]

    camera.set("Number", "CCD_FRAME", X=0, Y=0, WIDTH=64, HEIGHT=48)
    for asked, shown, expected in (
        (told("RGGB"), told("RGGB"), ("RGGB", 0, 0)),
        ({"CFA_OFFSET_X": "1"}, told("RGGB", 1), ("RGGB", 1, 0)),
        (told("GRBG", 0, 1), told("GRBG", 0, 1), ("GRBG", 0, 1)),
    ):
        assert values(camera.set("Text", "CCD_CFA", **asked)) == shown
        assert written(camera.take(1)[0]) == expected
    camera.set("Number", "CCD_FRAME", X=1, Y=2, WIDTH=64, HEIGHT=48)
    assert written(camera.take(1)[0]) == ("RGGB", 0, 1)
    for asked in (told("RYYB"), told("rggb"), told("RGGB", 2), told("RGGB", 0, -1)):
        refused = camera.set("Text", "CCD_CFA", "Alert", **asked)
        assert "RGGB, GRBG, GBRG, BGGR" in (refused.get("message") or "")
        assert values(refused) == told("GRBG", 0, 1)
    position = len(camera.client.log)
    camera.set("Switch", "PICAM_FLIP", HORIZONTAL="On")
    assert values(camera.client.set_of("CCD_CFA", since=position)) == told("GBRG")
    camera.set("Text", "CCD_CFA", **told("RGGB", 1, 1))
    position = len(camera.client.log)
    camera.set("Switch", "PICAM_MODE", **{"2028x1520_12": "On"})
    assert values(camera.client.set_of("CCD_CFA", since=position)) == told("GBRG")
    camera.set("Text", "CCD_CFA", **told("RGGB", 1, 1))
    camera.set("Switch", "CONNECTION", "Idle", DISCONNECT="On")
    position = len(camera.client.log)
    camera.client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    assert values(camera.client.definition("CCD_CFA", since=position)) == told("GBRG")


def test_mono_pictures_have_one_plane_of_luminance(camera: Camera) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_MONO="On")
    header, pixels = camera.take()
    assert (header["BITPIX"], header["NAXIS"], pixels.dtype.itemsize) == (8, 2, 1)
    assert "BAYERPAT" not in header and "BZERO" not in header
    assert (header["CAPFMT"], header["BLKLEVEL"], header["SATURATE"]) == ("MONO", 0, 255)
    np.testing.assert_array_equal(pixels, isp.luminance(camera.true_image()))
    assert pixels.max() > 50


def test_rgb_pictures_have_three_planes(camera: Camera) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    header, pixels = camera.take()
    assert (header["BITPIX"], header["NAXIS"], header["NAXIS3"]) == (8, 3, 3)
    assert "BAYERPAT" not in header
    assert header["CAPFMT"] == "RGB"
    assert pixels.shape == (3, 990, 1332)
    np.testing.assert_array_equal(pixels, np.moveaxis(camera.true_image(), 2, 0))


@pytest.mark.parametrize("element", ["INDI_MONO", "INDI_RGB"])
def test_guiders_get_exact_subframes_of_every_format(camera: Camera, element: str) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", **{element: "On"})
    for binning in (1, 2, 3, 4):
        camera.set("Number", "CCD_BINNING", HOR_BIN=binning, VER_BIN=binning)
        camera.set("Number", "CCD_FRAME", X=13, Y=7, WIDTH=20 * binning, HEIGHT=10 * binning)
        header, pixels = camera.take()
        assert pixels.shape[-2:] == (10, 20)
        assert (header["XBINNING"], header["SATURATE"]) == (binning, 255)
        image = camera.true_image()
        planes = isp.luminance(image)[None] if element == "INDI_MONO" else np.moveaxis(image, 2, 0)
        cut = planes[:, 7 : 7 + 10 * binning, 13 : 13 + 20 * binning].astype(int)
        cells = cut.reshape(-1, 10, binning, 20, binning).sum(axis=(2, 4))
        means = (2 * cells + binning**2) // (2 * binning**2)
        np.testing.assert_array_equal(pixels.reshape(-1, 10, 20), means)


def test_colour_gains_double_red_and_the_header_says_so(camera: Camera) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    skies = []
    for red in (1, 2):
        camera.set("Number", "PICAM_COLOUR_GAINS", RED=red, BLUE=1.5)
        header, pixels = camera.take()
        assert (header["WBMODE"], header["WBRED"], header["WBBLUE"]) == ("Manual", red, 1.5)
        skies.append([float(np.percentile(plane, 80)) for plane in pixels])
    (red_1, green_1, blue_1), (red_2, green_2, blue_2) = skies
    assert red_2 / red_1 == pytest.approx(2, rel=0.1)
    assert (green_2, blue_2) == (green_1, blue_1)


def test_an_exposure_uses_exactly_the_settings_before_it(camera: Camera) -> None:
    """In one burst: controls, format, exposure, and other controls behind it."""
    client = camera.client
    client.new("Number", DEVICE, "PICAM_BRIGHTNESS", {"VALUE": 0.25})
    client.new("Number", DEVICE, "PICAM_CONTRAST", {"VALUE": 2})
    client.new("Number", DEVICE, "PICAM_SATURATION", {"VALUE": 0.5})
    client.new("Number", DEVICE, "PICAM_SHARPNESS", {"VALUE": 3})
    client.new("Switch", DEVICE, "PICAM_NOISE_REDUCTION", {"HIGH_QUALITY": "On"})
    client.new("Switch", DEVICE, "PICAM_WHITE_BALANCE", {"DAYLIGHT": "On"})
    client.new("Switch", DEVICE, "CCD_CAPTURE_FORMAT", {"INDI_RGB": "On"})
    client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 5})
    client.new("Number", DEVICE, "PICAM_BRIGHTNESS", {"VALUE": 0})
    client.new("Switch", DEVICE, "PICAM_WHITE_BALANCE", {"MANUAL": "On"})
    with fits.open(io.BytesIO(picture(client.set_of("CCD1"))), checksum=True) as hdus:
        header, pixels = hdus[0].header.copy(), hdus[0].data.copy()
    told = {key: header[key] for key in ("BRIGHTNS", "CONTRAST", "COLORSAT", "SHARPNES")}
    assert told == {"BRIGHTNS": 0.25, "CONTRAST": 2, "COLORSAT": 0.5, "SHARPNES": 3}
    assert (header["NOISERED"], header["WBMODE"]) == ("High quality", "Daylight")
    assert camera.logged()["look"] == {
        "colour_gains": [2.0, 1.8],
        "digital_gain": pytest.approx(1, abs=0.01),
        "brightness": 0.25,
        "contrast": 2,
        "saturation": 0.5,
    }
    np.testing.assert_array_equal(pixels, np.moveaxis(camera.true_image(), 2, 0))


NUMBERS = {
    "PICAM_BRIGHTNESS": ("VALUE", -1, 1, 0),
    "PICAM_CONTRAST": ("VALUE", 0, 32, 1),
    "PICAM_SATURATION": ("VALUE", 0, 32, 1),
    "PICAM_SHARPNESS": ("VALUE", 0, 16, 1),
    "PICAM_COLOUR_GAINS": ("RED", 0.01, 32, 1),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_have_the_limits_of_libcamera(camera: Camera, name: str) -> None:
    element, low, high, usual = NUMBERS[name]
    number = camera.client.definition(name)[0]
    limits = (float(number.get("min", "")), float(number.get("max", "")), float(number.text or ""))
    assert limits == (low, high, usual)
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    for value in (low, high):
        answer = camera.set("Number", name, **{element: value})
        assert float(values(answer)[element]) == value
        assert answer.get("message") is None
    for value in (low - 0.02, high + 1):
        refused = camera.set("Number", name, "Alert", **{element: value})
        assert float(values(refused)[element]) == high
        assert str(name) in str(refused.get("message"))


@pytest.mark.parametrize(
    ("kind", "name", "asked", "format_element", "told"),
    [
        ("Number", "PICAM_BRIGHTNESS", {"VALUE": 0.5}, "INDI_RAW", "not act on raw"),
        ("Switch", "PICAM_WHITE_BALANCE", {"CLOUDY": "On"}, "INDI_RAW", "not act on raw"),
        ("Switch", "PICAM_NOISE_REDUCTION", {"FAST": "On"}, "INDI_RAW", "not act on raw"),
        ("Number", "PICAM_SATURATION", {"VALUE": 2}, "INDI_MONO", "not act on the format Mono"),
        ("Switch", "PICAM_METERING", {"SPOT": "On"}, "INDI_RGB", "changes no picture"),
        ("Switch", "PICAM_EXPOSURE_MODE", {"LONG": "On"}, "INDI_RAW", "changes no picture"),
        ("Switch", "PICAM_VALUES", {"ADC": "On"}, "INDI_RGB", "acts on raw"),
    ],
)
def test_who_sets_what_cannot_act_is_told(
    camera: Camera,
    kind: str,
    name: str,
    asked: dict[str, object],
    format_element: str,
    told: str,
) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", **{format_element: "On"})
    assert told in str(camera.set(kind, name, **asked).get("message"))
    assert camera.set(kind, name, **asked).get("message") is None  # nothing was changed


def test_colour_gains_wait_while_white_balance_is_automatic(camera: Camera) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    camera.set("Switch", "PICAM_WHITE_BALANCE", AUTO="On")
    told = camera.set("Number", "PICAM_COLOUR_GAINS", RED=3).get("message")
    assert "manual white balance" in str(told)
    header, _ = camera.take()
    assert (header["WBMODE"], header["WBRED"], header["WBBLUE"]) == ("Automatic", 2.0, 1.8)


def test_mirrors_turn_pixels_and_pattern_together(camera: Camera) -> None:
    client = camera.client
    assert camera.shown("CCD_CFA")["CFA_TYPE"] == "BGGR"
    camera.set("Number", "CCD_FRAME", X=0, Y=0, WIDTH=640, HEIGHT=480)
    for asked, pattern in (
        ({"HORIZONTAL": "On"}, "GBRG"),
        ({"VERTICAL": "On"}, "RGGB"),
        ({"HORIZONTAL": "Off"}, "GRBG"),
    ):
        position = len(client.log)
        flips = values(camera.set("Switch", "PICAM_FLIP", **asked))
        cfa = client.set_of("CCD_CFA", since=position)
        assert values(cfa)["CFA_TYPE"] == pattern
        assert not any(m.get("name") in ("CCD_FRAME", "CCD_INFO") for m in client.log[position:])
        header, pixels = camera.take(2)
        assert (header["BAYERPAT"], header["RAWFMT"]) == (pattern, f"S{pattern}10")
        hflip, vflip = (flips[name] == "On" for name in ("HORIZONTAL", "VERTICAL"))
        assert (header["HFLIP"], header["VFLIP"]) == (hflip, vflip)
        logged = camera.logged()
        # The module is mounted upside down: libcamera turns it, and the mirrors come on top.
        assert (logged["hflip"], logged["vflip"]) == (not hflip, not vflip)
        true = truth.render(logged, camera.settings)[:480, :640] << 6
        np.testing.assert_array_equal(pixels, true)


def test_the_same_values_again_do_not_touch_a_running_sensor(
    start_server: StartServer, tmp_path: Path
) -> None:
    camera = Camera(start_server, tmp_path, "imx290")
    mode = "1280x720_10"
    camera.set("Switch", "PICAM_MODE", **{mode: "On"})
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_MONO="On")
    camera.take(0.02)  # its sensors are left running where that is quicker
    start = camera.logged()["start"]
    for _ in range(3):
        camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_MONO="On")
        camera.set("Switch", "PICAM_MODE", **{mode: "On"})
        camera.set("Switch", "PICAM_FLIP", HORIZONTAL="Off", VERTICAL="Off")
        camera.set("Number", "PICAM_CONTRAST", VALUE=1)
        assert camera.take(0.02)[0]["TAKENBY"] == "free-running"
    assert camera.logged()["start"] == start
    camera.set("Number", "PICAM_CONTRAST", VALUE=2)
    assert camera.take(0.02)[0]["TAKENBY"] != "free-running"


def test_formats_are_compressed_too(camera: Camera) -> None:
    camera.set("Switch", "CCD_COMPRESSION", INDI_ENABLED="On")
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    camera.client.new("Number", DEVICE, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 5})
    blob = camera.client.set_of("CCD1")
    assert blob[0].get("format") == ".fits.fz"
    with fits.open(io.BytesIO(picture(blob)), checksum=True) as hdus:
        assert hdus[1].header["BITPIX"] == 8
        np.testing.assert_array_equal(hdus[1].data, np.moveaxis(camera.true_image(), 2, 0))


def test_a_batch_keeps_the_format_it_was_ordered_in(camera: Camera) -> None:
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    camera.set("Number", "CCD_FRAME", X=0, Y=0, WIDTH=101, HEIGHT=77)
    start = start_batch(camera.client, 4, 4)
    camera.set("Switch", "CCD_CAPTURE_FORMAT", "Alert", INDI_RAW="On")
    camera.set("Number", "PICAM_CONTRAST", "Alert", VALUE=3)
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")  # as it is
    frames = delivered(camera.client, start, 4)
    assert numbers(frames) == [1, 2, 3, 4]
    for frame in frames:
        with fits.open(io.BytesIO(frame), checksum=True) as hdus:
            header = hdus[0].header
            assert (hdus[0].data.shape, header["CONTRAST"]) == ((3, 77, 101), 1)
    camera.client.set_of("BATCH_START", "Ok", since=start)
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RAW="On")
    assert camera.take(1)[1].shape == (77, 101)


def test_settings_outlast_a_reconnection(camera: Camera) -> None:
    client = camera.client
    camera.set("Switch", "CCD_CAPTURE_FORMAT", INDI_RGB="On")
    camera.set("Number", "PICAM_CONTRAST", VALUE=1.5)
    camera.set("Switch", "PICAM_WHITE_BALANCE", INDOOR="On")
    camera.set("Switch", "PICAM_FLIP", VERTICAL="On")
    camera.set("Switch", "CONNECTION", "Idle", DISCONNECT="On")
    position = len(client.log)
    client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    client.definition("PICAM_FRAME", since=position)
    defined = {m.get("name"): m for m in client.log[position:] if m.tag.startswith("def")}
    assert "CCD_CFA" not in defined
    assert values(defined["CCD_INFO"])["CCD_BITSPERPIXEL"] == "8"
    assert values(defined["PICAM_CONTRAST"])["VALUE"] == "1.5"
    assert values(defined["PICAM_WHITE_BALANCE"])["INDOOR"] == "On"
    assert values(defined["PICAM_FLIP"])["VERTICAL"] == "On"
    header, pixels = camera.take(5)
    assert (header["CONTRAST"], header["WBMODE"], header["VFLIP"]) == (1.5, "Indoor", True)
    np.testing.assert_array_equal(pixels, np.moveaxis(camera.true_image(), 2, 0))


def test_the_state_of_defect_correction_is_shown_and_written(
    start_server: StartServer, tmp_path: Path
) -> None:
    parameter = tmp_path / "sys/module/imx477/parameters/dpc_enable"
    parameter.parent.mkdir(parents=True)
    parameter.write_text("1\n")
    camera = Camera(start_server, tmp_path)
    camera.set("Switch", "PICAM_MODE", **{SMALL: "On"})
    told = values(camera.client.definition("PICAM_DEFECTS"))
    assert told["STATE"].startswith("On")
    assert told["CHANGE"] == f"echo 0 | sudo tee {parameter}"
    assert "dpc_enable=0" in told["CHANGE_FOR_GOOD"]
    assert camera.take(1)[0]["DPC"] is True
    parameter.write_text("0\n")
    position = len(camera.client.log)
    assert camera.take(2)[0]["DPC"] is False
    told = values(camera.client.set_of("PICAM_DEFECTS", since=position))
    assert told["STATE"].startswith("Off")
    assert told["CHANGE"] == f"echo 1 | sudo tee {parameter}"


def test_sensors_without_defect_correction_show_none(camera: Camera) -> None:
    assert not any(m.get("name") == "PICAM_DEFECTS" for m in camera.client.log)
    assert "DPC" not in camera.take(1)[0]
