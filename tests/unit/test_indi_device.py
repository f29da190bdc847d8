"""A device's dialogues: whatever comes, exactly one answer, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indi_picam.indi.device import Answer, Device
from indi_picam.indi.messages import (
    Def,
    DelProperty,
    GetProperties,
    Incoming,
    Malformed,
    Message,
    New,
    Outgoing,
    Set,
    SetBlob,
)
from indi_picam.indi.vectors import (
    Blob,
    BlobVector,
    Kind,
    Number,
    NumberVector,
    Refused,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)

GAIN = NumberVector(
    "GAIN", "Gain", "Main", (Number("G", "Gain", 1, 1, 16, 1), Number("H", "h", 2, 0, 9))
)
MODE = SwitchVector("MODE", "Mode", "Main", (Switch("A", "a", True), Switch("B", "b")))
INFO = TextVector("INFO", "Info", "General Info", (Text("T", "t", "x"),), "ro")
IMAGE = BlobVector("CCD1", "Image", "Image Info", (Blob("CCD1", "Image"),), "ro")


def gain(**values: str) -> New:
    return New("Cam", "GAIN", Kind.NUMBER, values)


class Rig:
    """A device, what it sent (times taken off), and a way to give it messages until it rests."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.device = Device("Cam", self._keep)

    def _keep(self, message: Outgoing) -> None:
        if isinstance(message, (Def, Set, SetBlob, DelProperty, Message)):
            assert message.timestamp is not None
            assert len(message.timestamp) == len("2026-08-05T01:02:03")
            message = replace(message, timestamp=None)
        self.sent.append(message)

    def taken(self) -> list[Outgoing]:
        sent, self.sent = self.sent, []
        return sent

    async def give(self, *messages: Incoming) -> list[Outgoing]:
        for message in messages:
            await self.device.receive(message)
        serving = self.device._serving
        if serving is not None:
            await serving
        return self.taken()


def run(dialogue: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(dialogue(Rig()))


def set_gain(g: float, h: float, state: State, message: str | None = None) -> Set:
    return Set("Cam", "GAIN", Kind.NUMBER, {"G": g, "H": h}, state, 60.0, message=message)


async def refuses(values: dict[str, Any]) -> Answer:
    raise Refused("Not while an exposure runs.", State.BUSY)


async def fails(values: dict[str, Any]) -> Answer:
    raise RuntimeError("boom")


async def answers_nonsense(values: dict[str, Any]) -> Answer:
    return Answer(values={"NO_SUCH": 1.0})


async def answers_nan(values: dict[str, Any]) -> Answer:
    return Answer(values={"G": float("nan")})


async def takes(values: dict[str, Any]) -> None:
    return None


async def corrects(values: dict[str, Any]) -> Answer:
    return Answer(State.BUSY, {"G": round(values["G"])}, "Rounded.")


Handler = Callable[[dict[str, Any]], Awaitable[Answer | None]]
ANSWERS: list[tuple[Handler | None, New, Set]] = [
    (None, gain(G="4"), set_gain(4, 2, State.OK)),
    (takes, gain(H="3"), set_gain(1, 3, State.OK)),
    (corrects, gain(G="4.4", H="9"), set_gain(4, 2, State.BUSY, "[INFO] Rounded.")),
    (refuses, gain(G="4"), set_gain(1, 2, State.BUSY, "[ERROR] Not while an exposure runs.")),
    (
        takes,
        gain(G="17"),
        set_gain(1, 2, State.ALERT, "[ERROR] GAIN: G 17 is refused, allowed is 1 to 16."),
    ),
    (
        fails,
        gain(G="4"),
        set_gain(1, 2, State.ALERT, "[ERROR] GAIN failed inside the driver: RuntimeError('boom')."),
    ),
    (
        answers_nonsense,
        gain(G="4"),
        set_gain(
            1,
            2,
            State.ALERT,
            "[ERROR] GAIN failed inside the driver: ValueError(\"GAIN has no value 'NO_SUCH'\").",
        ),
    ),
    (
        answers_nan,
        gain(G="4"),
        set_gain(
            1,
            2,
            State.ALERT,
            "[ERROR] GAIN failed inside the driver: ValueError('GAIN cannot hold nan').",
        ),
    ),
]


@pytest.mark.parametrize(("handler", "request_", "answer"), ANSWERS)
def test_exactly_one_answer(
    handler: Handler | None, request_: New, answer: Set, capsys: pytest.CaptureFixture[str]
) -> None:
    async def dialogue(rig: Rig) -> None:
        rig.device.define(rig.device.add(GAIN, handler))
        rig.taken()
        assert await rig.give(request_) == [answer]
        shown = replace(GAIN.with_values(answer.values), state=answer.state or State.IDLE)
        assert await rig.give(GetProperties("Cam", "GAIN")) == [Def("Cam", shown)]

    run(dialogue)
    traceback = capsys.readouterr().err
    assert ("Traceback" in traceback) is (handler in (fails, answers_nonsense, answers_nan))
    assert all(len(line) < 1000 for line in traceback.splitlines())


_TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["On", "Off", "5", "nan", "1e999", "-3", "0:30", ""])
)
_REQUESTS = st.builds(
    New,
    st.just("Cam"),
    st.sampled_from(["GAIN", "MODE", "INFO", "CCD1"]),
    st.sampled_from(Kind),
    st.dictionaries(st.sampled_from(["G", "H", "A", "B", "T", "CCD1", "", "X"]), _TEXTS),
)


