"""Headers and checksums of frames in memory, judged by astropy with every warning an error."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from astropy.io import fits as astropy_fits
from hypothesis import assume, example, given
from hypothesis import strategies as st

from indi_picam import clock, fits
from indi_picam.camera.modes import (
    FITS_BLOCK,
    CaptureFormat,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    Roi,
    SensorMode,
    Way,
)

MODE = ModeFacts(
    mode=SensorMode(4056, 3040, 12),
    raw_format="SBGGR12",
    bayer_pattern="BGGR",
    pixel_size_um=(1.55, 1.55),
    exposure_min_us=114,
    exposure_max_us=694_000_000,
    exposure_step_us=28.6,
    gain_min=1.0,
    gain_max=22.26,
    frame_duration_min_us=99_990,
    frame_duration_max_us=694_400_000,
    buffers=2,
)
REQUEST = FrameRequest(MODE.mode, 100_000, 2.0, Roi(0, 0, 101, 7))


def written(
    shape: tuple[int, int] = (7, 101), room: int = fits.HEADER_ROOM
) -> tuple[int, FrameFacts, np.ndarray[tuple[int, ...], np.dtype[np.uint16]]]:
    """A memory as the worker leaves it, its facts and its pixels."""
    pixels = np.random.default_rng(5).integers(0, 65536, shape, dtype=np.uint16)
    data = (pixels ^ 0x8000).astype(">u2").tobytes()
    data += bytes(-len(data) % FITS_BLOCK)
    datasum = int(np.frombuffer(data, ">u4").astype(np.uint64).sum())
    while datasum >> 32:
        datasum = (datasum & 0xFFFFFFFF) + (datasum >> 32)
    memory = os.memfd_create("frame")
    os.ftruncate(memory, room)
    os.pwrite(memory, data, room)
    facts = FrameFacts(
        exposure_us=99_987,
        gain=2.0,
        digital_gain=1.0,
        frame_duration_us=100_100,
        sensor_timestamp_ns=clock.monotonic_ns() - 40_000_000,
        completed_ns=clock.monotonic_ns(),
        temperature_c=None,
        black_level=4096.0,
        saturation=65520,
        width=shape[1],
        height=shape[0],
        bayer_pattern="BGGR",
        header_room=room,
        datasum=datasum,
        way=Way.RESTART,
        skipped=0,
        dropped=0,
    )
    return memory, facts, pixels


@pytest.fixture
def extra_cards(request: pytest.FixtureRequest) -> Iterator[list[fits.Card]]:
    yield [fits.Card(f"EXTRA{i}", i * 0.5, "one more") for i in range(request.param)]


@pytest.mark.parametrize(
    ("extra_cards", "moved"), [(0, False), (1, False), (500, True)], indirect=["extra_cards"]
)
def test_the_memory_is_a_valid_fits_file(extra_cards: list[fits.Card], moved: bool) -> None:
    memory, facts, pixels = written()
    cards = [*fits.exposure_cards(REQUEST, facts, MODE), *extra_cards]
    file = fits.finish(memory, facts, cards)
    content = os.pread(file.memory, file.size + 1, 0)
    assert len(content) == file.size == os.fstat(file.memory).st_size
    assert len(content) % FITS_BLOCK == 0
    with astropy_fits.open(io.BytesIO(content), checksum=True) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 1
        np.testing.assert_array_equal(hdus[0].data, pixels)
        header = hdus[0].header
    assert file.cards_moved is moved
    assert header["BAYERPAT"] == "BGGR"
    assert len([name for name in header if name.startswith("EXTRA")]) == len(extra_cards)
    assert content[file.size - len(pixels.tobytes()) - 80 :].count(b"END" + b" " * 77) <= 1
    os.close(file.memory)


@pytest.mark.parametrize(
    ("asked_us", "true_us", "exptime_s"),
    [
        (100_000, 99_987, 0.1),  # half a line less: the nominal value, or dark frames do not match
        (100_000, 99_900, 0.0999),  # more than a line: what the sensor says
        (600_000_000, 599_995_000, 600.0),  # long exposures have coarse steps
        (600_000_000, 300_000_000, 300.0),
        (114, 114, 0.000114),
    ],
)
def test_exptime_is_nominal_within_a_step(asked_us: int, true_us: int, exptime_s: float) -> None:
    memory, facts, _ = written()
    os.close(memory)
    facts = replace(facts, exposure_us=true_us)
    cards = fits.exposure_cards(replace(REQUEST, exposure_us=asked_us), facts, MODE)
    values = {card.keyword: card.value for card in cards}
    assert values["EXPTIME"] == exptime_s
    assert values["EXPTRUE"] == true_us / 1e6


def test_date_obs_is_the_start_of_the_exposure_however_late_the_header_is_written() -> None:
    memory, facts, _ = written()
    os.close(memory)
    now = datetime.now(UTC).timestamp()
    facts = replace(facts, sensor_timestamp_ns=clock.monotonic_ns() - 3_600_000_000_000)
    values = {card.keyword: card.value for card in fits.exposure_cards(REQUEST, facts, MODE)}
    start, middle, end = (
        datetime.fromisoformat(f"{values[name]}+00:00").timestamp()
        for name in ("DATE-OBS", "DATE-AVG", "DATE-END")
    )
    assert start == pytest.approx(now - 3600 - 0.099987, abs=0.05)
    assert end - start == pytest.approx(0.099987, abs=0.0011)
    assert middle - start == pytest.approx(0.05, abs=0.0011)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("OBJECT", "0" * 16), ("COMMENT", "CHECKSUM= '" + "0" * 16), ("CHECKSUM", "0" * 16)],
)
def test_a_text_of_zeros_is_not_taken_for_the_checksum(keyword: str, text: str) -> None:
    memory, facts, _ = written()
    cards = [*fits.exposure_cards(REQUEST, facts, MODE), fits.Card(keyword, text)]
    file = fits.finish(memory, facts, cards)
    content = os.pread(file.memory, file.size, 0)
    os.close(file.memory)
    with astropy_fits.open(io.BytesIO(content), checksum=True) as hdus:
        hdus.verify("exception")
        if keyword != "CHECKSUM":
            assert str(hdus[0].header[keyword]) == text


def test_what_is_not_known_is_not_written() -> None:
    memory, facts, _ = written()
    facts = replace(facts, bayer_pattern=None)
    file = fits.finish(memory, facts, fits.exposure_cards(REQUEST, facts, MODE))
    with astropy_fits.open(io.BytesIO(os.pread(file.memory, file.size, 0))) as hdus:
        assert not {"CCD-TEMP", "BAYERPAT", "XBAYROFF"} & set(hdus[0].header)
    os.close(file.memory)


@pytest.mark.parametrize(
    ("binning", "black", "saturate"), [(1, 4096.0, 65520), (2, 16384.0, 65535), (4, 65535.0, 65535)]
)
def test_levels_follow_the_binning(binning: int, black: float, saturate: int) -> None:
    memory, facts, _ = written()
    os.close(memory)
    request = replace(REQUEST, bin_x=binning, bin_y=binning)
    values = {card.keyword: card.value for card in fits.exposure_cards(request, facts, MODE)}
    assert (values["BLKLEVEL"], values["SATURATE"]) == (black, saturate)
    assert (values["XPIXSZ"], values["PIXSIZE1"]) == (1.55 * binning, 1.55)


@pytest.mark.parametrize("capture_format", [CaptureFormat.MONO, CaptureFormat.RGB])
def test_pictures_of_the_isp_are_planes_of_bytes(capture_format: CaptureFormat) -> None:
    planes, height, width = capture_format.planes, 7, 101
    pixels = np.random.default_rng(6).integers(0, 256, (planes, height, width), np.uint8)
    data = pixels.tobytes() + bytes(-pixels.size % FITS_BLOCK)
    memory, raw_facts, _ = written()
    os.close(memory)
    memory = os.memfd_create("frame")
    os.pwrite(memory, data, fits.HEADER_ROOM)
    total = int(np.frombuffer(data, ">u4").astype(np.uint64).sum())
    facts = replace(
        raw_facts,
        datasum=(total & 0xFFFFFFFF) + (total >> 32),
        format=capture_format,
        bayer_pattern=None,
        black_level=0.0,
        saturation=255,
        colour_gains=(2.0, 1.5),
        colour_temperature_k=4500,
    )
    request = replace(REQUEST, format=capture_format, bin_x=2, bin_y=2)
    file = fits.finish(memory, facts, fits.exposure_cards(request, facts, MODE))
    with open(memory, "rb", closefd=True) as content:
        whole = content.read()
    assert len(whole) == file.size
    with astropy_fits.open(io.BytesIO(whole), checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        np.testing.assert_array_equal(hdus[0].data.reshape(pixels.shape), pixels)
    assert (header["BITPIX"], header["NAXIS"]) == (8, 3 if planes == 3 else 2)
    assert not {"BZERO", "BSCALE", "BAYERPAT"} & set(header)
    # Binned pixels are means: neither black nor white moves.
    assert (header["BLKLEVEL"], header["SATURATE"]) == (0, 255)
    assert (header["WBRED"], header["WBBLUE"], header["COLTEMP"]) == (2.0, 1.5, 4500)


@pytest.mark.parametrize(("capture_format", "pixel_bytes"), [("raw", 2), ("mono", 1), ("rgb", 3)])
def test_files_are_as_large_as_foretold(capture_format: str, pixel_bytes: int) -> None:
    request = replace(REQUEST, format=CaptureFormat(capture_format), roi=Roi(0, 0, 1000, 1000))
    blocks = -(-1_000_000 * pixel_bytes // FITS_BLOCK)
    assert request.file_bytes == request.header_room + blocks * FITS_BLOCK


@given(
    st.from_regex(r"[A-Z0-9_-]{1,8}", fullmatch=True).filter(lambda name: name != "END"),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=90),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
)
@example("OBJECT", "M 31", " ")
@example("OBJECT", "Andromeda, the galaxy ", "of the night")
@example("OBJECT", "  ", "of the night")
def test_a_text_card_is_written_as_astropy_writes_it(keyword: str, text: str, comment: str) -> None:
    assume(keyword not in ("COMMENT", "HISTORY", "CONTINUE"))
    value = fits.text_value(text)
    room = 80 - 10 - max(20, len(value) + value.count("'") + 2) - 3
    theirs = astropy_fits.Card(keyword, value, comment[: max(0, room)])
    # Text like "A: 1" is a record to astropy (Paper IV's proposal), to us the text it is.
    assume(theirs.field_specifier is None)
    assert fits._image(keyword, text, comment) == str(theirs)
