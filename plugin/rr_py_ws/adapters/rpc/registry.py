"""The RPC methods by name, and calls to them: a request frame in, a reply frame out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Literal, NamedTuple, TypeVar, overload

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.metrics import UNKNOWN, RPCMetrics
from rr_py_ws.adapters.rpc.turns import FAILED_BYTE, Turns
from rr_py_ws.core.hold import Hold, Topic
from rr_py_ws.errors import BrokerError, PayloadTooBig, RPCError, WorkerError
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.goridge import Flag, Frame
from rr_py_ws.wire.rpc import MAX_NAME, Request, encode_error, encode_reply, parse_request
from rr_py_ws.wire.values import encode_result

Fallback = Callable[[Frame, Request], bytes | Awaitable[bytes]]
"""Answers calls of services that are not ours: gets the frame as it came, returns the whole reply frame."""

_Encode = Callable[[Flag, Any], bytes]
_Method = tuple[
    Callable[[Flag, bytes], Any], Callable[[Any], Any], _Encode, str, Callable[[Any], Hold | None] | None
]
_Argument = TypeVar("_Argument")

_limited = logs.get_limited("rpc")


class TooDear(Exception):
    """Raised by a handler that has done nothing yet, because it is too much for one turn of the loop."""


class InPieces(NamedTuple):
    """How a method carries out a call that is too dear for one turn. Its errors are those for the caller.

    Attributes:
        is_dear: whether codec and body are those of such a call; told before anything is decoded.
        carry_out: decodes and carries out codec and body in pieces, between which others have their turns.
            With True it does nothing when the call has to wait for a hold, and returns the hold.
    """

    is_dear: Callable[[Flag, bytes], bool]
    carry_out: Callable[[Flag, bytes, bool], Awaitable[Hold | None]]


class LargeReply(asyncio.Future[bytes]):
    """The reply to a call that is carried out in pieces; the next call of the connection begins after it.

    Attributes:
        held: instead of a reply: the call, with which nothing was done, and the hold that it waits for.
    """

    held: tuple[Frame, Hold] | None = None


class Registry:
    """The methods of our services; any number of listeners may share one registry.

    Args:
        fallback: answers calls of services that are not ours; without one they get the error of Go's net/rpc.
        held: the topics that hold their publishers now; while it is empty, no call waits for one.

    Attributes:
        running: everything that was begun and is not finished. A listener that stops waits for it.
        counters: of all listeners.
        turns: what calls may do in one turn of the loop; of all listeners, too.
    """

    def __init__(self, fallback: Fallback | None = None, held: Collection[Topic] = ()) -> None:
        self._methods: dict[bytes, _Method] = {}
        self._in_pieces: dict[bytes, InPieces] = {}
        self._held = held
        self._services: set[bytes] = set()
        self._fallback = fallback
        self.running: set[asyncio.Future[Any]] = set()
        self.counters = RPCMetrics()
        self.turns = Turns()
        # Without a fallback nobody answers an unknown method with a result.
        if fallback is not None:
            self.counters.answered[UNKNOWN] = 0

    def add(
        self,
        name: str,
        decode: Callable[[Flag, bytes], _Argument],
        handle: Callable[[_Argument], object],
        encode: _Encode = encode_result,
        operation: str = "",
        find_hold: Callable[[_Argument], Hold | None] | None = None,
        in_pieces: InPieces | None = None,
    ) -> None:
        """Register a method.

        Args:
            name: `service.Method`, case-sensitive.
            decode: makes the handler's argument of codec and body; raises RPCError.
            handle: takes the argument; returns the result or an awaitable of it. Raises, now or from the
                awaitable, RPCError, BrokerError or WorkerError with the text for the caller.
            encode: makes the body of the reply of codec and result; raises RPCError.
            operation: what RoadRunner puts before the text of an error of the handler.
            find_hold: returns what the call has to wait for; asked while any topic is held.
            in_pieces: carries out what is too dear; without it, the handler must not raise `TooDear`.
        """
        full = name.encode()
        if in_pieces is not None:
            self._in_pieces[full] = in_pieces
        self._services.add(full.rpartition(b".")[0])
        self._methods[full] = (decode, handle, encode, operation and operation + ": ", find_hold)
        self.counters.answered[full] = self.counters.failed[full] = 0

    def metrics(self) -> Iterator[Sample]:
        """Yield what the listeners count, and how many calls are running."""
        yield from self.counters.metrics()
        yield gauge("rpc_calls_running", "RPC calls that are not answered yet.", len(self.running))

    @overload
    def call(self, frame: Frame, request: Request | None = None) -> bytes | asyncio.Future[bytes] | Hold: ...

    @overload
    def call(self, frame: Frame, *, may_wait: Literal[False]) -> bytes | asyncio.Future[bytes]: ...

    @overload
    def call(
        self, frame: Frame, request: Request, *, may_wait: bool
    ) -> bytes | asyncio.Future[bytes] | Hold: ...

    def call(
        self, frame: Frame, request: Request | None = None, *, may_wait: bool = True
    ) -> bytes | asyncio.Future[bytes] | Hold:
        """Carry out a call and return the reply frame, or a future of it when it has to wait.

        A call that fails is answered with an error frame. The future is cancelled when its call is, and has
        no exception. The request is what the frame says, if that is known already. With `may_wait`, nothing
        is done with a call to a topic that is held, and the hold is returned: call again when it has ended.
        What turns out to be too dear is carried out in pieces; then the future is a `LargeReply`.

        Raises:
            ProtocolError: the frame is not an RPC frame.
        """
        request = request or parse_request(frame)
        method = self._methods.get(request.method)
        if method is None:
            return self._call_unknown(frame, request)
        decode, handle, encode, operation, find_hold = method
        try:
            argument = decode(request.codec, request.body)
            if self._held and may_wait and find_hold is not None:
                hold = find_hold(argument)
                if hold is not None:
                    return hold
            try:
                result = handle(argument)
            except TooDear:
                return self._carry_out_in_pieces(frame, request, may_wait)
            # Only what the handler raises gets the names of its operations, as in RoadRunner.
            except Exception as error:
                return self._fail(request, error, operation)
            # No result has this attribute; isinstance(result, Awaitable) would be several times slower.
            if hasattr(result, "__await__"):
                return self._wait_for(result, request, encode, operation)
            reply = encode_reply(request, encode(request.codec, result))
        except Exception as error:
            self.turns.left -= FAILED_BYTE * len(request.body)
            return self._fail(request, error)
        self.counters.answered[request.method] += 1
        return reply

    def call_large(self, frame: Frame, *, may_wait: bool = True) -> bytes | asyncio.Future[bytes] | Hold:
        """Do what `call` does with a call that may be dear: find that out before it is decoded.

        Raises:
            ProtocolError: the frame is not an RPC frame.
        """
        request = parse_request(frame)
        in_pieces = self._in_pieces.get(request.method)
        try:
            if in_pieces is not None and in_pieces.is_dear(request.codec, request.body):
                return self._carry_out_in_pieces(frame, request, may_wait)
        except Exception as error:
            return self._fail(request, error)
        return self.call(frame, request, may_wait=may_wait)

    def _carry_out_in_pieces(self, frame: Frame, request: Request, may_wait: bool) -> LargeReply:
        reply = LargeReply(loop=asyncio.get_running_loop())
        head = frame._replace(payload=b"")  # the body alone is kept, not once more with the name before it

        def settle(done: asyncio.Future[Hold | None]) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled():
                reply.cancel()
            elif error is not None:
                reply.set_result(self._fail(request, error))
            elif (hold := done.result()) is not None:
                reply.held = head._replace(payload=request.method + request.body), hold
                reply.set_result(b"")
            else:
                encode = self._methods[request.method][2]
                reply.set_result(self._succeed(request, encode, None))

        carry_out = self._in_pieces[request.method].carry_out
        self.run(carry_out(request.codec, request.body, may_wait), settle)
        return reply

    def refuse(self, frame: Frame, error: PayloadTooBig) -> bytes:
        """Answer a call that is too large; the frame holds the beginning of it.

        Raises:
            ProtocolError: the frame is not an RPC frame.
        """
        request = parse_request(frame)
        name = request.method.decode(errors="replace")
        _limited.warning("rpc call refused, see websockets.limits.rpc_payload", method=name, error=str(error))
        self.counters.oversized += 1
        return self._fail(request, RPCError(f"{error} (websockets.limits.rpc_payload)"))

    def run(self, waiting: Awaitable[Any], done: Callable[[asyncio.Future[Any]], object]) -> None:
        """Let something go on by itself; call `done` with its future when it has ended, however it did."""
        future = asyncio.ensure_future(waiting)
        # Also keeps the task alive: the loop has only a weak reference to it.
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        future.add_done_callback(done)

    def _call_unknown(self, frame: Frame, request: Request) -> bytes | asyncio.Future[bytes]:
        """Answer a call of a method that is not registered. Applications match on the texts of net/rpc."""
        if (size := len(request.method)) > MAX_NAME:
            request = request._replace(method=request.method[:MAX_NAME])
            text = f"rpc: can't find a method whose name has {size} bytes, no name has more than {MAX_NAME}"
            return self._fail(request, RPCError(text))
        # The name goes back as the bytes it came as, which need not be UTF-8.
        name = request.method.decode("utf-8", "surrogateescape")
        # The last dot counts, as in Go's net/rpc: a service may have dots in its name.
        service, dot, _ = request.method.rpartition(b".")
        if not dot:
            return self._fail(request, RPCError(f"rpc: service/method request ill-formed: {name}"))
        if service in self._services:
            return self._fail(request, RPCError(f"rpc: can't find method {name}"))
        if self._fallback is None:
            return self._fail(request, RPCError(f"rpc: can't find service {name}"))
        try:
            reply = self._fallback(frame, request)
        except Exception as error:
            return self._fail(request, error)
        return self._count(reply) if isinstance(reply, bytes) else self._wait_for(reply, request)

    def _wait_for(
        self,
        waiting: Awaitable[Any],
        request: Request,
        encode: _Encode | None = None,
        operation: str = "",
    ) -> asyncio.Future[bytes]:
        """Return a future of the reply; `encode` is None when what is waited for is the reply itself.

        Callbacks make the reply: when the broker answers with a future, as Redis does, a call needs no task.
        """
        # Not the awaitable itself: its result is not a frame yet.
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def settle(done: asyncio.Future[Any]) -> None:
            if done.cancelled():  # by the end of the listener, which waits no longer
                answer.cancel()
                return
            # Not raised here: error and frame would keep each other, and all that was decoded, for a while.
            error = done.exception()
            if error is not None:
                answer.set_result(self._fail(request, error, operation))
                return
            result = done.result()
            answer.set_result(
                self._count(result) if encode is None else self._succeed(request, encode, result)
            )

        self.run(waiting, settle)
        return answer

    def _succeed(self, request: Request, encode: _Encode, result: object) -> bytes:
        """Answer with a result that had to be waited for."""
        try:
            reply = encode_reply(request, encode(request.codec, result))
        except Exception as error:
            return self._fail(request, error)
        self.counters.answered[request.method] += 1
        return reply

    def _count(self, reply: bytes) -> bytes:
        """Count a call that the fallback has answered: byte 1 of a frame has the ERROR bit."""
        counts = self.counters.failed if reply[1] & Flag.ERROR else self.counters.answered
        counts[UNKNOWN] += 1
        return reply

    def _fail(self, request: Request, error: BaseException, operation: str = "") -> bytes:
        """Answer with the text of an error; one that is not meant for the caller is logged instead."""
        failed = self.counters.failed
        # Names that callers make up must not become time series.
        failed[request.method if request.method in failed else UNKNOWN] += 1
        if isinstance(error, RPCError | BrokerError | WorkerError):
            return encode_error(request, f"{operation}{error}")
        name = request.method.decode(errors="replace")
        _limited.error("rpc method failed", method=name, exc_info=error)
        return encode_error(request, "internal error; the log of the server has the reason")
