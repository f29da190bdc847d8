"""Pictures saved on the Pi, compressed, and taken fast, through a real indiserver."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.system.client import Client, picture, values
from tests.system.conftest import DEVICE, Server, StartServer, connect
from tests.system.test_exposures import choose_small_mode, expose, story, worker_of


def ask(
    client: Client, kind: str, name: str, asked: Mapping[str, object], state: str = "Ok"
) -> str:
    """Sets a property, waits for the answer in that state, and returns its message."""
    position = len(client.log)
    client.new(kind, DEVICE, name, asked)
    return client.set_of(name, state, since=position).get("message") or ""


@pytest.fixture
def client(server: Server) -> Client:
    """A connected client of a camera in a small mode."""
    client = server.tcp()
    connect(client)
    choose_small_mode(client)
    return client


@pytest.mark.parametrize(("mode", "sent"), [("UPLOAD_LOCAL", False), ("UPLOAD_BOTH", True)])
def test_pictures_are_saved_and_told(client: Client, own_home: Path, mode: str, sent: bool) -> None:
    ask(client, "Switch", "UPLOAD_MODE", {mode: "On"})
    client.definition("CCD_FILE_PATH")
    folder = own_home / "pictures"
    ask(
        client,
        "Text",
        "UPLOAD_SETTINGS",
        {"UPLOAD_DIR": "_HOME_/pictures", "UPLOAD_PREFIX": "M31_XXX"},
    )
    for number in (1, 2):
        start = expose(client, 0.1)
        client.set_of("CCD_EXPOSURE", "Ok", since=start)
        path = values(client.set_of("CCD_FILE_PATH", "Ok", since=start))["FILE_PATH"]
        assert path == f"{folder}/M31_{number:03d}.fits"
        content = Path(path).read_bytes()
        with fits.open(io.BytesIO(content), checksum=True) as hdus:
            hdus.verify("exception")
        blobs = [m for m in client.log[start:] if m.tag == "setBLOBVector"]
        assert [picture(blob) for blob in blobs] == ([content] if sent else [])
        assert any(m.get("message") == f"[INFO] Image saved to {path}" for m in client.log[start:])
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "folder", ["/etc/astro", "_HOME_/../other", "_HOME_/link", "pictures", "/"]
)
def test_only_allowed_directories_are_written_to(
    client: Client, own_home: Path, folder: str
) -> None:
    (own_home / "link").symlink_to("/var")
    position = len(client.log)
    client.new("Text", DEVICE, "UPLOAD_SETTINGS", {"UPLOAD_DIR": folder, "UPLOAD_PREFIX": "A"})
    refused = client.set_of("UPLOAD_SETTINGS", "Alert", since=position)
    assert "refused" in (refused.get("message") or "")
    assert values(refused) == {"UPLOAD_DIR": str(own_home), "UPLOAD_PREFIX": "IMAGE_XXX"}


def test_a_link_made_later_does_not_lead_elsewhere(client: Client, own_home: Path) -> None:
    ask(client, "Switch", "UPLOAD_MODE", {"UPLOAD_LOCAL": "On"})
    ask(client, "Text", "UPLOAD_SETTINGS", {"UPLOAD_DIR": "_HOME_/later"})
    (own_home / "later").symlink_to(own_home.parent)
    start = expose(client, 0.1)
    failed = client.set_of("CCD_EXPOSURE", "Alert", since=start)
    assert "refused" in (failed.get("message") or "")
    assert not list(own_home.parent.glob("*.fits"))


def test_a_full_disk_fails_the_picture_with_a_sentence(client: Client, own_home: Path) -> None:
    ask(client, "Switch", "UPLOAD_MODE", {"UPLOAD_LOCAL": "On"})
    (own_home / "file").write_text("no directory")
    ask(client, "Text", "UPLOAD_SETTINGS", {"UPLOAD_DIR": "_HOME_/file"})
    failed = client.set_of("CCD_EXPOSURE", "Alert", since=expose(client, 0.1))
    assert "could not be delivered" in (failed.get("message") or "")
    ask(client, "Switch", "UPLOAD_MODE", {"UPLOAD_CLIENT": "On"})
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert "CCD1 Ok" in story(client.log[start:])


def test_a_loop_of_links_fails_one_picture_and_no_more(client: Client, own_home: Path) -> None:
    ask(client, "Switch", "UPLOAD_MODE", {"UPLOAD_LOCAL": "On"})
    ask(client, "Text", "UPLOAD_SETTINGS", {"UPLOAD_DIR": "_HOME_/loop"})
    (own_home / "loop").symlink_to(own_home / "loop")
    failed = client.set_of("CCD_EXPOSURE", "Alert", since=expose(client, 0.1))
    assert "cannot be followed" in (failed.get("message") or "")
    (own_home / "loop").unlink()
    start = expose(client, 0.1)
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert len(list((own_home / "loop").iterdir())) == 1


def test_a_compressed_picture_has_the_same_values(client: Client) -> None:
    ask(client, "Switch", "UPLOAD_MODE", {"UPLOAD_BOTH": "On"})
    ask(client, "Switch", "CCD_COMPRESSION", {"INDI_ENABLED": "On"})
    start = expose(client, 0.1)
    blob = client.set_of("CCD1", since=start)
    assert blob[0].get("format") == ".fits.fz"
    path = values(client.set_of("CCD_FILE_PATH", "Ok", since=start))["FILE_PATH"]
    plain = fits.getdata(path)
    compressed = picture(blob)
    assert len(compressed) < plain.nbytes * 0.6
    with fits.open(io.BytesIO(compressed), checksum=True) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[1].data, plain)
        assert hdus[1].header["INSTRUME"] == DEVICE


def test_fast_exposures_follow_each_other_without_a_request(client: Client) -> None:
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    ask(client, "Number", "CCD_FAST_COUNT", {"FRAMES": 4})
    start = expose(client, 0.2)
    client.set_of("CCD_FAST_COUNT", "Idle", since=start)
    client.set_of("CCD1", since=len(client.log) - 1)
    told = [
        (m.get("name"), m.get("state"), values(m).get("FRAMES"))
        for m in client.log[start:]
        if m.get("name") in ("CCD_FAST_COUNT", "CCD1")
        or (m.get("name") == "CCD_EXPOSURE" and m.get("state") == "Ok")
    ]
    frame = [("CCD_EXPOSURE", "Ok", None)]
    assert told == [
        *frame, ("CCD_FAST_COUNT", "Busy", "3"), ("CCD1", "Ok", None),
        *frame, ("CCD_FAST_COUNT", "Busy", "2"), ("CCD1", "Ok", None),
        *frame, ("CCD_FAST_COUNT", "Busy", "1"), ("CCD1", "Ok", None),
        *frame, ("CCD_FAST_COUNT", "Idle", "1"), ("CCD1", "Ok", None),
    ]  # fmt: skip
    dates = [
        fits.getheader(io.BytesIO(picture(m)))["DATE-OBS"]
        for m in client.log[start:]
        if m.tag == "setBLOBVector"
    ]
    gaps = np.diff(np.array(dates, dtype="datetime64[ms]")).astype(int)
    assert np.all(np.abs(gaps - 200) <= 5), gaps  # one after the other: nothing between two frames


def test_fast_exposures_end_with_an_abort(client: Client) -> None:
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    ask(client, "Number", "CCD_FAST_COUNT", {"FRAMES": 100})
    start = expose(client, 0.2)
    client.set_of("CCD1", since=start)
    aborted = len(client.log)
    client.new("Switch", DEVICE, "CCD_ABORT_EXPOSURE", {"ABORT": "On"})
    client.set_of("CCD_EXPOSURE", "Idle", since=aborted)
    idle = len(client.log)
    client.read_for(0.5)
    assert story(client.log[idle:]) == []
    ended = [m for m in client.log[aborted:] if m.get("name") == "CCD_FAST_COUNT"]
    assert (ended[-1].get("state"), values(ended[-1])) == ("Idle", {"FRAMES": "1"})


def test_a_fast_exposure_ends_when_it_is_switched_off(client: Client) -> None:
    start = fast_exposure(client, 100, 0.2)
    client.set_of("CCD1", since=start)
    ended = len(client.log)
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_DISABLED": "On"})
    idle = client.set_of("CCD_EXPOSURE", "Idle", since=ended)
    assert values(idle) == {"CCD_EXPOSURE_VALUE": "0"}
    assert client.set_of("CCD_FAST_COUNT", since=ended).get("state") == "Idle"
    ended = len(client.log)
    start = expose(client, 0.3)  # the camera is free, and nothing of the run comes any more
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    assert story(client.log[ended:]) == ["CCD_EXPOSURE Busy", "CCD1 Ok", "CCD_EXPOSURE Ok"]


def test_what_is_off_already_touches_no_exposure(client: Client) -> None:
    start = expose(client, 1)
    client.set_of("CCD_EXPOSURE", "Busy", since=start)
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_DISABLED": "On"})
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    told = [word for word in story(client.log[start:]) if "FAST" not in word]
    assert told == ["CCD_EXPOSURE Busy", "CCD1 Ok", "CCD_EXPOSURE Ok"]


def test_nonsense_between_two_fast_frames_leaves_the_run_busy(client: Client) -> None:
    start = fast_exposure(client, 3, 1)
    for text in ("abc", "1e9"):
        sent = client.set_of("CCD1", since=start)
        start = client.log.index(sent) + 1
        assert "[ERROR]" in ask(
            client, "Number", "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": text}, "Busy"
        )
    client.set_of("CCD_FAST_COUNT", "Idle", since=start)


def test_a_file_is_told_after_the_ok_of_its_fast_frame(client: Client) -> None:
    """Ekos counts a saved frame by its file, and would take a later Ok for that of the next."""
    ask(client, "Switch", "UPLOAD_MODE", {"UPLOAD_LOCAL": "On"})
    start = fast_exposure(client, 2, 0.2)
    client.set_of("CCD_FAST_COUNT", "Idle", since=start)
    ask(client, "Number", "CCD_GAIN", {"GAIN": 2})
    names = ("CCD_EXPOSURE", "CCD_FAST_COUNT", "CCD_FILE_PATH")
    told = [
        (m.get("name"), m.get("state"))
        for m in client.log[start:]
        if m.get("name") in names and (m.get("name"), m.get("state")) != ("CCD_EXPOSURE", "Busy")
    ]
    saved = ("CCD_FILE_PATH", "Ok")
    assert told == [
        ("CCD_EXPOSURE", "Ok"), ("CCD_FAST_COUNT", "Busy"), saved,
        ("CCD_EXPOSURE", "Ok"), ("CCD_FAST_COUNT", "Idle"), saved,
    ]  # fmt: skip


def test_what_a_client_should_know_is_warned_of(client: Client) -> None:
    for kind, name, asked, word, times in (
        ("Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"}, "experimental", 1),
        ("Switch", "CCD_FRAME_TYPE", {"FRAME_DARK": "On"}, "cover it before you take a dark", 2),
        ("Switch", "CCD_FRAME_TYPE", {"FRAME_BIAS": "On"}, "cover it before you take a bias", 2),
        ("Switch", "CCD_FRAME_TYPE", {"FRAME_FLAT": "On"}, "cover", 0),
    ):
        start = len(client.log)
        for _ in range(2):
            ask(client, kind, name, asked)
        told = [m.get("message") or "" for m in client.log[start:]]
        assert len([t for t in told if t.startswith("[WARNING]") and word in t]) == times, told


def test_debug_tells_what_was_ordered_how_it_was_taken_and_of_a_new_worker(
    client: Client, server: Server
) -> None:
    start = len(client.log)
    client.set_of("CCD_EXPOSURE", "Ok", since=expose(client, 0.1))
    assert not [m for m in client.log[start:] if "[DEBUG]" in m.get("message", "")]
    ask(client, "Switch", "DEBUG", {"ENABLE": "On"})
    ask(client, "Switch", "DEBUG_LEVEL", {"DBG_DEBUG": "On"})
    start = expose(client, 0.1)
    client.set_of("PICAM_FRAME", since=start)
    ordered, taken = [
        m.get("message", "") for m in client.log[start:] if "[DEBUG]" in m.get("message", "")
    ]
    assert "1 x Light of 0.1 s, gain 1, raw, mode 1332x990_10, 1332 x 990 at (0, 0)" in ordered
    assert re.search(r"0 dropped; libcamera had it \d+ ms after its exposure", taken), taken
    start = len(client.log)
    os.kill(worker_of(server.driver_pid()), signal.SIGKILL)
    client.wait(lambda m: "[DEBUG] The camera has a new worker" in m.get("message", ""), start)


def test_debug_shows_levels_and_writes_a_log_file(client: Client, own_home: Path) -> None:
    ask(client, "Switch", "DEBUG", {"ENABLE": "On"})
    for name in ("DEBUG_LEVEL", "LOGGING_LEVEL", "LOG_OUTPUT"):
        client.definition(name)
    ask(client, "Switch", "LOG_OUTPUT", {"FILE_DEBUG": "On"})
    ask(client, "Number", "CCD_GAIN", {"GAIN": 999}, "Alert")
    (log,) = own_home.glob(".indi/logs/*/indi_picam_simulator/*.log")
    assert re.search(r"^ERROR\t[0-9]+\.[0-9]{6} sec\t: CCD_GAIN: ", log.read_text(), re.MULTILINE)
    position = len(client.log)
    ask(client, "Switch", "DEBUG", {"DISABLE": "On"})
    client.wait(lambda m: m.tag == "delProperty" and m.get("name") == "LOG_OUTPUT", position)


@pytest.mark.parametrize(
    ("kind", "name", "asked"),
    [
        ("Number", "SCOPE_INFO", {"FOCAL_LENGTH": "512", "APERTURE": "81"}),
        ("Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On", "INDI_DISABLED": "Off"}),
    ],
)
def test_some_settings_save_themselves(
    start_server: StartServer, kind: str, name: str, asked: dict[str, object]
) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)
    ask(client, kind, name, asked)
    ask(client, "Switch", "CONFIG_PROCESS", {"CONFIG_LOAD": "On"})  # waits for the disk
    server.stop()
    client = start_server().tcp()
    connect(client)
    position = len(client.log)
    ask(client, "Switch", "CONFIG_PROCESS", {"CONFIG_LOAD": "On"})
    assert values(client.set_of(name, "Ok", since=position)) == asked


def test_what_is_saved_is_there_at_the_next_start(
    start_server: StartServer, own_home: Path
) -> None:
    server = start_server()
    client = server.tcp()
    connect(client)
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    ask(client, "Number", "POLLING_PERIOD", {"PERIOD_MS": 500})
    ask(client, "Switch", "CONFIG_PROCESS", {"CONFIG_SAVE": "On"})
    server.stop()
    client = start_server().tcp()
    connect(client)
    assert values(client.definition("POLLING_PERIOD"))["PERIOD_MS"] == "500"
    assert values(client.definition("CCD_FAST_TOGGLE"))["INDI_ENABLED"] == "On"
    assert (own_home / ".indi" / f"{DEVICE}_config.xml.default").exists()


def fast_exposure(client: Client, frames: int, exposure_s: float) -> int:
    """Begins one; returns the position in the log from which its messages come."""
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    ask(client, "Number", "CCD_FAST_COUNT", {"FRAMES": frames})
    return expose(client, exposure_s)


@pytest.mark.parametrize(("frames", "then"), [(50, 3), (2, 4)])
def test_the_number_of_fast_frames_may_be_changed_while_they_are_taken(
    client: Client, frames: int, then: int
) -> None:
    start = fast_exposure(client, frames, 0.3)
    client.set_of("CCD1", since=start)
    ask(client, "Number", "CCD_FAST_COUNT", {"FRAMES": then})
    client.set_of("CCD_FAST_COUNT", "Idle", since=start)
    position = len(client.log)
    ask(client, "Number", "CCD_GAIN", {"GAIN": 2})
    pictures = [m for m in client.log[start:] if m.tag == "setBLOBVector"]
    assert len(pictures) in (then, then + 1)  # it may come after one more has ended
    assert not [m for m in client.log[position:] if m.tag == "message"]
    start = expose(client, 0.1)  # the camera is free
    client.set_of("CCD_EXPOSURE", "Ok", since=start)


def test_the_number_of_fast_frames_may_come_right_behind_their_order(client: Client) -> None:
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    ask(client, "Number", "CCD_FAST_COUNT", {"FRAMES": 50})
    start = len(client.log)
    numbers = (("CCD_EXPOSURE", "CCD_EXPOSURE_VALUE", 0.2), ("CCD_FAST_COUNT", "FRAMES", 2))
    client.send(  # in one write: the driver reads both before it does anything
        "".join(
            f"<newNumberVector device='{DEVICE}' name='{name}'>"
            f"<oneNumber name='{element}'>{value}</oneNumber></newNumberVector>"
            for name, element, value in numbers
        )
    )
    client.set_of("CCD_FAST_COUNT", "Idle", since=start)
    ask(client, "Number", "CCD_GAIN", {"GAIN": 2})
    assert sum(m.tag == "setBLOBVector" for m in client.log[start:]) == 2


def test_a_fast_exposure_switched_on_holds_for_the_next(client: Client) -> None:
    start = expose(client, 0.5)
    client.set_of("CCD_EXPOSURE", "Busy", since=start)
    ask(client, "Switch", "CCD_FAST_TOGGLE", {"INDI_ENABLED": "On"})
    ask(client, "Number", "CCD_FAST_COUNT", {"FRAMES": 3})
    client.set_of("CCD_EXPOSURE", "Ok", since=start)
    told = [m.get("name") for m in client.log[start:] if m.get("name") in ("CCD1", "CCD_EXPOSURE")]
    assert told[-2:] == ["CCD1", "CCD_EXPOSURE"]
    start = expose(client, 0.1)
    client.set_of("CCD_FAST_COUNT", "Idle", since=start)
    assert sum(m.tag == "setBLOBVector" for m in client.log[start:]) in (2, 3)


def test_what_is_set_while_frames_are_taken_is_told_to_hold_for_the_next(client: Client) -> None:
    start = fast_exposure(client, 20, 0.3)
    client.set_of("CCD1", since=start)
    ask(client, "Number", "CCD_GAIN", {"GAIN": 5})
    client.wait(lambda m: "Gain (CCD_GAIN) holds for the next order" in m.get("message", ""), start)
    ask(client, "Switch", "CCD_ABORT_EXPOSURE", {"ABORT": "On"})


def test_summing_more_black_than_values_hold_is_warned_of(client: Client) -> None:
    start = len(client.log)
    ask(client, "Number", "CCD_BINNING", {"HOR_BIN": 4, "VER_BIN": 4})
    client.wait(lambda m: "black level alone fills 100 %" in m.get("message", ""), start)
    ask(client, "Switch", "PICAM_VALUES", {"ADC": "On"})
    start = len(client.log)
    ask(client, "Number", "CCD_BINNING", {"HOR_BIN": 3, "VER_BIN": 3})
    ask(client, "Number", "CCD_GAIN", {"GAIN": 2})
    assert not [m for m in client.log[start:] if "black level" in m.get("message", "")]
