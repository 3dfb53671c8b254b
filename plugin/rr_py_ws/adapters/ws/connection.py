"""One WebSocket after its handshake: what arrives, and what is answered.

The WebSocket protocol itself (frames, fragments, control frames, close handshake) is in `protocol`, what
leaves in `sender`, how it ends in `ending`. A client that sends too much is read by a `ReadThrottle`. Most
clients send nothing but small commands and pongs. The protocol costs more than all the rest of a connection,
so it is made only when a client sends something else, or is told to go.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.net.transports import cancel_soon
from rr_py_ws.adapters.ws.context import ConnectionContext
from rr_py_ws.adapters.ws.ending import Ending
from rr_py_ws.adapters.ws.protocol.fast_path import inflate_small_frame, read_small_frame, read_text_frame
from rr_py_ws.adapters.ws.read_throttle import COST_PER_TURN, ReadThrottle
from rr_py_ws.adapters.ws.sender import State
from rr_py_ws.core.session import Session
from rr_py_ws.wire.details import NO_DETAILS, Details
from rr_py_ws.wire.framing.websocket import Opcode, server_frame
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.verdict import Verdict

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


class Connection(Ending):
    """An open WebSocket: a subscriber of hubs, the transport of a session, a client of the registry.

    There is one of these per client, so what is needed rarely (queues, timers, tasks) is made when needed.
    From CLOSING on it is in no topic, and only waits for the rest of the end.

    Args:
        context: what all connections share.
        transport: after the 101 response was written.
        sock: see `Sender`.
        encoding: see `Subscriber`.
        grant: what the authorizer has answered.
        details: what the authorizer has said of the client.

    Attributes:
        identity: see `Identity`.
        cost: what the client has asked for so far, in small commands; see `core.cost`.
    """

    __slots__ = (
        "_bucket_full_at",
        "_paid",
        "_paused_by_replay",
        "_session",
        "_task",
        "_throttle",
        "cost",
        "identity",
    )

    def __init__(
        self,
        context: ConnectionContext,
        transport: asyncio.Transport,
        sock: socket.SocketType | None,
        encoding: Encoding,
        grant: object,
        details: Details = NO_DETAILS,
    ) -> None:
        Ending.__init__(self, context, transport, sock, encoding)
        self.identity = details.identity
        self._session = Session(self, grant, context.session)
        self._throttle: ReadThrottle | None = None
        self.cost = 0
        self._paid = 0
        self._paused_by_replay = False
        self._bucket_full_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self, details: Details) -> None:
        """Do what the authorizer wants of a connection that has just been opened."""
        if details.expire is not None:
            self.end_after(details.expire)
        if details.join:
            self._session.put_into(details.join)

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self.alive = True
        context = self._context
        context.counters.received += len(data)
        if self._throttle is not None:
            self._throttle.receive(data)
            return
        before = self.cost
        try:
            small = self._protocol is None and self._take_small_frame(data)
        except Exception as error:  # a mistake of ours; a traceback of the loop would not say whose
            self.write_failed(error)
            return
        if not small:
            self._throttle_reading().receive(data)
        elif self.cost - before >= COST_PER_TURN:
            self._throttle_reading().rest()
        # The clock is looked at only when the client may be over one of its limits.
        elif (
            self.cost - self._paid >= context.bucket.step
            or self._session.waiting
            or (self._queue is not None and self.replaying)
        ):
            self._throttle_reading().go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone, in whatever way: nothing of this connection stays."""
        self._leave()
        self._transition(State.CLOSED)
        self._forget_queue()
        if self._throttle is not None:
            self._throttle.close()
            self._throttle = None
        self._cancel_timers()
        close_sent = self._protocol.close_sent if self._protocol is not None else None
        self._context.closed(self, close_sent.code if close_sent else None)
        if self._protocol is not None:
            self._protocol.forget()
        # Session and connection refer to each other. Without that cycle the memory is free now, not at the
        # next full garbage collection, which a server with many connections wants to be rare.
        del self._session

    def _take_small_frame(self, data: bytes) -> bool:
        """Take bytes that are one frame as nearly all clients send them; False: they are something else."""
        context = self._context
        limit = context.limits.max_message_size
        message = read_small_frame(data)
        if message is None and self.encoding.deflated:
            message = inflate_small_frame(data, limit)
        if message is None or len(message) > limit:
            return False
        self.cost += 1
        if message:  # else it was a pong
            context.counters.messages += 1
            self._session.receive_message(message)
        return True

    def take_frame(self, data: bytes, at: int) -> int:
        """Take one frame of bytes that have arrived, or what is there of it; return how many bytes it is."""
        limit = self._context.limits.max_message_size
        text = read_text_frame(data, at, limit) if self._protocol is None else None
        size, message = text or self._ensure_protocol().read_frame(data, at)
        self.cost += 1 + size // _BYTES_PER_COST
        if text is None:
            self._answer_frame(self._ensure_protocol())
        if message is not None and self._state not in (State.CLOSING, State.CLOSED):
            self._context.counters.messages += 1
            self._session.receive_message(message)
        return size

    def handle_waiting(self) -> bool:
        """Handle the command that waits longest; see `Session.handle_waiting`."""
        handled = not self.replaying and self._session.handle_waiting()
        self._end_if_answered()
        return handled

    def commands_full(self, *, reading: bool) -> bool:
        """Return whether too many commands wait to read on; to read again, half of them must be gone.

        Behind a replay none is handled: each could ask for another one, of what the history keeps no more.
        """
        self._paused_by_replay = self.replaying
        if self._paused_by_replay:
            return True
        limits = self._context.limits
        count, size = self._session.commands_waiting, self._session.waiting_size
        if reading:
            return count >= limits.max_commands_waiting or size >= limits.command_queue
        return count > limits.max_commands_waiting // 2 or size > limits.command_queue // 2

    def resume_writing(self) -> None:
        """See `Sender`; what was not read because of a replay is read when the replay has been taken."""
        super().resume_writing()
        if self._paused_by_replay and not self.replaying and self._throttle is not None:
            self._paused_by_replay = False
            self._throttle.go_on()

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

    def _leave(self) -> None:
        """Leave all topics, before anything else can be sent: nothing may follow a close frame."""
        if self._state in (State.CLOSING, State.CLOSED):
            return
        self._session.close()
        self._paid = self.cost
        self._context.backpressure.forget(self)
        if self._task is not None:
            cancel_soon(self._task)
            self._task = None  # a task keeps the traceback of its end, which leads back here
        if self._throttle is not None and not self._transport.is_closing():
            self._throttle.rest()  # what it waits for may not come any more

    def ping(self) -> None:
        """Send a ping."""
        if self._throttle is not None:
            self.alive = True  # of a client that is not read, nothing can be heard
        self.write(_PING)

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost on their way to this node."""
        if not self._session.missed(topics):
            self._context.gaps.add(self)

    def _is_owing_answers(self) -> bool:
        return self._session.pending

    def _is_told_of_gaps(self) -> bool:
        return self._session.told_of_gaps

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
        else:
            self._end_if_answered()

    def charge(self, cost: int) -> None:
        """Count what the client has asked for, in small commands."""
        self.cost += cost

    def command_ignored(self, reason: str) -> None:
        """Log a command that was dropped, as RoadRunner drops it."""
        log.warning("command ignored", client=self.id, reason=reason)

    def join_refused(self, topics: Sequence[str], reason: str, verdict: Verdict | None) -> None:
        """Log a join that PHP or the broker has refused; at level debug with all that PHP has answered."""
        log.info("join refused", client=self.id, topics=topics, reason=reason, remote=self._remote)
        if verdict is not None and verdict.answered:
            fields = {"status": verdict.status, "headers": verdict.headers, "body": verdict.body}
            log.debug("join refused, the answer of PHP", client=self.id, **fields)

    def put_failed(self, topics: Sequence[str], reason: str) -> None:
        """The client is not in topics that PHP has put it into: it shall come back, not miss messages."""
        log.error("client closed, it cannot be put into topics", client=self.id, topics=topics, reason=reason)
        asyncio.get_running_loop().call_soon(self.close_try_again_later)

    def command_refused(self, reason: str) -> None:
        """Log a command that would have broken a limit."""
        text = "command refused, see websockets.limits"
        log.warning(text, client=self.id, reason=reason, remote=self._remote)
