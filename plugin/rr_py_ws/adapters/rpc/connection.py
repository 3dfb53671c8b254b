"""One RPC connection: frames in, calls out, replies back in the order in which calls finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.limits import RPCLimits
from rr_py_ws.adapters.rpc.partial_frames import Unfinished
from rr_py_ws.adapters.rpc.registry import Services
from rr_py_ws.errors import PayloadTooBig, ProtocolError, RPCError
from rr_py_ws.wire.goridge import FrameDecoder
from rr_py_ws.wire.rpc import Request, encode_error, encode_reply, parse_request

_KEEP = 256
"""Bytes kept of a payload over the limit, to find the name of the method in: none of ours is that long."""
_REPLIES, _CALLS, _MEMORY, _BRAKE = 1, 2, 4, 8
"""Reasons not to read a peer: it does not take its replies, has many unfinished calls, is parked, is held."""
_REPLY_BATCH = 64 * 1024
"""Bytes of replies that are written at the latest when they have gathered."""

_limited = logs.get_limited("rpc")


class RPCConnection(asyncio.Protocol):
    """Serves one peer.

    A call that is answered at once costs no task; the replies to what arrived together are written together.
    The peer is not read while it does not read its replies, while too many of its calls are unfinished, while
    memory is short, or while publishers are held. A call that is larger than the limit is answered with an
    error, and the next one is served. A peer that sends anything but RPC frames, or its last byte, gets the
    replies to the calls already begun and is then disconnected. A call goes on when the peer leaves.

    Args:
        services: the methods.
        limits: of this connection.
        unfinished: where frames that have arrived in part are looked after.
        made: told when the connection is ready.
        lost: told when it is gone.

    Attributes:
        closed: done when the connection is gone.
        served: whether it has been since this was last set to False.
    """

    def __init__(
        self,
        services: Services,
        limits: RPCLimits,
        unfinished: Unfinished,
        made: Callable[[RPCConnection], object],
        lost: Callable[[RPCConnection], object],
    ) -> None:
        self._services = services
        self._max_calls = limits.calls
        self._unfinished = unfinished
        self._made = made
        self._lost = lost
        self._decoder = FrameDecoder(limits.payload, keep=_KEEP)
        self._transport: asyncio.Transport
        self._running = 0
        self._late: list[bytes] = []
        self._reasons = 0
        self._inside = False
        self._ending = False
        self.served = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._services.stats.connections += 1
        self._made(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the peer; its unfinished calls go on."""
        self._ending = True
        self._services.stats.connections -= 1
        self._unfinished.finished(self)
        self._lost(self)
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Serve what has arrived."""
        if not self._ending:
            self._decoder.receive_data(data)
            self._serve(len(data))

    def eof_received(self) -> bool:
        """Take the peer's last byte; a half-closed peer still gets its replies."""
        if not self._ending:
            try:
                self._decoder.receive_eof()
            except ProtocolError as error:
                _limited.debug("rpc peer closed inside a frame", error=str(error))
            self.end()
        return True

    def pause_writing(self) -> None:
        """Stop reading: the peer does not take its replies."""
        self._block(_REPLIES, True)

    def resume_writing(self) -> None:
        """Go on with what has arrived, then with reading."""
        self._block(_REPLIES, False)

    def end(self) -> None:
        """Take no further calls; close when those already begun are answered."""
        self._ending = True
        if not self._running:
            self._write_late()
            self._transport.close()

    def abort(self) -> None:
        """Close at once; unwritten replies are lost."""
        self._ending = True
        self._transport.abort()

    def hold(self, held: bool) -> None:
        """Do not read it while publishers are held."""
        self._block(_BRAKE, held)

    @property
    def has_more(self) -> bool:
        """Whether there is something to go on with before it is read again."""
        return self._decoder.kept > 0

    # unfinished.Peer

    @property
    def busy(self) -> bool:
        """See `Peer.busy`."""
        return bool(self._reasons & (_REPLIES | _CALLS))

    @property
    def blocked(self) -> bool:
        """See `Peer.blocked`."""
        return self._reasons != 0

    def park(self, parked: bool) -> None:
        """See `Peer.park`."""
        self._block(_MEMORY, parked)

    def give_up(self) -> None:
        """See `Peer.give_up`."""
        self._services.stats.slow_frames += 1
        _limited.warning("rpc connection closed: half a frame, see websockets.limits.rpc_frame_timeout")
        self.abort()

    def _serve(self, arrived: int = 0) -> None:
        """Answer the frames that are there, as long as nothing stands against it."""
        replies: list[bytes] = []
        size = 0
        another = False
        next_frame = self._decoder.next_frame
        try:
            while not self._reasons:
                try:
                    frame = next_frame()
                    if frame is None:
                        break
                    reply = self._call(parse_request(frame))
                except PayloadTooBig as error:
                    reply = self._refuse(error)
                self.served = another = True
                if reply is not None:
                    replies.append(reply)
                    size += len(reply)
                    if size >= _REPLY_BATCH:
                        self._transport.write(b"".join(replies))
                        replies.clear()
                        size = 0
        except ProtocolError as error:
            self._services.stats.bad_frames += 1
            _limited.warning("rpc connection closed: not an RPC frame", error=str(error))
            self._ending = True
        if replies:
            self._transport.write(b"".join(replies))
        if self._ending:
            self.end()
        elif self._decoder.inside:
            self._inside = True
            self._unfinished.update(self, arrived, self._decoder.kept, another=another)
        elif self._inside:
            self._inside = False
            self._unfinished.finished(self)

    def _block(self, reason: int, blocked: bool) -> None:
        """Read from the peer, or do not, as things are now."""
        before = self._reasons
        self._reasons = now = before | reason if blocked else before & ~reason
        if bool(now) is bool(before) or self._transport.is_closing():
            return
        if now:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            if not self._ending:
                self._serve()

    def _refuse(self, error: PayloadTooBig) -> bytes:
        """Answer a call that is too large; what is not there of it is passed over as it comes.

        Raises:
            FrameError: it is no call.
        """
        assert self._decoder.oversized is not None
        request = parse_request(self._decoder.oversized)
        method = request.method.decode(errors="replace")
        _limited.warning(
            "rpc call refused, see websockets.limits.rpc_payload", method=method, error=str(error)
        )
        self._services.stats.oversized += 1
        return self._error(request, RPCError(f"{error} (websockets.limits.rpc_payload)"))

    def _call(self, request: Request) -> bytes | None:
        """Make a call and return the reply frame; None when it comes later."""
        try:
            result = self._services.call(request.method, request.codec, request.body)
        except Exception as error:
            return self._error(request, error)
        if isinstance(result, bytes):
            return self._result(request, result)
        self._services.run(result, partial(self._finished, request))
        self._running += 1
        if self._running >= self._max_calls:
            self._block(_CALLS, True)
        return None

    def _finished(self, request: Request, done: asyncio.Future[bytes]) -> None:
        self._running -= 1
        if not done.cancelled():
            error = done.exception()
            reply = self._result(request, done.result()) if error is None else self._error(request, error)
            if not self._late:
                asyncio.get_running_loop().call_soon(self._write_late)
            self._late.append(reply)
        if self._reasons & _CALLS:
            self._block(_CALLS, False)
        if self._ending:
            self.end()

    def _write_late(self) -> None:
        """Write the replies to what finished together."""
        late, self._late = self._late, []
        if late and not self._transport.is_closing():
            self._transport.write(b"".join(late))

    def _result(self, request: Request, result: bytes) -> bytes:
        self._services.stats.answered[request.method] += 1
        return encode_reply(request, result)

    def _error(self, request: Request, error: BaseException) -> bytes:
        self._services.stats.count_failure(request.method)
        return encode_error(request, _error_text(error, request))


def _error_text(error: BaseException, request: Request) -> str:
    """What the caller is told; an error that is not meant for it is logged instead."""
    if isinstance(error, RPCError):
        return str(error)
    _limited.error("rpc method failed", method=request.method.decode(errors="replace"), exc_info=error)
    return "internal error; the log of the server has the reason"
