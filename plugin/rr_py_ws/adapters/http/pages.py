"""Requests that an ASGI application answers: one after the other on each connection.

A page borrows its connection: `HTTPConnection` reads the head, an `Exchange` brings the body and sends the
answer, and then the connection reads the next head, by the same rules and within the same limits as the first
one. So a later request may be for the handler of a path, such as a WebSocket, and whatever follows a request
waits in the socket until that request is answered and the answer is with the kernel. uvicorn's protocol would
read ahead, and knows neither these rules nor a time limit.

A client that goes away cancels the application. So an application that waits for nothing but its work need
not listen for `http.disconnect`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from rr_py_ws.adapters.http.exchange import Exchange
from rr_py_ws.adapters.net.timeout_queue import TimeoutQueue
from rr_py_ws.adapters.net.turns import Turns
from rr_py_ws.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from rr_py_ws.adapters.http.connection import HTTPConnection

TURN = 256 * 1024
"""What all exchanges together may do in a turn of the event loop: bytes that they write, and so many more for
each time that they write, or look at chunks, that it is about a millisecond."""


class Exchanges:
    """Has an application answer requests; what all exchanges of a listener have in common.

    Args:
        app: the application.
        timeout: seconds that a client may send nothing, or take nothing, of what is due.

    Attributes:
        app: the same.
        loop: the event loop.
        waiting: exchanges whose client is waited for.
        turns: the work of all exchanges.
        under_way: exchanges whose application is not done.
        begun: how many there were.
        abandoned: how many had no client any more before their end.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self.app = app
        self.loop = asyncio.get_running_loop()
        self.waiting = TimeoutQueue[Exchange](timeout, Exchange.cut)
        self.turns = Turns(TURN)
        self.under_way: set[Exchange] = set()
        self.begun = 0
        self.abandoned = 0

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return len(self.under_way)

    def exchange(self, connection: HTTPConnection) -> Exchange:
        """Make the exchange for the request of a connection in the state SERVING."""
        self.begun += 1
        exchange = Exchange(connection, self)
        self.under_way.add(exchange)
        return exchange

    def reload(self, timeout: float) -> None:
        """Give clients another time."""
        self.waiting.change(timeout)

    def metrics(self) -> Iterator[Sample]:
        """Read what is counted; see `metrics.MetricSource`."""
        yield counter("page_requests", "Requests for pages.", self.begun)
        yield gauge("page_requests_running", "Requests for pages that are being answered.", self.running)
        yield counter("page_requests_abandoned", "Clients that went away before the end.", self.abandoned)

    async def stop(self) -> None:
        """End what is left; the connections are closed."""
        self.waiting.stop()
        tasks = [exchange.task for exchange in self.under_way if exchange.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
