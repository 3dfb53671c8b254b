"""A small HTTP listener for a page that operators read."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rr_py_ws import logs
from rr_py_ws.errors import ConfigError

_BACKLOG = 128
_LIFE = 10.0
"""Seconds that a peer has for its request and for taking the answer; then the connection is cut."""
_LARGEST_REQUEST = 64 * 1024

_log = logs.get_logger("app")


class OpsServer:
    """Serves one page on one address, in the event loop of the caller. No authentication: keep it private.

    Each connection carries one request.

    Args:
        page: the ASGI application.
        address: `host:port`; an empty host means all IPv4 addresses, port 0 any free one.
        key: the configuration key that the address comes from, for error texts.

    Attributes:
        key: the same.
    """

    def __init__(self, page: ASGIApp, address: str, *, key: str) -> None:
        self._address = address
        self.key = key
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                page,
                http=_Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                backlog=_BACKLOG,
                log_config=None,
                log_level=logging.ERROR,  # below it is what any peer can trigger
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                headers=[("connection", "close")],
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The address in use; after `start` with the real port."""
        return self._address

    async def start(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Listen.

        Args:
            inherited: sockets that listen already; used instead of binding the address.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listeners = list(inherited) or [await self._listen()]
        host, port = listeners[0].getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._serving = asyncio.create_task(self._uvicorn.serve(listeners))
        while not self._uvicorn.started and not self._serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        _log.info("monitoring listener was started", key=self.key, address=self._address)

    async def stop(self, timeout: float) -> None:
        """Stop listening, finish what is being answered. Safe without `start`.

        Args:
            timeout: seconds; peers that have not taken their answer by then are cut.
        """
        if self._serving is None:
            return
        self._uvicorn.stopping.set()
        await asyncio.wait([self._serving], timeout=timeout)
        self._uvicorn.force_exit = True
        for connection in tuple(self._uvicorn.server_state.connections):
            connection.transport.abort()
        await asyncio.wait([self._serving])

    async def _listen(self) -> socket.socket:
        host, _, port = self._address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        try:
            [found, *_] = await asyncio.get_running_loop().getaddrinfo(
                host.strip("[]") or "0.0.0.0", port, family=family, type=socket.SOCK_STREAM
            )
            return socket.create_server(found[4][:2], family=family, backlog=_BACKLOG)
        except (OSError, UnicodeError) as error:
            errno = getattr(error, "errno", None)
            problem = os.strerror(errno) if errno and errno > 0 else str(error)
            raise ConfigError(self.key, f"cannot listen on {self._address}: {problem}") from error


class _Uvicorn(uvicorn.Server):
    """Runs as a part of a program: it leaves signals alone, and sleeps until it is told to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end; the original looks ten times a second."""
        await self.on_tick(0)
        await self.stopping.wait()


class _Connection(HttpToolsProtocol):
    """A connection that ends in time, whatever the peer does; uvicorn itself waits for a request for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        super().connection_made(cast(asyncio.Transport, transport))  # uvloop's is none by inheritance
        self._end = self.loop.call_later(_LIFE, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take some of the request, which has a limit in all."""
        self._received += len(data)
        if self._received > _LARGEST_REQUEST:
            self.transport.abort()
        else:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the peer."""
        self._end.cancel()
        super().connection_lost(error)
