"""Makes the memory of a frame a finished FITS file: writes the header before the pixels.

The pixels stand already where they belong, big-endian behind the room, summed for DATASUM (see
:class:`indi_picam.camera.modes.FrameFacts`). Here the header is written by ``astropy.io.fits`` into
that room, filled up with blank cards before END (FITS 4.0, section 4.4.1: nothing but END may close
the header, and section 4.1.2.1 allows blank cards before it), so that the file begins at the first
byte of the memory. Knows no INDI and no camera; called by the exposing group with the facts it has
collected.
"""

from __future__ import annotations

import functools
import math
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from indi_picam import clock
from indi_picam.camera.modes import FITS_BLOCK, CaptureFormat, FrameFacts, FrameRequest, ModeFacts

CARD = 80
HEADER_ROOM = 4 * FITS_BLOCK
"""Room reserved for a header in bytes: 144 cards; a frame with every snooped value has some 90."""
LONGEST_TEXT = CARD - 12
"""Characters of a text value on one card, each apostrophe counted twice (FITS 4.0, 4.2.1.1)."""
_COPY_PIECE = 4 << 20
_NO_CHECKSUM = b"0" * 16
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)")


class Card(NamedTuple):
    """One keyword of the header; a card whose value is None or not finite is left out.

    Text may be anything: what FITS cannot hold is replaced (:func:`legal_text`) or cut.
    """

    keyword: str
    value: str | int | float | bool | None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class FitsFile:
    """A finished FITS file in memory; whoever holds it closes the descriptor."""

    memory: int
    size: int
    cards_moved: bool
    """Whether the header outgrew its room and the pixels had to be copied."""
    compressed: bool = False
    """Whether it is a Rice-compressed file (fpack's)."""


def prepare() -> None:
    """Imports astropy ahead of the first frame: 0.3 to 2 s, so off the loop's thread."""
    import astropy.io.fits  # noqa: F401 - not before the first definitions are out


def nominal_exposure_s(request: FrameRequest, facts: FrameFacts, mode: ModeFacts) -> float:
    """The exposure in seconds that files are sorted and dark frames matched by.

    It is the one asked for when the sensor's own is within one of its steps (0.1 s, not 0.0999987),
    else the sensor's own.
    """
    close = abs(facts.exposure_us - request.exposure_us) <= mode.step_us(request.exposure_us)
    return (request.exposure_us if close else facts.exposure_us) / 1e6


def exposure_cards(request: FrameRequest, facts: FrameFacts, mode: ModeFacts) -> list[Card]:
    """What the sensor reported of the frame as header cards: UTC, um, ADU."""
    readout_utc_ns = clock.utc_ns(facts.sensor_timestamp_ns)
    start_ns = readout_utc_ns - facts.exposure_us * 1000
    bin_x, bin_y = request.bin_x, request.bin_y
    raw = facts.format is CaptureFormat.RAW
    cell = bin_x * bin_y if raw else 1  # the ISP's pixels are averaged
    binned = "summed" if raw else "averaged"
    nominal_s = nominal_exposure_s(request, facts, mode)
    size_x, size_y = mode.pixel_size_um
    return [
        Card("EXPTIME", nominal_s, "[s] exposure"),
        Card("EXPTRUE", facts.exposure_us / 1e6, "[s] exposure the sensor reported"),
        Card("EXPASKED", request.exposure_us / 1e6, "[s] exposure asked for"),
        Card("TIMESYS", "UTC", "time scale of all dates"),
        Card("DATE-OBS", _iso(start_ns), "start of exposure, first row"),
        Card("DATE-AVG", _iso(start_ns + facts.exposure_us * 500), "middle of exposure, first row"),
        Card("DATE-END", _iso(readout_utc_ns), "end of exposure, first row"),
        Card("GAIN", round(facts.gain, 3), "analogue gain the sensor reported"),
        Card("GAINASKD", round(request.gain, 3), "analogue gain asked for"),
        Card("ISO", round(100 * facts.gain), "100 x analogue gain"),
        Card(
            "DIGIGAIN",
            round(facts.digital_gain, 4),
            "digital gain" + (", not applied to raw pixels" if raw else ", applied"),
        ),
        Card("CCD-TEMP", rounded(facts.temperature_c, 3), "[C] temperature of the sensor"),
        Card("PIXSIZE1", size_x or None, "[um] pixel width, unbinned"),
        Card("PIXSIZE2", size_y or None, "[um] pixel height, unbinned"),
        Card("XBINNING", bin_x, f"pixels {binned} horizontally"),
        Card("YBINNING", bin_y, f"pixels {binned} vertically"),
        Card("XPIXSZ", round(size_x * bin_x, 6) or None, "[um] pixel width, binned"),
        Card("YPIXSZ", round(size_y * bin_y, 6) or None, "[um] pixel height, binned"),
        Card("XORGSUBF", request.roi.x, "[pixel] left edge in the mode, unbinned"),
        Card("YORGSUBF", request.roi.y, "[pixel] top edge in the mode, unbinned"),
        Card(
            "BLKLEVEL",
            min(65_535.0, round(facts.black_level * cell, 3)),
            "[adu] black level of a stored pixel",
        ),
        Card(
            "SATURATE",
            min(65_535, facts.saturation * cell),
            "[adu] highest value of a stored pixel",
        ),
        Card("ADCBITS", mode.mode.bits, "[bit] true depth of the pixels"),
        Card("SENSMODE", mode.mode.name, "sensor mode: width x height _ bits"),
        Card("RAWFMT", mode.raw_format, "raw format libcamera granted"),
        Card("ROWORDER", "TOP-DOWN", "first row is the top of the sensor"),
        Card("HFLIP", request.orientation.hflip, "mirrored left to right"),
        Card("VFLIP", request.orientation.vflip, "mirrored top to bottom"),
        *_bayer_cards(facts.bayer_pattern, request.bayer_offsets),
        *_format_cards(facts),
        Card("DPC", facts.corrects_defects, "sensor corrects defective pixels by itself"),
        Card("LENSPOS", facts.lens_position, "[dioptre] position of the lens, 0 is infinity"),
        Card("TAKENBY", facts.way.value, "how the frame was taken"),
        Card("SKIPPED", facts.skipped, "frames passed over before this one"),
        Card("DROPPED", facts.dropped, "frames of the sensor missed before this one"),
        Card("REPEATED", facts.repeated, "times it was taken in vain: the camera failed"),
    ]


