"""One connection to RoadRunner's RPC: the calls of many publishers out, each answer back to who has asked.

Publishers choose the numbers of their calls, and two of them may choose the same one. RoadRunner ends with a
panic when a number is in use twice, so here each call gets a number that is free, and its answer the number
that the publisher knows. Nothing else is changed, and nothing but the header is looked at.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from rr_py_ws.adapters.net.listen import describe_os_error
from rr_py_ws.adapters.rpc.metrics import ForwardMetrics
from rr_py_ws.adapters.rpc.neighbour import GiveBack
from rr_py_ws.adapters.rpc.turns import CALL, HALF, CallTurns
from rr_py_ws.core.hold import Gate
from rr_py_ws.errors import PayloadTooBig, ProtocolError, RPCError
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder, encode_frame

_LAST = 0xFFFFFFFF
"""The last number of a call; it has 32 bits."""
_FULL = 64 * 1024
"""Bytes that are not gathered any longer for one write."""
_KEEP = 256 + 16
"""Bytes kept of an answer over the limit: the name of its method."""
_STEP = 1024 * 1024
"""Bytes of an answer that get the time that one answer has."""
_PIECE = 256
"""Calls without an answer that are told so in one turn of the loop."""
_CALLERS = 8
"""Its share of a turn is that of so many callers: it brings the answers to all of them."""


class Upstream(asyncio.Protocol):
    """A connection that is made; there may be any number of calls in flight.

    Answers are charged to the turns as calls are. What breaks the protocol, an answer that nobody waits for
    and half an answer end the connection, because nothing on it can be believed any more. An answer that is
    too large is skipped, and costs its own call only.

    Args:
        name: of the server, for the texts of errors.
        turns: what calls may do in one turn of the loop.
        max_payload: bytes in one answer.
        timeout: seconds in which an answer that has begun is complete, or has grown by 1 MiB.
        counters: counted into.

    Attributes:
        full: closed to publishers while RoadRunner does not take what was written.
        lost: done when the connection is gone; its result says why.
        used: its place in line, see `turns`.
    """

    def __init__(
        self, name: str, turns: CallTurns, max_payload: int, timeout: float, counters: ForwardMetrics
    ) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._turns = turns
        self._timeout = timeout
        self._counters = counters
        self._decoder = FrameDecoder(max_payload, keep=_KEEP)
        self._transport: asyncio.Transport
        self._number = 0
        self._calls: dict[int, tuple[int, GiveBack]] = {}
        self._out: list[bytes] = []
        self._gathered = 0
        self._arrived = self._answered = 0
        self._seen = 0, 0
        self._watcher: asyncio.TimerHandle | None = None
        self._waits = False
        self._reason = ""
        self.used = turns.clock
        self.full = Gate()
        self.lost: asyncio.Future[str] = self._loop.create_future()

    @property
    def running(self) -> int:
        """Calls that are not answered."""
        return len(self._calls)

    @property
    def arrived(self) -> int:
        """Bytes that have come."""
        return self._arrived

    @property
    def unsent(self) -> int:
        """Bytes of calls that RoadRunner has not taken."""
        return self._gathered + self._transport.get_write_buffer_size()

    def send(self, frame: Frame, give_back: GiveBack) -> None:
        """Send a call, whose frame has two options.

        Args:
            frame: as it came.
            give_back: gets the whole answer, later, or why there is none.

        Raises:
            RPCError: the connection is lost already.
        """
        if self._reason:
            raise RPCError(f"{self._name} is away: {self._reason}")
        number = self._number % _LAST + 1
        while number in self._calls:  # it has taken 4 billion calls to come here again
            number = number % _LAST + 1
        self._number = number
        self._counters.sent += 1
        flags, (sequence, name_size), payload, stream = frame
        self._calls[number] = sequence, give_back
        if not self._out:
            self._loop.call_soon(self._flush)
        data = encode_frame(flags, (number, name_size), payload, stream)
        self._out.append(data)
        self._gathered += len(data)
        if self._gathered >= _FULL:  # so that the transport can say at once that it is enough
            self._flush()

    def close(self, reason: str) -> None:
        """End the connection; calls in flight fail with the reason."""
        self._reason = self._reason or reason
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Give answers back."""
        self._decoder.receive_data(data)
        self._arrived += len(data)
        if not self._waits:
            self._serve()

    def pause_writing(self) -> None:
        """Let publishers wait: RoadRunner does not take what they send."""
        self.full.active = True

    def resume_writing(self) -> None:
        """Let them go on."""
        self.full.release()

    def connection_lost(self, error: Exception | None) -> None:
        """Give back what has arrived; then tell the other calls that there will be no answer."""
        self._turns.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
        try:
            if not self._reason:
                self._serve(to_the_end=True)
        finally:  # whoever cannot take its answer: nobody else would be told, and nobody would connect again
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        # What this program has said when it closed the connection comes before what the system says of it.
        self._reason = self._reason or (describe_os_error(error) if error else "closed by RoadRunner")
        calls, self._calls = self._calls, {}
        self._counters.failed["lost"] += len(calls)
        self.lost.set_result(self._reason)
        try:
            self._fail(deque(calls.values()))
        finally:
            self.full.release()

    # Answers

    def _serve(self, *, to_the_end: bool = False) -> None:
        """Give back the answers that are here, as many as this turn has units for."""
        turns, next_frame = self._turns, self._next_frame
        if (turns.left <= 0 or (turns.waiting and self.used > turns.clock)) and not to_the_end:
            self._end_turn()
            return
        start = turns.left
        least = start - turns.share
        try:
            while (frame := next_frame()) is not None:
                self._give_back(frame)
                turns.left = left = turns.left - CALL - len(frame.payload)
                if left < least and (left <= 0 or turns.waiting) and not to_the_end:
                    break
        except ProtocolError as error:
            self.close(f"what it sent is no answer: {error}")
            return
        turns.charge_to(self, (start - turns.left) // _CALLERS)
        if frame is not None:
            self._end_turn()
        elif turns.left < HALF:
            turns.renew()
        if self._decoder.inside and self._watcher is None and not to_the_end:
            self._watch()

    def _next_frame(self) -> Frame | None:
        try:
            return self._decoder.next_frame()
        except PayloadTooBig as error:
            frame = self._decoder.oversized
            assert frame is not None
            if len(frame.options) < 2:
                raise
            name = frame.payload[: frame.options[1]]
            text = f"RoadRunner's answer is too large: {error} (websockets.limits.rpc_payload)"
            payload = name + text.encode()
            return frame._replace(
                flags=frame.flags | Flag.ERROR, options=(frame.options[0], len(name)), payload=payload
            )

    def _give_back(self, frame: Frame) -> None:
        """Give an answer to the call that it is for.

        Raises:
            ProtocolError: there is no such call, or it is no answer.
        """
        flags, options, payload, stream = frame
        if len(options) < 2 or options[1] > len(payload):
            raise ProtocolError("a frame that is no answer to a call")
        call = self._calls.pop(options[0], None)
        if call is None:
            raise ProtocolError(f"an answer to number {options[0]}, which is not in use")
        self._answered += 1
        sequence, give_back = call
        give_back(encode_frame(flags, (sequence, *options[1:]), payload, stream))

    def _end_turn(self) -> None:
        """Go on when others had their turns."""
        self._waits = True
        self._transport.pause_reading()
        self._turns.wait(self)

    def begin_turn(self) -> None:
        """Go on: others had their turns."""
        self._waits = False
        self._transport.resume_reading()
        self._serve()

    def _watch(self) -> None:
        """Give up when an answer has begun and does not come."""
        self._seen = self._answered, self._arrived
        self._watcher = self._loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        self._watcher = None
        if not self._decoder.inside:
            return
        answered, arrived = self._seen
        # A large answer is fine as long as it goes on growing; so is one that begins after others.
        if self._answered == answered and self._arrived - arrived < _STEP and not self._waits:
            self.close(f"half an answer for {self._timeout:g} s (websockets.limits.rpc_frame_timeout)")
            return
        self._watch()

    # Calls

    def _flush(self) -> None:
        out, self._out, self._gathered = self._out, [], 0
        # A transport of uvloop raises when it is written to between the end of its socket and the news of it.
        if out and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _fail(self, calls: deque[tuple[int, GiveBack]]) -> None:
        """Tell calls that there will be no answer; not very many at once."""
        try:
            for _ in range(min(_PIECE, len(calls))):
                _, give_back = calls.popleft()
                text = f"{self._name}: the connection was lost before the answer: {self._reason}"
                give_back(RPCError(text))
        finally:
            if calls:
                self._loop.call_soon(self._fail, calls)
