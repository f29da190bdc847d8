"""How soon a property request is answered while frames flow to a client over TCP.

Frames are taken without a gap (CCD_FAST_COUNT) and read over TCP by one client, a process of its
own as clients are; another asks, in turn, for what a sequence asks for: gain, telescope, names of
files, a keyword of the header, and that the settings be saved. It does so on the local socket: over
TCP its own kernel's delayed acknowledgements hold back indiserver's second small message by 40 ms,
whatever the driver does; rows without a limit show that for everyone. Others are asked for gain
alone, which all have, and at exposures of 0.5 s: indi_simulator_ccd refuses to take frames faster
than it sends them. Our flows take turns, a few rounds of each; every round gives a percentile.
Beside them, on the same server, a driver that only echoes is asked: what is left when a driver does
nothing is the machine's.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from benchmarks.contestants import OURS, SMALL_MODE, everyone
from benchmarks.echo import DEVICE
from benchmarks.figures import Figure, percentile
from benchmarks.stage import Contestant, stage, start_fast
from benchmarks.wire import Client

MS = 1000.0
REQUESTS = 600
EVERY = 3
"""After so many requests the echo has its turn."""
ECHO = f"{sys.executable} -m benchmarks.echo"
FRAMES = 2000
"""More than there is time for: the last request ends them."""
_FORKING = multiprocessing.get_context("fork")
"""The client that a process takes over is connected already."""
_Requests = Sequence[tuple[str, str, Sequence[Mapping[str, object]]]]
ASKED: _Requests = (
    ("Number", "CCD_GAIN", ({"GAIN": 1}, {"GAIN": 2})),
    ("Number", "SCOPE_INFO", ({"FOCAL_LENGTH": 400}, {"FOCAL_LENGTH": 500})),
    ("Text", "UPLOAD_SETTINGS", ({"UPLOAD_PREFIX": "M31_XXX"}, {"UPLOAD_PREFIX": "M33_XXX"})),
    ("Text", "FITS_HEADER", ({"KEYWORD_NAME": "OBSERVER", "KEYWORD_VALUE": "Ann"},) * 2),
    ("Switch", "CONFIG_PROCESS", ({"CONFIG_SAVE": "On"},) * 2),
)
"""Kind, property, and what it is set to in turn."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What flows while requests are answered, and how they come."""

    what: str
    exposure_s: float = 0.05
    mode: str = ""
    saved: bool = False
    over_tcp: bool = False
    """The requests: the frames always are."""


UNHURRIED = Flow("12.3 MP, 0.5 s each,", exposure_s=0.5)
FULL_RATE = Flow("12.3 MP")
OF_OURS = (
    UNHURRIED,
    FULL_RATE,
    Flow(SMALL_MODE, mode=SMALL_MODE),
    Flow("12.3 MP compressed and saved", saved=True),
)


