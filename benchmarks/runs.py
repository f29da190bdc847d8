"""The processor time of a frame of 12.3 MP in runs: a batch in memory, and fast exposures.

Driver and worker over a whole run, its beginning and end included, divided by its frames, which
flow to a local client; after each run one write of as many bytes as a frame has. Frames of a batch
that nobody acknowledges stay in memory, so each needs new pages; of those that are acknowledged as
they come, as our own client does, the pages are used again. The limits are those of a single frame.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.batches import start as start_batch
from benchmarks.contestants import OURS, everyone
from benchmarks.figures import Figure
from benchmarks.limits import MS, one_write
from benchmarks.stage import FRAME_BYTES, Contestant, stage, start_fast
from benchmarks.wire import Client

FRAMES, EXPOSURE_S = 20, 0.1
PEERS_FRAMES, PEERS_EXPOSURE_S = 5, 1.0
"""At which they keep up."""
WRITES, DRIVER_MS = 2, 5.0
Start = Callable[[Client, int, float], None]


def run(rounds: int) -> list[Figure]:
    """Ours in both kinds of run, the peers in fast exposures."""
    few = max(3, rounds // 4)
    series = FRAMES, EXPOSURE_S
    figures = _figures(OURS, "a batch in memory", start_batch, series, few)
    figures += _figures(OURS, "an acknowledged batch", start_batch, series, few, acknowledged=True)
    for each in everyone():
        series = (FRAMES, EXPOSURE_S) if each is OURS else (PEERS_FRAMES, PEERS_EXPOSURE_S)
        figures += _figures(each, "fast exposures", start_fast, series, few)
    return figures


def _figures(
    contestant: Contestant,
    kind: str,
    start: Start,
    series: tuple[int, float],
    rounds: int,
    acknowledged: bool = False,
) -> list[Figure]:
    frames, exposure_s = series
    drivers, both, writes = [], [], []
    with stage(contestant) as on_stage:
        client = on_stage.local
        client.pictures(True)
        for number in range(-1, rounds):
            before = on_stage.family.cpu_s()
            start(client, frames, exposure_s)
            batch = ""
            for frame in range(1, frames + 1):
                client.picture(60).let_go()
                if acknowledged:
                    batch = batch or _batch(client)
                    client.new("Text", "BATCH_ACKNOWLEDGE", BATCH=batch, FRAMES=str(frame))
            time.sleep(0.5)  # what a driver does after the last byte belongs to the run
            after = on_stage.family.cpu_s()
            write_ms = one_write(FRAME_BYTES).cpu_ms
            if number >= 0:
                driver, worker = (after[each] - before[each] for each in ("driver", "worker"))
                drivers.append(MS * driver / frames)
                both.append(MS * (driver + worker) / frames)
                writes.append(write_ms)
    what = f"processor time of a frame in {kind} of {frames} x {exposure_s:g} s:"
    if contestant is not OURS:
        return [Figure(f"{what} driver", contestant.name, "ms", (*drivers,))]
    limit, note = WRITES * statistics.median(writes), f"limit: {WRITES} writes"
    return [
        Figure(f"{what} driver", contestant.name, "ms", (*drivers,), DRIVER_MS),
        Figure(f"{what} driver and worker", contestant.name, "ms", (*both,), limit, note=note),
    ]


def _batch(client: Client) -> str:
    """The batch that is being taken; the next picture is some time away."""
    client.send(f"<getProperties version='1.7' device='{client.device}' name='BATCH_STATUS'/>")
    return client.definition("BATCH_STATUS").values["BATCH"]
