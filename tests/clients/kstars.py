"""KStars with Ekos, run as its users run it: a home, an equipment profile, and the buttons over
D-Bus.

    prepare   KStars makes its own data base, once; profiles are then added to it
    kstars    KStars runs
    start     Ekos starts a profile: it reaches the server (or starts one), and connects the camera
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

from jeepney import DBusErrorResponse

from tests.clients.accessible import press
from tests.clients.bus import Service
from tests.clients.desktop import Desktop, desktop, running

EKOS = ("/KStars/Ekos", "org.kde.kstars.Ekos")
CAPTURE = ("/KStars/Ekos/Capture", "org.kde.kstars.Ekos.Capture")
INDI = ("/KStars/INDI", "org.kde.kstars.INDI")
SHOW_EKOS = ("/kstars/MainWindow_1/actions/show_ekos", "org.qtproject.Qt.QAction")
SHIELDED = (
    "unshare",
    *(() if os.geteuid() == 0 else ("--map-current-user",)),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
"""KStars ends every indiserver that it finds by name: it shall find none but its own."""
SUCCESS, FAILED = 2, 3
"""Of Ekos::CommunicationStatus."""
ENDS = ("Complete", "Error", "Aborted")
STARTS = 3
"""KStars ends by itself in one of some forty starts, before it has looked for any driver."""

# What would wait for an answer at the first start is off; every picture is shown, and so parsed.
SETTINGS = """
[GUI]
RunStartupWizard=false
[TipOfDay]
RunOnStart=false
[FITSViewer]
useFITSViewer=false
[Capture]
useSummaryPreview=true
[DarkLibrary]
shutterfulCCDs={camera}
[Guide]
GuiderType=1
[indi]
indiServer=/usr/bin/indiserver
indiDriversDir={drivers}
indiServerIsInternal=false
useTimeUpdate=false
useGeographicUpdate=false
"""
WALLET = "[Wallet]\nEnabled=false\nFirst Use=false\n"


@dataclass(frozen=True, slots=True)
class Profile:
    """One camera as Ekos knows it. Without a port, KStars starts the driver itself."""

    name: str
    label: str
    """Of the driver, as in its driver file."""
    port: int | None = None


class KStars:
    """A running KStars."""

    def __init__(self, service: Service, desktop: Desktop) -> None:
        self.service = service
        self._desktop = desktop

    def ekos(self, method: str, signature: str = "", *arguments: object) -> Any:
        """Calls Ekos itself."""
        return self.service.call(*EKOS, method, signature, *arguments)

    def capture(self, method: str, signature: str = "", *arguments: object) -> Any:
        """Calls the Capture module."""
        return self.service.call(*CAPTURE, method, signature, *arguments)

    def start(self, profile: str) -> None:
        """Starts a profile and waits until its camera is connected and Capture has it."""
        self.ekos("setProfile", "s", profile)
        self.ekos("start")
        self.service.wait(lambda: self._succeeded("ekosStatus"), "Ekos", 30)
        self.service.wait(lambda: self._succeeded("indiStatus"), "the camera", 30)
        self.service.wait(self._camera, "the camera of the Capture module")
        self.service.call(*SHOW_EKOS, "trigger")

    def begin(self, sequence: Path) -> None:
        """Loads a sequence file and starts it, whatever was taken before."""
        assert self.capture("loadSequenceQueue", "s", str(sequence))
        self.capture("ignoreSequenceHistory")
        self.capture("start")

    def end(self, timeout: float = 40) -> str:
        """Waits for the end of the sequence: ``Complete``, ``Error`` or ``Aborted``."""

        def ended() -> str | None:
            status = str(self.capture("getSequenceQueueStatus"))
            return status if status in ENDS else None

        return str(self.service.wait(ended, "the end of the sequence", timeout))

    def press(self, description: str) -> None:
        """Presses a button that D-Bus does not offer."""
        press(self._desktop.environment["DBUS_SESSION_BUS_ADDRESS"], description)

    def exposure_state(self, device: str) -> str:
        """The state of the camera's CCD_EXPOSURE as KStars knows it."""
        asked = (device, "CCD_EXPOSURE")
        return str(self.service.call(*INDI, "getPropertyState", "ss", *asked))

    def exposure_left(self, device: str) -> float:
        """What the camera's CCD_EXPOSURE counts down, in seconds, as KStars knows it."""
        asked = (device, "CCD_EXPOSURE", "CCD_EXPOSURE_VALUE")
        return float(self.service.call(*INDI, "getNumber", "sss", *asked))

    def devices(self) -> list[str]:
        """The INDI devices that KStars knows."""
        return list(self.service.call(*INDI, "getDevices"))

    def _succeeded(self, name: str) -> bool:
        status = self.service.get(*EKOS, name)
        assert status != FAILED, self.log()
        return bool(status == SUCCESS)

    def _camera(self) -> str:
        try:
            return str(self.service.get(*CAPTURE, "camera"))
        except DBusErrorResponse:
            return ""

    def log(self) -> list[str]:
        """What Ekos and its Capture module told the user."""
        lines = list(self.service.get(*EKOS, "logText"))
        try:
            return lines + list(self.service.get(*CAPTURE, "logText"))
        except DBusErrorResponse:
            return lines

    def photograph(self, file: Path) -> None:
        """Saves what is on its display."""
        self._desktop.photograph(file)


@contextmanager
def kstars(home: Path, profiles: Sequence[Profile], drivers: Path) -> Iterator[KStars]:
    """KStars with these profiles; ``drivers`` is the directory of driver files."""
    data = home / ".local/share/kstars/userdb.sqlite"
    settings = home / ".config"
    settings.mkdir(parents=True)
    (settings / "kwalletrc").write_text(WALLET)
    filled = SETTINGS.format(camera=profiles[0].label, drivers=drivers)
    (settings / "kstarsrc").write_text(filled)
    with desktop(home) as shown:
        with _run(shown):
            pass
        _add(data, profiles)
        with _run(shown) as program:
            yield program


@contextmanager
def _run(shown: Desktop) -> Iterator[KStars]:
    service = Service(shown.environment["DBUS_SESSION_BUS_ADDRESS"], "org.kde.kstars")
    program = KStars(service, shown)
    with ExitStack() as processes:
        for _ in range(STARTS):
            starting = running((*SHIELDED, "kstars"), shown.environment, shown.log)
            process = processes.enter_context(starting)
            if service.wait(partial(_ready_or_gone, program, process), "KStars", 60) == "ready":
                break
        status = process.poll()
        assert status is None, f"KStars ended ({status}): {shown.log.read_text()[-2000:]}"
        yield program
    service.close()


def _ready_or_gone(program: KStars, process: Popen[bytes]) -> str | None:
    if process.poll() is not None:
        return "gone"
    try:
        return "ready" if program.ekos("getProfiles") else None
    except DBusErrorResponse:
        return None


def _add(data: Path, profiles: Sequence[Profile]) -> None:
    with sqlite3.connect(data) as base:
        for profile in profiles:
            host = None if profile.port is None else "localhost"
            added = base.execute(
                "INSERT INTO profile (name, host, port, autoconnect, portselector)"
                " VALUES (?, ?, ?, 1, 0)",
                (profile.name, host, profile.port),
            )
            base.execute(
                "INSERT INTO driver (label, role, profile) VALUES (?, 'CCD', ?)",
                (profile.label, added.lastrowid),
            )
    base.close()
