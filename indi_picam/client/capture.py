"""`picam capture`: equal frames into files, with a bar that counts each exposure down.

File names go to standard output, one a line; everything else to standard error.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from indi_picam.client import camera, files
from indi_picam.client.connection import Blob, Connection
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.options import Wish


@dataclass(frozen=True, slots=True)
class Order:
    """What `picam capture` was told on its command line."""

    host: str
    port: int
    device: str | None
    wish: Wish
    count: int
    base: str
    directory: Path


def run(order: Order) -> None:
    """Takes and saves the frames.

    Raises:
        Failure: it could not be done; frames saved by then stay.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in order.wish.notes:
        console.print(note, markup=False)
    files.prepare(order.directory)
    connection = Connection(order.host, order.port)
    device = camera.find(connection, order.device)
    ready = camera.Camera(connection, device, lambda note: console.print(note, markup=False))
    try:
        ready.connect()
        ready.set_up(order.wish)
        _take(ready, order, console)
    finally:
        ready.leave()


def _take(ready: camera.Camera, order: Order, console: Console) -> None:
    shutter_s = order.wish.shutter_s
    console.print(
        f"{ready.device}: {order.count} x {shutter_s:g} s, {ready.settings}", markup=False
    )
    room = ready.frame_bytes
    with _progress(console) as bar:
        task = bar.add_task("", total=shutter_s, left="")

        def show(left_s: float) -> None:
            left = f"{left_s:.1f} s left" if left_s > 0 else "reading out"
            bar.update(task, completed=shutter_s - left_s, left=left)

        for number in range(1, order.count + 1):
            files.check_room(order.directory, room)
            bar.reset(task, description=f"Frame {number} of {order.count}")
            frame = ready.expose(shutter_s, show)
            room = len(frame.data)
            print(_save(frame, order), flush=True)
            for warning in ready.new_warnings():
                console.print(f"{ready.device}: {warning}", markup=False)


def _progress(console: Console) -> Progress:
    """A bar while somebody is looking; nothing where the output goes into a file or a pipe."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )


def _save(frame: Blob, order: Order) -> Path:
    suffix = frame.suffix or ".fits"
    if not re.fullmatch(r"(\.\w{1,8}){1,2}", suffix):
        raise Failure(Exit.CAMERA, f"{frame.device} sent a file of unknown kind {suffix!r}.")
    is_whole = len(frame.data) % 2880 == 0 and frame.data.startswith(b"SIMPLE  =")
    if suffix == ".fits" and not is_whole:
        raise Failure(
            Exit.CAMERA,
            f"What {frame.device} sent is no whole FITS file ({len(frame.data)} bytes): not saved.",
        )
    nominal = datetime.now(UTC) - timedelta(seconds=order.wish.shutter_s)
    begun = files.date_obs(frame.data) or nominal
    return files.save(order.directory, order.base, frame.data, begun, suffix)
