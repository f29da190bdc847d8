"""Calibration through a real indiserver: what is measured, when, and how well it foretells."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from indi_picam.capture.storage import DESCRIPTOR_RESERVE
from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect
from tests.system.test_exposures import expose
from tests.system.test_uploading import ask

SMALL_MODES = {
    "ov5647": "640x480_10",
    "imx219": "640x480_10",
    "imx477": "1332x990_10",
    "imx708": "1536x864_10",
    "imx296": "1456x1088_10",
    "imx290": "1280x720_10",
    "imx283": "2736x1824_10",
}
TOLERANCE = 0.05
FREE_AT_ONCE_S = 0.12
"""A start takes some 0.04 s, and a busy machine its time."""


@dataclass(frozen=True)
class Stand:
    """A simulated sensor in its smallest mode, a client beside it, and the sensor's own log."""

    server: Server
    client: Client
    log: Path

    def frames(self, since_s: float) -> list[dict[str, Any]]:
        """What the sensor exposed from a moment on, by time.monotonic()."""
        lines = self.log.read_text().splitlines()
        logged: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [frame for frame in logged if frame["exposure_start_ns"] >= since_s * 1e9]


SetUp = Callable[[str], Stand]


@pytest.fixture
def set_up(start_server: StartServer, tmp_path: Path) -> SetUp:
    """Starts a server with a sensor."""

    def start(sensor: str) -> Stand:
        settings = tmp_path / "simulator.ini"
        settings.write_text("[simulator]\nlog_file = frames.jsonl\n[sky]\nstars = 50\n")
        environment = {
            "INDI_PICAM_SIMULATOR": sensor,
            "INDI_PICAM_SIMULATOR_CONFIG": str(settings),
        }
        server = start_server(environment=environment)
        client = server.local()
        connect(client)
        client.definition("CALIBRATION1")
        position = len(client.log)
        client.new("Switch", DEVICE, "PICAM_MODE", {SMALL_MODES[sensor]: "On"})
        client.set_of("PICAM_MODE", "Ok", since=position)
        return Stand(server, client, tmp_path / "frames.jsonl")

    return start


def calibrate(client: Client) -> dict[str, float]:
    """Measures in full; returns the figures."""
    start = len(client.log)
    ask(client, "Switch", "CALIBRATE", {"MEASURE": "On"}, "Busy")
    picture(client.set_of("CALIBRATION1", since=start), client.descriptors)
    client.set_of("CALIBRATE", "Ok", since=start)
    return numbers(client, "CALIBRATION")


def numbers(client: Client, name: str) -> dict[str, float]:
    """The latest values of a property."""
    latest = [message for message in client.log if message.get("name") == name][-1]
    return {key: float(value) for key, value in values(latest).items()}


def estimate(client: Client, count: int, exposure_s: float) -> dict[str, float]:
    """What is told of a batch before it starts."""
    asked = {"COUNT": count, "EXPOSURE": exposure_s}
    client.new("Number", DEVICE, "ESTIMATE_FOR", asked)
    answer = client.set_of("ESTIMATE_FOR", "Ok", since=len(client.log))
    position = next(i for i, message in enumerate(client.log) if message is answer)
    client.set_of("ESTIMATE", "Ok", since=position)
    return numbers(client, "ESTIMATE")


def batch(stand: Stand, count: int, exposure_s: float) -> tuple[float, float, float]:
    """Takes one; seconds until the client is told the last is taken, until it has the last byte,
    and until the sensor had finished."""
    client, start, began_s = stand.client, len(stand.client.log), time.monotonic()
    client.new("Number", DEVICE, "BATCH_START", {"COUNT": count, "EXPOSURE": exposure_s})
    position = start
    for _ in range(count):
        message = client.set_of("BATCH1", since=position)
        position = next(i for i, other in enumerate(client.log) if other is message) + 1
        assert len(picture(message, client.descriptors)) > 0
    client.set_of("BATCH_START", "Ok", since=start)
    told = list(zip(client.log, client.times, strict=True))[start:]
    taken_s = next(
        at
        for message, at in told
        if message.get("name") == "BATCH_PROGRESS" and float(values(message)["TAKEN"]) == count
    )
    delivered_s = max(at for message, at in told if message.get("name") == "BATCH1")
    good = [frame for frame in stand.frames(began_s) if frame["status"] == "success"]
    exposed_us = round(1e6 * exposure_s)
    ours = [frame for frame in good if abs(frame["exposure_us"] - exposed_us) < 1000]
    sensor_s = ours[count - 1]["completed_ns"] / 1e9
    return taken_s - began_s, delivered_s - began_s, sensor_s - began_s


