"""Frames between the server and one worker, over its pipes or its socket."""

from __future__ import annotations

import asyncio
import os
from typing import cast

from rr_py_ws.errors import ProtocolError, WorkerDied
from rr_py_ws.wire.goridge import Frame, FrameDecoder
from rr_py_ws.wire.worker import Pid, decode_control, encode_pid

_MAX_NOISE = 4096
_SHOWN_NOISE = 300
_LAST_WORDS = 0.5
"""Seconds that an answer may be on its way after its worker ended."""


class Link(asyncio.Protocol):
    """The server's end. A worker speaks when it is asked; anything else makes the link useless.

    Attributes:
        lost: done when nothing can be asked any more; `problem` says why.
        closed: done when the worker's end is closed too, and all that it wrote has been read.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._decoder = FrameDecoder()
        self._frame: asyncio.Future[Frame] | None = None
        self._reader: asyncio.BaseTransport | None = None
        self._writer: asyncio.WriteTransport | None = None
        self._why = ""
        self._noise: bytearray | None = None

    async def connect_pipes(self, read_end: int, write_end: int) -> None:
        """Take the server's ends of a worker's stdin and stdout; they are closed with the link."""
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: self, os.fdopen(read_end, "rb", buffering=0))
        writer, _ = await loop.connect_write_pipe(
            lambda: _WriteEnd(self), os.fdopen(write_end, "wb", buffering=0)
        )
        self._writer = writer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take what frames are read from: a pipe, or a socket."""
        self._reader = transport

    def use_socket(self, transport: asyncio.BaseTransport) -> None:
        """Take a connected socket, for both directions."""
        self._reader = transport
        self._writer = cast(asyncio.WriteTransport, transport)

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
        if self._writer is not None and not self.lost.done():
            self._writer.write(frame)

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

    @property
    def problem(self) -> str:
        """Why the link is lost, in words that follow "the worker"."""
        noise = self._decoder.pending if self._noise is None else bytes(self._noise)
        return f"{self._why}: {_show(noise)}" if noise else self._why

    def expect_end(self) -> None:
        """The process ended, or does not read any more: give up soon, after an answer that is on its way."""
        asyncio.get_running_loop().call_later(_LAST_WORDS, self.lose, "ended")

    def lose(self, why: str, noise: bytes | None = None) -> None:
        """Give the link up."""
        if self.lost.done():
            return
        self._why = why
        if noise is not None:
            self._noise = bytearray(noise[:_MAX_NOISE])
        self.lost.set_result(None)
        if self._frame is not None and not self._frame.done():
            self._frame.set_exception(WorkerDied(why))

    def close(self) -> None:
        """Close the server's end."""
        self.lose("was released")
        if self._writer is not None and not self._writer.is_closing():
            self._writer.abort()
        if self._reader is not None:
            self._reader.close()
        elif not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
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

    def connection_lost(self, error: Exception | None) -> None:
        """The worker closed its end, or the server did."""
        self.lose("closed its relay")
        if not self.closed.done():
            self.closed.set_result(None)


def _show(noise: bytes) -> str:
    try:
        text = repr(noise[:_MAX_NOISE].decode())
    except UnicodeDecodeError:
        text = repr(noise[:_MAX_NOISE])
    return text if len(text) <= _SHOWN_NOISE else f"{text[:_SHOWN_NOISE]}..."


class _WriteEnd(asyncio.BaseProtocol):
    """Notices that a worker does not read its stdin any more."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def connection_lost(self, error: Exception | None) -> None:
        self._link.expect_end()