@given(st.lists(_REQUESTS, max_size=8))
def test_whatever_is_asked_is_answered_once_in_order_and_stays_legal(requests: list[New]) -> None:
    async def dialogue(rig: Rig) -> None:
        rig.device.define(*(rig.device.add(vector, takes) for vector in (GAIN, MODE, INFO, IMAGE)))
        rig.taken()
        answers = [answer for answer in await rig.give(*requests) if isinstance(answer, Set)]
        assert [answer.name for answer in answers] == [request.name for request in requests]
        for answer in answers:
            match answer.name:
                case "GAIN":
                    assert 1 <= answer.values["G"] <= 16
                    assert 0 <= answer.values["H"] <= 9
                case "MODE":
                    assert sum(answer.values.values()) == 1
                case "INFO":
                    assert answer.values == {"T": "x"}
            assert (answer.state is State.ALERT) <= (answer.message is not None)

    run(dialogue)


def test_all_off_keeps_the_selection_and_no_handler_is_called() -> None:
    async def dialogue(rig: Rig) -> None:
        rig.device.define(rig.device.add(MODE, fails))
        rig.taken()
        assert await rig.give(New("Cam", "MODE", Kind.SWITCH, {"A": "Off", "B": "Off"})) == [
            Set("Cam", "MODE", Kind.SWITCH, {"A": True, "B": False}, State.OK, 60.0)
        ]

    run(dialogue)


def test_read_only_undefined_unknown_and_foreign_properties() -> None:
    async def dialogue(rig: Rig) -> None:
        info = rig.device.add(INFO)
        rig.device.add(GAIN, fails)
        rig.device.define(info)
        rig.device.set(info, {"T": "y"}, state=State.BUSY)
        rig.taken()
        assert await rig.give(New("Cam", "INFO", Kind.TEXT, {"T": "z"})) == [
            Set(
                "Cam",
                "INFO",
                Kind.TEXT,
                {"T": "y"},
                State.BUSY,
                60.0,
                message="[INFO] INFO can only be read.",
            )
        ]
        for name in ("GAIN", "NONE"):
            assert await rig.give(New("Cam", name, Kind.NUMBER, {"G": "1"})) == [
                Message("Cam", f"[WARNING] Cam has no property '{name}' now.")
            ]
        assert (
            await rig.give(New("Other", "INFO", Kind.TEXT, {"T": "z"}), GetProperties("Other"))
            == []
        )

    run(dialogue)


def test_broken_requests_are_answered_too() -> None:
    async def dialogue(rig: Rig) -> None:
        rig.device.define(rig.device.add(GAIN))
        rig.taken()
        assert await rig.give(Malformed("Broken.", "Cam", "GAIN", True)) == [
            set_gain(1, 2, State.ALERT, "[ERROR] Broken.")
        ]
        ignored = [Message("Cam", "[WARNING] Ignored what cannot be read: Broken.")]
        assert await rig.give(Malformed("Broken.")) == ignored
        assert await rig.give(Malformed("Broken.", "Cam", "NONE", True)) == ignored
        assert await rig.give(Malformed("Broken.", "Mount", "GAIN")) == []

    run(dialogue)


