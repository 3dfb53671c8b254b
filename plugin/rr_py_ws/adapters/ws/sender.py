"""What leaves a WebSocket, and the states of that.

Pushes do not pass through the WebSocket protocol: the hub calls `send` with finished frames, which for a
healthy connection is `send` of the socket itself. That saves a quarter of the CPU time of a push. It is safe
because the transport holds nothing meanwhile: as soon as it does, `pause_writing` makes everything wait
behind it, in a `SendQueue`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from enum import Enum

from websockets.frames import CloseCode

from rr_py_ws import logs
from rr_py_ws.adapters.net.transports import bare_socket, end_writing, write_parts
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.send_queue import SendQueue
from rr_py_ws.core.registry import new_id
from rr_py_ws.wire.publication import Pushes
from rr_py_ws.wire.push import Encoding

_PORTION = 64 * 1024
"""Bytes that a transport is given at a time, of a large message or of what waits.

What a transport cannot send, it copies, and with TLS it encrypts all that it gets, for each connection anew.
What waits here is shared by all connections.
"""

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


class Sender(asyncio.Protocol):
    """The sending half of a connection; `Connection` is the rest of it.

    Args:
        context: what all connections share.
        transport: after the 101 response was written.
        sock: the socket below the transport.
        encoding: see `Subscriber`.

    Attributes:
        id: in log lines; unguessable.
        encoding: see `Subscriber`.
        send: see `Subscriber`.
        alive: set whenever the client is heard of; keep-alive sets it to False.
    """

    __slots__ = (
        "_context",
        "_drop_logged",
        "_eof_due",
        "_queue",
        "_queue_paused",
        "_socket",
        "_state",
        "_transport",
        "alive",
        "encoding",
        "id",
        "send",
    )

    def __init__(
        self,
        context: ConnectionContext,
        transport: asyncio.Transport,
        sock: socket.socket,
        encoding: Encoding,
    ) -> None:
        self.id = new_id()
        self.encoding = encoding
        self.alive = True
        self._context = context
        self._transport = transport
        self._socket = bare_socket(transport, sock)
        self._queue: SendQueue | None = None
        self._queue_paused = False
        self._drop_logged = False
        self._eof_due = False
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

    def _send_by_transport(self, frames: bytes) -> int:
        """With TLS there is no way past the transport; of a large message it gets what it can send."""
        if len(frames) > _PORTION:
            return self._write_portions(memoryview(frames))
        self._transport.write(frames)
        return len(frames)

    def _write_portions(self, frames: memoryview) -> int:
        """Write until the transport has enough; return how many bytes it has taken."""
        taken = 0
        while taken < len(frames) and not self._queue_paused and not self._transport.is_closing():
            self._transport.write(frames[taken : taken + _PORTION])
            taken += _PORTION
        return min(taken, len(frames))

    def write(self, data: bytes, *, force: bool = False) -> None:
        """Send what is not a push: a reply, a ping, a pong, or (with `force`) a close frame."""
        if self._state is State.OPEN:
            self._transport.write(data)
            if self._queue_paused:  # by this: a client that leaves replies unread is not behind publishers
                self._context.backpressure.caught_up(self)
        elif self._state is State.QUEUEING:
            assert self._queue is not None
            if not self._queue.put(data, force=force):
                self._overflow()

    def push(self, pushes: Pushes, taken: int) -> None:
        """Take pushes of which `send` has taken only the first `taken` bytes."""
        frames = pushes.frames
        if self._state is State.OPEN:  # the transport does not know yet that the socket is full
            taken += self._write_portions(memoryview(frames)[taken:])
        if self._state is State.QUEUEING:
            assert self._queue is not None
            if taken:
                self._queue.begin(memoryview(frames)[taken:])
            elif not self._queue.put_pushes(pushes):
                self._overflow()

    def end_writing(self) -> None:
        """Close our side of the socket behind everything that is to be sent."""
        self._eof_due = True
        if self._queue is None:
            end_writing(self._transport)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def write_failed(self, error: Exception) -> None:
        """The transport raised: cut the connection, but not during the hub's walk over its subscribers."""
        self._transition(State.OVERFLOWED)
        log.error("connection failed", client=self.id, error=f"{type(error).__name__}: {error}")
        asyncio.get_running_loop().call_soon(self._transport.abort)

    # A slow receiver

    def pause_writing(self) -> None:
        """The transport holds enough: what follows waits."""
        self._queue_paused = True
        if self._queue is not None:  # the queue was being emptied
            return
        self._drop_logged = False
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
            write_parts(self._transport, queue.get(_PORTION))
            if self._queue_paused:  # set by `pause_writing`, which the transport has called meanwhile
                return
        self._queue = None
        self._context.backpressure.caught_up(self)
        if self._state is State.QUEUEING:
            self._transition(State.OPEN)
        elif self._eof_due:
            end_writing(self._transport)

    def _encode_gap(self, topics: Sequence[str]) -> bytes:
        return self.encoding.reply("#gap", topics, id="")

    def _count_dropped(self, pushes: Pushes) -> bool:
        """Count what is dropped; return whether the client is to be told of it."""
        counters = self._context.counters
        counters.dropped += sum(count for _, count in pushes.topics)
        counters.dropped_bytes += len(pushes.frames)
        if not self._drop_logged:  # once for each time that the client falls behind: lines are rationed
            self._drop_logged = True
            text = "slow client misses messages, see websockets.limits.send_queue"
            log.warning(text, client=self.id, remote=self._remote)
        return self._is_told_of_gaps()

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
        # Behind what was begun, so that the client finds no half message before the close frame.
        self._transition(State.OPEN if self._queue is None else State.QUEUEING)
        self._context.counters.slow += 1
        text = "slow client closed, see websockets.limits.send_queue"
        log.warning(text, client=self.id, remote=self._remote)
        self._close(CloseCode.TRY_AGAIN_LATER, "send queue full")

    @property
    def _remote(self) -> str:
        return str(self._transport.get_extra_info("peername"))

    # What only the whole connection knows

    def _close(self, code: int, reason: str) -> None:
        """Start the close handshake."""
        raise NotImplementedError

    def _is_told_of_gaps(self) -> bool:
        """Whether the client understands `#gap`: it has used what RoadRunner does not know."""
        raise NotImplementedError


def _take_nothing(frames: bytes) -> int:
    return 0
