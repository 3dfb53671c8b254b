"""What leaves a WebSocket, and the states of that.

Pushes do not pass through the WebSocket protocol: the hub has finished frames, which for a healthy connection
are sent to the socket itself. That saves a quarter of the CPU time of a push. It is safe
because the transport holds nothing meanwhile: as soon as it does, `pause_writing` makes everything wait
behind it, in a `SendQueue`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from enum import Enum

from websockets.frames import CloseCode

from rr_py_ws import logs
from rr_py_ws.adapters.net.deadline import Deadline
from rr_py_ws.adapters.net.transports import end_writing, remote_of, write_parts
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.send_queue import SendQueue
from rr_py_ws.core.registry import new_id
from rr_py_ws.core.replay import Replay
from rr_py_ws.wire.publication import Pushes
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.recovery import Missed

_TLS_BUFFER = 32 * 1024
"""Bytes that a TLS transport may hold before it says so. They are encrypted: no two connections share them,
so the usual 512 KiB would be what each stalled client costs."""
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


# Looking up `State.OPEN` takes Python 3.11 longer than the comparison.
_OPEN, _QUEUEING = State.OPEN, State.QUEUEING


class Sender(asyncio.Protocol):
    """The sending half of a connection; `Ending` and `Connection` are the rest of it.

    Args:
        context: what all connections share.
        transport: after the 101 response was written.
        sock: the socket below the transport; None with TLS, where nothing can be sent past that.
        encoding: see `Subscriber`.

    Attributes:
        id: in log lines; unguessable.
        encoding: see `Subscriber`.
        me: see `Subscriber`.
        descriptor: see `Subscriber`.
        alive: set whenever the client is heard of; keep-alive sets it to False.
    """

    __slots__ = (
        "_context",
        "_drop_logged",
        "_eof_due",
        "_grace",
        "_peer_ended",
        "_queue",
        "_queue_paused",
        "_socket",
        "_state",
        "_transport",
        "alive",
        "descriptor",
        "encoding",
        "id",
        "me",
    )

    def __init__(
        self,
        context: ConnectionContext,
        transport: asyncio.Transport,
        sock: socket.SocketType | None,
        encoding: Encoding,
    ) -> None:
        self.id = new_id()
        self.me = ""
        self.encoding = encoding
        self.alive = True
        self._context = context
        self._transport = transport
        self._socket = sock
        # It has to report at once that it holds anything: that must not be overtaken by bytes that are sent
        # past it. With TLS, that it holds more than a little.
        transport.set_write_buffer_limits(_TLS_BUFFER if sock is None else 0)
        self._queue: SendQueue | None = None
        self._grace: Deadline | None = None
        self._queue_paused = False
        self._drop_logged = False
        self._eof_due = False
        self._peer_ended = False
        self._state = _OPEN
        self.descriptor = -1 if sock is None else sock.fileno()

    def _transition(self, state: State) -> None:
        self._state = state
        direct = self._socket if state is _OPEN else None
        self.descriptor = -1 if direct is None else direct.fileno()

    def send(self, frames: bytes) -> int:
        """Send pushes at once, as far as they are taken; see `Subscriber`."""
        if self._state is _OPEN:
            return self._send_by_transport(frames) if self._socket is None else self._socket.send(frames)
        # If nothing was taken the hub calls `push`; where nothing is sent any more, all of it is dropped.
        return 0 if self._state is _QUEUEING else len(frames)

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
        if self._state is _OPEN:
            self._transport.write(data)
            if self._queue_paused:  # by this: a client that leaves replies unread is not behind publishers
                self._context.backpressure.caught_up(self)
        elif self._state is _QUEUEING:
            assert self._queue is not None
            if self._queue.put(data, force=force):
                self._look_at_size(self._queue)
            else:
                self._overflow()

    def push(self, pushes: Pushes, taken: int) -> None:
        """Take pushes of which `send` has taken only the first `taken` bytes."""
        frames = pushes.frames
        if self._state is _OPEN:  # the transport does not know yet that the socket is full
            taken += self._write_portions(memoryview(frames)[taken:])
        if self._state is _QUEUEING:
            assert self._queue is not None
            if taken:
                self._queue.begin(memoryview(frames)[taken:])
            elif self._queue.put_pushes(pushes):
                self._look_at_size(self._queue)
            else:
                self._overflow()

    def replay(self, reply: bytes, missed: Missed, frames: bytes) -> None:
        """Send a reply, and messages again: what the transport takes at once, the rest is queued.

        See `SessionTransport`.
        """
        if frames and self._state is _OPEN:  # most clients get both in one write
            self.write(reply + frames)
            return
        replay = Replay(self.encoding, missed)
        if self._state is _OPEN:
            reply += replay.next_frames(_PORTION)
        self.write(reply)
        while self._state is _OPEN and replay:
            self.write(replay.next_frames(_PORTION))
        if self._state is _QUEUEING and replay:
            assert self._queue is not None
            self._queue.put_replay(replay)

    @property
    def replaying(self) -> bool:
        """Whether a replay waits for the client to take it."""
        return self._state is _QUEUEING and self._queue is not None and self._queue.replays > 0

    def end_writing(self) -> None:
        """Close our side of the socket behind everything that is to be sent."""
        self._eof_due = True
        if self._queue is None:
            self._end_stream()

    def _end_stream(self) -> None:
        if self._peer_ended:
            self._transport.close()
        else:
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
        limits = self._context.limits
        # Only from who is told of it, messages may be dropped.
        drop = limits.send_queue_policy == "drop" and self._is_told_of_gaps()
        self._queue = SendQueue(
            limits.send_queue,
            limits.send_queue * limits.send_queue_burst,
            self._encode_gap,
            self._count_dropped if drop else None,
        )
        if self._state is _OPEN:
            self._transition(_QUEUEING)
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
        self._forget_queue()
        self._context.backpressure.caught_up(self)
        if self._state is _QUEUEING:
            self._transition(_OPEN)
        elif self._eof_due:
            self._end_stream()

    def _forget_queue(self) -> None:
        self._queue = None
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _look_at_size(self, queue: SendQueue) -> None:
        """Let a receiver for which more than `send_queue` waits show that it takes something."""
        if queue.is_over and self._grace is None:
            taken = queue.taken
            ends = asyncio.get_running_loop().time() + self._context.limits.send_queue_grace
            self._grace = Deadline(ends, lambda _: self._look_at_progress(queue, taken))

    def _look_at_progress(self, queue: SendQueue, taken: int) -> None:
        """The receiver had its time of grace: it is slow if it has taken nothing since."""
        self._grace = None
        if queue.is_over and self._state is _QUEUEING:
            if queue.taken > taken:
                self._look_at_size(queue)
            elif not queue.end_grace():
                self._overflow()

    def _encode_gap(self, topics: Sequence[str]) -> bytes:
        return self.encoding.reply("#gap", topics, id="")

    def _count_dropped(self, pushes: Pushes) -> None:
        """Count what is dropped; the queue tells the client."""
        counters = self._context.counters
        counters.dropped += sum(count for _, count in pushes.topics)
        counters.dropped_bytes += len(pushes.frames)
        if not self._drop_logged:  # once for each time that the client falls behind: lines are rationed
            self._drop_logged = True
            text = "slow client misses messages, see websockets.limits.send_queue"
            log.warning(text, client=self.id, remote=self._remote)

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
        self._transition(_OPEN if self._queue is None else _QUEUEING)
        self._context.counters.slow += 1
        text = "slow client closed, see websockets.limits.send_queue"
        log.warning(text, client=self.id, remote=self._remote)
        self._close(CloseCode.TRY_AGAIN_LATER, "send queue full")

    @property
    def _remote(self) -> str:
        return remote_of(self._transport)

    # What only the whole connection knows

    def _close(self, code: int, reason: str) -> None:
        """Start the close handshake."""
        raise NotImplementedError

    def _is_told_of_gaps(self) -> bool:
        """Whether the client is sent `#gap` where it may miss messages; otherwise it is closed."""
        raise NotImplementedError
