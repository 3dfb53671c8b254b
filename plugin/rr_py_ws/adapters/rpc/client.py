"""A small RPC client: the commands of the CLI speak to a running server with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Self, cast

import orjson

from rr_py_ws.adapters.net.listen import describe_os_error
from rr_py_ws.address import UnixAddress, parse_dsn
from rr_py_ws.errors import ProtocolError, RPCError
from rr_py_ws.wire.goridge import DEFAULT_MAX_PAYLOAD, Flag, FrameDecoder
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import decode_ok, encode_broadcast
from rr_py_ws.wire.rpc import encode_request, parse_reply


class RPCClient(asyncio.Protocol):
    """One connection, made with `connect`; any number of calls may be in flight.

    Replies are matched to calls by their sequence numbers.
    """

    def __init__(self, address: str, max_payload: int) -> None:
        self._address = address
        self._decoder = FrameDecoder(max_payload)
        self._transport: asyncio.Transport
        self._sequence = 0
        self._waiting: dict[int, asyncio.Future[tuple[bytes, bool]]] = {}
        self._closed = asyncio.get_running_loop().create_future()

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
        client = cls(address.dsn, max_payload)
        try:
            async with asyncio.timeout(timeout):
                if isinstance(address, UnixAddress):
                    await loop.create_unix_connection(lambda: client, address.path)
                else:
                    # An empty host, which listens on all addresses, is no address to connect to.
                    await loop.create_connection(lambda: client, address.host or "127.0.0.1", address.port)
        except TimeoutError:
            raise RPCError(f"cannot connect to {address.dsn}: no answer in {timeout:g} s") from None
        except OSError as error:
            raise RPCError(f"cannot connect to {address.dsn}: {describe_os_error(error)}") from error
        return client

    async def call(
        self, method: str, body: bytes, codec: Flag = Flag.JSON, *, timeout: float | None = None
    ) -> bytes:
        """Make a call with an encoded argument and return the encoded result.

        Cancelling it does not stop the server from carrying it out.

        Raises:
            RPCError: the server answered with an error (its text as it is), or did not answer.
        """
        if self._transport.is_closing():
            raise RPCError(f"{self._address}: the connection is closed")
        # 32 bits in the frame, and 0 is skipped.
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        waiting: asyncio.Future[tuple[bytes, bool]] = asyncio.get_running_loop().create_future()
        self._waiting[self._sequence] = waiting
        self._transport.write(encode_request(self._sequence, method, body, codec))
        try:
            async with asyncio.timeout(timeout):
                result, failed = await waiting
        except TimeoutError:
            raise RPCError(f"{self._address}: no answer to {method} in {timeout:g} s") from None
        except ConnectionError as error:
            raise RPCError(f"{self._address}: {error}") from error
        if failed:
            raise RPCError(result.decode("utf-8", "replace"))
        return result

    async def call_json(self, method: str, argument: Any, *, timeout: float | None = None) -> Any:
        """Make a call with the JSON codec and return the decoded result.

        Raises:
            RPCError: as `call`, or the result is not JSON.
        """
        body = await self.call(method, orjson.dumps(argument), Flag.JSON, timeout=timeout)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RPCError(f"{self._address}: the result of {method} is not JSON: {error}") from error

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
        self._transport.close()
        # Shielded: cancelling one caller of `close` must not cancel the future of all.
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the calls in flight."""
        self._fail(ConnectionError(str(error) if error else "the server closed the connection"))
        self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Give replies to the calls that wait for them."""
        self._decoder.receive_data(data)
        try:
            while (frame := self._decoder.next_frame()) is not None:
                sequence, result, failed = parse_reply(frame)
                future = self._waiting.pop(sequence, None)
                if future is not None and not future.done():  # its call may have been cancelled
                    future.set_result((result, failed))
        except ProtocolError as error:
            self._fail(ConnectionError(f"the answer is not an RPC frame: {error}"))
            # Where the next frame begins is unknown.
            self._transport.abort()

    def _fail(self, error: ConnectionError) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
