"""Frames between the server and one worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from rr_py_ws.errors import ProtocolError, WorkerDied
from rr_py_ws.wire.goridge import DEFAULT_MAX_PAYLOAD, Frame, FrameDecoder
from rr_py_ws.wire.worker import Pid, decode_control, encode_pid

CLOSED = "closed its relay"
"""The problem of a link whose worker went away without a word."""

_MAX_NOISE = 4096
_SHOWN_NOISE = 300
_LAST_WORDS = 0.5
"""Seconds that an answer may be on its way after its worker ended."""


class Link:
    """The server's end. A worker speaks when it is asked; anything else makes the link useless.

    Args:
        max_payload: bytes that a frame may have.

    Attributes:
        lost: done when nothing can be asked any more; `problem` says why.
        closed: done when all that the worker wrote has been read, and nothing is open any more.
    """

    def __init__(self, max_payload: int = DEFAULT_MAX_PAYLOAD) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._decoder = FrameDecoder(max_payload)
        self._frame: asyncio.Future[Frame] | None = None
        self._write: Callable[[bytes], None] | None = None
        self._close: Callable[[], None] | None = None
        self._why = ""
        self._noise: bytearray | None = None

    def connect(self, write: Callable[[bytes], None], close: Callable[[], None]) -> None:
        """Use these to write and to close. What arrives goes to `receive_data` and `receive_eof`."""
        self._write, self._close = write, close

    async def introduce(self) -> int:
        """Do the handshake; the server speaks first.

        Returns:
            The process id that the worker says it has.

        Raises:
            WorkerDied: the peer is no worker.
        """
        self.send(encode_pid(os.getpid()))
        reply = decode_control(await self.receive())
        if not isinstance(reply, Pid):
            raise WorkerDied("it answered the handshake with a stop command")
        return reply.pid

    def send(self, frame: bytes) -> None:
        """Write a frame in one piece: PHP reads the header from a pipe with one call."""
        if self._write is not None and not self.lost.done():
            self._write(frame)

    async def receive(self) -> Frame:
        """Wait for one frame.

        Raises:
            WorkerDied: the link is lost, now or before.
        """
        if self.lost.done():
            raise WorkerDied(self.problem)
        self._frame = asyncio.get_running_loop().create_future()
        try:
            return await self._frame
        finally:
            self._frame = None

    def receive_data(self, data: bytes) -> None:
        """Take what the worker wrote."""
        if self.lost.done():
            if self._noise is not None:
                self._noise += data[: _MAX_NOISE - len(self._noise)]
            return
        self._decoder.receive_data(data)
        try:
            frame = self._decoder.next_frame()
        except ProtocolError as error:
            self.lose(f"wrote what is no frame ({error})", self._decoder.pending)
            return
        if self._frame is None or self._frame.done():
            self.lose("wrote without being asked", data)
        elif frame is not None:
            self._frame.set_result(frame)
            if self._decoder.pending:
                self.lose("wrote more than its answer", self._decoder.pending)

    def receive_eof(self) -> None:
        """The worker closed its end, or the server did."""
        self.lose(CLOSED)
        if not self.closed.done():
            self.closed.set_result(None)

    def expect_eof(self) -> None:
        """The worker ended, or does not read any more: give up soon, after an answer that is on its way."""
        asyncio.get_running_loop().call_later(_LAST_WORDS, self.lose, CLOSED)

    def lose(self, why: str, noise: bytes | None = None) -> None:
        """Give the link up; of several reasons the first counts."""
        if self.lost.done():
            return
        self._why = why
        if noise is not None:
            self._noise = bytearray(noise[:_MAX_NOISE])
        self.lost.set_result(None)
        if self._frame is not None and not self._frame.done():
            self._frame.set_exception(WorkerDied(why))

    @property
    def problem(self) -> str:
        """Why the link is lost, in words that follow "the worker"; with what came instead of a frame."""
        noise = self._decoder.pending if self._noise is None else bytes(self._noise)
        return f"{self._why}: {_show(noise)}" if noise else self._why

    def close(self) -> None:
        """Close the server's end."""
        self.lose("was released")
        if self._close is not None:
            self._close()
        else:
            self.receive_eof()


def _show(noise: bytes) -> str:
    try:
        text = repr(noise[:_MAX_NOISE].decode())
    except UnicodeDecodeError:
        text = repr(noise[:_MAX_NOISE])
    return text if len(text) <= _SHOWN_NOISE else f"{text[:_SHOWN_NOISE]}..."
