"""Pages of all clients together have a part of each turn of the event loop; what clients send ahead waits.

Twenty connections that sent requests for a file one behind the other kept everybody else for a tenth of a
second. What is counted here is work for each turn, not time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rr_py_ws.adapters.http.exchange import Exchange
from support.http_site import Site, get
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import Client

CLIENTS = 20
REQUESTS = 40
PIECE = 64 * 1024


@contextmanager
def most_in_a_turn(count: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Yield a function that tells by how much a number has grown at most in one turn of the event loop."""
    loop, before, most = asyncio.get_running_loop(), count(), 0

    def look() -> None:
        nonlocal before, most, next_look
        now = count()
        before, most = now, max(most, now - before)
        next_look = loop.call_soon(look)

    next_look = loop.call_soon(look)
    yield lambda: most
    next_look.cancel()


async def flood(site: Site, data: bytes) -> list[Client]:
    """Send the same from many clients, who take what comes."""
    clients = [await site.connect() for _ in range(CLIENTS)]
    await asyncio.gather(*(client.send(data) for client in clients))
    return clients


@both_loops
async def test_few_requests_are_begun_in_a_turn(site: Site) -> None:
    async def small(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    site.serve(small)
    exchanges = site.listener.pages
    assert exchanges is not None
    with most_in_a_turn(lambda: exchanges.begun) as most:
        await flood(site, get("/") * REQUESTS)
        await eventually(lambda: exchanges.begun == CLIENTS * REQUESTS)
    assert most() <= 9


@both_loops
async def test_few_pieces_of_answers_are_written_in_a_turn(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    write = Exchange.write

    def count(exchange: Exchange, data: bytes) -> None:
        nonlocal written
        written += len(data)
        write(exchange, data)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4):
            await send({"type": "http.response.body", "body": bytes(PIECE), "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(Exchange, "write", count)
    site.serve(large)
    with most_in_a_turn(lambda: written) as most:
        clients = await flood(site, get("/") * 2)
        await asyncio.gather(*(client.exactly(2 * 4 * PIECE) for client in clients))
    assert most() < 6 * PIECE


@both_loops
async def test_few_chunks_of_bodies_are_looked_at_in_a_turn(site: Site) -> None:
    taken = 0

    async def takes(scope: Any, receive: Any, send: Any) -> None:
        nonlocal taken
        more = True
        while more:
            message = await receive()
            taken += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    site.serve(takes)
    head = get("/", "Transfer-Encoding: chunked", method="POST")
    with most_in_a_turn(lambda: taken) as most:
        await flood(site, head + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n")
        await eventually(lambda: taken == 5000 * CLIENTS)
    assert most() < 4000


@both_loops
async def test_requests_that_wait_for_their_turn_are_not_read_ahead(site: Site) -> None:
    """Each request that was answered had brought a read of 256 KiB more: a client could hold any amount."""
    listener = site.listener
    most = 0

    async def small(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        most = max(most, *(len(connection._buffer) for connection in listener._connections))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    site.serve(small)
    request = get("/", f"X-Long: {'x' * 7000}")
    clients = [await site.connect() for _ in range(CLIENTS)]
    count = 150
    sending = [asyncio.create_task(client.send(request * count)) for client in clients]
    reading = [asyncio.create_task(client.rest()) for client in clients]
    exchanges = listener.pages
    assert exchanges is not None
    await eventually(lambda: exchanges.begun == CLIENTS * count)
    assert most < 512 * 1024
    for task in (*sending, *reading):
        task.cancel()
