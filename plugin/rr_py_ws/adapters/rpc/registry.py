"""The RPC methods by name, and calls to them: a request frame in, a reply frame out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Literal, NamedTuple, TypeVar, overload

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.metrics import UNKNOWN, RPCMetrics
from rr_py_ws.adapters.rpc.neighbour import Neighbour, NotOurs
from rr_py_ws.adapters.rpc.turns import Caller, CallTurns
from rr_py_ws.core.hold import Gate, Hold, Topic
from rr_py_ws.errors import BrokerError, PayloadTooBig, RPCError, WorkerError
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.goridge import Flag, Frame
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.publish_call import OKS, PublishCall, Reply, sequence_of
from rr_py_ws.wire.rpc import MAX_NAME, Request, encode_error, encode_reply, parse_request
from rr_py_ws.wire.values import encode_result

_ERROR = int(Flag.ERROR)
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
        carry_out: decodes and carries out codec and body in pieces, between which others have their turns;
            they are charged to a caller. With True it does nothing when the call has to wait for a hold, and
            returns the hold. Otherwise it returns the result.
    """

    is_dear: Callable[[Flag, bytes], bool]
    carry_out: Callable[[Flag, bytes, bool, Caller], Awaitable[Any]]


class LargeReply(asyncio.Future[bytes]):
    """The reply to a call that is carried out in pieces; the next call of the connection begins after it.

    Attributes:
        begin: begins to carry it out, for a caller; to be called once.
        cancel_call: ends it without a reply; of what was begun a part may be done.
        held: instead of a reply: the call, with which nothing was done, and the hold that it waits for.
    """

    begin: Callable[[Caller], None]
    cancel_call: Callable[[], object]
    held: tuple[Frame, Hold] | None = None