def run(rounds: int) -> list[Figure]:
    """From new* to its set* while frames flow: large, small, and compressed and saved as well."""
    others = [each for each in everyone() if each is not OURS]
    over_tcp = replace(UNHURRIED, over_tcp=True)
    measured: dict[Flow, list[_Answers]] = {flow: [] for flow in OF_OURS}
    for _ in range(max(1, rounds // 4)):
        for flow, answers in measured.items():
            answers.append(_answers(OURS, flow, beside_echo=True))
    return [
        *(figure(each, UNHURRIED) for each in others),
        *(figure(each, over_tcp) for each in (*others, OURS)),
        *(
            each
            for flow, answers in measured.items()
            for each in (_echo_figure(flow, answers), _figure(OURS, flow, answers))
        ),
    ]


def figure(contestant: Contestant, flow: Flow) -> Figure:
    """One round."""
    return _figure(contestant, flow, [_answers(contestant, flow)])


@dataclass(frozen=True, slots=True)
class _Answers:
    """How one round went: milliseconds to each answer, by property, and frames meanwhile."""

    times: Mapping[str, Sequence[float]]
    echoes: Sequence[float]
    frames: int

    @property
    def high(self) -> float:
        """The 99th percentile of all requests."""
        return percentile([each for of_one in self.times.values() for each in of_one], 99)


def _figure(contestant: Contestant, flow: Flow, rounds: Sequence[_Answers]) -> Figure:
    """The 99th percentiles of the rounds; the limit is ours."""
    times = defaultdict[str, list[float]](list)
    for answers in rounds:
        for name, of_one in answers.times.items():
            times[name] += of_one
    slowest = max(times, key=lambda name: percentile(times[name], 99))
    note = f"99th percentile of {REQUESTS}; medians"
    note += ",".join(f" {name} {statistics.median(times[name]):.2g}" for name in times)
    note += f"; slowest {slowest} {percentile(times[slowest], 99):.2g}"
    note += f"; {sum(answers.frames for answers in rounds)} frames meanwhile"
    limit = 20 if contestant.name == OURS.name and not flow.over_tcp else None
    highs = tuple(answers.high for answers in rounds)
    return Figure(_while(flow), contestant.name, "ms", highs, limit, note=note)


def _echo_figure(flow: Flow, rounds: Sequence[_Answers]) -> Figure:
    """The same of the driver that only echoes."""
    highs = tuple(percentile(answers.echoes, 99) for answers in rounds)
    median = statistics.median(each for answers in rounds for each in answers.echoes)
    note = f"99th percentile of {len(rounds[0].echoes)}; median {median:.2g}"
    return Figure(_while(flow), "an echo", "ms", highs, note=note)


def _while(flow: Flow) -> str:
    over = " over TCP" if flow.over_tcp else ""
    return f"request to answer{over} while {flow.what} frames flow"


def _answers(contestant: Contestant, flow: Flow, *, beside_echo: bool = False) -> _Answers:
    with stage(contestant, beside=ECHO if beside_echo else "") as on_stage:
        asking, watching = on_stage.local, on_stage.tcp
        echo = on_stage.local_client(DEVICE) if beside_echo else None
        if flow.mode:
            asking.new("Switch", "PICAM_MODE", **{flow.mode: "On"})
            asking.set_of("PICAM_MODE", "Ok")
        if flow.saved:
            asking.new("Switch", "CCD_COMPRESSION", INDI_ENABLED="On")
            asking.new("Switch", "UPLOAD_MODE", UPLOAD_BOTH="On")
            asking.set_of("UPLOAD_MODE", "Ok")
        watching.pictures(True)
        ended, (heard, told) = _FORKING.Event(), _FORKING.Pipe(duplex=False)
        reader = _FORKING.Process(target=_read_pictures, args=(watching, ended, told), daemon=True)
        reader.start()
        told.close()  # the reader alone has it: its end is heard
        start_fast(asking, FRAMES, flow.exposure_s)
        times, echoes = _ask(
            on_stage.tcp_client() if flow.over_tcp else asking,
            ASKED if contestant.name == OURS.name else ASKED[:1],
            echo,
        )
        ended.set()
        formats: list[str] = heard.recv()
        reader.join()
        asking.new("Switch", "CCD_ABORT_EXPOSURE", ABORT="On")
        asking.set_of("CCD_ABORT_EXPOSURE")
        files = len(list(on_stage.home.glob("*.fits")))
    if flow.saved and not (files >= len(formats) > 0 and set(formats) == {".fits.fz"}):
        raise RuntimeError(f"{files} files were saved, and sent as {set(formats)}")
    return _Answers(times, echoes, len(formats))


def _read_pictures(client: Client, ended: Event, told: Connection) -> None:
    """Reads pictures until told to end, and tells the format of each."""
    formats = []
    while not ended.is_set():
        formats.append(client.picture().attributes["format"])
    told.send(formats)


def _ask(
    client: Client, asked: _Requests, echo: Client | None
) -> tuple[dict[str, list[float]], list[float]]:
    """Milliseconds to the answer of each request, by property, and of the echo's.

    Raises RuntimeError for a refusal.
    """
    times, echoes = defaultdict[str, list[float]](list), list[float]()
    for each in (client, echo) if echo else (client,):
        each.send(f"<getProperties version='1.7' device='{each.device}'/>")
        each.drain(0.5)
    for number, (kind, name, values) in enumerate(islice(cycle(asked), REQUESTS)):
        at = client.new(kind, name, **values[number // len(asked) % 2])
        answer = client.set_of(name)
        if answer.state == "Alert":
            raise RuntimeError(f"{name} was answered {answer.state}")
        times[name].append(MS * (answer.at - at))
        client.drain(0.02)
        if echo and number % EVERY == 0:
            at = echo.new("Number", "ECHO", VALUE=number)
            echoes.append(MS * (echo.set_of("ECHO").at - at))
            client.drain(0.02)
    return times, echoes