def is_near(foretold: float, real: float) -> bool:
    return abs(foretold - real) <= TOLERANCE * real


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sensor", SMALL_MODES)
@pytest.mark.parametrize("storage", ["MEMORY", "DISK"])
def test_a_batch_takes_as_long_as_was_foretold(set_up: SetUp, sensor: str, storage: str) -> None:
    stand = set_up(sensor)
    client = stand.client
    figures = calibrate(client)
    assert figures["LOST"] == {"ov5647": 2, "imx290": 1, "imx283": 1}.get(sensor, 0)
    ask(client, "Switch", "BATCH_STORAGE", {storage: "On"})
    seen = []
    for _ in range(3):  # other programs may have held up one
        foretold = estimate(client, 6, 0.3)
        taken_s, delivered_s, sensor_s = batch(stand, 6, 0.3)
        assert sensor_s < taken_s <= delivered_s + 0.05
        seen.append((foretold["TAKEN"], taken_s, sensor_s, foretold["DELIVERED"], delivered_s))
        if (
            is_near(foretold["TAKEN"], taken_s)
            and is_near(foretold["TAKEN"], sensor_s)
            and is_near(foretold["DELIVERED"], delivered_s)
        ):
            break
    else:
        pytest.fail(f"foretold and real taken, sensor's; foretold and real delivered: {seen}")


def test_what_is_compressed_and_sent_after_the_last_frame_is_foretold_too(set_up: SetUp) -> None:
    stand = set_up("imx290")
    client = stand.client
    ask(client, "Switch", "BATCH_DELIVERY", {"AFTER": "On"})
    ask(client, "Switch", "CCD_COMPRESSION", {"INDI_ENABLED": "On"})
    seen = []
    for _ in range(4):  # the compressing process starts with the first
        figures = calibrate(client)  # a machine may be half as fast a second later
        assert 0 < figures["COMPRESSED"] < figures["SIZE"]
        foretold = estimate(client, 5, 0.2)
        start = len(client.log)
        taken_s, delivered_s, _ = batch(stand, 5, 0.2)
        told = [message.get("name") for message in client.log[start:] if is_all_or_frame(message)]
        assert told[0] == "BATCH_PROGRESS", "a frame came before all were taken"
        assert told.count("BATCH1") == 5
        compressing_s = 5 * figures["COMPRESSING"] / 1000
        seen.append((foretold["DELIVERED"], delivered_s, taken_s, compressing_s))
        lasted = delivered_s > taken_s + compressing_s / 2
        if lasted and is_near(foretold["DELIVERED"], delivered_s):
            break
    else:
        pytest.fail(f"foretold and real delivered, taken, compressing: {seen}")


def is_all_or_frame(message: Any) -> bool:
    """Whether it tells that the fifth frame is taken, or brings one."""
    progress = message.get("name") == "BATCH_PROGRESS" and values(message)["TAKEN"] == "5"
    return progress or message.get("name") == "BATCH1"


