"""RoadRunner's RPC behind ours (`websockets.rpc.forward`): calls go there, answers come back.

All publishers share one connection. Measured with 64 PHP processes, one call each in flight, a connection for
each of them costs half as much CPU time again (27 to 44 us for a call with one, 43 to 69 with 64), because
what arrives together is then read and written one by one; and PHP that lives for one page would open another
connection for each page. RoadRunner carries out the calls of one connection side by side, so nobody waits for
the call of another, but for the bytes of a very large one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import orjson

from rr_py_ws import logs
from rr_py_ws.adapters.net.deadline import timeout
from rr_py_ws.adapters.net.listen import describe_os_error
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.adapters.rpc.metrics import ForwardMetrics
from rr_py_ws.adapters.rpc.neighbour import GiveBack
from rr_py_ws.adapters.rpc.turns import CallTurns
from rr_py_ws.adapters.rpc.upstream import Upstream
from rr_py_ws.address import UnixAddress, parse_dsn
from rr_py_ws.config import Limits
from rr_py_ws.core.backoff import Backoff
from rr_py_ws.core.hold import Gate
from rr_py_ws.errors import ConfigError, ProtocolError, RPCError
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.goridge import Flag, Frame, FrameDecoder
from rr_py_ws.wire.rpc import encode_reply, parse_reply, parse_request

KEY = "websockets.rpc.forward"

_CONNECT_TIMEOUT = 3.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_ANSWER_TIMEOUT = 1.0
"""Seconds that a call of our own waits: `informer.List` is answered without RoadRunner rather than late."""
_SILENCE = 5.0
"""Seconds without a byte, while calls are under way, after which it is asked whether it is there."""
_KEEPALIVE = 15
"""Seconds without a sign of life after which the kernel asks for one, and until it asks again: as Go does."""
_UNACKNOWLEDGED = 60_000
"""Milliseconds after which the kernel gives up a machine that does not take what is sent to it."""

_HERE = "the call has come back"
"""The answer to the probe, see `Forward._connect`."""

_limited = logs.get_limited("rpc")


class _ComesBack(Exception):
    """The server that calls are sent on to sends them back."""


class Forward:
    """RoadRunner's RPC: connected as long as it is there, and connected again when it was away.

    Args:
        dsn: `tcp://host:port` or `unix://path`.
        limits: here it is `rpc_payload`, bytes in one answer, and `rpc_frame_timeout`, for half an answer.
        turns: what calls may do in one turn of the loop; answers are charged to it.

    Attributes:
        limits: the same; others count from the next connection on.

    Raises:
        ConfigError: the DSN is not an address.
    """

    def __init__(self, dsn: str, limits: Limits, turns: CallTurns) -> None:
        try:
            self._address = parse_dsn(dsn)
        except ValueError as error:
            raise ConfigError(KEY, str(error)) from None
        self.limits = limits
        self._turns = turns
        self._name = f"{KEY}: RoadRunner at {self._address.dsn}"
        self._upstream: Upstream | None = None
        self._probe = b"rr_py_ws.%b" % token_hex(8).encode()
        self._problem = "not connected yet"
        self._logged = ""
        self._tasks = TaskSet("rpc")
        self._attempted = asyncio.Event()
        self._counters = ForwardMetrics()

    async def start(self) -> None:
        """Connect; return when that was tried once. RoadRunner may be away."""
        self._tasks.spawn(self._run())
        await self._attempted.wait()

    async def close(self) -> None:
        """End; calls in flight fail."""
        await self._tasks.cancel()
        upstream, self._upstream, self._problem = self._upstream, None, "this server stops"
        if upstream is not None:
            upstream.close(self._problem)
            await upstream.lost

    def answer(self, frame: Frame, give_back: GiveBack, *, may_wait: bool) -> Gate | None:
        """Send a call on; see `Neighbour`."""
        if frame.payload.startswith(self._probe):
            give_back(encode_reply(parse_request(frame), orjson.dumps(_HERE)))
            return None
        upstream = self._connected()
        if upstream.full.active:
            if may_wait:
                return upstream.full
            self._counters.failed["full"] += 1
            raise RPCError(f"{self._name} takes no more calls at the moment")
        upstream.send(frame, give_back)
        return None

    async def ask(self, method: str, argument: Any, *, timely: bool = True) -> Any:
        """Make a call of our own; see `Neighbour`."""
        reply = self._call(self._connected(), method.encode(), orjson.dumps(argument))
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT if timely else None):
                return self._decode(await reply, method)
        except TimeoutError:
            raise RPCError(f"{self._name}: no answer to {method} in {_ANSWER_TIMEOUT:g} s") from None

    def metrics(self) -> Iterator[Sample]:
        """Yield what is sent on, and what is under way now."""
        yield from self._counters.metrics()
        upstream = self._upstream
        running, unsent = (upstream.running, upstream.unsent) if upstream else (0, 0)
        yield gauge("rpc_forward_connected", "Whether RoadRunner's RPC is connected.", int(bool(upstream)))
        yield gauge("rpc_forward_running", "RPC calls that RoadRunner has not answered.", running)
        yield gauge("rpc_forward_unsent_bytes", "Bytes of calls that RoadRunner has not taken.", unsent)

    def _connected(self) -> Upstream:
        """Return the connection.

        Raises:
            RPCError: there is none.
        """
        if self._upstream is None:
            self._counters.failed["away"] += 1
            raise RPCError(f"{self._name} is away: {self._problem}")
        return self._upstream

    @staticmethod
    def _call(upstream: Upstream, method: bytes, argument: bytes) -> asyncio.Future[bytes]:
        """Make a call with JSON; its answer is a whole frame."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def give_back(reply: bytes | Exception) -> None:
            if answer.done():  # it was not waited for any longer
                return
            if isinstance(reply, bytes):
                answer.set_result(reply)
            else:
                answer.set_exception(reply)

        upstream.send(Frame(Flag.JSON, (0, len(method)), method + argument), give_back)
        return answer

    def _decode(self, reply: bytes, method: str) -> Any:
        """Read the answer to a call of our own.

        Raises:
            RPCError: it is an error, or cannot be read.
        """
        decoder = FrameDecoder(len(reply))
        decoder.receive_data(reply)
        frame = decoder.next_frame()
        assert frame is not None
        try:
            _, result, failed = parse_reply(frame)
        except ProtocolError as error:
            raise RPCError(f"{self._name}: the answer to {method} cannot be read: {error}") from error
        if failed:
            raise RPCError(result.decode("utf-8", "replace"))
        try:
            return orjson.loads(result)
        except orjson.JSONDecodeError as error:
            raise RPCError(f"{self._name}: the answer to {method} is no JSON: {error}") from error

    # From one connection to the next

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    upstream = await self._connect()
            except TimeoutError:
                self._away(f"no connection, or no answer on it, in {_CONNECT_TIMEOUT:g} s")
            except _ComesBack:
                self._away(
                    "calls come back from there, each of the two has the other as websockets.rpc.forward"
                )
            # UnicodeError: asyncio does not take any text for a host name.
            except (OSError, UnicodeError) as error:
                self._away(describe_os_error(error))
            else:
                self._upstream, began = upstream, loop.time()
                self._counters.connects += 1
                self._logged = ""
                _limited.info("roadrunner's rpc connected", address=self._address.dsn)
                self._attempted.set()
                self._away(await self._until_lost(upstream))  # who cancels this closes it
                # A server that lets everybody in and closes at once is a failing one.
                if loop.time() - began > _LONGEST_PAUSE:
                    backoff.reset()
            await asyncio.sleep(backoff.next_pause())

    async def _connect(self) -> Upstream:
        """Connect, and see whether calls come back from there: they would go round and round.

        RoadRunner does not know the method of the probe. A server like this one sends the call on, and only
        this one answers it, however many there are in between.
        """
        upstream = await self._open()
        try:
            reply = await self._call(upstream, self._probe, b"null")
            if self._decode(reply, self._probe.decode()) == _HERE:
                raise _ComesBack
        except RPCError:
            return upstream
        except BaseException:
            upstream.close("not used")
            raise
        return upstream

    async def _until_lost(self, upstream: Upstream) -> str:
        """Wait until a connection is gone; return why.

        A call may take long. A RoadRunner that meanwhile does not say either that it does not know the probe
        stands still: waiting for it would keep publishers for ever.
        """
        while True:
            before = upstream.arrived, upstream.unsent
            done, _ = await asyncio.wait([upstream.lost], timeout=_SILENCE)
            if done:
                return upstream.lost.result()
            if not upstream.running or (upstream.arrived, upstream.unsent) != before:
                continue
            try:
                async with timeout(_CONNECT_TIMEOUT):
                    await self._call(upstream, self._probe, b"null")
            except RPCError:  # the answer, or the end of the connection
                pass
            except TimeoutError:
                upstream.close("it answers nothing, not even what is asked to see whether it is there")

    async def _open(self) -> Upstream:
        loop = asyncio.get_running_loop()
        limits = self.limits

        def make() -> Upstream:
            timeout = limits.rpc_frame_timeout
            return Upstream(self._name, self._turns, limits.rpc_payload, timeout, self._counters)

        if isinstance(self._address, UnixAddress):
            _, upstream = await loop.create_unix_connection(make, self._address.path)
            return upstream
        # An empty host, which listens on all addresses, is no address to connect to.
        transport, upstream = await loop.create_connection(
            make, self._address.host or "127.0.0.1", self._address.port
        )
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
        return upstream

    def _away(self, reason: str) -> None:
        """Take note that there is no connection; log that once in an outage, and each other reason."""
        self._upstream, self._problem = None, reason
        self._attempted.set()
        if reason != self._logged:
            self._logged = reason
            text = "roadrunner's rpc is away, its calls fail; trying again"
            _limited.warning(text, key=KEY, address=self._address.dsn, reason=reason)