def _bayer_cards(pattern: str | None, offsets: tuple[int, int]) -> list[Card]:
    if pattern is None:
        return []
    return [
        Card("BAYERPAT", pattern, "colours of the first 2x2 pixels, top down"),
        Card("XBAYROFF", offsets[0], "[pixel] offset of BAYERPAT to the right"),
        Card("YBAYROFF", offsets[1], "[pixel] offset of BAYERPAT down"),
    ]


def _format_cards(facts: FrameFacts) -> list[Card]:
    red, blue = facts.colour_gains or (None, None)
    return [
        Card("CAPFMT", facts.format.value.upper(), "capture format: RAW, or MONO, RGB of the ISP"),
        Card("WBRED", red, "gain of red that the ISP applied"),
        Card("WBBLUE", blue, "gain of blue that the ISP applied"),
        Card("COLTEMP", facts.colour_temperature_k, "[K] colour temperature the ISP assumed"),
    ]


def rounded(value: float | None, decimals: int) -> float | None:
    """A value as INDI::CCD writes it, with so many decimals; None stays None."""
    return None if value is None else round(float(value), decimals)


def _iso(utc_ns: int) -> str:
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}"


def legal_text(text: str) -> str:
    """Text as FITS can hold it, printable ASCII (FITS 4.0, 4.2.1.1).

    Accents are dropped, Greek letters spelled, white space is a blank, the rest question marks.
    """
    if text.isascii() and text.isprintable():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(_legal_character(c) for c in decomposed if not unicodedata.combining(c))


def _legal_character(character: str) -> str:
    if " " <= character <= "~":
        return character
    if greek := _GREEK.fullmatch(unicodedata.name(character, "")):
        return greek[2].lower() if greek[1] == "SMALL" else greek[2].capitalize()
    return " " if character.isspace() else "?"


def text_value(text: str) -> str:
    """Text as one card can hold it: legal, and no longer than :data:`LONGEST_TEXT`."""
    text = legal_text(text)[:LONGEST_TEXT]
    while len(text) + text.count("'") > LONGEST_TEXT:
        text = text[:-1]
    return text


@functools.lru_cache(maxsize=512, typed=True)
def _image(keyword: str, value: str | int | float | bool, comment: str) -> str:
    """A card's characters, 80 or for long commentary more; the comment is cut before the value.

    Raises ValueError for what FITS cannot hold. Most cards are the same in every frame: making all
    of them anew took 2.8 of the 3.5 ms from the worker's pixels to the picture on the link.
    """
    from astropy.io import fits

    if keyword in ("COMMENT", "HISTORY"):
        return str(fits.Card(keyword, value))
    width = 20
    if isinstance(value, str):
        value = text_value(value)
        width = max(width, len(value) + value.count("'") + 2)
    room = max(0, CARD - len("KEYWORD = ") - width - len(" / "))
    comment = legal_text(comment)[:room].rstrip()
    if isinstance(value, str) and value:
        # FITS 4.0, 4.2.1.1: the dates of each frame are new, and astropy needs ten times as long.
        quoted = "'" + value.replace("'", "''").ljust(8) + "'"
        return f"{keyword:8}= {quoted:20}{comment and ' / '}{comment}".ljust(CARD)
    return str(fits.Card(keyword, value, comment))


