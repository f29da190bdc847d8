"""How far the driver's estimate of a batch lies from the time that it really takes.

Every simulated sensor in its largest mode: the camera is calibrated, asked for an estimate, and
takes the batch to a local client, some times over. Times count from the request: to the word that
the last frame is taken, and to the last frame's descriptor.
"""

from __future__ import annotations

from benchmarks.contestants import OURS, on_sensors
from benchmarks.figures import Figure
from benchmarks.stage import LONG_QUEUE, Stage, stage
from benchmarks.wire import Client, Message

SENSORS = ("ov5647", "imx219", "imx477", "imx708", "imx296", "imx290", "imx283")
COUNT, EXPOSURES_S = 5, (0.1, 0.5)
OFF_PERCENT = 5
TURNS = 5


def run(rounds: int) -> list[Figure]:
    """Of each sensor in parts of the real time, whichever side it lies on."""
    figures = []
    for sensor in SENSORS:
        with stage(on_sensors(OURS, sensor), *LONG_QUEUE) as on_stage:
            _calibrate(on_stage)
            for exposure_s in EXPOSURES_S:
                figures += _figures(on_stage, sensor, exposure_s, min(rounds, TURNS))
    return figures


def _figures(on_stage: Stage, sensor: str, exposure_s: float, turns: int) -> list[Figure]:
    pairs = [_off_percent(on_stage.local, exposure_s) for _ in range(turns)]
    taken, delivered = (tuple(values) for values in zip(*pairs, strict=True))
    what = f"estimate of a batch of {COUNT} x {exposure_s:g} s, {sensor}:"
    return [
        Figure(f"{what} off until the last is taken", OURS.name, "%", taken, OFF_PERCENT),
        Figure(f"{what} off until it is delivered", OURS.name, "%", delivered, OFF_PERCENT),
    ]


def _calibrate(on_stage: Stage) -> None:
    client = on_stage.local
    client.pictures(True)
    client.send(f"<getProperties version='1.7' device='{client.device}'/>")
    client.definition("CALIBRATE")
    client.new("Switch", "CALIBRATE", MEASURE="On")
    client.set_of("CALIBRATE", "Ok", timeout=60)


def _off_percent(client: Client, exposure_s: float) -> tuple[float, float]:
    """Of the time until the last frame is taken, and until it is delivered."""
    client.drain(0.2)
    client.new("Number", "ESTIMATE_FOR", COUNT=COUNT, EXPOSURE=exposure_s)
    foretold = client.set_of("ESTIMATE").values
    began = client.new("Number", "BATCH_START", COUNT=COUNT, EXPOSURE=exposure_s)
    taken_at = client.wait(_is_last_taken).at
    delivered_at = taken_at
    while True:
        message = client.wait(lambda m: m.is_picture or _is_end(m))
        if not message.is_picture:
            break
        delivered_at = message.at
        message.let_go()
    return (
        _off(float(foretold["TAKEN"]), taken_at - began),
        _off(float(foretold["DELIVERED"]), delivered_at - began),
    )


def _is_last_taken(message: Message) -> bool:
    return message.name == "BATCH_PROGRESS" and message.values.get("TAKEN") == str(COUNT)


def _is_end(message: Message) -> bool:
    return message.name == "BATCH_PROGRESS" and message.values.get("DELIVERED") == str(COUNT)


def _off(foretold_s: float, real_s: float) -> float:
    return 100 * abs(foretold_s / real_s - 1)
