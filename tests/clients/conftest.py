"""KStars and a simulated camera on an indiserver, for all tests of a file that ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.camera.conftest import Bench
from tests.clients.kstars import KStars, Profile, kstars
from tests.system.conftest import DEVICE
from tests.system.server import Server, serving

CAMERA = "imx290"
DRIVER_FILES = Path(__file__).parents[2] / "xml"
FAILED = pytest.StashKey[bool]()


@dataclass(frozen=True, slots=True)
class Observatory:
    """KStars, the camera it is connected to, and where files go."""

    kstars: KStars
    server: Server
    bench: Bench
    pictures: Path
    """Where KStars saves."""
    on_camera: Path
    """Where the driver saves."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remembers which tests failed, for their fixtures."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report  # type: ignore[return-value]


@pytest.fixture(scope="module")
def shared_observatory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observatory]:
    """KStars connected to a simulated camera through a profile with a remote host."""
    home = tmp_path_factory.mktemp("kstars")
    on_camera = tmp_path_factory.mktemp("camera")
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(on_camera, patch)
        bench.plug(CAMERA)
        with (
            serving(on_camera, environment={"HOME": str(on_camera)}) as server,
            kstars(home, [Profile("remote", DEVICE, server.port)], DRIVER_FILES) as program,
        ):
            program.start("remote")
            yield Observatory(program, server, bench, home / "pictures", on_camera / "pictures")


@pytest.fixture
def observatory(
    shared_observatory: Observatory, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Observatory]:
    """The observatory with an empty queue; a photograph of KStars is left when the test fails."""
    shared_observatory.kstars.capture("clearSequenceQueue")
    yield shared_observatory
    if request.node.stash.get(FAILED, False):
        photograph = tmp_path / "kstars.png"
        shared_observatory.kstars.photograph(photograph)
        print(f"KStars at the end: {photograph}", *shared_observatory.kstars.log(), sep="\n")
