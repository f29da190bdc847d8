"""How soon a property request is answered while frames flow to a client over TCP.

Frames are taken without a gap (CCD_FAST_COUNT) and read by one client over TCP; another sets the
gain again and again. It does so on the local socket: over TCP its own kernel's delayed
acknowledgements hold back indiserver's second small message by 40 ms, whatever the driver does.
Everyone is compared at exposures of 0.5 s: indi_simulator_ccd refuses to take frames faster than it
sends them.
"""

from __future__ import annotations

import threading

from benchmarks.contestants import OURS, SMALL_MODE, everyone
from benchmarks.figures import Figure, percentile
from benchmarks.stage import Contestant, stage, start_fast

MS = 1000.0
REQUESTS, EXPOSURE_S = 300, 0.05
FRAMES = 2000
"""More than there is time for: the last request ends them."""


def run(rounds: int) -> list[Figure]:
    """From new* to its set* while frames flow: large, small, and compressed and saved as well."""
    return [
        *(figure(each, "12.3 MP, 0.5 s each,", exposure_s=0.5) for each in everyone()),
        figure(OURS, "12.3 MP"),
        figure(OURS, SMALL_MODE, mode=SMALL_MODE),
        figure(OURS, "12.3 MP compressed and saved", saved=True),
    ]


def figure(
    contestant: Contestant,
    what: str,
    *,
    mode: str = "",
    saved: bool = False,
    exposure_s: float = EXPOSURE_S,
) -> Figure:
    """The 99th percentile; the limit is ours."""
    with stage(contestant) as on_stage:
        asking, watching = on_stage.local, on_stage.tcp
        if mode:
            asking.new("Switch", "PICAM_MODE", **{mode: "On"})
            asking.set_of("PICAM_MODE", "Ok")
        if saved:
            asking.new("Switch", "CCD_COMPRESSION", INDI_ENABLED="On")
            asking.new("Switch", "UPLOAD_MODE", UPLOAD_BOTH="On")
            asking.set_of("UPLOAD_MODE", "Ok")
        watching.pictures(True)
        ended, frames = threading.Event(), [0]

        def take() -> None:
            while not ended.is_set():
                watching.picture().let_go()
                frames[0] += 1

        reader = threading.Thread(target=take)
        start_fast(asking, FRAMES, exposure_s)
        reader.start()
        times = []
        for number in range(REQUESTS):
            asked = asking.new("Number", "CCD_GAIN", GAIN=1 + number % 4)
            times.append(MS * (asking.set_of("CCD_GAIN").at - asked))
            asking.drain(0.02)
        ended.set()
        reader.join()
        asking.new("Switch", "CCD_ABORT_EXPOSURE", ABORT="On")
        asking.set_of("CCD_ABORT_EXPOSURE")
    high = percentile(times, 99)
    note = f"99th percentile of {REQUESTS}; median {sorted(times)[REQUESTS // 2]:.2g} ms;"
    note += f" {frames[0]} frames meanwhile"
    limit = 20 if contestant.name == OURS.name else None
    what = f"request to answer while {what} frames flow"
    return Figure(what, contestant.name, "ms", (high,), limit, note=note)
