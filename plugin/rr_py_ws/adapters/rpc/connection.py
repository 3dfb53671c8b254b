"""One RPC connection: frames in, calls out, replies back in the order in which calls finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames, Pause
from rr_py_ws.adapters.rpc.registry import LargeReply, Registry
from rr_py_ws.config import Limits
from rr_py_ws.core.hold import Hold
from rr_py_ws.errors import PayloadTooBig, ProtocolError
from rr_py_ws.wire.goridge import Frame, FrameDecoder

_KEEP = 256
"""Bytes kept of a payload over the limit, to find the name of the method in: none of ours is that long."""
_LARGE = 4096
"""Bytes of a call that may be dear: of fewer no decoder makes more than a few milliseconds of work."""
_TURN = 256 * 1024
"""What one connection may bring in a turn of the loop: bytes of calls and replies, and `_CALL` more for each
call. Then others have their turns, before it goes on with what is here."""
_CALL = 512
_MESSAGES = 1024
"""What it may publish in a turn: in bytes alone, thousands of messages may look small."""
_WHOLE_READ = 250_000
"""Bytes of a read behind which more is waiting in the socket. libuv would read up to 32 of them in a turn."""

_limited = logs.get_limited("rpc")


class RPCConnection(asyncio.Protocol):
    """Serves one peer.

    A call that is answered at once costs no task; the replies to what arrived together are written together.
    The peer is not read while there is a reason for a `Pause`; one is that it has brought enough for this
    turn of the loop. A call that is larger than the limit is answered with an error, and the next one is
    served. A call to a topic that is held waits, and with it all that follows. A peer that sends anything but
    RPC frames, or its last byte, gets the replies to the calls already begun and is then disconnected. A call
    goes on when the peer leaves, unless it is held.

    Args:
        registry: the methods.
        limits: here it is `max_rpc_calls`, unfinished ones at which the peer is not read any more, and
            `rpc_payload`, bytes in one frame.
        partial_frames: where frames that have arrived in part are watched over.
        on_made: called when the connection is ready.
        on_lost: called when it is gone.

    Attributes:
        paused: why it is not read.
        served: whether a call of it was served since this was last set to False.
        closed: done when the connection is gone.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        partial_frames: PartialFrames,
        on_made: Callable[[RPCConnection], object],
        on_lost: Callable[[RPCConnection], object],
    ) -> None:
        self._registry = registry
        self._max_calls = limits.max_rpc_calls
        self._partial_frames = partial_frames
        self._on_made = on_made
        self._on_lost = on_lost
        self._decoder = FrameDecoder(limits.rpc_payload, keep=_KEEP)
        self._held: tuple[Frame, Hold] | None = None
        self._transport: asyncio.Transport
        self._running = 0
        self._late_replies: list[bytes] = []
        self._inside = False
        self._ending = False
        self.paused = Pause(0)
        self.served = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's
        self._on_made(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the peer; its unfinished calls go on."""
        self._ending = True
        self._take_held()
        self._partial_frames.discard(self)
        self._on_lost(self)
        self.closed.set_result(None)

    def data_received(self, data: bytes = b"") -> None:
        """Serve what has arrived, and what was left when reading was paused.

        This is the hot path: what every publish runs through.
        """
        if self._ending:
            return
        decoder = self._decoder
        if data:
            decoder.receive_data(data)
        call, next_frame, counters = self._registry.call, decoder.next_frame, self._registry.counters
        if self._held is not None:
            if self._is_held_again():
                return
            next_frame = self._next_frame
        replies: list[bytes] = []
        cost, most_messages = 0, counters.messages + _MESSAGES
        try:
            # A call may pause the connection: by a turn that is full, or as one unfinished call too many.
            while not self.paused:
                try:
                    frame = next_frame()
                    if frame is None:
                        break
                    length = len(frame[2])
                    reply = call(frame) if length < _LARGE else self._registry.call_large(frame)
                except PayloadTooBig as error:
                    assert decoder.oversized is not None
                    # Answered, not closed: the calls before and behind it on this connection are fine.
                    length = 0
                    reply = self._registry.refuse(decoder.oversized, error)
                if isinstance(reply, Hold):
                    assert frame is not None
                    if self._hold(frame, reply):
                        break
                    reply = call(frame, may_wait=False)
                if isinstance(reply, bytes):
                    replies.append(reply)
                    length += len(reply)
                else:
                    self._wait_for(reply, length)
                cost += _CALL + length
                if cost > _TURN or counters.messages > most_messages:
                    self._end_turn()
        except ProtocolError as error:
            # Where the next frame begins is unknown now, so the connection is of no more use.
            self._registry.counters.bad_frames += 1
            _limited.warning("rpc connection closed: not an RPC frame", error=str(error))
            self._ending = True
        if replies:
            self._transport.write(b"".join(replies))
        another = cost > 0
        self.served |= another
        if self._ending:
            self.end()
            return
        if len(data) >= _WHOLE_READ and not self.paused:
            self._end_turn()
        if decoder.inside or self._inside or self._held:
            self._watch_partial_frame(len(data), another)

    def eof_received(self) -> bool:
        """Take the peer's last byte; a half-closed peer still gets its replies."""
        if not self._ending:
            try:
                self._decoder.receive_eof()
            except ProtocolError as error:
                _limited.debug("rpc peer closed inside a frame", error=str(error))
            self.end()
        # True keeps the transport open for the replies; asyncio would close it otherwise.
        return True

    def pause_writing(self) -> None:
        """Stop reading: the peer does not take its replies."""
        self.pause(Pause.REPLIES, True)

    def resume_writing(self) -> None:
        """Go on with what has arrived, then with reading."""
        self.pause(Pause.REPLIES, False)

    def pause(self, reason: Pause, paused: bool) -> None:
        """Set or remove one reason not to read the peer. What has arrived may be served during the call."""
        before = self.paused
        self.paused = now = before | reason if paused else before & ~reason
        # Only the first reason pauses the transport, and only the last one to go resumes it.
        if bool(now) is bool(before) or self._transport.is_closing():
            return
        if now:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            # What the decoder still holds comes from no event of the loop any more.
            self.data_received()

    @property
    def unsent(self) -> int:
        """Bytes of replies that the peer has not taken."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._late_replies))

    @property
    def has_more(self) -> bool:
        """Whether there is something to go on with before it is read again."""
        return self._decoder.kept > 0 or self._held is not None

    def end(self) -> None:
        """Take no further calls; close when those already begun are answered."""
        self._ending = True
        if self._held is not None:  # it has begun, and there is no later
            self._carry_out_held()
        # The last call to finish comes back here through `_finished`.
        if not self._running:
            self._write_late_replies()
            self._transport.close()

    def abort(self) -> None:
        """Close at once; unwritten replies are lost."""
        self._ending = True
        self._transport.abort()

    def close_late(self) -> None:
        """Close at once, because a frame did not arrive in its time."""
        self._registry.counters.slow_frames += 1
        _limited.warning("rpc connection closed: half a frame, see websockets.limits.rpc_frame_timeout")
        self.abort()

    def _watch_partial_frame(self, arrived: int, another: bool) -> None:
        """Tell how much of a frame is here, or that there is none any more; `another`: it has just begun."""
        held = 0 if self._held is None else len(self._held[0].payload)
        self._inside = self._decoder.inside or held > 0
        if self._inside:
            self._partial_frames.update(self, arrived, self._decoder.kept + held, another=another)
        else:
            self._partial_frames.discard(self)

    def _hold(self, frame: Frame, hold: Hold) -> bool:
        """Keep a call, and what follows it, until the hold ends; False when there is no room for it."""
        if not self._partial_frames.has_room(len(frame.payload)):
            return False
        self._held = frame, hold
        self._registry.counters.held += 1
        hold.waiting[self._go_on] = None
        self.pause(Pause.HELD, True)
        return True

    def _go_on(self) -> None:
        self.pause(Pause.HELD, False)

    def _is_held_again(self) -> bool:
        """Whether the topic was held again before this connection had its turn; then it waits on."""
        assert self._held is not None
        _, hold = self._held
        if hold.active:
            hold.waiting[self._go_on] = None
            self.pause(Pause.HELD, True)
        return hold.active

    def _take_held(self) -> Frame | None:
        """Return the call that is held, if there is one, and hold it no longer."""
        if self._held is None:
            return None
        (frame, hold), self._held = self._held, None
        self._registry.counters.held -= 1
        hold.waiting.pop(self._go_on, None)
        return frame

    def _next_frame(self) -> Frame | None:
        return self._take_held() or self._decoder.next_frame()

    def _carry_out_held(self) -> None:
        frame = self._take_held()
        assert frame is not None
        reply = self._registry.call(frame, may_wait=False)
        if isinstance(reply, bytes):
            self._transport.write(reply)
        else:
            self._wait_for(reply, len(frame.payload))

    def _end_turn(self) -> None:
        """Go on in the next turn of the loop, when others had theirs."""
        self.pause(Pause.TURN, True)
        asyncio.get_running_loop().call_soon(self.pause, Pause.TURN, False)

    def _wait_for(self, reply: asyncio.Future[bytes], length: int) -> None:
        """Take note of a call, of so many bytes, that is answered later."""
        reply.add_done_callback(self._finished)
        if isinstance(reply, LargeReply):
            # The order of calls holds: none is begun before this one has been handed over.
            self.pause(Pause.LARGE, True)
            self._partial_frames.count_large(length)
            reply.add_done_callback(partial(self._finished_large, length))
        self._running += 1
        if self._running >= self._max_calls:
            self.pause(Pause.CALLS, True)

    def _finished_large(self, length: int, _reply: asyncio.Future[bytes]) -> None:
        self._partial_frames.count_large(-length)
        self._write_late_replies()  # now, before those to the calls behind it
        self.pause(Pause.LARGE, False)

    def _finished(self, reply: asyncio.Future[bytes]) -> None:
        """Gather the replies to what finished in one turn, for one write."""
        self._running -= 1
        if not reply.cancelled():
            # The first of this turn; brokers settle many futures in one, each would be a write of its own.
            if not self._late_replies:
                asyncio.get_running_loop().call_soon(self._write_late_replies)
            self._late_replies.append(reply.result())
        if self.paused and self.paused & Pause.CALLS:
            self.pause(Pause.CALLS, False)
        if self._ending:
            self.end()

    def _write_late_replies(self) -> None:
        late, self._late_replies = self._late_replies, []
        if late and not self._transport.is_closing():
            self._transport.write(b"".join(late))
