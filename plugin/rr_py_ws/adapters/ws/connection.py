"""One WebSocket after its handshake.

The protocol itself (frames, fragments, control frames, close handshake) is in `protocol`. Here are the socket
and the states of a connection. A slow receiver has a `SendQueue`, a client that sends too much a
`ReadThrottle`. Pushes do not pass through the protocol: the hub calls `send` with finished frames, which for
a healthy connection is that of the socket itself. That saves a quarter of the CPU time of a push. It is safe
because the transport holds nothing meanwhile: as soon as it does, `pause_writing` makes everything wait
behind it.

Most clients send nothing but small commands and pongs. The protocol costs more than all the rest of a
connection, so it is made only when a client sends something else, or is told to go.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from typing import Any

from websockets.frames import CloseCode
from websockets.protocol import State as ProtocolState

from rr_py_ws import logs
from rr_py_ws.adapters.net.transports import bare_socket, cancel_soon, end_writing
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.protocol.core import WebSocketProtocol
from rr_py_ws.adapters.ws.protocol.fast_path import read_small_frame
from rr_py_ws.adapters.ws.read_throttle import PIECE, ReadThrottle
from rr_py_ws.adapters.ws.send_queue import SendQueue
from rr_py_ws.core.registry import Identity, new_id
from rr_py_ws.core.session import Session
from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.publication import Pushes
from rr_py_ws.wire.push import Encoding

_PING = server_frame(Opcode.PING, b"")
_PORTION = 64 * 1024
"""Bytes that leave the send queue at a time: few system calls, and little that cannot be dropped any more."""

log = logs.get_limited("websockets")


class State(Enum):
    """What becomes of bytes that are to be sent.

    ::

        OPEN <-> QUEUEING -> OVERFLOWED
          |         |            |
          +---------+------------+--> CLOSING -> CLOSED
    """

    OPEN = "the socket takes them at once"
    QUEUEING = "the transport holds enough: they wait in the send queue"
    OVERFLOWED = (
        "the send queue is full, or a write failed: they are dropped, the end comes with the next turn"
    )
    CLOSING = "a close frame is on its way, or the peer has ended its side: nothing may follow"
    CLOSED = "the socket is gone"


class Connection(asyncio.Protocol):
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
        id: in log lines; unguessable.
        identity: see `Identity`.
        encoding: see `Subscriber`.
        send: see `Subscriber`.
        alive: set whenever anything arrives; keep-alive sets it to False.
    """

    __slots__ = (
        "_bucket_full_at",
        "_context",
        "_frames_unpaid",
        "_protocol",
        "_queue",
        "_queue_paused",
        "_session",
        "_socket",
        "_state",
        "_task",
        "_throttle",
        "_timer",
        "_transport",
        "alive",
        "encoding",
        "id",
        "identity",
        "send",
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
        self.id = new_id()
        self.identity = identity
        self.encoding = encoding
        self.alive = True
        self._context = context
        self._transport = transport
        self._socket = bare_socket(transport, sock)
        self._protocol: WebSocketProtocol | None = None
        self._session = Session(self, grant, context.session)
        self._queue: SendQueue | None = None
        self._queue_paused = False
        self._throttle: ReadThrottle | None = None
        self._frames_unpaid = 0
        self._bucket_full_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.send: Callable[[bytes], int]
        self._transition(State.OPEN)

    def _transition(self, state: State) -> None:
        """Enter a state: `send`, the fast way of the hub, is what fits to it."""
        self._state = state
        if state is State.OPEN:
            self.send = self._send_by_transport if self._socket is None else self._socket.send
        elif state is State.QUEUEING:
            self.send = _take_nothing  # so that the hub calls `push`
        else:
            self.send = len  # takes everything, and drops it

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self.alive = True
        context = self._context
        context.counters.received += len(data)
        if self._throttle is None:
            if len(data) <= PIECE:
                self._take(data)
                # The clock is looked at only when the client may be over one of its limits.
                if (
                    self._frames_unpaid < context.bucket.step
                    and self._session.commands_waiting < context.limits.max_commands_waiting
                ) or self._read_wait_time() <= 0:
                    return
                data = b""
            self._throttle = ReadThrottle(
                self._transport, self._take, self._read_wait_time, self._reading_paused, self._reading_resumed
            )
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
            self._throttle.stop()
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

    def _take(self, data: bytes) -> None:
        """Look at bytes that have arrived."""
        limit = self._context.limits.max_message_size
        message = None
        if self._protocol is None:
            message = read_small_frame(data, limit if self.encoding.deflated else 0)
        if message is None or len(message) > limit:
            self._take_by_protocol(data)
            return
        self._frames_unpaid += 1
        if message:  # else it was a pong
            self._context.counters.messages += 1
            self._session.receive_message(message)

    def _take_by_protocol(self, data: bytes) -> None:
        protocol = self._ensure_protocol()
        before = protocol.frames_read
        for message in protocol.read(data):
            if self._state not in (State.CLOSING, State.CLOSED):
                self._context.counters.messages += 1
                self._session.receive_message(message)
        self._send_protocol(protocol)
        self._frames_unpaid += protocol.frames_read - before

    def _ensure_protocol(self) -> WebSocketProtocol:
        """Return the protocol; from the first time on, it reads everything."""
        if self._protocol is None:
            limit = self._context.limits.max_message_size
            self._protocol = WebSocketProtocol(limit, deflated=self.encoding.deflated)
        return self._protocol

    def _read_wait_time(self) -> float:
        """Return for how many seconds the client is not to be read; see `ReadThrottle`."""
        if self._session.commands_waiting >= self._context.limits.max_commands_waiting:
            return math.inf
        bucket, now = self._context.bucket, asyncio.get_running_loop().time()
        if self._frames_unpaid >= bucket.step:
            self._bucket_full_at = bucket.consume(self._bucket_full_at, self._frames_unpaid, now)
            self._frames_unpaid = 0
        return bucket.wait_time(self._bucket_full_at, now)

    def _reading_paused(self, reason: str) -> None:
        self._context.counters.pauses[reason] += 1
        if reason == "rate":
            text = "client is read more slowly, see websockets.limits.commands_per_second"
            log.warning(text, client=self.id, remote=self._remote)

    def _reading_resumed(self) -> None:
        self._throttle = None

    # What leaves

    def write(self, data: bytes, *, force: bool = False) -> None:
        """Send what is not a push: a reply, a ping, a pong, or (with `force`) a close frame."""
        if self._state is State.OPEN:
            self._transport.write(data)
        elif self._state is State.QUEUEING:
            assert self._queue is not None
            if not self._queue.put(data, force=force):
                self._overflow()

    def push(self, pushes: Pushes, taken: int) -> None:
        """Take pushes of which `send` has taken only the first `taken` bytes."""
        if self._state is State.OPEN:
            # What has been begun has to be finished: it waits in the transport, not in the queue, which drops
            # whole messages only. Sliced by a view: many connections may wait for the same bytes.
            self._transport.write(memoryview(pushes.frames)[taken:] if taken else pushes.frames)
        elif self._state is State.QUEUEING:
            assert self._queue is not None
            if not self._queue.put_pushes(pushes):
                self._overflow()

    def _send_by_transport(self, frames: bytes) -> int:
        """With TLS there is no way past the transport."""
        self._transport.write(frames)
        return len(frames)

    def _send_protocol(self, protocol: WebSocketProtocol) -> None:
        """Write what the protocol wants to say: pongs, close frames, the end."""
        ending = protocol.state is not ProtocolState.OPEN
        if data := b"".join(protocol.data_to_send()):
            self.write(data, force=ending)
        if ending:
            self._begin_closing()
        if protocol.eof_sent and self._queue is None:
            end_writing(self._transport)

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
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._context.close_timeout, self._transport.abort)

    def _leave(self) -> None:
        """Leave all topics, before anything else can be sent: nothing may follow a close frame."""
        if self._state in (State.CLOSING, State.CLOSED):
            return
        self._session.close()
        self._context.backpressure.caught_up(self)
        if self._task is not None:
            cancel_soon(self._task)
            self._task = None  # a task keeps the traceback of its end, which leads back here
        self._bucket_full_at = 0.0  # so that its close frame can be read, however far the client is ahead
        if self._throttle is not None:
            asyncio.get_running_loop().call_soon(self._throttle.resume)

    def close_going_away(self) -> bool:
        """Tell the client that the server is stopping (1001); False when the connection is ending anyway."""
        if self._state not in (State.OPEN, State.QUEUEING) or self._transport.is_closing():
            return False
        self._close(CloseCode.GOING_AWAY, "server is stopping")
        return True

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def ping(self) -> None:
        """Send a ping."""
        if self._throttle is not None:
            self.alive = True  # of a client that is not read, nothing can be heard
        self.write(_PING)

    # A slow receiver

    def pause_writing(self) -> None:
        """The transport holds enough: what follows waits."""
        self._queue_paused = True
        if self._queue is not None:  # the queue was being emptied
            return
        drop = self._context.drops
        self._queue = SendQueue(
            self._context.limits.send_queue, self._encode_gap, self._count_dropped if drop else None
        )
        if self._state is State.OPEN:
            self._transition(State.QUEUEING)
            self._context.backpressure.fell_behind(self)

    def resume_writing(self) -> None:
        """The transport has room: hand over what waits, then write directly again."""
        self.alive = True  # a receiver that takes something is alive, wherever its pongs are
        queue = self._queue
        assert queue is not None
        self._queue_paused = False
        while queue:
            self._transport.writelines(queue.get(_PORTION))
            if self._queue_paused:  # set by `pause_writing`, which the transport has called meanwhile
                return
        self._queue = None
        self._context.backpressure.caught_up(self)
        if self._state is State.QUEUEING:
            self._transition(State.OPEN)
        elif self._protocol is not None and self._protocol.eof_sent:
            end_writing(self._transport)

    def _encode_gap(self, topics: Sequence[str]) -> bytes:
        return self.encoding.reply("#gap", topics, id="")

    def _count_dropped(self, pushes: Pushes) -> bool:
        """Count what is dropped; return whether the client is to be told of it."""
        counters = self._context.counters
        counters.dropped += sum(count for _, count in pushes.topics)
        counters.dropped_bytes += len(pushes.frames)
        text = "slow client misses messages, see websockets.limits.send_queue"
        log.warning(text, client=self.id, remote=self._remote)
        return self._session.opted_in

    def _overflow(self) -> None:
        """Give up a receiver that is too slow; not now, the hub may be in the middle of its subscribers."""
        self._transition(State.OVERFLOWED)
        asyncio.get_running_loop().call_soon(self._close_slow)

    def _close_slow(self) -> None:
        """Drop what waits, and say so in the close code."""
        if self._state is not State.OVERFLOWED:
            return
        if self._queue is not None:
            self._queue.clear()
        # Behind what the transport holds, so that the client finds no half message before the close frame.
        self._transition(State.OPEN)
        self._context.counters.slow += 1
        text = "slow client closed, see websockets.limits.send_queue"
        log.warning(text, client=self.id, remote=self._remote)
        self._close(CloseCode.TRY_AGAIN_LATER, "send queue full")

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost on their way to this node."""
        self._session.missed(topics)

    def write_failed(self, error: Exception) -> None:
        """The transport raised: cut the connection, but not during the hub's walk over its subscribers."""
        self._transition(State.OVERFLOWED)
        log.error("connection failed", client=self.id, error=f"{type(error).__name__}: {error}")
        asyncio.get_running_loop().call_soon(self._transport.abort)

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
        elif (
            self._throttle is not None
            and self._session.commands_waiting <= self._context.limits.max_commands_waiting // 2
        ):
            self._throttle.resume()

    def command_ignored(self, reason: str) -> None:
        """Log a command that was dropped, as RoadRunner drops it."""
        log.warning("command ignored", client=self.id, reason=reason)

    def command_refused(self, reason: str) -> None:
        """Log a command that would have broken a limit."""
        text = "command refused, see websockets.limits"
        log.warning(text, client=self.id, reason=reason, remote=self._remote)

    @property
    def _remote(self) -> str:
        return str(self._transport.get_extra_info("peername"))


def _take_nothing(frames: bytes) -> int:
    return 0
