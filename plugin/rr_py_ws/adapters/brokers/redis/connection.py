"""One connection to a Redis server: RESP2, full duplex, pipelined.

hiredis does the parsing and packing. redis-py's own connections are not used: measured on one core, a message
through its `PubSub` costs 8.4 us and one through its pipeline 15, here 0.5 and 0.9; and its TLS has no server
name of its own. What leaves in one turn of the loop is one write; replies come in the order of the requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import hiredis

from rr_py_ws.adapters.brokers.redis.calls import Command, pack
from rr_py_ws.adapters.brokers.redis.replies import find_check, unexpected
from rr_py_ws.adapters.net.tls import describe_tls_error
from rr_py_ws.errors import BrokerError

_LONGEST_ERROR = 1000
"""Characters of an error of Redis that are kept; it goes into the log and to callers."""
_SECOND_LOOK = 0.05
"""Seconds between finding a server silent and giving up on it. If it was this process that stood still, the
answers are in the socket's buffer, and are read before the second look."""
_LONGEST_WATCH = 3600.0
"""A time-out of the configuration may be infinite; a timer of the loop may not."""
_LARGEST = 64 * 1024 * 1024
"""Bytes of a reply or message; a server could go on with one for ever. No call publishes that much."""
_WHOLE_READ = 250_000
"""Bytes of a read behind which more is waiting in the socket. libuv would read up to 32 of them in a turn."""
_MORE = object()


class ErrorReply(BrokerError):
    """Redis answered a request with an error.

    Attributes:
        code: the first word, such as `NOPERM` or `MOVED`.
        text: all of it, if it is not too long.
    """

    def __init__(self, text: str) -> None:
        text = text[:_LONGEST_ERROR]
        super().__init__("redis answered", text)
        self.public = "redis refuses it"
        self.code = text.partition(" ")[0]
        self.text = text


class Connection(asyncio.Protocol):
    """A connection, over any transport.

    A subscriber, which gets messages between the replies, sets `on_reply`; from then on it takes what it
    expects out of `waiting` itself.

    Args:
        timeout: seconds that an expected reply may take while nothing else comes. Then the server is taken
            for dead: a half-open connection, a stopped process.

    Attributes:
        lost: done when the connection is gone; its result says why.
        on_reply: gets each reply; may raise `BrokerError`, which ends the connection.
        waiting: what is expected, in order. A callable is called with the reply, or with a `BrokerError` when
            there will be none.
    """

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(notEnoughData=_MORE, replyError=ErrorReply)
        self._unfinished = 0
        self._out: list[bytes] = []
        self._unmade: list[tuple[int, Callable[[], Command | bytes]]] = []  # with their places in there
        self._reason = ""
        self._heard = self._asked = self._loop.time()
        self._suspected = False
        self._watcher: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.waiting: deque[Any] = deque()
        self.on_reply: Callable[[Any], None] = self._answer

    def request(self, *arguments: bytes | str | int) -> asyncio.Future[Any]:
        """Send a command.

        Returns:
            a future of the reply; it fails with `ErrorReply`, or with `BrokerError` when the connection is
            lost before the reply, or the command cannot have such a reply, which ends the connection.
            Cancelling it does not take the command back.

        Raises:
            BrokerError: the connection is lost already.
        """
        future = self._loop.create_future()
        self.send(arguments, partial(_resolve, future, find_check(arguments), arguments[0]))
        return future

    def send(self, arguments: Command, expected: Any) -> None:
        """Send a command, and put `expected` into `waiting`.

        Raises:
            BrokerError: the connection is lost already.
        """
        self._expect(expected)
        self._out.append(pack(arguments))

    def send_later(self, make: Callable[[], Command | bytes], expected: Any) -> None:
        """Send a command as `send` does, at its place among the others, that is made when it is written.

        Raises:
            BrokerError: the connection is lost already.
        """
        self._expect(expected)
        self._unmade.append((len(self._out), make))
        self._out.append(b"")

    def _expect(self, expected: Any) -> None:
        if self._reason:
            raise BrokerError("redis connection lost", self._reason)
        if not self.waiting:  # the server's silence counts from the first question that it has not answered
            self._asked = self._loop.time()
        self.waiting.append(expected)
        if not self._out:
            self._loop.call_soon(self._flush)

    def close(self, reason: str) -> None:
        """End the connection; what is not answered fails with the reason."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Hand the replies on."""
        self._heard = self._loop.time()
        self._unfinished += len(data)
        gets, on_reply = self._reader.gets, self.on_reply
        try:
            self._reader.feed(data)
            while not self._reason:  # a reply may be the end; what came after it is nobody's
                try:
                    reply = gets()
                # MemoryError: a length that cannot be, with hiredis 3.1.0 a SystemError. TypeError: a map of
                # RESP3 with an array for a key.
                except (hiredis.ProtocolError, MemoryError, SystemError, TypeError) as error:
                    self.close(f"what it sent is not Redis' protocol: {error or 'too long'}")
                    return
                if reply is _MORE:
                    break
                self._unfinished = 0
                on_reply(reply)
        except BrokerError as error:
            self.close(str(error))
        if self._unfinished > _LARGEST:
            self.close(f"it sent a reply of more than {_LARGEST} bytes")
        elif len(data) >= _WHOLE_READ and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is not answered."""
        if self._watcher is not None:
            self._watcher.cancel()
        # What this program has said when it closed the connection comes before what the system says of it.
        said = describe_tls_error(error) if error else "closed by the server"
        self._reason = reason = self._reason or said
        if not self.lost.done():  # awaiting a future and being cancelled cancels it
            self.lost.set_result(reason)
        for expected in self.waiting:
            if callable(expected):
                expected(BrokerError("redis connection lost before the answer", reason))

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer(self, reply: Any) -> None:
        if not self.waiting:
            raise BrokerError("it sent a reply that nobody asked for")
        self.waiting.popleft()(reply)

    def _flush(self) -> None:
        out, self._out = self._out, []
        unmade, self._unmade = self._unmade, []
        for place, make in unmade:
            made = make()
            out[place] = made if isinstance(made, bytes) else pack(made)
        # A transport of uvloop raises when it is written to between the end of its socket and the news of it.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _watch(self) -> None:
        """Give the server up when it is silent for too long while a reply is expected."""
        delay = self._timeout
        if self.waiting:
            # Anything heard is a sign of life: a reply may stand behind megabytes of messages.
            silent = self._loop.time() - max(self._heard, self._asked)
            if silent < self._timeout:
                self._suspected = False
                delay -= silent
            elif self._suspected:
                self.close(f"no answer for {self._timeout:g} s")
                return
            else:
                self._suspected = True
                delay = _SECOND_LOOK
        # One timer that looks again costs less than one for each request.
        self._watcher = self._loop.call_later(min(delay, _LONGEST_WATCH), self._watch)


def _resolve(
    future: asyncio.Future[Any], is_valid: Callable[[Any], bool], command: object, reply: Any
) -> None:
    wrong = None
    if not isinstance(reply, BrokerError) and not is_valid(reply):
        reply = wrong = unexpected(command, reply)
    if not future.done():  # cancelled; the reply has to be taken all the same, it is not that of the next one
        if isinstance(reply, BrokerError):
            future.set_exception(reply)
        else:
            future.set_result(reply)
    if wrong is not None:
        raise wrong
