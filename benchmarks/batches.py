"""Batches: that no frame of the sensor is missed, none is lost, and how little memory it takes.

missed      frames of the sensor's log from the first to the last delivered, less those delivered:
            the first and the last are found in the log by their pixels, which the simulation draws
            again, and those between are counted by the data they differ in; no header is believed
share       the time so many frames take a sensor that does nothing else, by its data sheet (the
            shortest frame length that holds the exposure), over the time from frame start to frame
            start by the log
slow        a batch on disk, and a client that reads 20 MB of the wire a second: memory of driver
            and worker is all that is mapped (VmRSS: their own, files, the camera's buffers), at its
            peak; the frames, which are memfds that no process keeps mapped, are counted apart
killed      kill -9 of the driver at a random moment of a batch on disk; what it had told as TAKEN
            must come from the next driver, each file true to its FITS checksum and to the
            manifest's CRC
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks.contestants import OURS, SMALL_MODE, on_sensors
from benchmarks.figures import Figure
from benchmarks.processes import frames_in_memory_mb, resident_mb
from benchmarks.stage import Entry, Stage, stage
from benchmarks.wire import Client, Message, Silence
from indi_picam.simulator import truth
from indi_picam.simulator.settings import Settings, load

BATCHES = (
    ("imx477", 50, 0.1, 0.995),
    ("imx477", 20, 1.0, 0.998),
    ("imx290", 50, 0.1, 0.995),
    ("ov5647", 50, 0.5, 0.995),
)
"""Sensor, frames, exposure in seconds, and the least share of the sensor's own rate."""
SLOW_FRAMES, SLOW_S, SLOW_BYTES_PER_S, RESIDENT_MB = 40, 1.0, 20e6, 250
KILLS, ROUNDS_UNTOLD = 10, 20
"""How often the driver is killed unless more rounds are asked for than by default."""
KILLED_FRAMES, KILLED_EXPOSURE_S, KILLED_WITHIN_S = 400, 0.05, 2.5
_SAMPLE_S = 0.1
_SILENCE_S = 10
"""After which no more of a killed batch is expected."""


def run(rounds: int) -> list[Figure]:
    """All figures of batches."""
    figures = []
    for sensor, count, exposure_s, least in BATCHES:
        for kind in ("local", "TCP"):
            figures += _live(kind, sensor, count, exposure_s, least)
    figures += _slow()
    figures += _killed(rounds if rounds > ROUNDS_UNTOLD else min(rounds, KILLS))
    return figures


# -- taking ----------------------------------------------------------------------------------------


def _live(kind: str, sensor: str, count: int, exposure_s: float, least: float) -> list[Figure]:
    """A batch in memory, each frame sent as it comes."""
    with stage(on_sensors(OURS, sensor)) as on_stage:
        client = on_stage.local if kind == "local" else on_stage.tcp
        files = _take(on_stage, client, count, exposure_s)
        found = delivered(files, on_stage.log(), settings_of(on_stage))
    what = f"batch of {count} x {exposure_s:g} s, {sensor}, live, {kind} client:"
    share = (found.share,)
    damaged = count - len(_whole(files).keys() & set(range(1, count + 1)))
    return [
        Figure(f"{what} frames missed", OURS.name, "", (found.missed,), 0),
        Figure(f"{what} share of the sensor's rate", OURS.name, "", share, least, at_least=True),
        Figure(f"{what} frames lost or damaged", OURS.name, "", (damaged,), 0),
    ]


def _slow() -> list[Figure]:
    """A batch on disk that its client takes in more slowly than it is taken."""
    with stage(OURS) as on_stage:
        client = on_stage.tcp
        _choose(client, "BATCH_STORAGE", "DISK")
        client.bytes_per_s = SLOW_BYTES_PER_S
        with _watched(on_stage) as memory:
            files = _take(on_stage, client, SLOW_FRAMES, SLOW_S)
        found = delivered(files, on_stage.log(), settings_of(on_stage))
    what = f"batch of {SLOW_FRAMES} x {SLOW_S:g} s on disk, client at 20 MB/s:"
    lost = SLOW_FRAMES - len(_whole(files).keys() & set(range(1, SLOW_FRAMES + 1)))
    resident = (f"{what} driver and worker resident, peak", OURS.name, "MB", (memory.resident,))
    note = "all that is mapped, the camera's buffers too; frames apart"
    return [
        Figure(f"{what} frames missed", OURS.name, "", (found.missed,), 0),
        Figure(f"{what} frames lost or damaged", OURS.name, "", (lost,), 0),
        Figure(*resident, RESIDENT_MB, note=note),
        Figure(f"{what} frames in memory, peak", OURS.name, "MB", (memory.frames,)),
    ]


