"""How many connections there may be, and what becomes of the others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from random import Random

import pytest

from rr_py_ws.adapters.http import limiter
from rr_py_ws.wire.verdict import Verdict
from support.http_site import Echo, Site, Start, get
from support.loops import both_loops
from support.standstill import stand_still
from support.waiting import eventually
from support.ws_peer import Client, SecureClient


async def rejected(site: Site, *headers: str) -> int:
    """The status of a rejection."""
    status, fields, _ = await site.ask(get("/echo", *headers))
    assert 2 <= int(fields["retry-after"]) <= 6
    return status


# All connections


async def test_over_max_connections_the_answer_is_503(start: Start) -> None:
    site = await start(max_connections=3)
    clients = [await site.echo() for _ in range(3)]
    for number in range(1, 4):
        status, _, body = await site.ask(b"")  # it need not even say what it wants
        assert (status, body) == (503, b"too many connections")
        assert site.sample("handshakes_refused", "connections") == number
    assert site.sample("places") == site.sample("places_taken") == 3
    for client in clients:
        await client.send(b"x")
        assert await client.exactly(1) == b"x"


@both_loops
async def test_a_place_is_free_when_its_socket_is_closed_in_whatever_way(start: Start) -> None:
    site = await start(max_connections=1, limits={"head_timeout": 0.3})
    held = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    held.reset()
    await eventually(lambda: site.sample("places_taken") == 0)
    refused = await site.send(get("/other"))
    await refused.rest()
    assert site.sample("places_taken") == 1
    refused.close()
    await eventually(lambda: site.sample("places_taken") == 0)
    silent = await site.connect()
    assert await silent.rest() == b""
    await eventually(lambda: site.sample("places_taken") == 0)
    handed_over = await site.echo()
    assert len(site.listener) == 0
    assert await rejected(site) == 503
    handed_over.close()
    await eventually(lambda: site.sample("places_taken") == 0)
    await site.echo()


async def test_the_successor_keeps_the_place_until_it_releases_it(start: Start) -> None:
    """The socket is closed, and the successor has still something to do before it says so."""
    site = await start(max_connections=1, limits={"max_connections_per_address": 1})
    released: list[Echo] = []
    site.listener.release = released.append  # type: ignore[assignment,method-assign]
    client = await site.echo()
    client.close()
    await eventually(lambda: len(released) == 1)
    assert await rejected(site) == 503
    del site.listener.release  # type: ignore[method-assign]
    site.listener.release(released[0])
    assert site.sample("places_taken") == 0
    await site.echo()


async def test_rejected_connections_are_few_and_the_others_are_cut(start: Start) -> None:
    """A flood: nobody reads the refusals, nobody goes."""
    site = await start(max_connections=2, max_refusals=3)
    for _ in range(2):
        await site.echo()
    flood = [await site.connect() for _ in range(40)]
    await eventually(lambda: site.sample("connections_cut") == 37)
    await eventually(lambda: site.sockets() <= 2 + 3)
    ends = [await client.receive() for client in flood]
    assert sum(end.startswith(b"HTTP/1.1 503 ") for end in ends) == 3
    assert ends.count(b"") == 37
    for client in flood:
        client.close()
    await eventually(lambda: site.sockets() == 2)
    assert await rejected(site) == 503


async def test_a_rejected_connection_that_stays_is_cut_and_gives_no_place_back(start: Start) -> None:
    site = await start(max_connections=1, close_timeout=0.05)
    await site.echo()
    for _ in range(3):
        lingering = await site.connect()
        assert (await lingering.rest()).startswith(b"HTTP/1.1 503 ")
        await eventually(lambda: site.sockets() == 1)
        assert site.sample("places_taken") == 1


@both_loops
async def test_connections_that_say_nothing_are_cut_for_new_ones(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.0)
    site = await start(max_connections=3)
    silent = [await site.connect() for _ in range(3)]
    await silent[1].send(b"GET /echo")
    await eventually(lambda: site.sample("places_taken") == 3)
    for _ in range(3):
        await site.echo()
    for client in silent:
        await client.ended()
    assert site.sample("connections_cut") == 3
    assert site.sample("handshakes_refused", "connections") == 0
    assert await rejected(site) == 503
    assert site.sample("places_taken") == 3


async def test_after_a_standstill_who_has_sent_a_request_is_not_cut_for_new_ones(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request waits in the socket, and the newcomer may be looked at first."""
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.0)
    site = await start(max_connections=1)
    client, newcomer = await site.connect(), socket.socket()
    await eventually(lambda: site.sample("places_taken") == 1)

    def meanwhile() -> None:
        newcomer.connect(site.address)
        client._socket.send(get())

    with newcomer:
        await stand_still(0.01, meanwhile)
        assert await client.exactly(6) == b"hello\n"
    assert site.sample("connections_cut") == 0


