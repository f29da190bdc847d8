"""The picture as clients set it: frame, binning, sensor mode, format, mirrors, pixel values, type.

    format       pixels                       CCD_BITSPERPIXEL   CCD_CFA
    Raw          of the sensor, a mosaic      16                 defined
    Mono         of a mono sensor, raw        16                 deleted
    ..           the ISP's luminance          8                  deleted
    RGB          the ISP's colours            8                  deleted

The properties hold the settings; an exposure reads them once when it starts
(:meth:`Imaging.settings`), so a change never touches a running one. Sizes are unbinned pixels of
the sensor mode. Knows the engine only to change the mode; called by the camera device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from indi_picam.camera.modes import (
    CameraFacts,
    CameraFault,
    CaptureFormat,
    ControlValues,
    FrameFacts,
    ModeFacts,
    Orientation,
    Roi,
    SensorMode,
)
from indi_picam.capture.engine import Engine
from indi_picam.capture.plan import ExposurePlan, ExposureSettings, FrameType, plan_exposure
from indi_picam.ccd.identity import SENSOR
from indi_picam.fits import HEADER_ROOM
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import (
    Number,
    NumberVector,
    Refused,
    Rule,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)

IMAGE_SETTINGS, IMAGE_INFO = "Image Settings", "Image Info"
LARGEST_BINNING = 4

FRAME = NumberVector(
    "CCD_FRAME",
    "Frame",
    IMAGE_SETTINGS,
    (
        Number("X", "Left ", 0, 0, 0, 0, "%4.0f"),
        Number("Y", "Top", 0, 0, 0, 0, "%4.0f"),
        Number("WIDTH", "Width", 0, 1, 0, 0, "%4.0f"),
        Number("HEIGHT", "Height", 0, 1, 0, 0, "%4.0f"),
    ),
)
FRAME_RESET = SwitchVector(
    "CCD_FRAME_RESET",
    "Frame Values",
    IMAGE_SETTINGS,
    (Switch("RESET", "Reset"),),
    perm="wo",
    timeout=0,
)
BINNING = NumberVector(
    "CCD_BINNING",
    "Binning",
    IMAGE_SETTINGS,
    (
        Number("HOR_BIN", "X", 1, 1, LARGEST_BINNING, 1, "%2.0f"),
        Number("VER_BIN", "Y", 1, 1, LARGEST_BINNING, 1, "%2.0f"),
    ),
)
FRAME_TYPE = SwitchVector(
    "CCD_FRAME_TYPE",
    "Type",
    IMAGE_SETTINGS,
    (
        Switch("FRAME_LIGHT", "Light", True),
        Switch("FRAME_BIAS", "Bias"),
        Switch("FRAME_DARK", "Dark"),
        Switch("FRAME_FLAT", "Flat"),
    ),
)
INFO = NumberVector(
    "CCD_INFO",
    "CCD Information",
    IMAGE_INFO,
    (
        Number("CCD_MAX_X", "Max. Width", 0, 1, 16000, 0, "%.f"),
        Number("CCD_MAX_Y", "Max. Height", 0, 1, 16000, 0, "%.f"),
        Number("CCD_PIXEL_SIZE", "Pixel size (um)", 0, 1, 40, 0, "%.2f"),
        Number("CCD_PIXEL_SIZE_X", "Pixel size X", 0, 1, 40, 0, "%.2f"),
        Number("CCD_PIXEL_SIZE_Y", "Pixel size Y", 0, 1, 40, 0, "%.2f"),
        Number("CCD_BITSPERPIXEL", "Bits per pixel", 16, 8, 64, 0, "%.f"),
    ),
    perm="ro",
)
CFA = TextVector(
    "CCD_CFA",
    "Bayer Info",
    IMAGE_INFO,
    (
        Text("CFA_OFFSET_X", "X Offset", "0"),
        Text("CFA_OFFSET_Y", "Y Offset", "0"),
        Text("CFA_TYPE", "Filter", "RGGB"),
    ),
)
VALUES = SwitchVector(
    "PICAM_VALUES",
    "Pixel values",
    SENSOR,
    (
        Switch("SCALED", "Scaled to 16 bit", True),
        Switch("ADC", "As the ADC gave them"),
    ),
)
FLIP = SwitchVector(
    "PICAM_FLIP",
    "Mirror",
    SENSOR,
    (Switch("HORIZONTAL", "Left to right"), Switch("VERTICAL", "Top to bottom")),
    rule=Rule.ANY_OF_MANY,
)
ADC = NumberVector(
    "PICAM_ADC",
    "ADC",
    SENSOR,
    (
        Number("BITS", "True depth (bit)", 0, 1, 16, 0, "%.f"),
        Number("BLACK_LEVEL", "Black level (ADU)", 0, 0, 65535, 0, "%.1f"),
        Number("SATURATION", "Saturation (ADU)", 0, 1, 65535, 0, "%.f"),
    ),
    perm="ro",
)
BAYER_PATTERNS = ("RGGB", "GRBG", "GBRG", "BGGR")
"""Clients know no others; one that is not known stops some of them (KStars, indi-allsky)."""
FRAME_ELEMENTS = {element.name for element in FRAME.elements}
FRAME_TYPES = {
    "FRAME_LIGHT": FrameType.LIGHT,
    "FRAME_BIAS": FrameType.BIAS,
    "FRAME_DARK": FrameType.DARK,
    "FRAME_FLAT": FrameType.FLAT,
}


def mode_vector(camera: CameraFacts, selected: str) -> SwitchVector:
    """The sensor modes of this camera as switches, named by size and bit depth."""
    switches = (
        Switch(m.name, f"{m.width}x{m.height} {m.bits} bit", m.name == selected)
        for m in camera.modes
    )
    return SwitchVector("PICAM_MODE", "Sensor mode", SENSOR, tuple(switches))


LABELS = {"INDI_RAW": "Raw", "INDI_MONO": "Mono", "INDI_RGB": "RGB"}
"""Clients store formats by label (KStars)."""
COLOUR_FORMATS = {
    "INDI_RAW": CaptureFormat.RAW,
    "INDI_MONO": CaptureFormat.MONO,
    "INDI_RGB": CaptureFormat.RGB,
}
MONO_FORMATS = {"INDI_MONO": CaptureFormat.RAW}
"""What a mono sensor gives is monochrome already, and with more bits than the ISP's."""