def test_requests_are_handled_one_after_the_other_and_getproperties_at_once() -> None:
    async def dialogue(rig: Rig) -> None:
        go_on = asyncio.Event()
        begun: list[float] = []

        async def slow(values: dict[str, Any]) -> None:
            begun.append(values["G"])
            await go_on.wait()

        shown = rig.device.add(GAIN, slow)
        rig.device.define(shown)
        rig.taken()
        for text in ("3", "5", "99"):
            await rig.device.receive(gain(G=text))
        await asyncio.sleep(0)
        assert begun == [3.0]
        assert rig.taken() == []
        await rig.device.receive(GetProperties())
        assert rig.taken() == [Def("Cam", GAIN)]
        go_on.set()
        assert [(m.values["G"], m.state) for m in await rig.give() if isinstance(m, Set)] == [
            (3.0, State.OK),
            (5.0, State.OK),
            (5.0, State.ALERT),
        ]
        assert begun == [3.0, 5.0]

    run(dialogue)


def test_then_runs_right_after_the_set_and_its_failure_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def dialogue(rig: Rig) -> None:
        mode = rig.device.add(MODE)

        def follow() -> None:
            rig.device.define(mode)
            raise RuntimeError("boom")

        async def answer(values: dict[str, Any]) -> Answer:
            return Answer(then=follow)

        rig.device.define(rig.device.add(GAIN, answer))
        rig.taken()
        assert await rig.give(gain(G="2")) == [
            set_gain(2, 2, State.OK),
            Def("Cam", MODE),
            Message(
                "Cam", "[ERROR] What follows GAIN failed inside the driver: RuntimeError('boom')."
            ),
        ]

    run(dialogue)
    assert "RuntimeError: boom" in capsys.readouterr().err


def test_definitions_come_in_their_order_with_present_values() -> None:
    async def dialogue(rig: Rig) -> None:
        one, two, three = (rig.device.add(vector) for vector in (GAIN, MODE, INFO))
        rig.device.set(one, {"G": 3})
        assert rig.taken() == []
        rig.device.define(three, one)
        rig.device.define(one, two)
        seen = GAIN.with_values({"G": 3})
        everything = [Def("Cam", vector) for vector in (INFO, seen, MODE)]
        assert rig.taken() == everything
        assert await rig.give(GetProperties()) == everything
        assert await rig.give(GetProperties("Cam", "MODE")) == everything[2:]
        assert await rig.give(GetProperties("Cam", "NONE")) == []
        rig.device.delete(one, one)
        assert rig.taken() == [DelProperty("Cam", "GAIN")]
        assert await rig.give(GetProperties("Cam")) == [everything[0], everything[2]]
        rig.device.define(one)
        assert rig.taken() == [everything[1]]

    run(dialogue)


def test_only_an_undefined_property_is_replaced() -> None:
    rig = Rig()
    mode = rig.device.add(MODE)
    rig.device.define(mode)
    with pytest.raises(ValueError, match="MODE is defined"):
        rig.device.add(MODE)
    rig.device.delete(mode)
    other = SwitchVector("MODE", "Mode", "Main", (Switch("C", "c", True),))
    again = rig.device.add(other)
    rig.taken()
    rig.device.define(again)
    assert rig.taken() == [Def("Cam", other)]
    assert again.selected == "C"
    assert again["C"] is True


def test_set_tells_values_limits_and_state_or_changes_nothing() -> None:
    rig = Rig()
    shown = rig.device.add(GAIN)
    rig.device.define(shown)
    rig.taken()
    rig.device.set(shown, {"G": 2}, limits={"G": (1, 8, 0.5)}, state=State.ALERT, message="Hot.")
    assert rig.taken() == [
        replace(set_gain(2, 2, State.ALERT, "[ERROR] Hot."), limits={"G": (1, 8, 0.5)})
    ]
    before = shown.vector
    for values, limits in [
        ({"X": 1.0}, None),
        ({"G": float("inf")}, None),
        ({}, {"X": (0.0, 1.0, 1.0)}),
    ]:
        with pytest.raises(ValueError, match="GAIN"):
            rig.device.set(shown, values, limits=limits)
    assert (shown.vector, rig.taken()) == (before, [])