def _take(on_stage: Stage, client: Client, count: int, exposure_s: float) -> list[bytes]:
    """Takes a batch, and returns the files in the order they came."""
    client.keeps_pictures = True
    client.pictures(True)
    on_stage.log()
    start(client, count, exposure_s)
    received: list[bytes | Message] = []
    for _ in range(count):
        picture = _batch_picture(client)
        # A descriptor that is held keeps the driver waiting; base64 is decoded when all is over.
        received.append(picture.file() if picture.descriptors else picture)
        picture.let_go()
    return [one if isinstance(one, bytes) else one.file() for one in received]


def start(client: Client, count: int, exposure_s: float) -> None:
    """Begins a batch, or raises RuntimeError."""
    client.send(f"<getProperties version='1.7' device='{client.device}'/>")
    client.definition("BATCH1")
    client.new("Number", "BATCH_START", COUNT=count, EXPOSURE=exposure_s)
    answer = client.set_of("BATCH_START")
    if answer.state != "Busy":
        raise RuntimeError(f"no batch: {answer.attributes.get('message')}")


def _choose(client: Client, name: str, element: str) -> None:
    client.new("Switch", name, **{element: "On"})
    client.set_of(name, "Ok")


def _batch_picture(client: Client, timeout: float = 60) -> Message:
    return client.wait(lambda message: message.is_picture and message.name == "BATCH1", timeout)


@dataclass(slots=True)
class _Peak:
    """The most that was seen, in 10^6 bytes."""

    resident: float = 0.0
    frames: float = 0.0


@contextmanager
def _watched(on_stage: Stage) -> Iterator[_Peak]:
    """Memory of driver and worker, looked at all the time."""
    peak, over = _Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            with suppress(FileNotFoundError, ValueError):  # a worker that has just ended
                family = on_stage.family
                processes = (family.driver, *family.workers)
                peak.resident = max(peak.resident, sum(map(resident_mb, processes)))
                peak.frames = max(peak.frames, frames_in_memory_mb(processes))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


# -- judging ---------------------------------------------------------------------------------------


def settings_of(on_stage: Stage) -> Settings:
    """Those the simulated sensor runs with."""
    sensors = on_stage.contestant.environment["INDI_PICAM_SIMULATOR"]
    file = str(on_stage.home / "simulator.ini")
    return load({"INDI_PICAM_SIMULATOR": sensors, "INDI_PICAM_SIMULATOR_CONFIG": file})


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the sensor's log says of files that were delivered."""

    missed: int
    """Frames between the first and the last that were not delivered."""
    taken_s: float
    """From the start of the first to that of the last."""
    share: float
    """Of the sensor's own frame rate."""


def delivered(files: list[bytes], log: list[Entry], settings: Settings) -> Delivered:
    """Finds the first and the last file in the log by their pixels, and judges what is between."""
    got = [entry for entry in log if entry["status"] == "success" and entry["request"] is not None]
    first, last = _entry_of(files[0], got, settings), _entry_of(files[-1], got[::-1], settings)
    between = [e for e in log if first["sequence"] <= e["sequence"] <= last["sequence"]]
    different = {zlib.crc32(memoryview(file)[_data_begins(file) :]) for file in files}
    sensor = settings.cameras[0].sensor
    mode = sensor.mode(first["mode"])
    asked_us = first["exposure_ns"] / 1000 + 0.001  # rounded down to whole lines once already
    own = truth.registers(sensor, mode, asked_us, first["gain"], sensor.frame_limits_us(mode))
    taken_ns = last["exposure_start_ns"] - first["exposure_start_ns"]
    share = own.frame_ns * (len(files) - 1) / taken_ns
    return Delivered(len(between) - len(different), taken_ns * 1e-9, share)


def _entry_of(file: bytes, candidates: list[Entry], settings: Settings) -> Entry:
    """The first of some frames of the log that has the pixels of a file, each and every one."""
    with fits.open(io.BytesIO(file)) as hdus:
        pixels = np.asarray(hdus[0].data)
    sensor = settings.cameras[0].sensor
    for entry in candidates:
        mode = sensor.mode(entry["mode"])
        if pixels.shape != (mode.height, mode.width):
            continue
        if np.array_equal(truth.render(entry, settings) << np.uint16(16 - mode.bits), pixels):
            return entry
    raise RuntimeError("the sensor's log has no frame with the pixels that were delivered")