async def test_refused_connections_that_do_not_go_are_cut_before_silent_ones(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.0)
    site = await start(max_connections=2)
    silent = await site.connect()
    await eventually(lambda: site.sample("places_taken") == 1)
    lingering = await site.send(get("/other"))
    await lingering.rest()
    await site.echo()
    await silent.send(get())
    assert await silent.exactly(6) == b"hello\n"


async def test_new_connections_do_not_push_out_one_that_has_only_just_come(start: Start) -> None:
    site = await start(max_connections=1)
    first = await site.connect()
    await eventually(lambda: site.sample("places_taken") == 1)
    assert await rejected(site) == 503
    await first.send(get())
    assert await first.exactly(6) == b"hello\n"


async def test_a_request_that_waits_for_its_handler_is_not_idle(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.0)
    site = await start(max_connections=1)
    held = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    assert await rejected(site) == 503
    Echo(site.listener, site.held[0])
    assert await held.exactly(6) == b"hello\n"


# By address


async def test_over_the_limit_of_an_address_the_answer_is_429(start: Start) -> None:
    site = await start(limits={"max_connections_per_address": 2})
    first, _ = await site.echo(), await site.echo()
    status, _, body = await site.ask(get())
    assert (status, body) == (429, b"too many connections from this address")
    assert site.sample("handshakes_refused", "address") == 1
    first.close()
    await eventually(lambda: site.sample("places_taken") == 1)
    await site.echo()


async def test_behind_a_trusted_proxy_the_clients_address_counts(start: Start) -> None:
    site = await start(limits={"max_connections_per_address": 1}, subnets=["127.0.0.0/8"])
    first = await site.echo("X-Forwarded-For: 10.0.0.1")
    await site.echo("X-Forwarded-For: 10.0.0.2")
    await site.echo("X-Forwarded-For: 2001:db8:1:2::1")
    assert await rejected(site, "X-Forwarded-For: 10.0.0.1") == 429
    assert await rejected(site, "X-Forwarded-For: 2001:db8:1:2:ffff::1") == 429
    for _ in range(3):  # without a client the proxy is nobody
        await site.echo()
    first.close()
    await eventually(lambda: site.sample("places_taken") == 5)
    await site.echo("X-Forwarded-For: 10.0.0.1")


@pytest.mark.parametrize("behind", [b"", b"x" * 20_000], ids=["", "with-much-behind-the-head"])
async def test_rejected_clients_of_a_proxy_are_few_too(start: Start, behind: bytes) -> None:
    site = await start(limits={"max_connections_per_address": 1}, subnets=["127.0.0.0/8"], max_refusals=2)
    await site.echo("X-Forwarded-For: 10.0.0.1")
    flood = [await site.connect() for _ in range(10)]
    for client in flood:
        await client.send(get("/echo", "X-Forwarded-For: 10.0.0.1") + behind)
    await eventually(lambda: site.sample("connections_cut") == 8)
    for client in flood:
        await client.ended()
        client.close()
    await eventually(lambda: site.sample("handshakes") == 0)
    assert site.sample("places_taken") == 1


async def test_an_address_that_nobody_has_any_more_is_forgotten(start: Start) -> None:
    site = await start(limits={"max_connections_per_address": 5}, subnets=["127.0.0.0/8"])
    for number in range(50):
        assert (await site.ask(get("/other", f"X-Forwarded-For: 10.0.0.{number}")))[0] == 404
    await eventually(lambda: site.sample("handshakes") == 0)
    assert not site.listener.limiter._by_network
    assert not site.listener.limiter._network_of


# TLS


@both_loops
async def test_tls_connections_count_before_they_are_secure(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls, max_connections=2)
    silent = [await site.connect() for _ in range(2)]
    await silent[1].send(b"\x16\x03\x01")
    await eventually(lambda: site.sample("places_taken") == 2)
    late = await site.connect(tls=client_tls)
    assert (await late.receive()).startswith(b"HTTP/1.1 503 ")
    late.close()
    silent[0].reset()
    await silent[1].send(b"not TLS at all" * 10)
    await silent[1].ended()
    await eventually(lambda: site.sample("places_taken") == 0)
    await site.echo(tls=client_tls)
    assert site.sample("places_taken") == 1


