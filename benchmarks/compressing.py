"""Pictures compressed (CCD_COMPRESSION) and plain: when, how large, and at what cost.

Each contestant's own way of compressing is what its switch turns on: fpack, but zlib for
indi-pylibcamera.
"""

from __future__ import annotations

import time

from benchmarks.contestants import OURS, everyone
from benchmarks.figures import Figure
from benchmarks.stage import Contestant, Stage, stage

EXPOSURE_S, MS = 0.2, 1000.0


def run(rounds: int) -> list[Figure]:
    """Everyone's."""
    few = [(each, rounds if each is OURS else rounds // 2) for each in everyone()]
    return [figure for each, times in few for figure in figures(each, times)]


def figures(contestant: Contestant, rounds: int) -> list[Figure]:
    """Both ways in turn, over TCP; the compressing process is counted with the driver."""
    took: dict[str, list[float]] = {"compressed": [], "plain": []}
    cost: dict[str, list[float]] = {"compressed": [], "plain": []}
    size: dict[str, list[float]] = {"compressed": [], "plain": []}
    with stage(contestant) as on_stage:
        client = on_stage.tcp
        client.send(f"<getProperties version='1.7' device='{client.device}'/>")
        switches = dict(zip(took, client.definition("CCD_COMPRESSION").values, strict=True))
        client.pictures(True)
        for number in range(max(3, rounds // 2) + 1):
            for way in took:
                values = _one(on_stage, switches[way])
                if number:
                    for kept, value in zip((took, cost, size), values, strict=True):
                        kept[way].append(value)
    return [
        Figure(f"{way}: {what}", contestant.name, unit, tuple(values[way]))
        for what, unit, values in (
            ("end of exposure to last byte, TCP", "ms", took),
            ("processor time of a frame, server left out", "ms", cost),
            ("on the wire", "MB", size),
        )
        for way in took
    ]


def _one(on_stage: Stage, switch: str) -> tuple[float, float, float]:
    client = on_stage.tcp
    client.new("Switch", "CCD_COMPRESSION", **{switch: "On"})
    client.set_of("CCD_COMPRESSION")
    before = on_stage.family.cpu_s()
    shot = on_stage.expose(EXPOSURE_S, client)
    time.sleep(0.1)
    after = on_stage.family.cpu_s()
    used = sum(after[kind] - before[kind] for kind in ("driver", "worker", "others"))
    return MS * (shot.picture.at - shot.over_at), MS * used, shot.picture.length / 1e6
