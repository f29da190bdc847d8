"""`picam capture`: equal frames into files, from one camera or several at once.

File names go to standard output, one a line; everything else to standard error. Each camera has a
thread of its own; all are prepared before the first is started.
"""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from indi_picam.client import files, formats
from indi_picam.client.batch import NEEDED, Batch, BatchProgress, BatchWish
from indi_picam.client.camera import Camera
from indi_picam.client.device import open_device
from indi_picam.client.exposing import Exposing
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Blob, Server
from indi_picam.client.options import Wish, idle_note
from indi_picam.client.progress import Row, bars
from indi_picam.client.stop import Requests, Stop
from indi_picam.client.stored import stored_batches


@dataclass(frozen=True, slots=True)
class Order:
    """What `picam capture` was told on its command line, for one camera."""

    server: Server
    device: str | None
    directory: Path
    base: str
    format: formats.Format
    wish: Wish | None
    """None to resume."""
    count: int
    batch: bool | None
    """Whether to take a batch; None: where the camera can and there is more than one frame."""
    resume: str | None
    """Id of the batch to fetch; empty: the newest that is not here; None: take a new one."""
    frames: str | None
    """Of that batch, to be fetched only; empty: all; None: fetch all and take what is missing."""
    how: BatchWish
    is_verbose: bool