def test_time_left_is_foretold_while_a_batch_runs(set_up: SetUp) -> None:
    stand = set_up("imx477")
    calibrate(stand.client)
    client, start = stand.client, len(stand.client.log)
    batch(stand, 6, 0.3)
    told = [
        (at, values(message))
        for message, at in zip(client.log[start:], client.times[start:], strict=True)
        if message.get("name") == "BATCH_PROGRESS"
    ]
    end_s = next(at for at, progress in told if progress["TAKEN"] == "6")
    running = [(at, float(p["TIME_LEFT"])) for at, p in told if p["TAKEN"] not in ("0", "6")]
    assert len(running) >= 5
    late = [left_s - (end_s - at) for at, left_s in running]
    assert sorted(map(abs, late))[len(late) // 2] < 0.05, late


# -- by itself -------------------------------------------------------------------------------------


def measured_by_itself(client: Client, since: int) -> dict[str, float]:
    client.wait(lambda m: "was not measured yet" in m.get("message", ""), since)
    client.set_of("CALIBRATE", "Ok", since=since)
    return numbers(client, "CALIBRATION")


def test_a_camera_at_rest_is_measured_by_itself_once(set_up: SetUp, own_home: Path) -> None:
    stand = set_up("imx290")
    figures = measured_by_itself(stand.client, 0)
    assert figures["LOST"] == 1
    assert figures["SIZE"] == pytest.approx(2 * 1280 * 720 / 1e6, rel=0.01)
    assert 0.02 < figures["RESTART"] / 1000 < FREE_AT_ONCE_S
    assert figures["DELIVERY"] == 0  # nothing is sent that nobody asked for
    assert not [m for m in stand.client.log if m.tag == "setBLOBVector"]
    stand.server.stop()
    kept = list(own_home.glob(".local/state/indi_picam/calibration/*.json"))
    assert [path.name for path in kept] == ["imx290_1280x720_10_raw.json"]
    again = set_up("imx290").client
    again.wait(lambda m: m.get("name") == "CALIBRATION" and m.get("state") == "Ok", 0)
    assert numbers(again, "CALIBRATION") == figures
    changed = len(again.log)
    again.read_for(4)
    assert not [m for m in again.log[changed:] if "measured" in m.get("message", "")]


def test_measuring_gives_way_to_an_exposure_and_is_made_up_for(set_up: SetUp) -> None:
    stand = set_up("ov5647")
    client = stand.client
    client.wait(lambda m: "was not measured yet" in m.get("message", ""), 0)
    asked_s = time.monotonic()
    start = expose(client, 0.3)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    picture(client.set_of("CCD1", since=start), client.descriptors)
    first = next(f for f in stand.frames(asked_s) if 299_000 < f["exposure_us"] < 301_000)
    assert first["exposure_start_ns"] / 1e9 - asked_s < FREE_AT_ONCE_S + 6 / 58
    client.set_of("CALIBRATE", "Ok", since=start)
    assert numbers(client, "CALIBRATION")["LOST"] == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "damaged: the camera is measured anew"),
        ('{"form": 1, "versions": {}, "measured": MEASURED}', "the camera is measured anew"),
    ],
)
def test_what_cannot_be_used_is_measured_anew(
    set_up: SetUp, own_home: Path, content: str, told: str
) -> None:
    kept = own_home / ".local/state/indi_picam/calibration/imx477_1332x990_10_raw.json"
    kept.parent.mkdir(parents=True)
    measured = {
        "start_us": 1, "lost_frames": 0, "primer_us": None, "free_running_us": None,
        "frame_us": 1, "gap_us": 0, "readout_us": 0, "finishing_us": 0, "frame_bytes": 1,
    }  # fmt: skip
    kept.write_text(content.replace("MEASURED", json.dumps(measured)))
    client = set_up("imx477").client
    client.wait(lambda m: told in m.get("message", ""), 0)
    assert 20 < measured_by_itself(client, 0)["RESTART"] < 1000 * FREE_AT_ONCE_S
    assert json.loads(kept.read_text())["measured"]["frame_bytes"] > 2_000_000


def test_no_more_frames_fit_in_memory_than_the_driver_may_hold_open(set_up: SetUp) -> None:
    stand = set_up("imx477")
    driver = stand.server.driver_pid()
    used = len(os.listdir(f"/proc/{driver}/fd"))
    _, hard = resource.prlimit(driver, resource.RLIMIT_NOFILE)
    resource.prlimit(driver, resource.RLIMIT_NOFILE, (used + DESCRIPTOR_RESERVE + 9, hard))
    start = len(stand.client.log)
    ask(stand.client, "Number", "ESTIMATE_FOR", {"COUNT": 5, "EXPOSURE": 0.1})
    stand.client.set_of("ESTIMATE", since=start)
    assert 0 < numbers(stand.client, "ESTIMATE")["IN_MEMORY"] <= 9


# -- refused and ended -----------------------------------------------------------------------------


def test_nothing_else_is_taken_while_a_client_has_the_camera_measured(set_up: SetUp) -> None:
    stand = set_up("ov5647")
    client = stand.client
    start = len(client.log)
    ask(client, "Switch", "CALIBRATE", {"MEASURE": "On"}, "Busy")
    for kind, name, asked in (
        ("Number", "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 1}),
        ("Number", "BATCH_START", {"COUNT": 3, "EXPOSURE": 1}),
        ("Switch", "PICAM_MODE", {"2592x1944_10": "On"}),
        ("Switch", "CALIBRATE", {"MEASURE": "On"}),
    ):
        assert ask(client, kind, name, dict(asked), "Alert")
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    ended = client.set_of("CALIBRATE", "Idle", since=start)
    assert "ended before it was finished" in ended.get("message", "")
    assert set(values(ended).values()) == {"Off"}
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    ask(client, "Switch", "CALIBRATE", {"MEASURE": "On"}, "Busy")
    ask(client, "Switch", "CALIBRATE", {"ABORT": "On"}, "Idle")
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)