def _data_begins(file: bytes) -> int:
    return len(_header(file).tostring())


def _header(file: bytes) -> fits.Header:
    return fits.getheader(io.BytesIO(file))


def _whole(files: list[bytes]) -> dict[int, bytes]:
    """By their numbers those files that are true to their FITS checksum."""
    return {_header(file)["BATCHNUM"]: file for file in files if _checksum(file) == 0xFFFFFFFF}


def _checksum(file: bytes) -> int:
    """The ones' complement sum of all words; all ones where the CHECKSUM card says the truth."""
    words = np.frombuffer(file, ">u4") if file and len(file) % 2880 == 0 else np.zeros(1)
    total = int(words.sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


# -- killing ---------------------------------------------------------------------------------------


def _killed(kills: int) -> list[Figure]:
    """Each driver delivers what the one before it had told as taken, and is killed in its turn."""
    chance = random.Random(4)
    told, lost, damaged = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="indi_picam-benchmark-") as folder:
        contestant = replace(OURS, environment={**OURS.environment, "HOME": folder})
        batch, taken = "", 0
        for turn in range(kills + 1):
            with stage(contestant) as on_stage:
                if turn:
                    files = _again(on_stage.tcp, batch)
                    true = _true_to_manifest(_whole(files), Path(folder), batch)
                    lost += len(set(range(1, taken + 1)) - true)
                    damaged += len(files) - len(true)
                    told += taken
                    _discard(on_stage.tcp, batch)
                if turn < kills:
                    batch, taken = _kill(on_stage, chance.uniform(0, KILLED_WITHIN_S))
    what = f"driver killed in {kills} batches on disk:"
    note = f"of {told} told as taken"
    return [
        Figure(f"{what} frames lost", OURS.name, "", (lost,), 0, note=note),
        Figure(f"{what} frames damaged", OURS.name, "", (damaged,), 0),
    ]


def _kill(on_stage: Stage, after_s: float) -> tuple[str, int]:
    """Kills the driver in a batch; returns the batch and how many frames it had told as taken."""
    client = on_stage.tcp
    client.pictures(True)
    _choose(client, "PICAM_MODE", SMALL_MODE)
    _choose(client, "BATCH_STORAGE", "DISK")
    driver = on_stage.family.driver
    start(client, KILLED_FRAMES, KILLED_EXPOSURE_S)
    batch = client.wait(lambda m: m.name == "BATCH_STATUS" and bool(m.values["BATCH"])).values[
        "BATCH"
    ]
    taken = 0

    def note(message: Message) -> bool:
        nonlocal taken
        if message.name == "BATCH_PROGRESS" and message.state == "Busy":
            taken = max(taken, round(float(message.values.get("TAKEN", "0"))))
        return False

    with suppress(Silence):
        client.wait(note, after_s)
    os.kill(driver, signal.SIGKILL)
    with suppress(Silence, ConnectionError):  # what it had told before it died
        client.wait(note, 3)
    on_stage.process.terminate()
    on_stage.process.wait(5)
    return batch, taken


def _again(client: Client, batch: str) -> list[bytes]:
    """All that a new driver has of a batch."""
    client.keeps_pictures = True
    client.pictures(True)
    client.send(f"<getProperties version='1.7' device='{client.device}'/>")
    client.definition("BATCH1")
    client.new("Text", "BATCH_REDELIVER", BATCH=batch, FRAMES="")
    answer = client.set_of("BATCH_REDELIVER")
    found = re.match(r"(?:\[\w+\] )?(\d+) frames", answer.attributes.get("message", ""))
    files: list[bytes] = []
    with suppress(Silence):  # the driver does not send what is damaged: that is lost
        for _ in range(int(found[1]) if found else 0):
            files.append(_batch_picture(client, _SILENCE_S).file())
    return files


def _true_to_manifest(whole: dict[int, bytes], home: Path, batch: str) -> set[int]:
    """The numbers of those files whose CRC is the manifest's, or that it does not tell of."""
    manifest = next(home.rglob(f"{batch}/manifest.jsonl"))
    lines = map(json.loads, manifest.read_text().splitlines())
    told = {line["taken"]: line.get("crc32") for line in lines if "taken" in line}
    return {n for n, file in whole.items() if told.get(n) in (None, zlib.crc32(file))}


def _discard(client: Client, batch: str) -> None:
    client.new("Text", "BATCH_DISCARD", BATCH=batch)
    client.set_of("BATCH_DISCARD")