def run(orders: Sequence[Order]) -> None:
    """Takes and saves the frames of all cameras; one that fails does not stop the others.

    Raises:
        Failure: it could not be done; frames saved by then stay.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in orders[0].wish.notes if orders[0].wish else ():
        console.print(note, markup=False)
    formats.check(orders[0].format)
    requests = Requests()
    requests.listen()
    with bars(console) as progress, concurrent.futures.ThreadPoolExecutor(len(orders)) as threads:
        jobs = []
        for order in orders:
            name = str(order.server) if len(orders) > 1 else ""
            jobs.append(Job(order, Row(progress, name), _teller(console, name), Stop(requests)))
        failures = _each(threads, [(job, job.prepare) for job in jobs])
        ready = [job for job in jobs if job not in failures]
        failures |= _each(threads, [(job, job.take) for job in ready])
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        worst = max(failures.values(), key=lambda failure: failure.exit_status)
        raise Failure(worst.exit_status, "\n".join(map(str, failures.values())))


def _teller(console: Console, name: str) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        console.print(f"{name}: {sentence}" if name else sentence, markup=False)

    return say


def _each(
    threads: concurrent.futures.Executor, work: list[tuple[Job, Callable[[], None]]]
) -> dict[Job, Failure]:
    """Does everything at the same time; returns what failed."""
    running = {threads.submit(function): job for job, function in work}
    failures = {}
    for done in concurrent.futures.as_completed(running):
        job = running[done]
        try:
            done.result()
        except Failure as failure:
            words = f"{job.order.server}: {failure}" if len(work) > 1 else str(failure)
            failures[job] = Failure(failure.exit_status, words)
    return failures


def place(number: int, taken: int, in_memory: int, on_disk: int, *, is_disk_batch: bool) -> str:
    """Where the camera had a frame that is not acknowledged, by the progress of its batch.

    When memory runs short the oldest frames of a batch in memory are written to disk, so that the
    newest are the ones in memory.
    """
    if is_disk_batch or (on_disk and number <= taken - in_memory):
        return "disk"
    return "ram"


class Job:
    """The frames of one camera."""

    def __init__(self, order: Order, row: Row, say: Callable[[str], None], stop: Stop) -> None:
        self.order = order
        self._row = row
        self._say = say
        self._stop = stop
        self._saved = 0
        self._is_disk_batch: bool | None = None
        """Whether all frames of the batch are kept on disk; known with the first."""

    def prepare(self) -> None:
        """Everything but the start; raises Failure."""
        directory = self.order.directory
        was_there = directory.exists()
        files.prepare(directory)
        try:
            self._prepare_camera()
        except KeyboardInterrupt:
            raise Failure(Exit.INTERRUPTED, "stopped before the first frame.") from None
        except Failure:
            if not was_there:
                with suppress(OSError):
                    directory.rmdir()
            raise

    def _prepare_camera(self) -> None:
        order = self.order
        self._device = open_device(order.server, order.device, self._say, self._stop)
        self._camera = Camera(self._device)
        self._device.connect("CCD_EXPOSURE", "CCD1", *(NEEDED if self._must_be_batch else ()))
        self._batch = self._new_batch() if self._takes_batch else None
        if order.wish is not None:
            self._camera.set_up(order.wish)
        if self._batch is not None and order.frames is None:
            self._batch.prepare()
        self._camera.have_frames_sent()
        if order.wish is not None:
            self._tell_what_is_taken(order.wish)

    def _tell_what_is_taken(self, wish: Wish) -> None:
        camera = self._camera
        remarks = camera.remarks
        if wish.idle:
            remarks.append(idle_note(wish.idle, is_raw=camera.is_raw))
        exposure = "the shortest exposure" if camera.takes_bias else f"{wish.shutter_s:g} s"
        remarks.append(f"{self.order.count} x {exposure}, {camera.settings}")
        for remark in remarks:
            self._say(f"{self._device.name}: {remark}")

    @property
    def _must_be_batch(self) -> bool:
        return bool(self.order.batch) or self.order.resume is not None

    @property
    def _takes_batch(self) -> bool:
        can = all(map(self._device.get, NEEDED))
        return self._must_be_batch or (can and self.order.batch is None and self.order.count > 1)

    def take(self) -> None:
        """Takes and saves the frames; raises Failure."""
        try:
            if self._batch is not None:
                self._take_batch(self._batch)
            else:
                self._take_one_by_one()
        finally:
            self._stop.follow()
            with suppress(KeyboardInterrupt):
                self._camera.leave()

    # -- one by one --------------------------------------------------------------------------------

    def _take_one_by_one(self) -> None:
        order, wish = self.order, self.order.wish
        if wish is None:
            return
        exposing = Exposing(self._device)
        room = self._camera.frame_bytes
        try:
            for number in range(1, order.count + 1):
                files.check_room(order.directory, room)

                def show(left_s: float, number: int = number) -> None:
                    self._row.countdown(number, order.count, wish.shutter_s, left_s)

                frame = exposing.expose(wish.shutter_s, show)
                room = len(frame.data)
                self._save(frame, f"({number}/{order.count})")
                self._device.pass_on()
        except KeyboardInterrupt:
            raise Failure(
                Exit.INTERRUPTED,
                f"stopped. {self._saved} of {order.count} frames are saved.",
            ) from None
        finally:
            self._stop.follow()
            with suppress(KeyboardInterrupt):
                exposing.leave()

    # -- batches -----------------------------------------------------------------------------------

    def _new_batch(self) -> Batch:
        self._first = files.next_number(self.order.directory, self.order.base)

        def keep(frame: Blob, number: int, progress: BatchProgress) -> None:
            place = self._place(batch.id, number)
            self._save(frame, f"{place}:({number}/{progress.asked})", self._first + number - 1)

        def show(progress: BatchProgress) -> None:
            self._row.batch(progress.taken, progress.here, progress.asked, progress.left_s)

        batch = Batch(self._device, self.order.how, keep, show)
        return batch

    def _place(self, id: str, number: int) -> str:
        taken, in_memory, on_disk = (
            int(self._device.number("BATCH_PROGRESS", name))
            for name in ("TAKEN", "IN_MEMORY", "ON_DISK")
        )
        if self._is_disk_batch is None:
            where = {stored.id: stored.where for stored in stored_batches(self._device)}
            self._is_disk_batch = where.get(id) == "disk"
        return place(number, taken, in_memory, on_disk, is_disk_batch=self._is_disk_batch)

    def _take_batch(self, batch: Batch) -> None:
        try:
            self._begin(batch)
            self._follow(batch)
        except KeyboardInterrupt:
            self._stop.follow()
            raise self._stopped(batch) from None

    def _follow(self, batch: Batch, *, abort: bool = False) -> None:
        try:
            if abort:
                batch.abort()
            batch.follow()
        except Failure as failure:
            raise Failure(
                failure.exit_status, f"{failure} {self._how_to_get_the_rest(batch)}".strip()
            ) from failure

    def _begin(self, batch: Batch) -> None:
        order = self.order
        if order.wish is not None:
            files.check_room(order.directory, self._camera.frame_bytes, order.count)
            batch.start(order.count, order.wish.shutter_s)
            return
        id = order.resume or self._newest()
        here = files.frames_here(order.directory, order.base, id)
        if here:
            self._first = max(1, min(number - frame for frame, number in here.items()) + 1)
        self._say(f"{self._device.name}: batch {id}, {len(here)} frames of it are here.")
        if order.frames is not None:
            batch.redeliver(id, here, order.frames)
        else:
            batch.resume(id, here)

    def _newest(self) -> str:
        """The newest batch in the camera's store that is not finished."""
        for stored in reversed(stored_batches(self._device)):
            if stored.acknowledged < max(stored.asked, stored.taken):
                return stored.id
        raise Failure(
            Exit.CAMERA, f"{self._device.name} has no batch that is not complete here already."
        )

    def _stopped(self, batch: Batch) -> Failure:
        """Ctrl-C: has what is taken sent, and tells; a second one leaves it there."""
        if not batch.id:
            return Failure(Exit.INTERRUPTED, "stopped before the first frame.")
        try:
            self._say("Stopping: what is taken is being fetched. Ctrl-C again stops at once.")
            self._follow(batch, abort=True)
        except Failure as failure:
            return Failure(Exit.INTERRUPTED, f"stopped. {failure}")
        except KeyboardInterrupt:
            return Failure(
                Exit.INTERRUPTED, f"stopped at once. {self._how_to_get_the_rest(batch)}".strip()
            )
        progress = batch.progress
        return Failure(
            Exit.INTERRUPTED,
            f"stopped. {progress.here} of {progress.asked} frames were taken and are saved. "
            f"{self._how_to_get_the_rest(batch)}".strip(),
        )

    def _how_to_get_the_rest(self, batch: Batch) -> str:
        if not batch.id or batch.is_lost:
            return ""
        order = self.order
        words = ["picam", "capture", "-H", str(order.server)]
        words += ["--device", f"'{self._device.name}'"] if order.device else []
        words += ["-d", str(order.directory)] if order.directory != Path() else []
        words += ["-n", order.base] if order.base != "astroimage" else []
        words += ["-o", order.format] if order.format is not formats.Format.FITS else []
        return f"The rest: {' '.join(words)} --resume {batch.id}"

    # -- saving ------------------------------------------------------------------------------------

    def _save(self, frame: Blob, counted: str, number: int | None = None) -> None:
        order = self.order
        suffix = frame.suffix or ".fits"
        if not re.fullmatch(r"(\.\w{1,8}){1,2}", suffix):
            raise Failure(Exit.CAMERA, f"{frame.device} sent a file of unknown kind {suffix!r}.")
        is_whole = len(frame.data) % 2880 == 0 and frame.data.startswith(b"SIMPLE  =")
        if suffix.startswith(".fits") and not is_whole:
            raise Failure(
                Exit.CAMERA,
                f"What {frame.device} sent is no whole FITS file ({len(frame.data)} bytes): "
                "not saved.",
            )
        exposure_s = order.wish.shutter_s if order.wish is not None else 0
        nominal = datetime.now(UTC) - timedelta(seconds=exposure_s)
        begun = files.date_obs(frame.data) or nominal
        data: bytes | bytearray = frame.data
        if order.format is not formats.Format.FITS:
            data, suffix = formats.converted(frame.data, order.format)
        path = files.save(order.directory, order.base, data, begun, suffix, number)
        self._saved += 1
        with suppress(BrokenPipeError):  # frames go on, whether somebody reads their names or not
            print(f"{path}\n", end="", flush=True)
        if order.is_verbose:
            self._say(f"{counted} {len(data)} bytes written to {path}")
