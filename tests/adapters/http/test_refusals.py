"""What refused clients make the server hold: the size of an answer, and all answers together."""

from __future__ import annotations

import ssl

from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.wire.verdict import Verdict
from support.http_site import Site, Start, get
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import Client

pytestmark = both_loops


async def refused(site: Site, body: bytes, tls: ssl.SSLContext | None = None) -> Client:
    """A client that does not read its refusal."""
    count = len(site.held)
    client = await site.send(get("/held"), receive_buffer=1, tls=tls)
    await eventually(lambda: len(site.held) > count)
    site.held[-1].refuse("authorization", Verdict(403, (), body))
    return client


async def test_of_an_answer_that_is_too_large_only_the_status_is_passed_on(start: Start) -> None:
    site = await start(limits={"max_refusal_size": 1000})
    for verdict, expected in (
        (Verdict(403, (("X-A", "1"),), b"x" * 996), b"x" * 996),
        (Verdict(403, (("X-A", "1"),), b"x" * 997), b""),
        (Verdict(403, (("X-A", "x" * 998),)), b""),
    ):
        client = await site.send(get("/held"))
        await eventually(lambda: site.held)
        site.held.pop().refuse("authorization", verdict)
        response = await client.response()
        assert (response.status, response.body) == (403, expected)
        assert response.header("Content-Length") == [str(len(expected))]
        assert bool(response.header("X-A")) is bool(expected)


async def test_who_was_refused_first_is_cut_when_all_answers_together_are_too_much(start: Start) -> None:
    site = await start(limits={"refusal_memory": 100_000, "max_refusal_size": 50_000})
    clients = [await refused(site, b"x" * 40_000) for _ in range(2)]
    assert 80_000 < site.sample("refusal_bytes") < 81_000
    clients.append(await refused(site, b"x" * 40_000))
    assert site.sample("refusals_cut") == 1
    assert 80_000 < site.sample("refusal_bytes") < 81_000
    await clients[0].ended()
    for client in clients[1:]:
        response = await client.response()
        assert response.body == b"x" * 40_000
    await eventually(lambda: site.sample("refusal_bytes") == 0)


async def test_equal_answers_are_held_once(start: Start) -> None:
    site = await start()
    clients = [await refused(site, b"x" * 40_000) for _ in range(2)]
    other = await refused(site, b"y" * 40_000)
    unread = site.listener.unread
    response = unread.share(bytes(bytearray(unread._last)))
    assert response is unread._last
    assert response.endswith(b"y" * 40_000)
    for client in (*clients, other):
        assert len((await client.response()).body) == 40_000
    await eventually(lambda: site.sample("refusal_bytes") == 0)
    assert unread._last == b""


async def test_tls_the_same(start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """What a TLS transport holds cannot be seen, so an answer counts until its connection is closed."""
    site = await start(limits={"refusal_memory": 60_000}, tls=server_tls)
    for _ in range(5):
        await refused(site, b"x" * 40_000, client_tls)
    assert site.sample("refusals_cut") == 4
    await eventually(lambda: site.sockets() == 1)


async def test_an_answer_larger_than_everything_is_cut_itself(start: Start) -> None:
    site = await start(limits={"refusal_memory": 10})
    client = await site.send(get("/nowhere"))
    await client.ended()
    assert (site.sample("refusals_cut"), site.sample("refusal_bytes")) == (1, 0)


async def test_a_refused_connection_does_not_keep_its_request(start: Start) -> None:
    """It may stay for `close_timeout`, and a request may be large."""
    site = await start()
    client = await site.send(get("/held"))
    await eventually(lambda: site.held)
    connection: HTTPConnection = site.held[0]
    connection.refuse("authorization", Verdict(403))
    assert not hasattr(connection, "request")
    await client.response()
