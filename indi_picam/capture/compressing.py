"""Compresses finished FITS files (fpack's Rice) in a process of its own, away from camera and loop.

The values are stored at the low end of the word: those of a 12-bit sensor are shifted up to 16 bits
in the frame, and Rice then needs 14.6 MB where it needs 8.4 MB without the four empty bits (12.3 MP
star field). BSCALE in the header gives every reader the same values back. Bytes stay as they are.
Run as ``python -m indi_picam.capture.compressing <fd>`` by :class:`Compressor`; memfds in, memfds
out.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from indi_picam.camera.child import Child
from indi_picam.camera.starting import start

_LIMIT_S = 60.0
"""In real time; a Pi Zero needs some 5 s for 12 MP."""
_END_S = 2.0


class CompressionFault(Exception):
    """A file could not be compressed; the text is a sentence."""


class Compressor:
    """The driver's hold on the compressing process, which starts with the first file."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._socket: socket.socket | None = None
        self._turn = asyncio.Lock()
        self._exchanging: asyncio.Future[tuple[int, int]] | None = None

    async def compress(self, memory: int) -> tuple[int, int]:
        """A new memory with the compressed file, and its size; raises CompressionFault."""
        async with self._turn:
            try:
                if self._socket is None:
                    self._start()
                duplicate = os.dup(memory)
            except OSError as fault:  # no process, or no descriptor, can be had
                raise CompressionFault(f"The picture is not compressed: {fault}.") from None
            loop = asyncio.get_running_loop()
            exchanging = loop.run_in_executor(None, _exchange, self._socket, duplicate)
            self._exchanging = exchanging
            try:
                return await asyncio.wait_for(asyncio.shield(exchanging), _LIMIT_S)
            except BaseException as fault:
                # The answer of an exchange that nobody waits for must not be taken for the next.
                self._end()
                exchanging.add_done_callback(_close_result)
                if isinstance(fault, (OSError, TimeoutError, ValueError)):
                    raise CompressionFault(f"The picture is not compressed: {fault}.") from None
                raise

    async def close(self) -> None:
        """Ends the process."""
        child = self._child
        self._end()
        if child is not None:
            await child.ends_within(_END_S)

    def _end(self) -> None:
        ours, self._socket = self._socket, None
        if ours is not None:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for an answer
            if self._exchanging is None or self._exchanging.done():
                ours.close()
            else:
                self._exchanging.add_done_callback(lambda _: ours.close())
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_LIMIT_S)
        with theirs:
            arguments = ("indi_picam.capture.compressing", str(theirs.fileno()))
            self._child = Child(start(arguments, None, inherit=theirs.fileno()))
        self._socket = ours


def _exchange(process: socket.socket | None, memory: int) -> tuple[int, int]:
    """In a thread, which owns the descriptor: one file out, one back."""
    assert process is not None  # noqa: S101 - compress() started it
    try:
        socket.send_fds(process, [b"compress"], [memory])
        answer, descriptors, _, _ = socket.recv_fds(process, 1000, 1)
    finally:
        os.close(memory)
    if not descriptors:
        raise ValueError(answer.decode().removeprefix("done") or "no compressed file came back")
    return descriptors[0], os.fstat(descriptors[0]).st_size


def _close_result(exchanged: asyncio.Future[tuple[int, int]]) -> None:
    if not exchanged.cancelled() and exchanged.exception() is None:
        os.close(exchanged.result()[0])


def compressed(memory: int) -> int:
    """A memory with the Rice-compressed file of a FITS file in memory; runs in the process."""
    import numpy as np
    from astropy.io import fits

    with fits.open(f"/proc/self/fd/{memory}", do_not_scale_image_data=True, memmap=True) as hdus:
        header: Any = hdus[0].header
        data = hdus[0].data
        for keyword in ("CHECKSUM", "DATASUM", "BZERO", "BSCALE"):
            header.remove(keyword, ignore_missing=True)
        if data.dtype == np.uint8:
            return _written(fits.CompImageHDU(data.copy(), header, compression_type="RICE_1"))
        values = data.astype(np.int16).view(np.uint16) ^ 0x8000
    used = int(np.bitwise_or.reduce(values, axis=None)) or 1
    empty_bits = (used & -used).bit_length() - 1
    values >>= empty_bits
    stored = values.view(np.int16) if empty_bits else values
    image = fits.CompImageHDU(stored, header, compression_type="RICE_1")
    if empty_bits:
        image.header["BSCALE"] = (1 << empty_bits, "values were shifted up to 16 bits")
        image.header["BZERO"] = 0
    return _written(image)


def _written(image: Any) -> int:
    """A memory with the file of one compressed image."""
    from astropy.io import fits

    result = os.memfd_create("compressed", os.MFD_CLOEXEC)
    with open(result, "wb", closefd=False) as file:
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(file, checksum=True)
    return result


def main(descriptor: int) -> None:
    """Compresses what comes until the driver closes its end."""
    commands = socket.socket(fileno=descriptor)
    while True:
        _, descriptors, _, _ = socket.recv_fds(commands, 100, 1)
        if not descriptors:
            return
        try:
            result = compressed(descriptors[0])
            socket.send_fds(commands, [b"done"], [result])
            os.close(result)
        except Exception as fault:
            commands.send(f"{type(fault).__name__}: {fault}".encode()[:900])
        finally:
            os.close(descriptors[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
