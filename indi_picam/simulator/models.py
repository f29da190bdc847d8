"""The figures of every sensor that can be simulated; see ``truth.py`` for what they mean.

From libcamera's camera helpers and dumps of real cameras. Not verified on hardware: start and stop
times, line lengths of the imx283 and of the modes of the newer imx477 driver, how the ov64a40 is
mounted, and all of ``Silicon`` but the imx477 (published figures).
"""

from __future__ import annotations

from .truth import GainLaw, Mode, Sensor, Silicon


def _modes(rows: str, array: tuple[int, int], **common: float) -> tuple[Mode, ...]:
    """A table, one mode a line.

    width height bits x,y,w,h binning line_us fps exposure_min_lines [line_max_us [sensitivity]]
    """
    modes = []
    for row in rows.strip().splitlines():
        width, height, bits, crop, binning, line, fps, least, *rest = row.split()
        left, top, wide, high = (int(part) for part in crop.split(","))
        line_us = float(line)
        modes.append(
            Mode(
                int(width),
                int(height),
                int(bits),
                (left, top, wide, high),
                int(binning),
                line_us,
                float(rest[0]) if rest else line_us,
                round(1e6 / float(fps) / line_us),
                int(common["frame_max_lines"]),
                int(least),
                float(rest[1]) if len(rest) > 1 else 1.0,
            )
        )
    if any(mode.crop[2] > array[0] or mode.crop[3] > array[1] for mode in modes):
        raise ValueError("a mode reads more than the array")
    return tuple(modes)


_IMX477_OLD = """
1332 990 10 696,528,2664,1980 2 7.88 120.05 4 79.585
2028 1080 12 0,440,4056,2160 2 15.16 50.03 4 79.586
2028 1520 12 0,0,4056,3040 2 15.16 40.01 4 79.586
4056 3040 12 0,0,4056,3040 1 28.575 10.0 4 82.8275
"""


def _imx477_trixie() -> str:
    """The 15 modes of the newer driver: five sizes at three depths."""
    sizes = {
        "1332 990": ("696,528,2664,1980 2", (148, 120, 102)),
        "2028 1080": ("0,440,4056,2160 2", (92, 75, 63)),
        "2028 1520": ("0,0,4056,3040 2", (66, 54, 45)),
        "4056 2160": ("0,440,4056,2160 1", (24, 20, 16)),
        "4056 3040": ("0,0,4056,3040 1", (17, 14, 11.7)),
    }
    rows = []
    for index, bits in enumerate((8, 10, 12)):
        for size, (crop, rates) in sizes.items():
            line = 1e6 / rates[index] / (int(size.split()[1]) + 42)
            rows.append(f"{size} {bits} {crop} {line:.3f} {rates[index]} 8 {line * 2.9:.3f}")
    return "\n".join(rows)


def _imx477(model_rows: str) -> Sensor:
    array = (4056, 3040)
    return Sensor(
        model="imx477",
        array=array,
        pixel_nm=1550,
        order="RGGB",
        rotation=180,
        modes=_modes(model_rows, array, frame_max_lines=65_500 << 7),
        gains=GainLaw("ratio", 1024, 0, 978),
        # 0.47 ADU per electron at 12 bits and gain 1, 3 electrons of read noise, half of it at gain
        # 16.
        silicon=Silicon(8600, 8180, 3.0, 1.5, 0.02, 1e-4),
        black_level=4096,
        margin_lines=22,
        delay_frames=3,
        shift_max=7,
        thermometer=True,
        start_us=35_000,
    )


def _imx708() -> Sensor:
    array = (4608, 2592)
    rows = """
    1536 864 10 768,432,3072,1728 2 9.11 120.13 1 9.11 2
    2304 1296 10 0,0,4608,2592 2 13.1 56.03 1 13.1 2
    4608 2592 10 0,0,4608,2592 1 26.2 14.35 1 26.2
    """
    return Sensor(
        model="imx708",
        array=array,
        pixel_nm=1400,
        order="RGGB",
        rotation=180,
        modes=_modes(rows, array, frame_max_lines=65_500 << 7),
        gains=GainLaw("ratio", 1024, 112, 960),
        silicon=Silicon(5600, 5300, 2.6, 1.6, 0.03, 1.5e-4),
        black_level=4096,
        margin_lines=48,
        delay_frames=3,
        shift_max=7,
        thermometer=True,
        autofocus=True,
        start_us=45_000,
    )


def _imx219() -> Sensor:
    array = (3280, 2464)
    sizes = (
        "640 480 {bits} 1000,752,1280,960 2 18.9 103.33 4 179.56",
        "1640 1232 {bits} 0,0,3280,2464 2 18.9 41.85 4 179.56",
        "1920 1080 {bits} 680,692,1920,1080 1 18.9 47.57 4 179.56",
        "3280 2464 {bits} 0,0,3280,2464 1 18.9 21.19 4 179.56",
    )
    rows = "\n".join(size.format(bits=bits) for bits in (8, 10) for size in sizes)
    return Sensor(
        model="imx219",
        array=array,
        pixel_nm=1120,
        order="RGGB",
        rotation=180,
        modes=_modes(rows, array, frame_max_lines=65_535),
        gains=GainLaw("ratio", 256, 0, 232),
        silicon=Silicon(4700, 4500, 3.2, 2.0, 0.1, 3e-4),
        black_level=4096,
        margin_lines=4,
        delay_frames=2,
        mistrusted=1,
        start_us=15_000,
    )