@both_loops
async def test_tls_connections_that_say_nothing_are_cut_for_new_ones(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.0)
    site = await start(tls=server_tls, max_connections=1)
    silent = await site.connect()
    await eventually(lambda: site.sample("places_taken") == 1)
    await site.echo(tls=client_tls)
    await silent.ended()


@both_loops
async def test_tls_a_connection_that_becomes_secure_while_it_is_cut_gives_its_place_back_once(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of its TLS handshake and its request are there already when the next one is accepted."""
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.0)
    site = await start(tls=server_tls, max_connections=1)
    first = SecureClient((await site.connect())._socket, client_tls)
    await first._again_and_again(first._tls.do_handshake)
    late = socket.create_connection(site.address)
    await first.send(get())
    await eventually(lambda: site.sample("connections_cut") == 1)
    late.close()
    first.close()
    await eventually(lambda: site.sample("places_taken") == 0)


# By chance

_CROWD = {"max_connections_per_address": 3, "head_timeout": 0.04}


class Crowd:
    """Clients that do something by chance, one thing at a time."""

    def __init__(self, site: Site, seed: int, tls: ssl.SSLContext | None) -> None:
        self.site = site
        self.chance = Random(seed)
        self.tls = tls

    async def act(self) -> None:
        """Let one do something; what then fails has failed because the server, or it, has closed before."""
        actions = [self.come, self.ask, self.ask, self.ask, self.talk, self.go, self.go, self.answer]
        with suppress(OSError):
            await self.chance.choice(actions)()
        await asyncio.sleep(self.chance.choice((0, 0, 0, 0, 0, 0.001, 0.01)))

    def somebody(self) -> Client:
        here = [client for client in self.site.clients if not client.closed]
        if not here:
            raise ConnectionError
        return self.chance.choice(here)

    async def come(self) -> None:
        if sum(not client.closed for client in self.site.clients) > 20:
            self.somebody().close()
        await self.site.connect(tls=self.chance.choice((self.tls, self.tls, None)))

    async def ask(self) -> None:
        await self.come()
        address = f"X-Forwarded-For: 10.0.0.{self.chance.randrange(4)}"
        head = get(self.chance.choice(("/echo", "/held", "/held", "/other")), address)
        await self.site.clients[-1].send(head[: self.chance.choice((10, *[len(head)] * 5))])

    async def talk(self) -> None:
        await self.somebody().send(self.chance.choice((b"garbage\r\n\r\n", b"x" * 20_000)))

    async def go(self) -> None:
        client = self.somebody()
        self.chance.choice((client.close, client.reset, client.end_writing))()

    async def answer(self) -> None:
        held = [connection for connection in self.site.held if not connection.closing]
        if held and self.chance.random() < 0.7:
            Echo(self.site.listener, self.chance.choice(held))
        elif held:
            self.chance.choice(held).refuse("authorization", Verdict(403))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("seed", range(3))
@both_loops
async def test_the_places_are_those_of_the_connections_that_are_there(
    start: Start,
    seed: int,
    secure: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of the crowds are still there when the listener stops."""
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.01)
    site = await start(
        tls=server_tls if secure else None,
        limits=_CROWD,
        subnets=["127.0.0.0/8"],
        max_connections=6,
        max_refusals=4,
        close_timeout=0.04,
    )
    handed_over: set[asyncio.Protocol] = set()
    transfer, release = site.listener.limiter.transfer, site.listener.release
    monkeypatch.setattr(
        site.listener.limiter, "transfer", lambda old, new: (transfer(old, new), handed_over.add(new))
    )
    monkeypatch.setattr(
        site.listener, "release", lambda holder: (release(holder), handed_over.discard(holder))
    )

    def check() -> None:
        holders = {one for one in site.listener._connections if not one.reject_reason} | handed_over
        assert site.sample("places_taken") == len(holders) <= 6
        places = site.listener.limiter
        assert places._network_of.keys() <= holders
        assert places._by_network.total() == len(places._network_of)
        assert len(places._rejected) <= 4 + site.sample("connections_cut")

    crowd = Crowd(site, seed, client_tls if secure else None)
    for _ in range(200):
        await crowd.act()
        check()
    stopping = asyncio.create_task(site.listener.stop(5.0)) if seed % 2 else None
    for client in site.clients:
        client.close()
        check()
    await eventually(lambda: site.sample("places_taken") == 0 and not site.sample("handshakes"))
    check()
    if stopping is not None:
        await stopping
    for queue in (
        site.listener.limiter._reading_head,
        site.listener.limiter._refused,
        site.listener.limiter._rejected,
    ):
        assert len(queue) == 0
