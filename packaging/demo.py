"""`make demo`: five frames of one second from the simulated camera, through a real indiserver.

Starts indiserver with the simulator's driver in a network namespace of its own, since indiserver
listens on every network of the computer; takes the frames with `picam` as anybody would; leaves the
FITS files and a picture of the last one in demo/; stops everything that it started.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from astropy.io import fits
from PIL import Image
from rich.console import Console
from rich.table import Table

PROGRAMS = Path(sys.executable).parent
OUTPUT = Path(__file__).resolve().parent.parent / "demo"
FRAMES, SHUTTER_S, GAIN = 5, 1.0, 4.0
INSIDE = "--inside-namespace"


def main() -> int:
    """Runs the demonstration; returns its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if shutil.which("indiserver") is None:
        return _give_up("indiserver is missing: apt-get install indi-bin")
    if INSIDE in sys.argv:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    else:
        _enter_namespace()
        print(
            "No network namespace can be made: others can reach this indiserver.", file=sys.stderr
        )
    for old in OUTPUT.glob("astroimage*"):
        old.unlink()
    port = _free_port()
    with (
        tempfile.TemporaryDirectory(prefix="indi_picam-demo-") as home,
        _indiserver(port, home) as server,
    ):
        picam = [f"{PROGRAMS}/picam", "capture", "-H", f"localhost:{port}", "-d", str(OUTPUT)]
        options = ["-c", f"shutter={SHUTTER_S:g},analoggain={GAIN:g}", str(FRAMES)]
        status = subprocess.run([*picam, *options], stdout=subprocess.DEVNULL).returncode
        if status != 0:
            log = (Path(home) / "indiserver.log").read_text()
            ended = f"ended ({server.returncode})" if server.poll() is not None else "runs"
            return _give_up(f"picam failed ({status}), indiserver {ended}:\n{log[-2000:]}")
    files = sorted(OUTPUT.glob("astroimage*.fits"))
    _print_table(files)
    print(f"A picture of the last one: {_picture(files[-1])}")
    return 0


def _give_up(sentence: str) -> int:
    print(f"demo: {sentence}", file=sys.stderr)
    return 1


def _enter_namespace() -> None:
    """Starts this program anew with a network of its own; returns only where none can be had."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if all(shutil.which(program) for program in ("unshare", "ip")):
        trial = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True)
        if trial.returncode == 0:
            os.execvp("unshare", [*unshare, sys.executable, __file__, INSIDE])


def _free_port() -> int:
    with socket.socket() as any_socket:
        any_socket.bind(("localhost", 0))
        return int(any_socket.getsockname()[1])


@contextmanager
def _indiserver(port: int, home: str) -> Iterator[psutil.Popen]:
    """A server with the simulated camera and a home of its own, gone with its children after."""
    driver = str(PROGRAMS / "indi_picam_simulator")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("INDI", "XDG_"))}
    with (Path(home) / "indiserver.log").open("wb") as log:
        server = psutil.Popen(
            ["indiserver", "-v", "-p", str(port), "-u", f"indi_picam-demo-{port}", driver],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment | {"HOME": home},
        )
    try:
        _wait_for(port)
        yield server
    finally:
        family = [server, *server.children(recursive=True)] if server.is_running() else []
        for process in family[:1]:
            process.terminate()
        _gone, left = psutil.wait_procs(family, timeout=3)
        for process in left:
            process.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _print_table(files: list[Path]) -> None:
    table = Table()
    table.add_column("file", no_wrap=True)
    for column in ("asked s", "true s", "gain", "median", "MB", "end to file ms"):
        table.add_column(column, justify="right")
    for file in files:
        header = fits.getheader(file)
        ended = datetime.fromisoformat(header["DATE-END"]).replace(tzinfo=UTC).timestamp()
        table.add_row(
            file.name,
            f"{header['EXPASKED']:g}",
            f"{header['EXPTRUE']:.6f}",
            f"{header['GAIN']:g}",
            f"{np.median(fits.getdata(file)):.0f}",
            f"{file.stat().st_size / 1e6:.1f}",
            f"{(file.stat().st_mtime - ended) * 1000:.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _picture(file: Path) -> Path:
    """A PNG beside the file: 4 x 4 pixels to one, stretched so that faint stars show."""
    frame = fits.getdata(file).astype(float)
    height, width = (size // 4 * 4 for size in frame.shape)
    small = frame[:height, :width].reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
    faint, sky = np.percentile(small, (16, 50))
    noise = max(sky - faint, 1)
    light = np.arcsinh(np.clip(small - sky + 2 * noise, 0, None) / (8 * noise))
    scaled = light / light.max()
    picture = file.with_suffix(".png")
    Image.fromarray((np.clip(scaled, 0, 1) * 255).astype(np.uint8)).save(picture)
    return picture


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