@pytest.mark.parametrize(
    "end",
    [
        ("CALIBRATE", "ABORT"),
        ("CCD_ABORT_EXPOSURE", "ABORT"),
    ],
)
def test_measuring_that_is_ended_before_it_begins_lets_the_camera_go(
    set_up: SetUp, end: tuple[str, str]
) -> None:
    client = set_up("imx477").client
    requests = [("CALIBRATE", "MEASURE"), end]
    start = len(client.log)
    client.send(  # in one write: the driver reads both before it does anything
        "".join(
            f"<newSwitchVector device='{DEVICE}' name='{name}'>"
            f"<oneSwitch name='{element}'>On</oneSwitch></newSwitchVector>"
            for name, element in requests
        )
    )
    client.set_of("CALIBRATE", "Idle", since=start)
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)


def test_the_camera_is_not_measured_while_it_takes_pictures(set_up: SetUp) -> None:
    client = set_up("imx477").client
    start = expose(client, 5)
    assert "picture" in ask(client, "Switch", "CALIBRATE", {"MEASURE": "On"}, "Alert")
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    client.set_of("CCD_EXPOSURE", "Idle", since=start)
    start = len(client.log)
    client.new("Number", DEVICE, "BATCH_START", {"COUNT": 20, "EXPOSURE": 1})
    client.set_of("BATCH_START", "Busy", since=start)
    assert "Batch" in ask(client, "Switch", "CALIBRATE", {"MEASURE": "On"}, "Alert")
    ask(client, "Switch", "BATCH_CONTROL", {"ABORT": "On"})


def test_disconnecting_ends_measuring(set_up: SetUp) -> None:
    client = set_up("ov5647").client
    ask(client, "Switch", "CALIBRATE", {"MEASURE": "On"}, "Busy")
    start = len(client.log)
    client.new("Switch", DEVICE, "CONNECTION", {"DISCONNECT": "On"})
    client.set_of("CONNECTION", "Idle", since=start)
    client.new("Switch", DEVICE, "CONNECTION", {"CONNECT": "On"})
    client.definition("CALIBRATION1", since=start)
    calibrate(client)


# -- what follows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "long_frames", "is_primed", "starts"),
    [
        ({"primer_us": 9e6, "start_us": 0, "lost_frames": 0}, 4, False, 2),  # one is lost each
        ({"primer_us": 1, "start_us": 9e6, "lost_frames": 1}, 2, True, 2),
        # Left running: the one between the two was begun before the second was asked for.
        ({"primer_us": 9e6, "start_us": 9e6, "lost_frames": 1}, 3, True, 1),
    ],
)
def test_single_frames_are_taken_the_way_that_was_measured_to_be_cheapest(
    set_up: SetUp,
    own_home: Path,
    figures: dict[str, float],
    long_frames: int,
    is_primed: bool,
    starts: int,
) -> None:
    stand = set_up("imx290")
    measured_by_itself(stand.client, 0)
    stand.server.stop()
    (kept,) = own_home.glob(".local/state/indi_picam/calibration/*.json")
    content = json.loads(kept.read_text())
    content["measured"].update(figures)
    kept.write_text(json.dumps(content))
    stand = set_up("imx290")
    client = stand.client
    client.wait(lambda m: m.get("name") == "CALIBRATION" and m.get("state") == "Ok", 0)
    began_s = time.monotonic()
    for _ in range(2):
        start = expose(client, 0.4)
        client.set_of("CCD_EXPOSURE", "Ok", since=start)
    frames = stand.frames(began_s)
    long = [frame for frame in frames if frame["exposure_us"] > 300_000]
    delivered = [i for i, frame in enumerate(long) if frame["status"] == "success"]
    assert len({frame["start"] for frame in frames}) == starts
    assert len(long[: delivered[-1] + 1]) == long_frames
    assert (len(frames) > len(long)) is is_primed
