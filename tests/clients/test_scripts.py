"""Users' scripts: with INDI's own commands, with pyindi-client and with indipyclient."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.camera.conftest import Bench
from tests.clients.conftest import CAMERA
from tests.clients.truth import check_raw
from tests.system.conftest import DEVICE
from tests.system.server import serving

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([SCRIPTS / "with_commands"], id="INDI's commands"),
        pytest.param([sys.executable, SCRIPTS / "with_pyindi.py"], id="pyindi-client"),
        pytest.param([sys.executable, SCRIPTS / "with_indipyclient.py"], id="indipyclient"),
    ],
)
def test_a_script_takes_the_picture_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Sequence[str | Path]
) -> None:
    """Twice from one driver, as the second run finds a camera that others have used."""
    bench = Bench(tmp_path, monkeypatch)
    bench.plug(CAMERA)
    with serving(tmp_path) as server:
        for seconds, gain in ((0.5, 4), (0.25, 2)):
            file = tmp_path / f"{gain}.fits"
            arguments = (str(server.port), DEVICE, str(seconds), str(gain), str(file))
            subprocess.run([*command, *arguments], check=True, timeout=40)
            header = check_raw(file, bench)
            assert header["EXPTIME"] == seconds
            assert header["GAINASKD"] == gain
            assert header["GAIN"] == pytest.approx(gain, rel=0.036)  # in steps of 0.3 dB
            assert (header["XORGSUBF"], header["YORGSUBF"]) == (11, 13)
            assert (header["NAXIS1"], header["NAXIS2"]) == (301, 203)
