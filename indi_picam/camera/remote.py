"""The driver's hold on one camera worker: start it, ask it, watch it, kill it, start it again.

| state | worker process     | left by                                                         |
|-------|--------------------|-----------------------------------------------------------------|
| gone  | none               | open -> alive                                                   |
| alive | beats every 1/3 s  | close -> gone; died, silent, failed for good: killed and a fault |

A fault goes to whoever waits for the worker (open, configure, a take); to ``on_lost`` when nobody
does. Lives on one asyncio loop without threads and imports nothing heavy: pixels pass by as
descriptors. Called by the capture engine and the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from indi_picam.camera import child, messages
from indi_picam.camera.messages import (
    Abort,
    Alive,
    Began,
    Close,
    Configure,
    Configured,
    Failed,
    Finished,
    Message,
    Open,
    Opened,
    Stopped,
    Take,
)
from indi_picam.camera.modes import (
    UPRIGHT,
    CameraFacts,
    CameraFault,
    CameraId,
    FrameFacts,
    FrameRequest,
    ModeFacts,
    Orientation,
    SensorMode,
)
from indi_picam.camera.starting import start

OPEN_S = 20.0
"""Real limits for an answer. A Pi Zero needs seconds to import picamera2 and to read the modes."""
CONFIGURE_S = 15.0
ABORT_S = 0.25
CLOSE_S = 2.0
SILENCE_S = 1.0
"""What a worker may be silent after it has said something of a camera that runs."""
_NO_DESCRIPTOR = (
    "A frame is lost, as the driver has too many files and frames open: acknowledge or discard "
    "batches in memory, or keep them on disk."
)

Answer = TypeVar("Answer", Opened, Configured, Stopped)


@dataclass(frozen=True, slots=True)
class Frame:
    """A finished frame; the receiver owns the descriptor."""

    memory: int
    """A memfd, laid out as FrameFacts says; read-only, and held (:mod:`indi_picam.holding`)."""
    facts: FrameFacts


@dataclass(slots=True)
class _Take:
    """Frames on their way from the worker to the iterator; None ends it."""

    serial: int
    on_start: Callable[[int], None] | None
    on_frame: Callable[[Frame, int], None] | None
    left: int
    arrived: asyncio.Queue[Frame | CameraFault | None] = field(default_factory=asyncio.Queue)


class RemoteCamera:
    """One camera, by its libcamera Id, in a worker process of its own."""

    def __init__(self, camera_id: str, *, module_path: str | None = None) -> None:
        """An empty Id means the first camera there is when it is opened.

        ``module_path`` is put first on the worker's module path; None on a Pi.
        """
        self.on_lost: Callable[[CameraFault], None] = lambda fault: None
        self._camera_id = camera_id
        self._module_path = module_path
        self._process: child.Child | None = None
        self._socket: socket.socket | None = None
        self._answers: dict[type[Message], asyncio.Future[Message]] = {}
        self._take: _Take | None = None
        self._serial = 0
        self._silent_until = float("inf")
        self._watch: asyncio.TimerHandle | None = None

    def turn_to(self, camera_id: str, module_path: str | None) -> None:
        """Takes another camera, or another ``libcamera`` to find it, from the next open on."""
        self._camera_id, self._module_path = camera_id, module_path

    @property
    def alive(self) -> bool:
        """Whether there is a worker to talk to."""
        return self._socket is not None

    async def open(self) -> CameraFacts:
        """Starts a worker, after ending an older one, and opens the camera; raises CameraFault."""
        await self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            arguments = ("indi_picam.camera.worker", str(theirs.fileno()))
            try:
                process = start(arguments, self._module_path, inherit=theirs.fileno())
                self._process = child.Child(process)
            except OSError as error:
                ours.close()
                raise CameraFault(
                    f"The camera worker cannot be started ({error.strerror}).", retry=True
                ) from error
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._receive)
        self._process.exited.add_done_callback(lambda _: self._receive_all())
        try:
            facts = (await self._ask(Open(self._camera_id), Opened, OPEN_S)).facts
        except CameraFault:
            await self.close()
            raise
        self._heard(SILENCE_S)
        return facts

    async def configure(self, mode: SensorMode, orientation: Orientation = UPRIGHT) -> ModeFacts:
        """Sets up a sensor mode, unless it is set up already; raises CameraFault."""
        return (await self._ask(Configure(mode, orientation), Configured, CONFIGURE_S)).facts

    async def take(
        self,
        request: FrameRequest,
        on_start: Callable[[int], None] | None = None,
        on_frame: Callable[[Frame, int], None] | None = None,
    ) -> AsyncGenerator[Frame, None]:
        """Yields ``request.count`` frames, or fewer when aborted; raises CameraFault.

        ``on_start`` gets the time of the clock at which the exposure of each frame began, as soon
        as it is known; ``on_frame`` gets each frame of the request but the last when it comes, to
        look at, and how many wait to be yielded. The frames own a descriptor each. One take at a
        time.
        """
        self._serial += 1
        take = self._take = _Take(self._serial, on_start, on_frame, request.count)
        try:
            self._tell(Take(take.serial, request))
            for _ in range(request.count):
                item = await take.arrived.get()
                if item is None:
                    return
                if isinstance(item, CameraFault):
                    raise item
                yield item
        finally:
            if self._take is take:
                self._take = None
                if take.left and self.alive:
                    self._tell(Abort())
            _close_unread(take)

    def end_take(self) -> None:
        """Ends a take without waiting: its iterator yields what has come already.

        Harmless when there is none. The next take may follow at once, as the worker takes its
        orders one after the other.
        """
        take, self._take = self._take, None
        if take is not None:
            take.arrived.put_nowait(None)
            self._tell(Abort())

    async def abort(self) -> None:
        """Ends a take and waits until the camera has stopped; harmless when there is none.

        Its iterator yields what has come already. Never raises.
        """
        take, self._take = self._take, None
        if take is not None:
            take.arrived.put_nowait(None)
        # A worker that is being opened or set up takes nothing, and could not answer in time.
        if self.alive and not self._answers.keys() & {Opened, Configured}:
            try:
                await self._ask(Abort(), Stopped, ABORT_S)
            except CameraFault as fault:
                self.on_lost(fault)

    async def close(self) -> None:
        """Frees the camera and ends the worker, by force when it does not answer; never raises."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.send(messages.encode(Close()))
        self._let_go(CameraFault("The camera was closed.", retry=True))
        if not await process.ends_within(CLOSE_S):
            process.kill()
            await process.ends_within(CLOSE_S)

    async def _ask(self, message: Message, answer: type[Answer], limit_s: float) -> Answer:
        """Sends a message and waits for its answer; a worker that does not answer is killed."""
        future = self._answers.get(answer)
        if future is None:
            future = self._answers[answer] = asyncio.get_running_loop().create_future()
            self._tell(message)
        try:
            return cast(Answer, await asyncio.wait_for(asyncio.shield(future), limit_s))
        except TimeoutError:
            fault = CameraFault(
                f"The camera worker did not answer {type(message).__name__} within {limit_s:g} s.",
                retry=True,
            )
            self._answers.pop(answer, None)
            self._lose(fault, told=True)
            raise fault from None

    def _tell(self, message: Message) -> None:
        if self._socket is None:
            self._lose(CameraFault("The camera worker is not running.", retry=True))
            return
        try:
            self._socket.send(messages.encode(message))
        except OSError as error:
            self._lose(
                CameraFault(f"The camera worker cannot be reached ({error.strerror}).", retry=True)
            )

    def _receive(self) -> bool:
        """Takes up one packet of the worker; False when there is none. The end loses the worker.

        The loop calls again while there are more: to look in vain costs a system call a packet.
        """
        if self._socket is None:
            return False
        try:
            packet, memory, _, _ = socket.recv_fds(
                self._socket, messages.MAX_BYTES, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            packet, memory = b"", []
        if packet:
            self._take_up(messages.decode(packet), memory[0] if memory else None)
        else:
            self._died()
        return bool(packet)

    def _receive_all(self) -> None:
        """Takes up all that the worker has sent; one that has ended is lost then."""
        while self._receive():
            pass
        if self._socket is not None and self._process is not None and self._process.exited.done():
            self._died()

    def _died(self) -> None:
        code = (
            self._process.exited.result() if self._process and self._process.exited.done() else None
        )
        reason = f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""
        self._lose(CameraFault(f"The camera worker ended unexpectedly{reason}.", retry=True))

    def _take_up(self, message: Message, memory: int | None) -> None:
        take = self._take
        match message:
            case Alive(within_s):
                self._heard(within_s)
            case Began(serial, at_ns) if take and take.serial == serial:
                self._heard(SILENCE_S)
                if take.on_start is not None:
                    take.on_start(at_ns)
            case Finished(serial, facts) if take and take.serial == serial and memory is not None:
                self._heard(SILENCE_S)
                take.left -= 1
                frame, memory = Frame(memory, facts), None
                take.arrived.put_nowait(frame)
                if take.left and take.on_frame is not None:
                    take.on_frame(frame, take.arrived.qsize())
            case Finished(serial) if take and take.serial == serial:
                take.arrived.put_nowait(CameraFault(_NO_DESCRIPTOR, retry=False))
                self.end_take()
            case Failed(serial, sentence, retry):
                self._failed(serial, CameraFault(sentence, retry=retry))
            case Opened() | Configured() | Stopped():
                future = self._answers.pop(type(message), None)
                if future is not None and not future.done():
                    future.set_result(message)
        if memory is not None:  # of a take that was aborted
            os.close(memory)

    def _failed(self, serial: int | None, fault: CameraFault) -> None:
        if fault.retry or Opened in self._answers:  # the worker has ended itself, or is about to
            self._lose(fault)
        elif serial is None:
            future = self._answers.pop(Configured, None)
            if future is not None and not future.done():
                future.set_exception(fault)
        elif self._take is not None and self._take.serial == serial:
            self._take.left = 0
            self._take.arrived.put_nowait(fault)

    def _lose(self, fault: CameraFault, *, told: bool = False) -> None:
        """Kills the worker and tells whoever waits for it, or everybody when nobody does."""
        waiting = bool(self._answers) or self._take is not None or told
        if self._process is not None:
            self._process.kill()
        self._let_go(fault)
        if not waiting:
            self.on_lost(fault)

    def _let_go(self, fault: CameraFault) -> None:
        """Drops the socket; whatever still waits ends with the fault."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        answers, self._answers = self._answers, {}
        for future in answers.values():
            if not future.done():
                future.set_exception(fault)
        take, self._take = self._take, None
        if take is not None:
            take.arrived.put_nowait(fault)

    def _heard(self, within_s: float) -> None:
        """The worker lives, and will be heard of again within this time."""
        loop = asyncio.get_running_loop()
        self._silent_until = loop.time() + within_s
        if self._watch is not None and self._watch.when() > self._silent_until:
            self._watch.cancel()
            self._watch = None
        if self._watch is None:
            self._watch = loop.call_at(self._silent_until, self._check, self._silent_until)

    def _check(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._watch = None
        late_s = loop.time() - due
        self._receive_all()  # heartbeats may lie unread when the loop was busy
        if self._socket is None:
            return
        if late_s > SILENCE_S / 2:  # we slept ourselves, and the worker perhaps with us
            self._silent_until = max(self._silent_until, loop.time() + SILENCE_S)
        if loop.time() >= self._silent_until:
            self._lose(
                CameraFault("The camera worker hangs: nothing was heard of it in time.", retry=True)
            )
        elif self._watch is None:
            self._watch = loop.call_at(self._silent_until, self._check, self._silent_until)


def _close_unread(take: _Take) -> None:
    while not take.arrived.empty():
        item = take.arrived.get_nowait()
        if isinstance(item, Frame):
            os.close(item.memory)


LISTING_S = 10.0


async def list_cameras(started: subprocess.Popen[bytes]) -> tuple[CameraId, ...]:
    """The cameras of this machine in picamera2's order; raises CameraFault.

    From a child that was started before (:func:`indi_picam.camera.starting.start_listing`).
    """
    listing = child.Child(started)
    assert started.stdout is not None  # noqa: S101 - start_listing() made the pipe
    reading = started.stdout.fileno()
    os.set_blocking(reading, False)
    try:
        text = await asyncio.wait_for(_read_to_end(reading), LISTING_S)
        answer = json.loads(text)
    except (TimeoutError, ValueError) as error:
        raise CameraFault(
            "libcamera does not list the cameras: run `rpicam-hello --list-cameras`, and reboot if"
            " that hangs.",
            retry=True,
        ) from error
    finally:
        started.stdout.close()
        listing.kill()
        await listing.ends_within(CLOSE_S)
    if "fault" in answer:
        raise CameraFault(answer["fault"], retry=False)
    return tuple(CameraId(camera["id"], camera["model"]) for camera in answer["cameras"])


async def _read_to_end(descriptor: int) -> bytes:
    """All that comes through a non-blocking pipe until its writers have closed it."""
    loop, parts = asyncio.get_running_loop(), list[bytes]()
    while True:
        readable = asyncio.Event()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
            part = os.read(descriptor, 65536)
        finally:
            loop.remove_reader(descriptor)
        if not part:
            return b"".join(parts)
        parts.append(part)
