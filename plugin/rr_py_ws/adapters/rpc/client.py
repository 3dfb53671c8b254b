"""A small RPC client: what the CLI speaks to a running server with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Self, cast

import orjson

from rr_py_ws.adapters.net.listen import describe_os_error
from rr_py_ws.address import UnixAddress, parse_dsn
from rr_py_ws.errors import ProtocolError, RPCError
from rr_py_ws.wire.goridge import DEFAULT_MAX_PAYLOAD, Flag, FrameDecoder
from rr_py_ws.wire.publish import Message, decode_ok, encode_broadcast
from rr_py_ws.wire.rpc import Reply, encode_request, parse_reply


class RPCClient:
    """One connection, made with `connect`; any number of calls may be in flight."""

    def __init__(self, address: str, peer: _Peer) -> None:
        self._address = address
        self._peer = peer
        self._sequence = 0

    @classmethod
    async def connect(
        cls, dsn: str, *, timeout: float = 5.0, max_payload: int = DEFAULT_MAX_PAYLOAD
    ) -> RPCClient:
        """Connect to `tcp://host:port` or `unix://path`.

        Args:
            dsn: the address.
            timeout: seconds for the connection to be made.
            max_payload: bytes in one reply.

        Raises:
            RPCError: no connection; the text names the address.
        """
        try:
            address = parse_dsn(dsn)
        except ValueError as error:
            raise RPCError(str(error)) from None
        loop = asyncio.get_running_loop()
        peer = _Peer(max_payload)
        try:
            async with asyncio.timeout(timeout):
                if isinstance(address, UnixAddress):
                    await loop.create_unix_connection(lambda: peer, address.path)
                else:
                    await loop.create_connection(lambda: peer, address.host or "127.0.0.1", address.port)
        except TimeoutError:
            raise RPCError(f"cannot connect to {address.dsn}: no answer in {timeout:g} s") from None
        except OSError as error:
            raise RPCError(f"cannot connect to {address.dsn}: {describe_os_error(error)}") from error
        return cls(address.dsn, peer)

    async def call(
        self, method: str, body: bytes, codec: Flag = Flag.JSON, *, timeout: float | None = None
    ) -> bytes:
        """Make a call with an encoded argument and return the encoded result.

        Cancelling it does not stop the server from carrying it out.

        Raises:
            RPCError: the server answered with an error (its text as it is), or did not answer.
        """
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        waiting = self._peer.send(self._sequence, encode_request(self._sequence, method, body, codec))
        try:
            async with asyncio.timeout(timeout):
                reply = await waiting
        except TimeoutError:
            raise RPCError(f"{self._address}: no answer to {method} in {timeout:g} s") from None
        except ConnectionError as error:
            raise RPCError(f"{self._address}: {error}") from error
        if reply.failed:
            raise RPCError(reply.body.decode("utf-8", "replace"))
        return reply.body

    async def call_json(self, method: str, argument: Any, *, timeout: float | None = None) -> Any:
        """Make a call with the JSON codec and return the decoded result.

        Raises:
            RPCError: as `call`, or the result is no JSON.
        """
        body = await self.call(method, orjson.dumps(argument), Flag.JSON, timeout=timeout)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RPCError(f"{self._address}: the result of {method} is no JSON: {error}") from error

    async def publish(self, messages: Iterable[Message], *, timeout: float | None = None) -> None:
        """Publish by `broadcast.Publish`; returns when the broker has accepted the messages.

        Raises:
            RPCError: as `call`, or the server did not accept them.
        """
        body = await self.call("broadcast.Publish", encode_broadcast(messages), Flag.PROTO, timeout=timeout)
        if not decode_ok(body):
            raise RPCError(f"{self._address}: the messages were not accepted")

    async def close(self) -> None:
        """Close the connection; calls in flight fail."""
        await self._peer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Peer(asyncio.Protocol):
    """The server, as the client sees it: matches replies to calls by sequence number."""

    def __init__(self, max_payload: int) -> None:
        self._decoder = FrameDecoder(max_payload)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._transport: asyncio.Transport
        self._closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionError(str(error) if error else "the server closed the connection"))
        self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        try:
            while (frame := self._decoder.next_frame()) is not None:
                reply = parse_reply(frame)
                future = self._waiting.pop(reply.sequence, None)
                if future is not None and not future.done():
                    future.set_result(reply)
        except ProtocolError as error:
            self._fail(ConnectionError(f"the answer is no RPC frame: {error}"))
            self._transport.abort()

    def send(self, sequence: int, frame: bytes) -> asyncio.Future[Reply]:
        future = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            future.set_exception(ConnectionError("the connection is closed"))
        else:
            self._waiting[sequence] = future
            self._transport.write(frame)
        return future

    async def close(self) -> None:
        self._transport.close()
        await asyncio.shield(self._closed)

    def _fail(self, error: ConnectionError) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
