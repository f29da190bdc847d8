"""Pictures that clients received, held to what the simulated sensor really exposed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from indi_picam import clock
from indi_picam.camera.modes import CaptureFormat, Roi
from tests.camera.conftest import Bench, true_pixels
from tests.camera.test_images import true_planes

LATE_S = 1.0
"""The sensor hands a frame over before it writes its log: a small picture may arrive first."""
SAME_START_S = 0.005
"""DATE-OBS is in ms, and goes by the computer's clock, which may be corrected meanwhile."""


def check_raw(file: Path | BytesIO, bench: Bench) -> fits.Header:
    """Holds every pixel of a raw frame, and what its header tells, to the truth; its header."""
    with fits.open(file, checksum=True) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 1
        header: fits.Header = hdus[0].header
        pixels = hdus[0].data
    logged = exposed(header, bench)
    assert header["SENSMODE"] == logged["mode"]
    assert header["GAIN"] == pytest.approx(logged["gain"], abs=0.001)
    binning = header["XBINNING"]
    roi = Roi(
        header["XORGSUBF"],
        header["YORGSUBF"],
        header["NAXIS1"] * binning,
        header["NAXIS2"] * binning,
    )
    np.testing.assert_array_equal(pixels, true_pixels(bench, logged, roi, binning, scaled=True))
    return header


def check_image(file: Path, bench: Bench, capture_format: CaptureFormat) -> fits.Header:
    """Holds every pixel of a whole picture of the ISP to the truth; its header."""
    with fits.open(file, checksum=True) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 1
        header: fits.Header = hdus[0].header
        pixels = hdus[0].data
    expected = true_planes(bench, exposed(header, bench), capture_format)
    assert header["BITPIX"] == 8
    assert "BAYERPAT" not in header
    np.testing.assert_array_equal(pixels, expected if len(expected) > 1 else expected[0])
    return header


def exposed(header: fits.Header, bench: Bench) -> dict[str, Any]:
    """The log's line of the frame that a header says it is."""
    start = datetime.fromisoformat(header["DATE-OBS"]).replace(tzinfo=UTC).timestamp()
    deadline = time.monotonic() + LATE_S
    while True:
        found = [
            line
            for line in bench.log()
            if line["exposure_us"] / 1e6 == header["EXPTRUE"]
            and abs(clock.utc_ns(line["exposure_start_ns"]) / 1e9 - start) < SAME_START_S
        ]
        if len(found) == 1:
            return found[0]
        assert time.monotonic() < deadline, f"{len(found)} frames began at {header['DATE-OBS']}"
        time.sleep(0.01)
