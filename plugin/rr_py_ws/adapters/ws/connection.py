"""One WebSocket after its handshake.

The protocol itself (frames, fragments, control frames, close handshake) is in `core`. Here are the socket
and the ends of a connection; a slow receiver has a `Backlog`, one that sends too much `SlowReading`.
Pushes do not pass through the core: the hub calls `send` with finished frames, which for a healthy connection
is that of the socket itself. That saves a quarter of the CPU time of a push. It is safe because the
transport holds nothing meanwhile: as soon as it does, `pause_writing` redirects `send` behind it.

Most clients send nothing but small commands and pongs. The core costs more than all the rest of a connection,
so it is made only when a client sends something else, or is told to go.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from websockets.frames import CloseCode
from websockets.protocol import State

from rr_py_ws import logs
from rr_py_ws.adapters.net.transports import bare_socket, cancel_soon, end_writing
from rr_py_ws.adapters.ws.clients import Clients
from rr_py_ws.adapters.ws.protocol.core import Core
from rr_py_ws.adapters.ws.protocol.fast_path import read_small_frame
from rr_py_ws.adapters.ws.read_throttle import PIECE, SlowReading
from rr_py_ws.adapters.ws.send_queue import Backlog
from rr_py_ws.core.session import Session
from rr_py_ws.wire.access import AccessRequest
from rr_py_ws.wire.push import Encoding, Opcode, server_frame

_PING = server_frame(Opcode.PING, b"")

log = logs.get_limited("websockets")


class Connection(asyncio.Protocol):
    """An open WebSocket; implements `Subscriber`, `session.Shell` and `clients.OpenClient`.

    There is one of these per client, so what is needed rarely (queues, timers, tasks) is made when needed.

    A connection is open until a close frame is written, the peer ends its side, or the socket is gone. From
    then on it is in no topic, throws away what it is given to write, and only waits for the rest of the end.
    """

    __slots__ = (
        "_backlog",
        "_clients",
        "_core",
        "_open",
        "_paid_at",
        "_session",
        "_slow_reading",
        "_socket",
        "_task",
        "_timer",
        "_transport",
        "_unpaid",
        "encoding",
        "heard",
        "send",
        "write",
    )

    def __init__(
        self,
        clients: Clients,
        transport: asyncio.Transport,
        connection: socket.socket,
        request: AccessRequest,
        encoding: Encoding,
    ) -> None:
        self._clients = clients
        self._transport = transport
        self._core: Core | None = None
        self._session = Session(self, request, clients.sessions)
        self._open = True
        self._backlog: Backlog | None = None
        self._slow_reading: SlowReading | None = None
        self._unpaid = 0  # frames, not yet counted into the next
        self._paid_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.encoding = encoding
        self.heard = True
        self.write: Callable[[bytes | memoryview], None] = transport.write
        self._socket = bare_socket(transport, connection)
        self.send: Callable[[bytes], int] = self._fast_send()

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self.heard = True
        self._clients.stats.received += len(data)
        if self._slow_reading is None:
            if len(data) <= PIECE:
                self.take(data)
                if (
                    self._unpaid < self._clients.pace.step
                    and self._session.backlog < self._clients.settings.max_commands_waiting
                ) or self.reading_delay() <= 0:
                    return
                data = b""
            self._slow_reading = SlowReading(self, self._transport, self._clients.stats)
        self._slow_reading.receive(data)

    def eof_received(self) -> bool:
        """The peer closed its side; so do we."""
        self._begin_end()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone, in whatever way: nothing of this connection stays."""
        if self._open:
            self._retire()
        self._backlog = None
        if self._slow_reading is not None:
            self._slow_reading.stop()
            self._slow_reading = None
        if self._timer is not None:
            self._timer.cancel()
        farewell = self._core.close_sent if self._core is not None else None
        self._clients.connection_ended(self, farewell.code if farewell else None)
        if self._core is not None:
            self._core.forget()
        del self._session  # it refers to us; see `Core.forget`

    def take(self, data: bytes) -> None:
        """See `reading.Source.take`."""
        frames = 1
        limit = self._clients.settings.max_message_size
        message = None
        if self._core is None:
            message = read_small_frame(data, limit if self.encoding.deflated else 0)
        if message is None or len(message) > limit:
            frames = self._receive_by_core(data)
        elif message:
            self._receive_message(message)
        self._unpaid += frames

    def _receive_by_core(self, data: bytes) -> int:
        """Let the core read; return how many frames came to their end."""
        core = self._make_core()
        before = core.frames_read
        for message in core.read(data):
            if self._open:
                self._receive_message(message)
        self._send_core(core)
        return core.frames_read - before

    def _make_core(self) -> Core:
        """Return the core; from the first time on, it reads everything."""
        if self._core is None:
            limit = self._clients.settings.max_message_size
            self._core = Core(limit, deflated=self.encoding.deflated)
        return self._core

    def _receive_message(self, message: bytes) -> None:
        self._clients.stats.messages += 1
        self._session.receive_message(message)

    def reading_delay(self) -> float:
        """See `reading.Source.reading_delay`."""
        if self._session.backlog >= self._clients.settings.max_commands_waiting:
            return math.inf
        pace, now = self._clients.pace, asyncio.get_running_loop().time()
        if self._unpaid >= pace.step:
            self._paid_at = pace.spend(self._paid_at, self._unpaid, now)
            self._unpaid = 0
        return pace.delay(self._paid_at, now)

    def reading_resumed(self) -> None:
        """See `reading.Source.reading_resumed`."""
        self._slow_reading = None

    # What leaves

    def _fast_send(self) -> Callable[[bytes], int]:
        return self._send_by_write if self._socket is None else self._socket.send

    def _send_by_write(self, frames: bytes) -> int:
        self.write(frames)
        return len(frames)

    def _send_core(self, core: Core) -> None:
        """Write what the core wants to say: pongs, close frames, the end."""
        data = b"".join(core.data_to_send())
        if data:
            self.write(data)
        if core.state is not State.OPEN:
            self._begin_end()
        if core.eof_sent and self._backlog is None:
            end_writing(self._transport)

    def _close(self, code: int, reason: str) -> None:
        """Start the close handshake."""
        core = self._make_core()
        core.send_close(code, reason)
        self._send_core(core)

    def _begin_end(self) -> None:
        """What is to be written is written; the peer has a while to take it and to end its side."""
        if self._open:
            self._retire()
            timeout = self._clients.settings.close_timeout
            self._timer = asyncio.get_running_loop().call_later(timeout, self._transport.abort)

    def _retire(self) -> None:
        """Leave all topics and take no more writes: nothing may follow a close frame."""
        self._open = False
        self.write, self.send = _discard, len
        self._session.close()
        self._clients.sessions.subscriptions.caught_up(self)
        if self._task is not None:
            cancel_soon(self._task)
            self._task = None  # it keeps the traceback of its end, which leads back here
        self._paid_at = 0.0  # what it is ahead by is forgotten, so that its close frame can be heard
        if self._slow_reading is not None:
            asyncio.get_running_loop().call_soon(self._slow_reading.go_on)

    def dismiss(self) -> bool:
        """See `Client.dismiss`."""
        if not self._open or self._transport.is_closing():  # uvloop's may not be written to then
            return False
        if self.write is _discard:  # it is about to be closed, or cut, for another reason
            return False
        self._close(CloseCode.GOING_AWAY, "server is stopping")
        return True

    def give_up(self) -> None:
        """See `Client.give_up` and `Peer.give_up`."""
        self._transport.abort()

    def ping(self) -> None:
        """See `Peer.ping`."""
        if self._slow_reading is not None:
            self.heard = True  # whom we do not read we cannot hear
        self.write(_PING)

    # A slow receiver

    def pause_writing(self) -> None:
        """The transport holds enough: what follows waits."""
        if self._backlog is not None:  # it is being handed over
            self._backlog.paused = True
            return
        self._backlog = backlog = Backlog(self._clients, self._transport, self._session, self._overflow)
        if self._open:
            self.write, self.send = backlog.write, backlog.send
            self._clients.sessions.subscriptions.fell_behind(self)

    def resume_writing(self) -> None:
        """The transport has room: hand over what waits, then write directly again."""
        self.heard = True  # it has taken something: one that reads slowly is alive, wherever its pongs are
        backlog = self._backlog
        assert backlog is not None
        if not backlog.hand_over():
            return
        self._backlog = None
        self._clients.sessions.subscriptions.caught_up(self)
        if self.write == backlog.write:  # else it is closing, or about to
            self.write = self._transport.write
            self.send = self._fast_send()
        elif self._core is not None and self._core.eof_sent:
            end_writing(self._transport)

    def _overflow(self) -> None:
        """Give up a receiver that is too slow; not now, the hub may be in the middle of its subscribers."""
        self.write, self.send = _discard, len
        asyncio.get_running_loop().call_soon(self._close_slow)

    def _close_slow(self) -> None:
        """What waits is dropped, and the close code says so."""
        if self._open:
            if self._backlog is not None:
                self._backlog.clear()
            self.write = self._transport.write
            self._clients.stats.slow += 1
            log.warning(
                "slow client closed, see websockets.limits.send_queue",
                remote=str(self._transport.get_extra_info("peername")),
            )
            self._close(CloseCode.TRY_AGAIN_LATER, "send queue full")

    def missed(self, topics: Sequence[str]) -> None:
        """See `Subscriber.missed`."""
        self._session.missed(topics)

    def write_failed(self, error: Exception) -> None:
        """See `Subscriber.write_failed`."""
        self.write, self.send = _discard, len
        log.error("connection failed", error=f"{type(error).__name__}: {error}")
        asyncio.get_running_loop().call_soon(self._transport.abort)

    # What the session asks for

    def when_done(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        """See `session.Shell.when_done`. The wait is cancelled when the connection ends."""
        self._task = asyncio.get_running_loop().create_task(self._wait(waiting, then))

    async def _wait(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        try:
            result = await waiting
        except Exception as error:
            self._go_on(then, None, error)
        else:
            self._go_on(then, result, None)

    def _go_on(
        self, then: Callable[[Any, Exception | None], None], result: Any, error: Exception | None
    ) -> None:
        if not self._open:
            return
        self._task = None
        then(result, error)
        if (
            self._slow_reading is not None
            and self._session.backlog <= self._clients.settings.max_commands_waiting // 2
        ):
            self._slow_reading.go_on()

    def command_ignored(self, reason: str) -> None:
        """See `session.Shell.command_ignored`."""
        log.warning("command ignored", reason=reason)

    def command_over_limit(self, reason: str) -> None:
        """See `session.Shell.command_over_limit`."""
        remote = str(self._transport.get_extra_info("peername"))
        log.warning("command refused, see websockets.limits", reason=reason, remote=remote)


def _discard(frames: bytes | memoryview) -> None:
    """Where writes go when the connection is going away; what is sent then goes to `len`."""