def _ov5647() -> Sensor:
    array = (2592, 1944)
    rows = """
    640 480 10 16,0,2560,1920 4 31.75 58.92 4
    1296 972 10 0,0,2592,1944 2 23.13 43.25 4
    1920 1080 10 348,434,1928,1080 1 29.58 30.62 4
    2592 1944 10 0,0,2592,1944 1 32.503 15.63 4
    """
    return Sensor(
        model="ov5647",
        array=array,
        pixel_nm=1400,
        order="GBRG",
        rotation=0,
        modes=_modes(rows, array, frame_max_lines=29_824),
        gains=GainLaw("linear", 16, 16, 1023),
        silicon=Silicon(4300, 4600, 4.0, 2.5, 0.3, 5e-4),
        black_level=1024,
        margin_lines=4,
        delay_frames=2,
        bad_first_start=2,
        bad_later_start=2,
        mistrusted=2,
        start_us=30_000,
    )


def _imx296() -> Sensor:
    array = (1456, 1088)
    return Sensor(
        model="imx296",
        array=array,
        pixel_nm=3450,
        order="MONO",
        rotation=180,
        modes=_modes(
            "1456 1088 10 0,0,1456,1088 1 14.8148 60.38 1", array, frame_max_lines=1_048_575
        ),
        # The register goes on digitally up to 48 dB; libcamera's helper stops at 23.9 dB, where the
        # analogue gain ends.
        gains=GainLaw("decibel", 0.1, 0, 239, reported_max=251.1886),
        silicon=Silicon(11_000, 10_500, 4.5, 2.2, 0.4, 1e-4),
        black_level=3840,
        margin_lines=4,
        delay_frames=2,
        exposure_offset_us=14.26,
        reports_exposure_max=False,
        start_us=20_000,
    )


def _imx290() -> Sensor:
    array = (1945, 1097)
    sizes = (
        "1280 720 {bits} 332,188,1280,720 1 22.2222 60.0 1 441.31",
        "1920 1080 {bits} 12,8,1920,1080 1 14.8148 60.0 1 441.31",
    )
    rows = "\n".join(size.format(bits=bits) for bits in (10, 12) for size in sizes)
    return Sensor(
        model="imx290",
        array=array,
        pixel_nm=2900,
        order="RGGB",
        rotation=0,
        modes=_modes(rows, array, frame_max_lines=262_143),
        gains=GainLaw("decibel", 0.3, 0, 100),
        silicon=Silicon(15_500, 14_600, 3.3, 0.9, 0.02, 5e-5),
        black_level=3840,
        margin_lines=2,
        delay_frames=2,
        bad_first_start=1,
        bad_later_start=1,
        start_us=30_000,
    )


def _imx283() -> Sensor:
    array = (5472, 3648)
    rows = """
    2736 1824 12 0,0,5472,3648 2 10.9 48.0 4 123.03
    5472 3648 12 0,0,5472,3648 1 14.5 18.4 4 123.03
    2736 1824 10 0,0,5472,3648 2 8.2 63.0 4 123.03
    5472 3648 10 0,0,5472,3648 1 10.9 24.5 4 123.03
    """
    return Sensor(
        model="imx283",
        array=array,
        pixel_nm=2400,
        order="RGGB",
        rotation=0,
        modes=_modes(rows, array, frame_max_lines=1_048_575),
        gains=GainLaw("ratio", 2048, 0, 1957),
        silicon=Silicon(20_000, 19_000, 3.4, 1.4, 0.01, 5e-5),
        black_level=3200,
        margin_lines=4,
        delay_frames=2,
        bad_first_start=0,
        bad_later_start=1,
        start_us=40_000,
    )


def _ov64a40() -> Sensor:
    """Line lengths and crops as its Linux driver sets them for a link of 456 MHz.

    It writes some 4,000 registers at every start, which takes 0.4 s on a bus of 400 kHz.
    """
    array = (9248, 6944)
    rows = """
    1920 1080 10 784,1312,7680,4320 4 11.7333 61.0082 16 11.7333 4
    2312 1736 10 0,0,9248,6944 4 16.64 30.0781 16 16.64 4
    3840 2160 10 784,1312,7680,4320 2 22.5333 20.0084 16 22.5333 2
    4624 3472 10 0,0,9248,6944 2 28.16 10.0513 16 28.16 2
    8000 6000 10 624,472,8000,6000 1 51.3067 3.0454 16
    9248 6944 10 0,0,9248,6944 1 54.2933 2.6044 16
    """
    return Sensor(
        model="ov64a40",
        array=array,
        pixel_nm=1008,
        order="BGGR",
        rotation=0,
        modes=_modes(rows, array, frame_max_lines=(1 << 24) - 1),
        gains=GainLaw("linear", 128, 128, 2047),
        silicon=Silicon(4500, 4300, 2.5, 1.6, 0.05, 1e-4),
        black_level=4096,
        margin_lines=32,
        delay_frames=2,
        start_us=400_000,
    )


SENSORS: dict[str, Sensor] = {
    "ov5647": _ov5647(),
    "imx219": _imx219(),
    "imx477": _imx477(_IMX477_OLD),
    "imx477-trixie": _imx477(_imx477_trixie()),
    "imx708": _imx708(),
    "imx296": _imx296(),
    "imx290": _imx290(),
    "imx283": _imx283(),
    "ov64a40": _ov64a40(),
}
"""By the name they are chosen with."""
