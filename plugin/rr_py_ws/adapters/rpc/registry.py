"""The table of RPC methods, and calls to it.

A handler is called with the codec and the encoded argument, and answers "now or later": it returns the
encoded result, or an awaitable of it. It raises `RPCError` with the text for the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from rr_py_ws.adapters.rpc.stats import RPCStats
from rr_py_ws.errors import RPCError
from rr_py_ws.metrics import Sample, gauge
from rr_py_ws.wire.goridge import Flag

Handler = Callable[[Flag, bytes], bytes | Awaitable[bytes]]


class Services:
    """Methods by full name; any number of servers may share one table.

    Attributes:
        running: everything that was begun and is not finished. A server that stops waits for it.
        stats: of all servers.
    """

    def __init__(self) -> None:
        self._methods: dict[bytes, Handler] = {}
        self._names: set[bytes] = set()
        self.running: set[asyncio.Future[Any]] = set()
        self.stats = RPCStats()

    def add(self, service: str, methods: Mapping[str, Handler]) -> None:
        """Offer methods as `service.Method`. Names are case-sensitive."""
        self._names.add(service.encode())
        for name, handler in methods.items():
            method = f"{service}.{name}".encode()
            self._methods[method] = handler
            self.stats.add_method(method)

    def metrics(self) -> Iterator[Sample]:
        """See `metrics.MetricSource`."""
        yield from self.stats.metrics()
        yield gauge("rpc_calls_running", "RPC calls that are not answered yet.", len(self.running))

    def call(self, method: bytes, codec: Flag, body: bytes) -> bytes | Awaitable[bytes]:
        """Call a method.

        Raises (now, or from the awaitable):
            RPCError: there is no such method, or it failed.
        """
        handler = self._methods.get(method)
        if handler is None:
            raise RPCError(self._missing(method))
        return handler(codec, body)

    def run(self, waiting: Awaitable[Any], done: Callable[[asyncio.Future[Any]], object]) -> None:
        """Let something go on by itself; call `done` with its future when it has ended, however it did."""
        future = asyncio.ensure_future(waiting)
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        future.add_done_callback(done)

    def _missing(self, method: bytes) -> str:
        """The text of Go's net/rpc; applications match on it."""
        name = method.decode("utf-8", "surrogateescape")
        service, dot, _ = method.rpartition(b".")
        if not dot:
            return f"rpc: service/method request ill-formed: {name}"
        return f"rpc: can't find {'method' if service in self._names else 'service'} {name}"
