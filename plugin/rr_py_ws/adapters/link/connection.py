"""One end of a link between two processes of a server: calls in both directions, and batches in one.

Everything is written in the order in which it was said: a result never overtakes a publication that was
handed over before it, nor the other way round. What is said in one turn of the event loop leaves together.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, cast

from rr_py_ws import logs
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.errors import BrokerError, WorkerError
from rr_py_ws.wire.goridge import FrameDecoder
from rr_py_ws.wire.link import (
    MAX_PAYLOAD,
    Kind,
    decode,
    encode,
    encode_batch,
    encode_call,
    encode_error,
    encode_tell,
    unpack_error,
)
from rr_py_ws.wire.publication import Publication

DOWN = "the core process is not there, try again later"
"""What waits for a peer that is gone fails with."""
_HIGH = 1024 * 1024
"""Bytes that may wait for the peer before its `on_full` is called."""

_RESULT, _ERROR, _CALL, _CANCEL, _TELL, _BATCH = map(
    int, (Kind.RESULT, Kind.ERROR, Kind.CALL, Kind.CANCEL, Kind.TELL, Kind.BATCH)
)

log = logs.get_logger("app")

Handlers = Mapping[str, Callable[..., Any]]
"""Method -> what carries it out: returns a plain value, or an awaitable of one, or raises."""


class Call(asyncio.Future[Any]):
    """The result of a call; to cancel it tells the peer that nobody wants it."""

    def __init__(
        self,
        withdraw: Callable[[], None],
        convert: Callable[[Any], Any] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self._withdraw = withdraw
        self._convert = convert

    def cancel(self, msg: object = None) -> bool:
        """Withdraw the call."""
        if not self.done():
            self._withdraw()
        return super().cancel(msg)

    def take(self, value: Any) -> None:
        """The result has come; it is converted now, before anything that comes behind it is looked at."""
        if self.done():
            return
        try:
            self.set_result(value if self._convert is None else self._convert(value))
        except Exception as error:
            self.set_exception(error)


class Link(asyncio.Protocol):
    """One end.

    Args:
        handlers: what the peer may call.
        on_batch: gets number of the broker, and publications.
        on_lost: called when the peer is gone, once.
        on_full: called with True when the peer does not take what is written, and with False when it has.
        turn_end: what comes together is written to clients together, as soon as all of it was looked at; None
            when others bring publications, too.
    """

    def __init__(
        self,
        handlers: Handlers,
        on_batch: Callable[[int, list[Publication]], None],
        on_lost: Callable[[], None],
        on_full: Callable[[bool], None] | None = None,
        turn_end: TurnEnd | None = None,
    ) -> None:
        self._handlers = handlers
        self._on_batch = on_batch
        self._on_lost = on_lost
        self._on_full = on_full
        self._turn_end = turn_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(MAX_PAYLOAD)
        self._out: list[bytes] = []
        self._numbers = count(1)
        self._calls: dict[int, Call] = {}
        self._running: dict[int, asyncio.Future[Any]] = {}
        self._tasks = TaskSet("link")
        self._aborted = False
        self.lost = False

    # What is said

    def call(self, method: str, *args: object, convert: Callable[[Any], Any] | None = None) -> Call:
        """Have the peer carry out a method.

        Args:
            method: which one.
            args: plain values.
            convert: makes something else of the result, in the moment in which it comes.

        Raises (from the future):
            BrokerError: the peer is gone.
            Exception: what the method has raised, see `unpack_error`.
        """
        number = next(self._numbers) & 0xFFFFFFFF
        call = Call(partial(self._withdraw, number), convert, self._loop)
        if self.lost:
            call.set_exception(BrokerError(DOWN))
        else:
            self._calls[number] = call
            self._write(encode_call(number, method, args))
        return call

    def tell(self, method: str, *args: object) -> None:
        """Have the peer carry out a method whose result nobody wants."""
        self._write(encode_tell(method, args))

    def push(self, broker: int, publications: Sequence[Publication]) -> None:
        """Write a batch of publications now: the turn is over."""
        self._out.append(encode_batch(broker, publications))
        self._flush()

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def pause_reading(self, paused: bool) -> None:
        """Look at nothing that comes, or go on."""
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self) -> None:
        """End the link; what was said is written."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the link now, also while it looks at nothing that comes."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        if len(self._out) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            out, self._out = self._out, []
            if not self.lost:
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _withdraw(self, number: int) -> None:
        if self._calls.pop(number, None) is not None and not self.lost:
            self._write(encode(_CANCEL, number))

    # What comes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it
        self._transport.set_write_buffer_limits(high=_HIGH)
        if self._aborted:
            self._transport.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what the peer has said."""
        if self._turn_end is None:
            self._take_all(data)
            return
        self._turn_end.held = True
        try:
            self._take_all(data)
        finally:
            self._turn_end.release()

    def _take_all(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        while (frame := self._decoder.next_frame()) is not None:
            try:
                self._take(*decode(frame))
            except Exception as error:
                # The event loop would close the link, and nobody makes another as long as both ends live.
                log.error("what another process has said was not carried out", exc_info=error)

    def _take(self, kind: int, number: int, value: Any) -> None:
        if kind == _BATCH:
            self._on_batch(number, value)
        elif kind == _RESULT:
            if (call := self._calls.pop(number, None)) is not None:
                call.take(value)
        elif kind == _ERROR:
            if (call := self._calls.pop(number, None)) is not None and not call.done():
                call.set_exception(unpack_error(value))
        elif kind == _CALL:
            self._carry_out(number, *value)
        elif kind == _CANCEL:
            if (running := self._running.pop(number, None)) is not None:
                running.cancel()
        else:
            method, *args = value
            result = self._handlers[method](*args)
            if inspect.iscoroutine(result):
                self._tasks.spawn(result)

    def pause_writing(self) -> None:
        """The peer does not take what is written."""
        if self._on_full is not None:
            self._on_full(True)

    def resume_writing(self) -> None:
        """It has."""
        if self._on_full is not None:
            self._on_full(False)

    def connection_lost(self, error: Exception | None) -> None:
        """The peer is gone: fail what waits for it, and withdraw what it waits for."""
        self.lost = True
        self._out.clear()
        calls, self._calls = self._calls, {}
        running, self._running = self._running, {}
        for call in calls.values():
            if not call.done():
                call.set_exception(BrokerError(DOWN))
                call.exception()  # who has asked may be gone, too
        for future in running.values():
            future.cancel()
        self._on_lost()

    def _carry_out(self, number: int, method: str, *args: Any) -> None:
        try:
            result = self._handlers[method](*args)
        except Exception as error:
            self._refuse(number, error)
            return
        if inspect.iscoroutine(result):
            self._running[number] = self._tasks.spawn(self._wait_for(number, result))
        elif hasattr(result, "__await__"):
            self._running[number] = result
            result.add_done_callback(partial(self._settle, number))
        else:
            self._write(encode(_RESULT, number, result))

    async def _wait_for(self, number: int, result: Any) -> None:
        # The result is written in the very moment in which it is there, not in a later turn of the loop: its
        # place among the publications matters.
        try:
            self._write(encode(_RESULT, number, await result))
        except Exception as error:
            self._refuse(number, error)
        finally:
            self._running.pop(number, None)

    def _settle(self, number: int, done: asyncio.Future[Any]) -> None:
        self._running.pop(number, None)
        if done.cancelled() or self.lost:
            return
        if (error := done.exception()) is None:
            self._write(encode(_RESULT, number, done.result()))
        else:
            self._refuse(number, error)

    def _refuse(self, number: int, error: BaseException) -> None:
        if not isinstance(error, BrokerError | WorkerError | TimeoutError):  # a mistake in this program
            log.error("a call of another process failed", exc_info=error)
        self._write(encode_error(number, error))
