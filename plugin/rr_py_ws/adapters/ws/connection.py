"""One WebSocket after its handshake: what arrives, what is answered, and how the connection ends.

The WebSocket protocol itself (frames, fragments, control frames, close handshake) is in `protocol`, what
leaves in `sender`. A client that sends too much is read by a `ReadThrottle`. Most clients send nothing but
small commands and pongs. The protocol costs more than all the rest of a connection, so it is made only when a
client sends something else, or is told to go.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

from websockets.frames import CloseCode
from websockets.protocol import State as ProtocolState

from rr_py_ws import logs
from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.net.transports import cancel_soon
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.protocol.core import WebSocketProtocol
from rr_py_ws.adapters.ws.protocol.fast_path import read_small_frame
from rr_py_ws.adapters.ws.read_throttle import COST_PER_TURN, ReadThrottle
from rr_py_ws.adapters.ws.sender import Sender, State
from rr_py_ws.core.registry import Identity
from rr_py_ws.core.session import Session
from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.push import Encoding

_BYTES_PER_COST = 4096
"""Bytes of frames that cost as much as a small command: to unmask and check them. What is in them costs more,
see `core.cost`."""
_COST_OF_CLOSING = 50_000
"""What a client may still send when it is told to go: its close frame may stand behind what one read brings,
which may be 43,000 frames. Nothing is done for them."""
_NEVER = 3600.0
"""Seconds; the connection is cut long before."""
_PING = server_frame(Opcode.PING, b"")
log = logs.get_limited("websockets")


class Connection(Sender):
    """An open WebSocket: a subscriber of hubs, the transport of a session, a client of the registry.

    There is one of these per client, so what is needed rarely (queues, timers, tasks) is made when needed.
    From CLOSING on it is in no topic, and only waits for the rest of the end.

    Args:
        context: what all connections share.
        transport: after the 101 response was written.
        sock: the socket below the transport.
        encoding: see `Subscriber`.
        grant: what the authorizer has answered.
        identity: of the client, if the authorizer has said it.

    Attributes:
        identity: see `Identity`.
        cost: what the client has asked for so far, in small commands; see `core.cost`.
    """

    __slots__ = (
        "_bucket_full_at",
        "_paid",
        "_protocol",
        "_session",
        "_task",
        "_throttle",
        "_timer",
        "cost",
        "identity",
    )

    def __init__(
        self,
        context: ConnectionContext,
        transport: asyncio.Transport,
        sock: socket.socket,
        encoding: Encoding,
        grant: object,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(context, transport, sock, encoding)
        self.identity = identity
        self._protocol: WebSocketProtocol | None = None
        self._session = Session(self, grant, context.session)
        self._throttle: ReadThrottle | None = None
        self.cost = 0
        self._paid = 0
        self._bucket_full_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._timer: Deadline | None = None

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self.alive = True
        context = self._context
        context.counters.received += len(data)
        if self._throttle is None:
            before = self.cost
            try:
                small = self._take_small_frame(data)
            except Exception as error:  # a mistake of ours; a traceback of the loop would not say whose
                self.write_failed(error)
                return
            if not small:
                self._throttle_reading().receive(data)
            elif self.cost - before >= COST_PER_TURN:
                self._throttle_reading().rest()
            # The clock is looked at only when the client may be over one of its limits.
            elif self.cost - self._paid >= context.bucket.step or self._session.commands_waiting:
                self._throttle_reading().go_on()
        else:
            self._throttle.receive(data)

    def eof_received(self) -> bool:
        """The peer closed its side; so do we."""
        self._begin_closing()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone, in whatever way: nothing of this connection stays."""
        self._leave()
        self._transition(State.CLOSED)
        self._queue = None
        if self._throttle is not None:
            self._throttle.close()
            self._throttle = None
        if self._timer is not None:
            self._timer.cancel()
        close_sent = self._protocol.close_sent if self._protocol is not None else None
        self._context.closed(self, close_sent.code if close_sent else None)
        if self._protocol is not None:
            self._protocol.forget()
        # Session and connection refer to each other. Without that cycle the memory is free now, not at the
        # next full garbage collection, which a server with many connections wants to be rare.
        del self._session

    def _take_small_frame(self, data: bytes) -> bool:
        """Take bytes that are one frame as nearly all clients send them; False: they are something else."""
        if self._protocol is not None:
            return False
        limit = self._context.limits.max_message_size
        message = read_small_frame(data, limit if self.encoding.deflated else 0)
        if message is None or len(message) > limit:
            return False
        self.cost += 1
        if message:  # else it was a pong
            self._context.counters.messages += 1
            self._session.receive_message(message)
        return True

    def take_frame(self, data: bytes, at: int) -> int:
        """Take one frame of bytes that have arrived, or what is there of it; return how many bytes it is."""
        protocol = self._ensure_protocol()
        size, message = protocol.read_frame(data, at)
        self.cost += 1 + size // _BYTES_PER_COST
        self._send_protocol(protocol)
        if message is not None and self._state not in (State.CLOSING, State.CLOSED):
            self._context.counters.messages += 1
            self._session.receive_message(message)
        return size

    def handle_waiting(self) -> bool:
        """Handle the command that waits longest; see `Session.handle_waiting`."""
        return self._session.handle_waiting()

    def commands_full(self, *, reading: bool) -> bool:
        """Return whether too many commands wait to read on; to read again, half of them must be gone."""
        limits = self._context.limits
        count, size = self._session.commands_waiting, self._session.waiting_size
        if reading:
            return count >= limits.max_commands_waiting or size >= limits.command_queue
        return count > limits.max_commands_waiting // 2 or size > limits.command_queue // 2

    def _ensure_protocol(self) -> WebSocketProtocol:
        """Return the protocol; from the first time on, it reads everything."""
        if self._protocol is None:
            limit = self._context.limits.max_message_size
            self._protocol = WebSocketProtocol(limit, deflated=self.encoding.deflated)
        return self._protocol

    def rate_wait_time(self) -> float:
        """Return for how many seconds the client is not to be read, because it has asked for too much."""
        if self._state is State.CLOSING:
            return 0.0 if self.cost - self._paid < _COST_OF_CLOSING else _NEVER
        bucket, now = self._context.bucket, asyncio.get_running_loop().time()
        if self.cost - self._paid >= bucket.step:
            self._bucket_full_at = bucket.consume(self._bucket_full_at, self.cost - self._paid, now)
            self._paid = self.cost
        return bucket.wait_time(self._bucket_full_at, now)

    def _throttle_reading(self) -> ReadThrottle:
        context = self._context
        self._throttle = ReadThrottle(self, self._transport, context.counters, context.turns)
        return self._throttle

    def reading_paused(self, reason: str) -> None:
        """The throttle reads the client no more; `reason` is one of `metrics.PAUSES`."""
        self._context.counters.pauses[reason] += 1
        if reason == "rate":
            text = "client is read more slowly, see websockets.limits.commands_per_second"
            log.warning(text, client=self.id, remote=self._remote)

    def reading_resumed(self) -> None:
        """The client is read as before; the throttle is not needed any more."""
        self._throttle = None

    # The end

    def _send_protocol(self, protocol: WebSocketProtocol) -> None:
        """Write what the protocol wants to say: pongs, close frames, the end."""
        ending = protocol.state is not ProtocolState.OPEN
        if data := b"".join(protocol.data_to_send()):
            self.write(data, force=ending)
        if ending:
            self._begin_closing()
        if protocol.eof_sent:
            self.end_writing()

    def _close(self, code: int, reason: str) -> None:
        """Start the close handshake."""
        protocol = self._ensure_protocol()
        protocol.send_close(code, reason)
        self._send_protocol(protocol)

    def _begin_closing(self) -> None:
        """What is to be written is written; the peer has a while to take it and to end its side."""
        if self._state not in (State.CLOSING, State.CLOSED):
            self._leave()
            self._transition(State.CLOSING)
            self._paid = self.cost
            ends = asyncio.get_running_loop().time() + self._context.close_timeout
            self._timer = Deadline(ends, lambda _: self._transport.abort())

    def _leave(self) -> None:
        """Leave all topics, before anything else can be sent: nothing may follow a close frame."""
        if self._state in (State.CLOSING, State.CLOSED):
            return
        self._session.close()
        self._context.backpressure.forget(self)
        if self._task is not None:
            cancel_soon(self._task)
            self._task = None  # a task keeps the traceback of its end, which leads back here
        if self._throttle is not None and not self._transport.is_closing():
            self._throttle.rest()  # what it waits for may not come any more

    def close_going_away(self) -> bool:
        """Tell the client that the server is stopping (1001); False when the connection is ending anyway."""
        if self._state not in (State.OPEN, State.QUEUEING) or self._transport.is_closing():
            return False
        self._close(CloseCode.GOING_AWAY, "server is stopping")
        return True

    def ping(self) -> None:
        """Send a ping."""
        if self._throttle is not None:
            self.alive = True  # of a client that is not read, nothing can be heard
        self.write(_PING)

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost on their way to this node."""
        self._session.missed(topics)

    def _is_told_of_gaps(self) -> bool:
        return self._session.opted_in

    # What the session asks for

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of the session; it is cancelled when the connection ends."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._work_done)

    def _work_done(self, task: asyncio.Task[None]) -> None:
        if task is self._task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("connection failed", client=self.id, error=f"{type(error).__name__}: {error}")
            self._transport.abort()
        elif self._throttle is not None:
            self._throttle.go_on()
        elif self._state not in (State.CLOSING, State.CLOSED) and self._session.commands_waiting:
            self._throttle_reading().go_on()

    def charge(self, cost: int) -> None:
        """Count what the client has asked for, in small commands."""
        self.cost += cost

    def command_ignored(self, reason: str) -> None:
        """Log a command that was dropped, as RoadRunner drops it."""
        log.warning("command ignored", client=self.id, reason=reason)

    def command_refused(self, reason: str) -> None:
        """Log a command that would have broken a limit."""
        text = "command refused, see websockets.limits"
        log.warning(text, client=self.id, reason=reason, remote=self._remote)


def _take_nothing(frames: bytes) -> int:
    return 0
