"""Ten exposures of 1 s in Ekos, and no more of its time than INDI's own simulator takes.

A real KStars on a display that nobody sees runs the same sequence file with either camera: frames
of the same size with a Bayer pattern, sent to KStars, which shows and saves each. Measured is the
wall time from the start of the sequence to its end. Needs what ``make test-clients`` installs.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from benchmarks.contestants import OURS, REFERENCE
from benchmarks.figures import Figure
from benchmarks.stage import HEIGHT, WIDTH, Contestant, stage
from benchmarks.wire import Client
from tests.clients.kstars import Profile, kstars
from tests.clients.sequence import Job, write

ALLOWED = 1.10
FRAMES, EXPOSURE_S = 10, 1.0
DRIVER_FILES = Path(__file__).parents[1] / "xml"


def _with_bayer_pattern(client: Client) -> None:
    """KStars gives a picture its colours in some 0.1 s, so both cameras must have them."""
    client.send("<getProperties version='1.7'/>")
    client.definition("SIMULATE_BAYER")
    client.new("Switch", "SIMULATE_BAYER", INDI_ENABLED="On")
    client.set_of("SIMULATE_BAYER")
    REFERENCE.make_ready(client)


CAMERAS = {"Raw": OURS, "Mono": replace(REFERENCE, make_ready=_with_bayer_pattern)}
"""By the capture format that gives such frames."""


def run(rounds: int) -> list[Figure]:
    """The time of either camera, and what ours is of the other's in each round."""
    times: dict[str, list[float]] = {name: [] for name in CAMERAS}
    for _ in range(max(2, rounds // 5)):
        for capture_format, contestant in CAMERAS.items():
            times[capture_format].append(_sequence_s(contestant, capture_format))
    what = f"Ekos, {FRAMES} x {EXPOSURE_S:g} s"
    ours, reference = times.values()
    ratios = tuple(mine / theirs for mine, theirs in zip(ours, reference, strict=True))
    return [
        Figure(what, OURS.name, "s", tuple(ours)),
        Figure(what, REFERENCE.name, "s", tuple(reference)),
        Figure(f"{what}, ours by the other's", OURS.name, "", ratios, ALLOWED),
    ]


def _sequence_s(contestant: Contestant, capture_format: str) -> float:
    with stage(contestant) as on_stage:
        home = on_stage.home / "kstars"
        profile = Profile("benchmark", contestant.device, on_stage.port)
        job = Job("sequence", EXPOSURE_S, FRAMES, (0, 0, WIDTH, HEIGHT), format=capture_format)
        file = on_stage.home / "sequence.esq"
        write(file, [job], home / "pictures", on_stage.home)
        with kstars(home, [profile], DRIVER_FILES) as program:
            program.start(profile.name)
            began = time.monotonic()
            program.begin(file)
            if (end := program.end(10 * FRAMES)) != "Complete":
                raise RuntimeError(f"{contestant.name}: the sequence is {end}: {program.log()[0]}")
            took_s = time.monotonic() - began
        if (saved := len(list(home.rglob("*.fits")))) != FRAMES:
            raise RuntimeError(f"{contestant.name}: {saved} pictures of {FRAMES} were saved")
        return took_s
