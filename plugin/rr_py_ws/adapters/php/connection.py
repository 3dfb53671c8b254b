"""Frames between the server and one worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from select import PIPE_BUF
from typing import Any, cast

from rr_py_ws.errors import PayloadTooBig, ProtocolError, WorkerDied
from rr_py_ws.wire.goridge import Frame, FrameDecoder
from rr_py_ws.wire.worker import PONG, decode_control, encode_pid

CLOSED = "closed its relay"
"""Why the connection of a worker is lost that went away without a word."""

_MAX_UNEXPECTED = 4096
_SHOWN_UNEXPECTED = 300
_FRAMES = 128
"""Frames of a worker that are looked at in one turn of the event loop, a millisecond at most."""
_MOST_UNSENT = 64 * 1024
"""Bytes that a worker has not read, at which no ping of it is answered any more: it waits for each answer."""
_LATE_DATA = 0.5
"""Seconds that an answer may still be on its way after its worker has ended."""

Receive = Callable[[Frame], bool]
"""Gets a frame of an answer; returns whether another frame of it follows."""
Piece = bytes | memoryview


class WorkerConnection(asyncio.Protocol):
    """The server's end. A worker speaks when it is asked; anything else loses the connection.

    It is the protocol of a socket's transport, or `attach` gives it another way to write, such as a pipe.

    Args:
        max_payload: bytes that a frame may have.

    Attributes:
        attached: done when there is a way to write.
        lost: done when nothing can be asked any more; `problem` says why.
        closed: done when all that the worker wrote has been read, and nothing is open any more.
    """

    def __init__(self, max_payload: int) -> None:
        loop = asyncio.get_running_loop()
        self.attached: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._max_payload = max_payload
        self._decoder = FrameDecoder(max_payload)
        self._receive_answer: Receive | None = None
        self._receive_pid: Callable[[int], None] | None = None
        self._write: Callable[[Piece], None] | None = None
        self._close: Callable[[], None] | None = None
        self._pause: Callable[[], None] | None = None
        self._resume: Callable[[], None] | None = None
        self._unsent: Callable[[], int] | None = None
        self._pid_frame = encode_pid(os.getpid())
        self._pid = 0
        self._reply = b""
        self._why = ""
        self._unexpected: bytearray | None = None
        self._held = False
        self._turn: asyncio.Handle | None = None

    def attach(
        self,
        write: Callable[[Piece], None],
        close: Callable[[], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
        unsent: Callable[[], int],
    ) -> None:
        """Use these to write, to close, to read nothing and to read on, and to tell what is not written yet.

        What arrives goes to `data_received` and `eof`.
        """
        self._write, self._close, self._pause, self._resume = write, close, pause, resume
        self._unsent = unsent
        if not self.attached.done():
            self.attached.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Use a socket; not any more when the connection was lost before its transport was made."""
        self._transport = cast(asyncio.Transport, transport)
        if self.lost.done():
            self._transport.abort()
            return
        transport = self._transport
        self.attach(
            transport.write,
            transport.abort,
            transport.pause_reading,
            transport.resume_reading,
            transport.get_write_buffer_size,
        )

    def hand_over(self, successor: WorkerConnection) -> None:
        """Let another take the socket; this one is of no use any more."""
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Take the end of a socket."""
        self.end()

    async def handshake(self) -> int:
        """Exchange process ids, as soon as there is a way to write; the server speaks first.

        Returns:
            The process id that the worker says it has.

        Raises:
            WorkerDied: the peer is not a worker, or the connection is lost.
        """
        replied: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._receive_pid = lambda pid: None if replied.done() else replied.set_result(pid)
        # The peer of a socket may speak as soon as it is connected; what it says is heard all the same.
        await asyncio.wait([self.attached, self.lost], return_when=asyncio.FIRST_COMPLETED)
        self.send(self._pid_frame)
        # `lost` too: a worker that dies on its way must not be waited for until the time-out.
        either: list[asyncio.Future[Any]] = [replied, self.lost]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise WorkerDied(self.problem)
        return replied.result()

    def pause(self) -> None:
        """Read nothing for now: the worker has to wait."""
        self._held = True
        if self._pause is not None and not self.lost.done():
            self._pause()

    def resume(self) -> None:
        """Read on."""
        self._held = False
        if self._resume is not None and not self.lost.done() and self._turn is None:
            self._resume()

    def ask(self, question: Sequence[Piece], on_answer: Receive, on_ready: Callable[[int], None]) -> None:
        """Send a question, and do the handshake again behind it.

        PHP reads frame by frame: it answers the handshake only when it waits for the next question, and after
        all else that it wrote. An application that answers twice (RoadRunner's documentation shows one that
        sends an error behind its answer) would otherwise decide about each client with what it said about the
        one before.

        Args:
            question: a whole frame, in pieces.
            on_answer: gets the frames of the answer; may raise WorkerDied, which loses the connection.
            on_ready: called when the worker waits for the next question.
        """
        self._receive_answer, self._receive_pid = on_answer, on_ready
        if len(question) == 1 and len(question[0]) + len(self._pid_frame) <= PIPE_BUF:
            self.send(b"".join((question[0], self._pid_frame)))
        else:
            # A pipe may take a part of this now and the rest later. PHP reads the header of a frame from it
            # with one call, so the cut must not go through the second header.
            for piece in question:
                self.send(piece)
            self.send(self._pid_frame)

    def send(self, frame: Piece) -> None:
        """Write one frame, or a piece of one; nothing when the connection is lost."""
        if self._write is not None and not self.lost.done():
            self._write(frame)

    def answer_ping(self) -> None:
        """Answer a ping; a worker that sends them and does not read the answers is lost."""
        if self._unsent is not None and self._unsent() > _MOST_UNSENT:
            self.lose("sent pings and did not read the answers")
        else:
            self.send(PONG)

    def data_received(self, data: bytes) -> None:
        """Take what the worker wrote."""
        if self.lost.done():
            # PHP prints a fatal error in several pieces; all of it belongs into the log line.
            if self._unexpected is not None:
                self._unexpected += data[: _MAX_UNEXPECTED - len(self._unexpected)]
            return
        # Nobody asked: it would be taken for the answer to the next question.
        if self._receive_pid is None:
            self.lose("wrote without being asked", data)
            return
        self._decoder.receive_data(data)
        if self._turn is None:
            self._read_frames()

    def _next_turn(self) -> None:
        self._turn = None
        if not self._held:
            self.resume()
        if not self.lost.done():
            self._read_frames()

    def _read_frames(self) -> None:
        decoder, count = self._decoder, 0
        try:
            while self._receive_answer is not None:
                if (frame := decoder.next_frame()) is None:
                    return
                self._take_answer(frame)
                if (count := count + 1) >= _FRAMES:
                    if self._pause is not None and not self.lost.done():
                        self._pause()
                        self._turn = asyncio.get_running_loop().call_soon(self._next_turn)
                    return
            if self.lost.done():
                # By what was read just now; more frames of a stream would say nothing about that.
                self._decoder = FrameDecoder(self._max_payload)
            else:
                self._read_reply(decoder)
        except PayloadTooBig as error:
            self.lose(f"wrote an answer that is too large ({error}, see websockets.limits.worker_answer)")
        except ProtocolError as error:
            self.lose(f"wrote something that is not a frame ({error})", decoder.pending)
        except WorkerDied as error:
            # It is about a whole frame; what follows that (more frames of a stream) would say nothing.
            self._decoder = FrameDecoder(self._max_payload)
            self.lose(str(error))

    def _read_reply(self, decoder: FrameDecoder) -> None:
        """Read the reply to the handshake, and nothing behind it."""
        buffer, at = decoder.peek()
        reply = buffer[at:]
        # A worker says the same each time.
        if reply and reply == self._reply and decoder.kept == len(reply):
            decoder.pass_over(len(buffer))
        else:
            if (frame := decoder.next_frame()) is None:
                return
            pid = decode_control(frame)
            if pid is None:
                raise WorkerDied("it answered the handshake with a stop command")
            if decoder.kept:
                # Before anybody puts the next question, whose answer this must not become.
                self.lose("wrote more than its answer", decoder.pending)
                return
            self._pid, self._reply = pid, reply
        on_ready, self._receive_pid = self._receive_pid, None
        assert on_ready is not None
        on_ready(self._pid)

    def _take_answer(self, frame: Frame) -> None:
        # Forgotten before the call: what is called may ask the next question at once.
        on_answer, self._receive_answer = self._receive_answer, None
        assert on_answer is not None
        if on_answer(frame) and not self.lost.done():
            self._receive_answer = on_answer

    def end(self) -> None:
        """Take the end of the stream: the worker closed its side, or the server did."""
        self.lose(CLOSED)
        if not self.closed.done():
            self.closed.set_result(None)

    def expect_end(self) -> None:
        """Give up soon, after an answer that is on its way: the worker ended, or does not read any more."""
        asyncio.get_running_loop().call_later(_LATE_DATA, self.lose, CLOSED)

    def lose(self, why: str, unexpected: bytes | None = None) -> None:
        """Give the connection up; of several reasons the first counts."""
        if self.lost.done():
            return
        self._why = why
        if unexpected is not None:
            self._unexpected = bytearray(unexpected[:_MAX_UNEXPECTED])
        # The callbacks refer to the worker, and the worker to this.
        self._receive_answer = self._receive_pid = None
        self.lost.set_result(None)

    @property
    def problem(self) -> str:
        """Why the connection is lost, to be read behind "the worker"; with what came instead of a frame."""
        output = self._decoder.pending if self._unexpected is None else bytes(self._unexpected)
        if not output:
            return self._why
        output = output[:_MAX_UNEXPECTED]
        try:
            # Text is easier to read than a bytes literal; repr keeps it on one line of the log.
            text = repr(output.decode())
        except UnicodeDecodeError:
            text = repr(output)
        return f"{self._why}: {text if len(text) <= _SHOWN_UNEXPECTED else text[:_SHOWN_UNEXPECTED] + '...'}"

    def close(self) -> None:
        """Close the server's end."""
        self.lose("was released")
        close, self._close = self._close, None
        self._write = self._pause = self._resume = self._unsent = None  # they lead back here
        if close is not None:
            close()
        else:
            self.end()
