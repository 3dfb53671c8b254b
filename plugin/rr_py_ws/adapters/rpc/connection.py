"""One RPC connection: frames in, calls out, replies back in the order in which calls finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.gone import GoneTransport
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames, Pause
from rr_py_ws.adapters.rpc.registry import LargeReply, Registry
from rr_py_ws.adapters.rpc.turns import CALL, HALF, LARGE
from rr_py_ws.adapters.rpc.unread import UnreadReplies
from rr_py_ws.config import Limits
from rr_py_ws.core.hold import Gate
from rr_py_ws.errors import PayloadTooBig, ProtocolError
from rr_py_ws.wire.goridge import Frame, FrameDecoder
from rr_py_ws.wire.publish_call import PublishCall, read_calls

_KEEP = 256
"""Bytes kept of a payload over the limit, to find the name of the method in: none of ours is that long."""
_LARGE = 1024
"""Bytes of a call that may be dear: fewer make no more than a millisecond of work."""
_MOST = 64
"""Calls that are read before the first of them is carried out: they are read again if that one pauses."""
_WHOLE_READ = 250_000
"""Bytes of a read behind which more is waiting in the socket. libuv would read up to 32 of them in a turn."""

_SOLE = 8
"""Reads of a peer, and of nobody else meanwhile, after which it counts as the only publisher."""

_limited = logs.get_limited("rpc")


class RPCConnection(asyncio.Protocol):
    """Serves one peer.

    A call that is answered at once costs no task; the replies to what arrived together are written together.
    The peer is not read while there is a reason for a `Pause`; one is that it has brought enough for this
    turn of the loop. A call that is larger than the limit is answered with an error, and the next one is
    served. A call that has to wait (for receivers of its topic, or for RoadRunner to take what goes there)
    holds up all that follows. A peer that sends anything but
    RPC frames, or its last byte, gets the replies to the calls already begun and is then disconnected. What
    has been read of a peer that leaves is carried out all the same.

    Args:
        registry: the methods.
        limits: here it is `max_rpc_calls`, unfinished ones at which the peer is not read any more, and
            `rpc_payload` and `rpc_own_payload`, bytes in one frame.
        partial_frames: where frames that have arrived in part are watched over.
        unread: where replies that a peer does not take are watched over.
        on_made: called when the connection is ready.
        on_lost: called when it is gone.

    Attributes:
        paused: why it is not read.
        used: what its calls have cost, see `turns`.
        closed: done when the connection is gone.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        partial_frames: PartialFrames,
        unread: UnreadReplies,
        on_made: Callable[[RPCConnection], object],
        on_lost: Callable[[RPCConnection], object],
    ) -> None:
        self._registry = registry
        self._turns = registry.turns
        self._max_calls = limits.max_rpc_calls
        self._partial_frames = partial_frames
        self._unread = unread
        self._on_made = on_made
        self._on_lost = on_lost
        self._limits = limits
        self._longest = min(limits.own_payload, LARGE)
        # No method of this: the decoder and the connection would keep each other, with what was read last.
        limit_of = partial(_limit_of, registry, limits)
        self._decoder = FrameDecoder(limits.own_payload, _KEEP, limit_of)
        self._held: tuple[Frame, Gate] | None = None
        self._transport: asyncio.Transport
        self._large: tuple[LargeReply, int] | None = None
        self._running = 0
        self._late_replies: list[bytes] = []
        self._inside = False
        self._least = 0
        self._ending = False
        self.paused = 0
        self.used = self._turns.clock
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's
        self._on_made(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Go on with what has been read, without replies; then forget the peer. Unfinished calls go on."""
        self._unread.discard(self)
        if self._ending:
            self._forget()
            return
        if self._turns.leave(self) and self._large is not None:
            self._abandon(*self._large)
        self._transport = GoneTransport(self._forget)
        self.paused |= Pause.REPLIES  # it takes none, so nobody waits for that any more
        self.pause(Pause.REPLIES | Pause.MEMORY, False)

    def data_received(self, data: bytes) -> None:
        """Serve what has arrived. This is the hot path: what every publish runs through.

        Most publishers send one call, and wait for its reply.
        """
        turns, registry = self._turns, self._registry
        if turns.last is not self:
            turns.last, turns.in_row = self, 0
        if (
            len(data) >= _LARGE
            or turns.left < HALF
            or turns.renewing  # somebody waits
            or self.paused
            or self._decoder.inside
            or registry.held
            or self._ending
        ):
            self._serve(data)
            return
        calls = read_calls(data, 0, registry.oks, 1, 1, CALL, self._longest)
        if not calls or calls[0][3] != len(data):
            self._serve(data)
            return
        end = turns.end
        replies: list[bytes] = []
        if turns.in_row < _SOLE:
            turns.in_row += 1
        else:  # nobody else publishes: nothing that could be written with this would come in this turn
            end.held = True
        try:
            units, _ = self._carry_out_calls(calls, replies)
        finally:
            end.held = False
        if replies:
            self._transport.write(replies[0])
        units += len(data)
        turns.left = left = turns.left - units
        self.used = used = (self.used if self.used > turns.floor else turns.floor) + units
        if used > turns.latest:
            turns.latest = used
        if left < HALF:
            turns.renew()
        if end.waiting:
            end.release()

    def _serve(self, data: bytes = b"") -> None:
        """Serve what has arrived, and what was left when reading was paused."""
        if self._ending:
            return
        decoder = self._decoder
        if data:
            decoder.receive_data(data)
        turns = self._turns
        # Who has used no more than those in line need not wait behind them.
        if (turns.left <= 0 or (turns.waiting and self.used > turns.clock)) and not self.paused:
            self._end_turn()
        if self._held is not None and self._is_held_again():
            return
        replies: list[bytes] = []
        start = turns.left
        self._least = start - turns.share
        begun = False
        try:
            # A call may pause the connection: by a turn that is full, or as one unfinished call too many.
            while not self.paused and (self._publish(replies) or self._call(replies)):
                begun = True
                if not decoder.inside and self._held is None:
                    break
        except ProtocolError as error:
            # Where the next frame begins is unknown now, so the connection is of no more use.
            self._registry.counters.bad_frames += 1
            _limited.warning("rpc connection closed: not an RPC frame", error=str(error))
            self._ending = True
        if replies:
            self._transport.write(b"".join(replies))
        if begun:  # `turns.charge_to`, of which the call would take longer than all of it
            place = self.used if self.used > turns.floor else turns.floor
            self.used = used = place + start - turns.left
            if used > turns.latest:
                turns.latest = used
        if self.paused & Pause.TURN:
            turns.wait(self)  # not before it was charged, which decides on its place
        elif turns.left < HALF:
            turns.renew()
        if self._ending:
            self.end()
            return
        if len(data) >= _WHOLE_READ and not self.paused:
            self._end_turn()
        if decoder.inside or self._inside or self._held:
            self._watch_partial_frame(len(data), begun)

    def _publish(self, replies: list[bytes]) -> bool:
        """Carry out the calls that are next, as long as they are PHP's usual ones; False: there is none."""
        registry, turns = self._registry, self._turns
        if self._held is not None or registry.held:
            return False
        data, start = self._decoder.peek()
        most = min(_MOST, self._max_calls - self._running)
        units = turns.left - self._least
        calls = read_calls(data, start, registry.oks, most, units, CALL, self._longest)
        if not calls:
            return False
        cost, end = self._carry_out_calls(calls, replies)
        self._decoder.pass_over(end)
        self._charge(cost + end - start)
        return True

    def _carry_out_calls(self, calls: Sequence[PublishCall], replies: list[bytes]) -> tuple[int, int]:
        """Carry out calls until there is a reason to pause; return their cost, and where the last ends."""
        registry = self._registry
        publishers, answered = registry.publishers, registry.counters.answered
        cost = end = 0
        for call in calls:
            method, reply, publication, end = call
            cost += CALL
            try:
                accepted = publishers[method](publication)
            except Exception as error:
                reply = registry.refuse_publication(call, error)
            else:
                if accepted is not None:
                    self._wait_for(registry.wait_for_publication(call, accepted), 0)
                    reply = b""
                else:
                    answered[method] += 1
            if reply:
                replies.append(reply)
                cost += len(reply)
            if self.paused or registry.held:
                break
        return cost, end

    def _call(self, replies: list[bytes]) -> bool:
        """Carry out the call that is next, whatever it is; False when there is none, or it has to wait.

        Raises:
            ProtocolError: what comes is not an RPC frame.
        """
        registry = self._registry
        try:
            frame = self._take_held() or self._decoder.next_frame()
            if frame is None:
                return False
            length = len(frame[2])
            reply = registry.call(frame) if length < _LARGE else registry.call_large(frame)
        except PayloadTooBig as error:
            frame = self._decoder.oversized
            assert frame is not None
            # Answered, not closed: the calls before and behind it on this connection are fine.
            length = 0
            reply = registry.refuse(
                frame, error, _limit_key(registry, self._limits, frame.options, frame.payload)
            )
        if isinstance(reply, Gate):
            assert frame is not None
            if self._hold(frame, reply):
                return False
            reply = registry.call(frame, may_wait=False)
        if isinstance(reply, bytes):
            replies.append(reply)
            length += len(reply)
        else:
            self._wait_for(reply, length)
        self._charge(CALL + length)
        return True

    def _charge(self, units: int) -> None:
        """Take from the budget of the turn; let others go first when this was a share of it."""
        turns = self._turns
        turns.left = left = turns.left - units
        if left < self._least:
            if left <= 0 or turns.waiting:
                self.pause(Pause.TURN, True)
            self._least = max(0, left - turns.share)

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
        self._unread.update(self)
        self.pause(Pause.REPLIES, True)

    def resume_writing(self) -> None:
        """Go on with what has arrived, then with reading."""
        self._unread.discard(self)
        self.pause(Pause.REPLIES, False)

    def pause(self, reason: int, paused: bool) -> None:
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
            self._serve()
            if isinstance(self._transport, GoneTransport) and not self.paused:
                self._transport.close()

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
        if (held := self._take_held()) is not None:  # it has begun, and there is no later
            self._carry_out(held)
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

    def _forget(self) -> None:
        if self.closed.done():
            return
        self._ending = True
        self._take_held()
        self._partial_frames.discard(self)
        self._turns.discard(self)
        self._on_lost(self)
        self.closed.set_result(None)

    def _watch_partial_frame(self, arrived: int, another: bool) -> None:
        """Tell how much of a frame is here, or that there is none any more; `another`: it has just begun."""
        held = 0 if self._held is None else len(self._held[0].payload)
        self._inside = self._decoder.inside or held > 0
        if self._inside:
            self._partial_frames.update(self, arrived, self._decoder.kept + held, another=another)
        else:
            self._partial_frames.discard(self)

    def _hold(self, frame: Frame, hold: Gate) -> bool:
        """Keep a call, and what follows it, until the hold ends; False when there is no room for it."""
        if not self._partial_frames.has_room(len(frame.payload)):
            return False
        self._held = frame, hold
        self._registry.counters.held += 1
        self.pause(Pause.HELD, True)
        if hold.active:
            hold.wait(self._go_on)
        else:  # it has ended while a large call found out about it
            self._go_on()
        return True

    def _go_on(self) -> None:
        self._end_turn()  # many may have waited for this: they are served in line
        self.pause(Pause.HELD, False)

    def _is_held_again(self) -> bool:
        """Whether the gate was closed again before this connection had its turn; then it waits on."""
        assert self._held is not None
        _, hold = self._held
        if hold.active:
            hold.wait(self._go_on, again=True)
            self.pause(Pause.HELD, True)
        return hold.active

    def _take_held(self) -> Frame | None:
        """Return the call that is held, if there is one, and hold it no longer."""
        if self._held is None:
            return None
        (frame, hold), self._held = self._held, None
        self._registry.counters.held -= 1
        hold.discard(self._go_on)
        return frame

    def _carry_out(self, frame: Frame) -> None:
        """Carry out a call, whether its topics are held or not."""
        reply = self._registry.call_large(frame, may_wait=False)
        assert not isinstance(reply, Gate)
        if isinstance(reply, bytes):
            self._transport.write(reply)
        else:
            self._wait_for(reply, len(frame.payload))

    def begin_turn(self) -> None:
        """Go on: others had their turns."""
        self.pause(Pause.TURN, False)

    def _end_turn(self) -> None:
        """Go on when others had their turns."""
        self.pause(Pause.TURN, True)
        self._turns.wait(self)

    def _wait_for(self, reply: asyncio.Future[bytes], length: int) -> None:
        """Take note of a call, of so many bytes, that is answered later."""
        self._running += 1
        if isinstance(reply, LargeReply):
            # The order of calls holds: none is begun before this one has been handed over.
            self.pause(Pause.LARGE, True)
            self._partial_frames.count_large(length)
            reply.add_done_callback(partial(self._finished_large, length))
            reply.begin(self)
            self._large = reply, length
        else:
            reply.add_done_callback(self._finished)
        if self._running >= self._max_calls:
            self.pause(Pause.CALLS, True)

    def _abandon(self, reply: LargeReply, length: int) -> None:
        """Count a large call that waits with those of others that have left; drop it if these are many."""
        if self._partial_frames.count_abandoned(length):
            reply.add_done_callback(lambda _: self._partial_frames.forget_abandoned(length))
        else:
            reply.cancel_call()

    def _finished_large(self, length: int, reply: LargeReply) -> None:
        self._large = None
        self._turns.finish(self)
        self._partial_frames.count_large(-length)
        if reply.held is None:
            self._finished(reply)
            self._write_late_replies()  # now, before those to the calls behind it
            self.pause(Pause.LARGE, False)
            return
        # Nothing was done: it waits as bytes, as smaller calls do. What follows it waits, too.
        self._end_turn()
        self.pause(Pause.LARGE, False)
        frame, hold = reply.held
        if self._ending or not self._hold(frame, hold):
            self._carry_out(frame)
        else:
            self._watch_partial_frame(0, True)
        self._finished(reply)

    def _finished(self, reply: asyncio.Future[bytes]) -> None:
        """Gather the replies to what finished in one turn, for one write."""
        self._running -= 1
        if not reply.cancelled():
            # The first of this turn; brokers settle many futures in one, each would be a write of its own.
            if not self._late_replies:
                asyncio.get_running_loop().call_soon(self._write_late_replies)
            result = reply.result()
            self.used += len(result)  # of what RoadRunner answers, bytes are what it costs
            self._late_replies.append(result)
        if self.paused and self.paused & Pause.CALLS:
            self.pause(Pause.CALLS, False)
        if self._ending:
            self.end()

    def _write_late_replies(self) -> None:
        late, self._late_replies = self._late_replies, []
        if late and not self._transport.is_closing():
            self._transport.write(b"".join(late))
            if self.paused & Pause.REPLIES and self._transport.get_write_buffer_size():
                self._unread.update(self)


def _limit_of(registry: Registry, limits: Limits, options: tuple[int, ...], beginning: bytes) -> int:
    """Return how large a call may be: what is not carried out here may be larger."""
    is_own = _limit_key(registry, limits, options, beginning) == "rpc_own_payload"
    return limits.own_payload if is_own else limits.rpc_payload


def _limit_key(registry: Registry, limits: Limits, options: tuple[int, ...], beginning: bytes) -> str:
    name = beginning[: options[1]] if len(options) == 2 else b""
    is_passed_on = limits.rpc_payload == limits.own_payload or registry.passes_on(name)
    return "rpc_payload" if is_passed_on else "rpc_own_payload"
