"""What a frame costs as frames grow, as cameras are added, and as clients are: where does it bend?

Everything is measured in passes over all sizes or numbers: where a virtual machine has to ask its
host for memory, single large frames cost three times as much, and beside a busy neighbour
everything costs twice as much for a while. For the same reason the line through the sizes is laid
through their lower quartiles: what disturbs only ever adds, and to large frames most. Ratios of
cameras and clients are those of medians.

Sizes: regions of the ov64a40, up to all of its 64 MP, to a local client. Cameras: one to four of
12.3 MP in one driver, all exposing at once. Clients: over TCP, each taking the whole picture, of
everyone's driver; those whose turn it is not are connected and have asked for no pictures.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import partial

from benchmarks.contestants import OURS, everyone, on_sensors
from benchmarks.figures import Figure
from benchmarks.stage import FRAME_BYTES, LONG_QUEUE, Contestant, Stage, stage
from benchmarks.wire import Client

EXPOSURE_S, MS = 0.3, 1000.0
REGIONS = ((640, 480), (1280, 960), (2048, 1536), (4056, 3040), (5472, 3648), (9248, 6944))
CAMERAS, CLIENTS = (1, 2, 4), (1, 4, 16)
SIZE_PASSES, PASSES = 6, 3
"""Over all sizes, and over all numbers of cameras and of clients."""
WARM_UPS = 2
"""From the third frame on, memory is used again."""
FOUR_COST = 4.2


def run(rounds: int) -> list[Figure]:
    """Processor time of driver, worker and server by size, cameras and clients."""
    frames = max(2, rounds // 5)
    clients = [figure for each in everyone() for figure in _clients(each, frames)]
    return [*_sizes(max(2, frames // 2)), *_cameras(frames), *clients]


def _costs_ms(
    on_stage: Stage, take: Callable[[], None], frames: int, warm_ups: int = WARM_UPS
) -> list[float]:
    """Processor time of driver, workers and server for each of some frames."""
    costs = []
    for number in range(-warm_ups, frames):
        before = on_stage.family.cpu_s()
        take()
        time.sleep(0.1)
        after = on_stage.family.cpu_s()
        if number >= 0:
            kinds = ("driver", "worker", "server")
            costs.append(MS * sum(after[kind] - before[kind] for kind in kinds))
    return costs


def _sizes(frames: int) -> list[Figure]:
    costs: dict[tuple[int, int], list[float]] = {region: [] for region in REGIONS}
    with stage(on_sensors(OURS, "ov64a40"), *LONG_QUEUE) as on_stage:
        client = on_stage.local
        client.pictures(True)
        for width, height in REGIONS * SIZE_PASSES:
            client.new("Number", "CCD_FRAME", X=0, Y=0, WIDTH=width, HEIGHT=height)
            client.set_of("CCD_FRAME", "Ok")
            costs[width, height] += _costs_ms(on_stage, partial(_take, on_stage), frames)
    figures = [
        Figure(f"processor time of a frame of {x * y / 1e6:.1f} MP", OURS.name, "ms", (*values,))
        for (x, y), values in costs.items()
    ]
    megabytes = [2 * width * height / 1e6 for width, height in REGIONS]
    quiet = [figure.quartiles[0] for figure in figures]
    slope, intercept = _line(megabytes, quiet)
    off = [
        100 * (cost / (intercept + slope * size) - 1)
        for size, cost in zip(megabytes, quiet, strict=True)
    ]
    furthest = max(off, key=abs)
    note = f"{slope:.2f} ms a MB and {intercept:.1f} ms a frame; off at each size:"
    note += ",".join(f" {percent:+.0f} %" for percent in off)
    what = "furthest of a size from the straight line, lower quartiles"
    return [*figures, Figure(what, OURS.name, "%", (abs(furthest),), 20, note=note)]


def _line(sizes: list[float], costs: list[float]) -> tuple[float, float]:
    """Slope and intercept of the line from which costs differ least in parts of themselves."""
    # Otherwise the largest frame, in which the most noise is, would say where the smallest lie.
    weights = [1 / cost**2 for cost in costs]
    size, cost = (statistics.fmean(values, weights) for values in (sizes, costs))
    triples = list(zip(sizes, costs, weights, strict=True))
    slope = sum(w * (x - size) * (y - cost) for x, y, w in triples)
    slope /= sum(w * (x - size) ** 2 for x, _, w in triples)
    return slope, cost - slope * size


def _take(on_stage: Stage) -> None:
    on_stage.local.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
    on_stage.local.picture().let_go()


def _cameras(frames: int) -> list[Figure]:
    costs: dict[int, list[float]] = {count: [] for count in CAMERAS}
    for count in CAMERAS * PASSES:
        with stage(on_sensors(OURS, ",".join(["imx477"] * count))) as on_stage:
            clients = [_of_camera(on_stage, number) for number in range(count)]
            costs[count] += _costs_ms(on_stage, partial(_take_all, clients), frames)
    figures = [
        Figure(
            f"processor time of a frame from each of {count} camera{'s'[: count - 1]}",
            OURS.name,
            "ms",
            (*each,),
        )
        for count, each in costs.items()
    ]
    ratio = figures[-1].median / figures[0].median
    what = f"{CAMERAS[-1]} cameras, in the cost of one"
    return [*figures, Figure(what, OURS.name, "", (ratio,), FOUR_COST)]


def _of_camera(on_stage: Stage, number: int) -> Client:
    """A local client of one of several cameras, connected."""
    client = on_stage.local_client()
    client.device = OURS.device if number == 0 else f"{OURS.device} {number + 1}"
    client.send(f"<getProperties version='1.7' device='{client.device}'/>")
    client.definition("CONNECTION")
    if number:
        client.new("Switch", "CONNECTION", CONNECT="On")
        client.definition("PICAM_FRAME")
    client.pictures(True)
    return client


def _take_all(clients: list[Client]) -> None:
    for client in clients:
        client.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
    _read_all(clients)


def _read_all(clients: list[Client]) -> list[float]:
    """Reads a picture with each client, all at once; returns when each had the last byte."""
    arrived: list[float] = []

    def read(client: Client) -> None:
        picture = client.picture(60)
        picture.let_go()
        arrived.append(picture.at)

    readers = [threading.Thread(target=read, args=(client,)) for client in clients]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return arrived


def _clients(contestant: Contestant, frames: int) -> list[Figure]:
    costs: dict[int, list[float]] = {count: [] for count in CLIENTS}
    times: dict[int, list[float]] = {count: [] for count in CLIENTS}
    with stage(contestant, *LONG_QUEUE) as on_stage:
        clients = [on_stage.tcp_client() for _ in range(CLIENTS[-1])]
        for client in clients:
            client.send(f"<getProperties version='1.7' device='{client.device}'/>")
        for count in CLIENTS * (PASSES if contestant is OURS else 1):  # peers take seconds
            for number, client in enumerate(clients):
                client.pictures(number < count)
                client.drain(0.01)
            took_ms: list[float] = []
            take = partial(_take_everywhere, on_stage, clients[:count], took_ms)
            costs[count] += _costs_ms(
                on_stage, take, frames, warm_ups=1
            )  # all frames are of one size
            times[count] += took_ms[1:]
            on_stage.local.drain()
    figures = []
    for count in CLIENTS:
        what = f"{count} client{'s'[: count - 1]} over TCP:"
        cost = Figure(
            f"{what} processor time of a frame", contestant.name, "ms", tuple(costs[count])
        )
        figures.append(cost)
        if contestant.simulated:
            last = f"{what} completed to the last byte at the last"
            figures.append(Figure(last, contestant.name, "ms", tuple(times[count])))
    medians = [statistics.median(costs[count]) for count in CLIENTS]
    line = statistics.linear_regression(CLIENTS, medians)
    each = ", ".join(
        f"{(medians[i + 1] - medians[i]) / (CLIENTS[i + 1] - CLIENTS[i]):.1f} from {CLIENTS[i]} to"
        f" {CLIENTS[i + 1]}"
        for i in range(len(CLIENTS) - 1)
    )
    note = f"{line.slope / (FRAME_BYTES / 1e6):.2f} ms a MB; {each}"
    what = "each further client over TCP: processor time of a frame"
    return [*figures, Figure(what, contestant.name, "ms", (line.slope,), note=note)]


def _take_everywhere(on_stage: Stage, clients: list[Client], times_ms: list[float]) -> None:
    """Takes a picture that all clients read; appends how long the last of them needed."""
    on_stage.log()
    on_stage.tcp.new("Number", "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=EXPOSURE_S)
    arrived = _read_all(clients)
    if on_stage.contestant.simulated:
        entry = on_stage.delivered(min(arrived), EXPOSURE_S)
        times_ms.append(MS * (max(arrived) - entry["completed_ns"] * 1e-9))