def finish(memory: int, facts: FrameFacts, cards: Iterable[Card]) -> FitsFile:
    """Writes the header before the pixels of a frame and so makes its memory a FITS file.

    Takes over ``memory``; the descriptor of the result may be another one when the header outgrew
    its room (the pixels are then copied once). CHECKSUM and DATASUM are set (FITS 4.0, section
    4.4.2.7). Raises ValueError for a card that FITS cannot hold; ``memory`` is still the caller's
    then.
    """
    images: dict[str, str] = {}
    for keyword, value, comment in (*_structure(facts), *cards):
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if keyword in ("COMMENT", "HISTORY"):
            before = images.get(keyword, "")
            images[keyword] = before + _image(keyword, legal_text(str(value)), "")
        else:
            images[keyword] = _image(keyword, value, comment)
    head = "".join(images[keyword] for keyword in images if keyword not in ("CHECKSUM", "DATASUM"))
    sums = _image("CHECKSUM", _NO_CHECKSUM.decode(), "HDU checksum")
    sums += _image("DATASUM", str(facts.datasum), "data unit checksum")
    text, room = _filled((head + sums).encode("ascii"), facts.header_room)
    data_size = os.fstat(memory).st_size - facts.header_room
    # Carries that wrap around: the remainder, in one step (2,880 words took 100 us).
    checksum = _checksum(int.from_bytes(text, "big") % 0xFFFF_FFFF + facts.datasum)
    at = len(head) + len("CHECKSUM= '")
    text = text[:at] + checksum + text[at + len(checksum) :]
    if room == facts.header_room:
        _write_header(memory, text)
        return FitsFile(memory, room + data_size, cards_moved=False)
    larger = _with_more_room(memory, facts.header_room, text, data_size)
    os.close(memory)
    return FitsFile(larger, room + data_size, cards_moved=True)


def _write_header(memory: int, text: bytes) -> None:
    """Through a description of its own: what clients get cannot be written."""
    writable = os.open(f"/proc/self/fd/{memory}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(writable, text, 0)
    finally:
        os.close(writable)


def _structure(facts: FrameFacts) -> list[Card]:
    raw, planes = facts.format is CaptureFormat.RAW, facts.format.planes
    return [
        Card("SIMPLE", True, "conforms to FITS"),
        Card("BITPIX", facts.format.bits, f"{facts.format.bits} bit integers"),
        Card("NAXIS", 2 if planes == 1 else 3),
        Card("NAXIS1", facts.width, "[pixel] width"),
        Card("NAXIS2", facts.height, "[pixel] height"),
        Card("NAXIS3", planes if planes > 1 else None, "red, green, blue"),
        Card("BZERO", 32768 if raw else None, "values are unsigned"),
        Card("BSCALE", 1 if raw else None),
    ]


def _filled(text: bytes, room: int) -> tuple[bytes, int]:
    """A header's cards with blank ones before END, and its length: the room, or more blocks."""
    needed = -(-(len(text) + CARD) // FITS_BLOCK) * FITS_BLOCK
    room = max(room, needed)
    return text.ljust(room - CARD) + b"END".ljust(CARD), room


def _with_more_room(memory: int, old_room: int, text: bytes, data_size: int) -> int:
    """A new memory with a longer header before the same pixels."""
    larger = os.memfd_create("frame", os.MFD_CLOEXEC)
    try:
        os.pwrite(larger, text, 0)
        done = 0
        while done < data_size:
            piece = os.pread(memory, min(_COPY_PIECE, data_size - done), old_room + done)
            os.pwrite(larger, piece, len(text) + done)
            done += len(piece)
    except BaseException:
        os.close(larger)
        raise
    return larger


def _checksum(total: int) -> bytes:
    """The CHECKSUM that brings the ones' complement sum of a whole HDU to -0 (FITS 4.0, J).

    ``total`` sums the 32-bit words of header and data while CHECKSUM holds sixteen zeros. Each byte
    of the complement is spread over four characters, moved off the punctuation between 9, A, Z and
    a, and the whole is rotated by one, because the value begins at the 12th column, one before a
    word's end.
    """
    while total >> 32:
        total = (total & 0xFFFF_FFFF) + (total >> 32)
    characters = bytearray(16)
    for position, byte in enumerate((~total & 0xFFFF_FFFF).to_bytes(4, "big")):
        characters[position::4] = _spread(byte)
    return bytes(characters[-1:] + characters[:-1])


@functools.cache
def _spread(byte: int) -> bytes:
    """Four letters or digits that add up to a byte and four zeros."""
    quarter, rest = divmod(byte, 4)
    spread = [quarter + ord("0") + (rest if i == 0 else 0) for i in range(4)]
    while any(_is_punctuation(c) for c in spread):
        for i in (0, 2):
            if _is_punctuation(spread[i]) or _is_punctuation(spread[i + 1]):
                spread[i] += 1
                spread[i + 1] -= 1
    return bytes(spread)


def _is_punctuation(character: int) -> bool:
    return 0x3A <= character <= 0x40 or 0x5B <= character <= 0x60