class Registry:
    """The methods of our services; any number of listeners may share one registry.

    Args:
        neighbour: answers calls of services that are not ours; without one, they get the error of net/rpc.
        held: the topics that hold their publishers now; while it is empty, no call waits for one.
        turns: what calls may do in one turn of the loop; of all listeners.

    Attributes:
        running: everything that was begun and is not finished. A listener that stops waits for it.
        counters: of all listeners.
        turns: as given.
        held: as given.
        publishers: the methods that `wire.publish_call` reads, and what gets the publication.
        oks: of each of these the reply that says `ok`.
    """

    def __init__(
        self,
        neighbour: Neighbour | None = None,
        held: Collection[Topic] = (),
        turns: CallTurns | None = None,
    ) -> None:
        self._methods: dict[bytes, _Method] = {}
        self._in_pieces: dict[bytes, InPieces] = {}
        self.held = held
        self.publishers: dict[bytes, Callable[[Publication], Any]] = {}
        self.oks: dict[bytes, Reply] = {}
        self._services: set[bytes] = set()
        self._neighbour = neighbour
        self._shared: set[bytes] = set()
        self.running: set[asyncio.Future[Any]] = set()
        self.counters = RPCMetrics()
        self.turns = turns or CallTurns()
        # Without a neighbour nobody answers an unknown method with a result.
        if neighbour is not None:
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

    def add_publisher(self, method: bytes, publish: Callable[[Publication], Any]) -> None:
        """Have PHP's usual calls of a method carried out by something else, which does the same with them.

        Args:
            method: registered with `add`, too, for all other calls of it.
            publish: takes what is published; returns what a broker does, and raises what it raises.
        """
        self.publishers[method], self.oks[method] = publish, OKS[method]

    def share(self, service: str) -> None:
        """Let the neighbour answer the methods of a service that we do not have: both serve it."""
        self._shared.add(service.encode())

    def metrics(self) -> Iterator[Sample]:
        """Yield what the listeners count, and how many calls are running."""
        yield from self.counters.metrics()
        yield gauge("rpc_calls_running", "RPC calls that are not answered yet.", len(self.running))

    @overload
    def call(self, frame: Frame, request: Request | None = None) -> bytes | asyncio.Future[bytes] | Gate: ...

    @overload
    def call(self, frame: Frame, *, may_wait: Literal[False]) -> bytes | asyncio.Future[bytes]: ...

    @overload
    def call(
        self, frame: Frame, request: Request, *, may_wait: bool
    ) -> bytes | asyncio.Future[bytes] | Gate: ...

    def call(
        self, frame: Frame, request: Request | None = None, *, may_wait: bool = True
    ) -> bytes | asyncio.Future[bytes] | Gate:
        """Carry out a call and return the reply frame, or a future of it when it has to wait.

        A call that fails is answered with an error frame. The future is cancelled when its call is, and has
        no exception. The request is what the frame says, if that is known already. With `may_wait`, nothing
        is done with a call to a topic that is held, or for a neighbour that takes no more at the moment, and
        the gate is returned: call again when it has opened.
        What turns out to be too dear is carried out in pieces; then the future is a `LargeReply`.

        Raises:
            ProtocolError: the frame is not an RPC frame.
        """
        request = request or parse_request(frame)
        method = self._methods.get(request.method)
        if method is None:
            return self._call_unknown(frame, request, may_wait)
        decode, handle, encode, operation, find_hold = method
        try:
            argument = decode(request.codec, request.body)
            if self.held and may_wait and find_hold is not None:
                hold = find_hold(argument)
                if hold is not None:
                    return hold
            try:
                result = handle(argument)
            except TooDear:
                return self._carry_out_in_pieces(frame, request, may_wait)
            except NotOurs:
                return self._pass_on(frame, request, may_wait)
            # Only what the handler raises gets the names of its operations, as in RoadRunner.
            except Exception as error:
                return self._fail(request, error, operation)
            # No result has this attribute; isinstance(result, Awaitable) would be several times slower.
            if hasattr(result, "__await__"):
                return self._wait_for(result, request, encode, operation)
            reply = encode_reply(request, encode(request.codec, result))
        except NotOurs:
            return self._pass_on(frame, request, may_wait)
        except Exception as error:
            self.turns.charge_slow(len(request.body))
            return self._fail(request, error)
        self.counters.answered[request.method] += 1
        return reply

    def refuse_publication(self, call: PublishCall, error: Exception) -> bytes:
        """Answer a call that `wire.publish_call` has read with what its publisher has raised."""
        _, _, _, operation, _ = self._methods[call[0]]
        return self._fail(_request_of(call), error, operation)

    def wait_for_publication(self, call: PublishCall, accepting: Awaitable[Any]) -> asyncio.Future[bytes]:
        """Answer such a call when the broker has accepted what it publishes."""
        _, _, encode, operation, _ = self._methods[call[0]]
        return self._wait_for(accepting, _request_of(call), encode, operation)

    def call_large(self, frame: Frame, *, may_wait: bool = True) -> bytes | asyncio.Future[bytes] | Gate:
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

        def settle(done: asyncio.Future[Any]) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled():
                reply.cancel()
            elif error is not None:
                reply.set_result(self._fail(request, error))
            elif isinstance(result := done.result(), Hold):
                reply.held = head._replace(payload=request.method + request.body), result
                reply.set_result(b"")
            else:
                encode = self._methods[request.method][2]
                reply.set_result(self._succeed(request, encode, result))

        def begin(caller: Caller) -> None:
            del reply.begin  # it holds the body, and they would keep each other
            carry_out = self._in_pieces[request.method].carry_out
            call = self.run(carry_out(request.codec, request.body, may_wait, caller), settle)
            reply.cancel_call = call.cancel

        reply.begin = begin
        return reply

    def refuse(self, frame: Frame, error: PayloadTooBig, key: str) -> bytes:
        """Answer a call that is too large; the frame holds the beginning of it, and the key is of the limit.

        Raises:
            ProtocolError: the frame is not an RPC frame.
        """
        request = parse_request(frame)
        name = request.method.decode(errors="replace")
        _limited.warning(f"rpc call refused, see websockets.limits.{key}", method=name, error=str(error))
        self.counters.oversized += 1
        return self._fail(request, RPCError(f"{error} (websockets.limits.{key})"))

    def passes_on(self, method: bytes) -> bool:
        """Whether a call is for the neighbour, and not carried out here."""
        if self._neighbour is None or method in self._methods:
            return False
        # The last dot counts, as in Go's net/rpc: a service may have dots in its name.
        service, dot, _ = method.rpartition(b".")
        return bool(dot) and (service not in self._services or service in self._shared)

    def run(
        self, waiting: Awaitable[Any], done: Callable[[asyncio.Future[Any]], object]
    ) -> asyncio.Future[Any]:
        """Let something go on by itself; call `done` with its future when it has ended, however it did."""
        future = asyncio.ensure_future(waiting)
        # Also keeps the task alive: the loop has only a weak reference to it.
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        future.add_done_callback(done)
        return future

    def _call_unknown(
        self, frame: Frame, request: Request, may_wait: bool
    ) -> bytes | asyncio.Future[bytes] | Gate:
        """Answer a call of a method that is not registered. Applications match on the texts of net/rpc."""
        if (size := len(request.method)) > MAX_NAME:
            request = request._replace(method=request.method[:MAX_NAME])
            text = f"rpc: can't find a method whose name has {size} bytes, no name has more than {MAX_NAME}"
            return self._fail(request, RPCError(text))
        if self.passes_on(request.method):
            return self._pass_on(frame, request, may_wait)
        # The name goes back as the bytes it came as, which need not be UTF-8.
        name = request.method.decode("utf-8", "surrogateescape")
        service, dot, _ = request.method.rpartition(b".")
        if not dot:
            return self._fail(request, RPCError(f"rpc: service/method request ill-formed: {name}"))
        missing = "method" if service in self._services else "service"
        return self._fail(request, RPCError(f"rpc: can't find {missing} {name}"))

    def _pass_on(
        self, frame: Frame, request: Request, may_wait: bool
    ) -> bytes | asyncio.Future[bytes] | Gate:
        """Have the neighbour answer a call."""
        assert self._neighbour is not None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        running = self.running
        # Until the answer comes nobody needs the body, which may be large.
        sequence, method, _, codec, reply_flag = request
        request = Request(sequence, method, b"", codec, reply_flag)

        def give_back(reply: bytes | Exception) -> None:
            running.discard(answer)
            if answer.done():  # cancelled by the end of the listener, which waits no longer
                return
            if isinstance(reply, bytes):
                answer.set_result(self._count(reply, request))
            else:
                answer.set_result(self._fail(request, reply))

        running.add(answer)
        try:
            gate = self._neighbour.answer(frame, give_back, may_wait=may_wait)
        except Exception as error:
            running.discard(answer)
            return self._fail(request, error)
        if gate is not None:
            running.discard(answer)
            return gate
        return answer

    def _wait_for(
        self,
        waiting: Awaitable[Any],
        request: Request,
        encode: _Encode,
        operation: str = "",
    ) -> asyncio.Future[bytes]:
        """Return a future of the reply.

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
            answer.set_result(self._succeed(request, encode, done.result()))

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

    def _count(self, reply: bytes, request: Request) -> bytes:
        """Count a call that the neighbour has answered: byte 1 of a frame has the ERROR bit."""
        counts = self.counters.failed if reply[1] & _ERROR else self.counters.answered
        counts[request.method if request.method in counts else UNKNOWN] += 1
        return reply

    def _fail(self, request: Request, error: BaseException, operation: str = "") -> bytes:
        """Answer with the text of an error; one that is not meant for the caller is logged instead."""
        failed = self.counters.failed
        # Names that callers make up must not become time series.
        failed[request.method if request.method in failed else UNKNOWN] += 1
        name = request.method.decode(errors="replace")
        if isinstance(error, BrokerError):
            if error.public != str(error):  # words of Redis or of the system, which are for the log
                _limited.warning("rpc call failed", method=name, reason=str(error))
            return encode_error(request, f"{operation}{error.public}")
        if isinstance(error, RPCError | WorkerError):
            return encode_error(request, f"{operation}{error}")
        _limited.error("rpc method failed", method=name, exc_info=error)
        return encode_error(request, "internal error; the log of the server has the reason")


def _request_of(call: PublishCall) -> Request:
    """What is needed to answer a call that could not be answered at once."""
    return Request(sequence_of(call), call[0], b"", Flag.PROTO, int(Flag.PROTO))