def format_vector(formats: Mapping[str, CaptureFormat], selected: str) -> SwitchVector:
    """What the pixels can be."""
    switches = (Switch(name, LABELS[name], name == selected) for name in formats)
    return SwitchVector("CCD_CAPTURE_FORMAT", "Format", IMAGE_SETTINGS, tuple(switches))


class Imaging:
    """The properties of geometry and kind of one camera."""

    _camera: CameraFacts
    _mode: ModeFacts
    """Known from the first connect on; no request is handled before, as nothing is defined."""

    def __init__(
        self, device: Device, engine: Engine, on_new_mode: Callable[[ModeFacts], None]
    ) -> None:
        self._device = device
        self._engine = engine
        self._on_new_mode = on_new_mode
        self._frame = device.add(FRAME, self._set_frame)
        self._frame_reset = device.add(FRAME_RESET, self._reset_frame)
        self._binning = device.add(BINNING, self._set_binning)
        self._frame_type = device.add(FRAME_TYPE, self._set_frame_type)
        self._info = device.add(INFO)
        self._cfa = device.add(CFA, self._set_cfa)
        self._flip = device.add(FLIP, self._set_flip)
        self._formats: Mapping[str, CaptureFormat] = COLOUR_FORMATS
        self._format = device.add(format_vector(self._formats, "INDI_RAW"))
        self._black_16: float | None = None
        """The sensor's black level on a scale of 16 bits, once a frame has told it."""
        self._values = device.add(VALUES, self._set_values)
        self._adc = device.add(ADC)

    def connected(self, camera: CameraFacts, mode: ModeFacts) -> None:
        """Takes over what the opened camera is: its modes and its kind of pixels as switches."""
        self._camera = camera
        self._device.add(mode_vector(camera, mode.mode.name), self._set_mode)
        self._formats = COLOUR_FORMATS if mode.bayer_pattern else MONO_FORMATS
        selected = self._format.selected
        if selected not in self._formats:
            selected = next(iter(self._formats))
        self._format = self._device.add(format_vector(self._formats, selected), self._set_format)

    def mode_changed(self, mode: ModeFacts) -> None:
        """Tells the geometry of a mode: the whole frame with its limits, pixel sizes, colours."""
        self._mode = mode
        width, height = mode.mode.width, mode.mode.height
        self._device.set(
            self._frame,
            {"X": 0, "Y": 0, "WIDTH": width, "HEIGHT": height},
            limits={
                "X": (0, width - 1, 0),
                "Y": (0, height - 1, 0),
                "WIDTH": (1, width, 0),
                "HEIGHT": (1, height, 0),
            },
        )
        size_x, size_y = mode.pixel_size_um
        self._device.set(
            self._info,
            {
                "CCD_MAX_X": width,
                "CCD_MAX_Y": height,
                "CCD_PIXEL_SIZE": size_x,
                "CCD_PIXEL_SIZE_X": size_x,
                "CCD_PIXEL_SIZE_Y": size_y,
                "CCD_BITSPERPIXEL": self.format.bits,
            },
        )
        self._turned(mode)
        self._show_levels()

    def _turned(self, mode: ModeFacts) -> None:
        """Tells how a mode is mirrored and where its colours lie then."""
        self._mode = mode
        turned = {"HORIZONTAL": mode.orientation.hflip, "VERTICAL": mode.orientation.vflip}
        if turned != self._flip.values:
            self._device.set(self._flip, turned)
        if mode.bayer_pattern:
            offsets = {"CFA_OFFSET_X": "0", "CFA_OFFSET_Y": "0"}
            self._device.set(self._cfa, {**offsets, "CFA_TYPE": mode.bayer_pattern})

    @property
    def model(self) -> str:
        """Of the sensor, as libcamera names it."""
        return self._camera.model

    @property
    def format(self) -> CaptureFormat:
        """What the pixels of the next frame are to be."""
        return self._formats[self._format.selected or next(iter(self._formats))]

    @property
    def orientation(self) -> Orientation:
        """How the next frame is to be mirrored."""
        return Orientation(self._flip["HORIZONTAL"], self._flip["VERTICAL"])

    @property
    def has_isp_formats(self) -> bool:
        """Whether there are formats that the ISP makes."""
        return self._formats is COLOUR_FORMATS

    @property
    def is_mosaic(self) -> bool:
        """Whether the pixels lie under a colour filter array, so that CCD_CFA is to be defined."""
        return self._mode.bayer_pattern is not None and self.format is CaptureFormat.RAW

    def settings(self, gain: float, controls: ControlValues) -> ExposureSettings:
        """What decides the next frame, as it stands now."""
        frame, binning, cfa = self._frame.values, self._binning.values, self._cfa.values
        return ExposureSettings(
            mode=self._mode,
            roi=Roi(*(round(frame[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))),
            bin_x=round(binning["HOR_BIN"]),
            bin_y=round(binning["VER_BIN"]),
            gain=gain,
            scale_to_16_bit=self._values.values["SCALED"],
            frame_type=FRAME_TYPES[self._frame_type.selected or "FRAME_LIGHT"],
            format=self.format,
            controls=controls,
            bayer_pattern=cfa["CFA_TYPE"] if self.is_mosaic else None,
            bayer_offsets=(int(cfa["CFA_OFFSET_X"]), int(cfa["CFA_OFFSET_Y"])),
        )

    def plan(self, exposure_s: float, gain: float, controls: ControlValues) -> ExposurePlan:
        """The order for an exposure as everything stands; raises Refused with a sentence."""
        settings = self.settings(gain, controls)
        try:
            return plan_exposure(exposure_s, settings, self._camera, HEADER_ROOM)
        except ValueError as fault:
            raise Refused(str(fault)) from None

    def frame_taken(self, facts: FrameFacts) -> None:
        """Tells the black level that the sensor reported with a frame."""
        if facts.format is CaptureFormat.RAW:
            bits = self._mode.mode.bits
            scale = facts.saturation / ((1 << bits) - 1)
            self._black_16 = facts.black_level / scale * 2.0 ** (16 - bits)
        self._show_levels()

    def _show_levels(self) -> None:
        """Tells what the values of the next frame will mean, where that has changed."""
        bits = self._mode.mode.bits
        if self.format is not CaptureFormat.RAW:
            levels = {"BITS": 8.0, "BLACK_LEVEL": 0.0, "SATURATION": 255.0}
        elif self._black_16 is not None:
            unit = 1 if self._values.values["SCALED"] else 2.0 ** (bits - 16)
            saturation = ((1 << bits) - 1) * 2.0 ** (16 - bits) * unit
            levels = {"BITS": float(bits), "BLACK_LEVEL": self._black_16 * unit}
            levels["SATURATION"] = saturation
        else:
            return
        if levels != self._adc.values:
            self._device.set(self._adc, levels, state=State.OK)

    async def _set_frame(self, asked: Mapping[str, float]) -> Answer:
        if missing := FRAME_ELEMENTS - asked.keys():
            raise Refused(
                f"Half a frame is refused: {', '.join(sorted(missing))} missing; "
                "set X, Y, WIDTH and HEIGHT in one request."
            )
        # Some clients change one element after the other (INDI's Alpaca bridge), so a frame may
        # reach beyond the sensor for a moment; the next exposure would refuse it.
        return Answer(values={name: round(value) for name, value in asked.items()})

    async def _reset_frame(self, asked: Mapping[str, bool]) -> Answer:
        mode = self._mode.mode
        self._device.set(self._binning, {"HOR_BIN": 1, "VER_BIN": 1}, state=State.OK)
        full = {"X": 0, "Y": 0, "WIDTH": mode.width, "HEIGHT": mode.height}
        self._device.set(self._frame, full, state=State.OK)
        return Answer(values={"RESET": False})

    async def _set_binning(self, asked: Mapping[str, float]) -> Answer:
        # Unequal binning is accepted until an exposure starts: some clients set one element at a
        # time.
        values = {name: round(value) for name, value in asked.items()}
        return Answer(values=values, then=self._warn_of_black)

    def _warn_of_black(self) -> None:
        """Values of 16 bits leave no room for the sum of many black levels."""
        settings = self.settings(1.0, ())
        if settings.format is not CaptureFormat.RAW or not settings.scale_to_16_bit:
            return
        share = (self._black_16 or 0) * settings.bin_x * settings.bin_y / 65_535
        if share >= 0.5:
            self._device.message(
                f"The black level alone fills {min(100, round(100 * share))} % of the values when "
                f"{settings.bin_x} x {settings.bin_y} pixels are summed: set Pixel values to "
                f"{VALUES.elements[1].label!r}.",
                "WARNING",
            )

    async def _set_frame_type(self, asked: Mapping[str, bool]) -> Answer:
        for name in ("FRAME_BIAS", "FRAME_DARK"):
            if asked[name]:
                kind = FRAME_TYPES[name].value.lower()
                told = f"This camera has no shutter: cover it before you take a {kind} frame."
                self._device.message(told, "WARNING")
        return Answer()

    async def _set_cfa(self, asked: Mapping[str, str]) -> Answer:
        cfa = self._cfa.values | dict(asked)
        offsets = {cfa["CFA_OFFSET_X"], cfa["CFA_OFFSET_Y"]}
        if cfa["CFA_TYPE"] not in BAYER_PATTERNS or offsets - {"0", "1"}:
            raise Refused(
                f"The colour filter is one of {', '.join(BAYER_PATTERNS)}, with offsets 0 or 1."
            )
        return Answer()

    async def _set_values(self, asked: Mapping[str, bool]) -> Answer:
        acts = self.format is CaptureFormat.RAW or asked == self._values.values
        told = "It acts on raw pictures; those of the ISP have 8 bits."
        return Answer(message=None if acts else told, then=self._values_changed)

    def _values_changed(self) -> None:
        self._show_levels()
        self._warn_of_black()

    async def _set_format(self, asked: Mapping[str, bool]) -> Answer:
        # The camera itself is set up for it when an exposure is ordered: clients set the format
        # before every frame, some of them a wrong one for a moment.
        return Answer(then=None if asked == self._format.values else self._format_changed)

    def _format_changed(self) -> None:
        # Ekos sets its frame back to the whole sensor whenever it hears of CCD_INFO.
        if self._info["CCD_BITSPERPIXEL"] != self.format.bits:
            self._device.set(self._info, {"CCD_BITSPERPIXEL": self.format.bits})
        (self._device.define if self.is_mosaic else self._device.delete)(self._cfa)
        self._show_levels()

    async def _set_flip(self, asked: Mapping[str, bool]) -> Answer:
        orientation = Orientation(asked["HORIZONTAL"], asked["VERTICAL"])
        if orientation == self.orientation:
            return Answer()
        facts = await self._set_up(self._mode.mode, orientation)
        return Answer(then=lambda: self._turned(facts))

    async def _set_mode(self, asked: Mapping[str, bool]) -> Answer:
        if asked[self._mode.mode.name]:
            return Answer()
        mode = next(mode for mode in self._camera.modes if asked[mode.name])
        facts = await self._set_up(mode, self.orientation)
        return Answer(then=lambda: self._on_new_mode(facts))

    async def _set_up(self, mode: SensorMode, orientation: Orientation) -> ModeFacts:
        if self._engine.busy:
            raise Refused("A picture is being taken: set the sensor up anew when it is finished.")
        try:
            return await self._engine.configure(mode, orientation)
        except CameraFault as fault:
            raise Refused(str(fault)) from None