def test_a_blob_leaves_its_vector_ok() -> None:
    rig = Rig()
    image = rig.device.add(IMAGE)
    rig.device.define(image)
    rig.taken()
    rig.device.send_blob(image, "CCD1", 9, size=2880, format=".fits")
    assert rig.taken() == [SetBlob("Cam", "CCD1", "CCD1", ".fits", 2880, 9, timeout=60.0)]
    assert image.state is State.OK


def test_saved_settings_go_through_the_handlers_before_the_answer() -> None:
    async def dialogue(rig: Rig) -> None:
        saved = [
            New("Cam", "GAIN", Kind.NUMBER, {"G": "5"}),
            New("Cam", "INFO", Kind.TEXT, {"T": "z"}),
            New("Cam", "NONE", Kind.TEXT, {"T": "z"}),
            New("Cam", "GAIN", Kind.NUMBER, {"G": "50"}),
        ]

        async def load(values: dict[str, Any]) -> Answer:
            await rig.device.apply(saved)
            return Answer(values={"A": False, "B": False})

        rig.device.define(rig.device.add(GAIN), rig.device.add(INFO), rig.device.add(MODE, load))
        rig.taken()
        answers = await rig.give(New("Cam", "MODE", Kind.SWITCH, {"B": "On"}), gain(G="6"))
        assert [(m.name, m.state) for m in answers if isinstance(m, Set)] == [
            ("GAIN", State.OK),
            ("GAIN", State.ALERT),
            ("MODE", State.OK),
            ("GAIN", State.OK),
        ]
        assert len(answers) == 4

    run(dialogue)


def test_snooping_merges_forgets_and_asks_again(capsys: pytest.CaptureFixture[str]) -> None:
    coord = NumberVector("COORD", "c", "g", (Number("RA", "ra", 5), Number("DEC", "dec", 6)))
    heard: list[tuple[dict[str, Any], State]] = []

    async def dialogue(rig: Rig) -> None:
        def on_update(values: dict[str, Any], state: State) -> None:
            heard.append((values, state))
            if values.get("RA") == 0:
                raise RuntimeError("boom")

        stop = rig.device.snoop("Mount", "COORD", on_update)
        ask = GetProperties("Mount", "COORD")
        assert rig.taken() == [ask]
        update = Set("Mount", "COORD", Kind.NUMBER, {"RA": 7.0}, State.BUSY)
        zero = Set("Mount", "COORD", Kind.NUMBER, {"RA": 0.0}, None)
        foreign = Set("Dome", "COORD", Kind.NUMBER, {"RA": 1.0}, State.OK)
        other = DelProperty("Mount", "OTHER")
        assert await rig.give(Def("Mount", coord), update, foreign, other, zero) == []
        assert await rig.give(DelProperty("Mount", "COORD"), Def("Mount", coord)) == []
        broken = (Malformed("no number", "Mount", "OTHER"), Malformed("none", "Mount", "COORD"))
        assert await rig.give(*broken) == []
        assert await rig.give(DelProperty("Mount")) == [ask]
        stop()
        stop()
        assert await rig.give(Def("Mount", coord)) == []

    run(dialogue)
    assert heard == [
        ({"RA": 5.0, "DEC": 6.0}, State.IDLE),
        ({"RA": 7.0, "DEC": 6.0}, State.BUSY),
        ({"RA": 0.0, "DEC": 6.0}, State.OK),
        ({}, State.IDLE),
        ({"RA": 5.0, "DEC": 6.0}, State.IDLE),
        ({}, State.ALERT),
        ({}, State.IDLE),
    ]
    assert "Cam: following Mount COORD failed." in capsys.readouterr().err


def test_a_sentence_nobody_wants_is_left_out_but_the_set_is_not() -> None:
    rig = Rig()
    shown = rig.device.add(GAIN)
    rig.device.define(shown)
    rig.taken()
    rig.device.message("Not told.", "DEBUG")
    heard: list[tuple[str, str]] = []

    def tells(level: str, text: str) -> bool:
        heard.append((level, text))
        return level == "DEBUG"

    rig.device.tells = tells
    rig.device.message("Told.", "DEBUG")
    rig.device.message("Quiet.", "WARNING")
    rig.device.set(shown, state=State.ALERT, message="Hot.")
    assert rig.taken() == [Message("Cam", "[DEBUG] Told."), set_gain(1, 2, State.ALERT)]
    assert heard == [("DEBUG", "Told."), ("WARNING", "Quiet."), ("ERROR", "Hot.")]
