"""One WebSocket after its handshake.

The protocol itself (frames, masking, control frames, close handshake) is `websockets`' sans-I/O core. Here
are the socket, the assembly of fragments, what happens to a slow receiver, and the ends of a connection.
Pushes do not pass through the core: the hub calls `send` with finished frames, which for a healthy connection
is that of the socket itself. That saves a quarter of the CPU time of a push. It is safe because the
transport holds nothing meanwhile: as soon as it does, `pause_writing` redirects `send` behind it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from rr_py_ws.domain.outbox import Outbox
from rr_py_ws.domain.session import Session
from rr_py_ws.wire.access import AccessRequest
from rr_py_ws.wire.push import Encoding, server_frame
from rr_py_ws.wire.push import Opcode as PushOpcode

if TYPE_CHECKING:
    from rr_py_ws.adapters.ws.server import WebSocketServer

_CLOSE_TIMEOUT = 10.0
"""Seconds that a peer has to take our close frame and to close; then the connection is cut."""

_PING = server_frame(PushOpcode.PING, b"")

_silent = logging.Logger("rr_py_ws.websockets", logging.CRITICAL)
"""The core logs each connection's end at info; our own log lines say it better."""


class Connection(asyncio.Protocol):
    """An open WebSocket; implements `Subscriber`, `session.Shell` and `keepalive.Peer`.

    There is one of these per client, so what is needed rarely (queues, timers, tasks) is made when needed.
    """

    __slots__ = (
        "_assembly",
        "_core",
        "_outbox",
        "_paused",
        "_reading_paused",
        "_server",
        "_session",
        "_socket",
        "_task",
        "_timer",
        "_transport",
        "encoding",
        "heard",
        "send",
        "write",
    )

    def __init__(
        self,
        server: WebSocketServer,
        transport: asyncio.Transport,
        request: AccessRequest,
        encoding: Encoding,
    ) -> None:
        self._server = server
        self._transport = transport
        self._core = Protocol(
            SERVER, state=State.OPEN, max_size=server.settings.max_message_size, logger=_silent
        )
        self._session = Session(self, request, server.authorizer, server.subscriptions)
        self._assembly: tuple[Opcode, bytearray] | None = None
        self._outbox: Outbox | None = None
        self._paused = False
        self._reading_paused = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.encoding = encoding
        self.heard = True
        self.write: Callable[[bytes], None] = transport.write
        self._socket = _bare_socket(transport)
        self.send: Callable[[bytes], int] = self._fast_send()

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self.heard = True
        core = self._core
        core.receive_data(data)
        for frame in core.events_received():
            if core.state is State.OPEN:
                self._receive_frame(cast(Frame, frame))
        self._send_core()
        if self._session.backlog >= self._server.settings.max_commands_waiting and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer closed its side; so do we."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone, in whatever way: nothing of this connection stays."""
        self.write, self.send = _discard, len
        if self._socket is not None:
            self._socket.detach()  # the transport closes it
        self._outbox = None
        self._session.close()
        self._core.parser.close()  # else the last message stays until the garbage collector comes
        self._server.connection_lost(self)
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def _receive_frame(self, frame: Frame) -> None:
        """Assemble messages; control frames are done with when the core has seen them."""
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is Opcode.CONT:
            assert self._assembly is not None  # the core refuses a continuation of nothing
            opcode, message = self._assembly
            message += frame.data
        elif not frame.fin:
            self._assembly = (frame.opcode, bytearray(frame.data))
            return
        else:
            opcode, message = frame.opcode, cast(bytearray, frame.data)
        if frame.fin:
            self._assembly = None
            self._receive_message(opcode, bytes(message))

    def _receive_message(self, opcode: Opcode, message: bytes) -> None:
        if opcode is Opcode.TEXT:
            try:
                message.decode()
            except UnicodeDecodeError:
                self._core.fail(CloseCode.INVALID_DATA, "text is not UTF-8")
                return
        self._session.receive_message(message)

    # What leaves

    def _fast_send(self) -> Callable[[bytes], int]:
        return self._send_by_write if self._socket is None else self._socket.send

    def _send_by_write(self, frames: bytes) -> int:
        self.write(frames)
        return len(frames)

    def _send_core(self) -> None:
        """Write what the core wants to say: pongs, close frames, the end."""
        for data in self._core.data_to_send():
            if data:
                self.write(data)
            else:
                self._end()
        if self._core.state is not State.OPEN:
            self._closing()

    def _closing(self) -> None:
        """No push may follow a close frame; and the peer does not have for ever."""
        if self._timer is None:
            self._session.close()
            self._timer = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT, self._transport.abort)

    def _end(self) -> None:
        """Close the TCP connection once everything is written."""
        if self._outbox is None:
            self._transport.close()

    def close(self, code: int, reason: str) -> None:
        """Start the close handshake; does nothing when one is under way."""
        if self._core.state is State.OPEN:
            self._core.send_close(code, reason)
            self._send_core()

    def ping(self) -> None:
        """See `keepalive.Peer.ping`."""
        self.write(_PING)

    def give_up(self) -> None:
        """See `keepalive.Peer.give_up`."""
        self._transport.abort()

    # A slow receiver

    def pause_writing(self) -> None:
        """The transport holds enough: queue what follows."""
        self._paused = True
        if self._outbox is None:
            self._outbox = Outbox(self._server.settings.send_queue)
            self.write = self._queue
            self.send = self._send_by_write

    def resume_writing(self) -> None:
        """The transport has room: hand over what waited, then write directly again."""
        self._paused = False
        outbox = self._outbox
        while outbox and not self._paused:
            self._transport.write(outbox.get())
        if not self._paused:
            self._outbox = None
            self.write = self._transport.write
            self.send = self._fast_send()
            if self._core.eof_sent:
                self._transport.close()

    def _queue(self, frames: bytes) -> None:
        assert self._outbox is not None
        if not self._outbox.put(frames):
            # Not now: the hub may be in the middle of its subscribers.
            self.write = _discard
            asyncio.get_running_loop().call_soon(self._overflow)

    def _overflow(self) -> None:
        """Give up a receiver that is too slow: what waits is dropped, and the close code says so."""
        if self._outbox is not None:
            self._outbox.clear()
            self.write = self._transport.write
            self._server.log_slow(self._transport)
            self.close(CloseCode.TRY_AGAIN_LATER, "send queue full")

    def missed(self, topics: Sequence[str]) -> None:
        """See `Subscriber.missed`."""
        self._session.missed(topics)

    def write_failed(self, error: Exception) -> None:
        """See `Subscriber.write_failed`."""
        self.write, self.send = _discard, len
        self._server.log_failed(error)
        asyncio.get_running_loop().call_soon(self._transport.abort)

    # What the session asks for

    def when_done(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        """See `session.Shell.when_done`. The wait is cancelled when the connection goes away."""
        self._task = asyncio.get_running_loop().create_task(self._wait(waiting, then))

    async def _wait(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        result, error = None, None
        try:
            result = await waiting
        except Exception as failure:
            error = failure
        self._task = None
        if self._core.state is State.OPEN and not self._transport.is_closing():
            then(result, error)
        if (
            self._reading_paused
            and self._session.backlog < self._server.settings.max_commands_waiting // 2 + 1
        ):
            self._reading_paused = False
            self._transport.resume_reading()

    def command_ignored(self, reason: str) -> None:
        """See `session.Shell.command_ignored`."""
        self._server.log_ignored(reason)


def _bare_socket(transport: asyncio.Transport) -> socket.socket | None:
    """The socket below a transport, for writing past it; None with TLS.

    The transport has to report at once that it holds anything.
    """
    if transport.get_extra_info("sslcontext") is not None:
        return None
    transport.set_write_buffer_limits(0)
    below = transport.get_extra_info("socket")
    return socket.socket(below.family, below.type, below.proto, below.fileno())


def _discard(frames: bytes) -> None:
    """Where writes go when the connection is going away; what is sent then goes to `len`."""
