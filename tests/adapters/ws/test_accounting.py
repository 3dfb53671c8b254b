"""Places and turns are counted right, whatever clients do and in whatever order."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from rr_py_ws.adapters.http import limiter
from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, TEXT, Gate, command, frame, request
from support.ws_site import Site, Start

LIMITS = {
    "max_connections": 8,
    "max_connections_per_address": 2,
    "max_refusals": 3,
    "max_handshakes": 2,
    "handshakes_per_second": 500,
    "handshake_wait": 0.02,
    "head_timeout": 0.04,
    "close_timeout": 0.04,
    "trusted_subnets": ["127.0.0.0/8"],
}


class Crowd:
    """Clients that do something by chance, one thing at a time."""

    def __init__(self, site: Site, gate: Gate, seed: int, tls: ssl.SSLContext | None) -> None:
        self.site = site
        self.gate = gate
        self.chance = random.Random(seed)
        self.tls = tls

    async def act(self) -> None:
        """Let one do something; what then fails has failed because the server, or it, has closed before."""
        actions: list[Callable[[], Awaitable[None]]] = [
            self.come,
            self.come_and_ask,
            self.come_and_ask,
            self.come_and_ask,
            self.say_something,
            self.go,
            self.go,
            self.decide,
            self.decide,
        ]
        with suppress(OSError):
            await self.chance.choice(actions)()
        await asyncio.sleep(self.chance.choice((0, 0, 0, 0, 0, 0.001, 0.01)))

    async def come(self) -> None:
        if len(self.site.here()) > 20:
            self.site.somebody(self.chance).close()
        await self.site.connect(tls=self.chance.choice((self.tls, self.tls, None)))

    async def come_and_ask(self) -> None:
        await self.come()
        address = f"X-Forwarded-For: 10.0.0.{self.chance.randrange(4)}"
        target, *headers = self.chance.choice(
            [("/ws", address)] * 5 + [("/ws", address, "-upgrade"), ("/x",)]
        )
        whole = request(target, *headers)
        await self.site.clients[-1].send(whole[: self.chance.choice((10, *[len(whole)] * 5))])

    async def say_something(self) -> None:
        commands = command("join", ["a"]) * self.chance.choice((1, 300))
        sayings = (frame(CLOSE), frame(PING), frame(TEXT, "?"), b"garbage\r\n\r\n", commands)
        await self.site.somebody(self.chance).send(self.chance.choice(sayings))

    async def go(self) -> None:
        client = self.site.somebody(self.chance)
        self.chance.choice((client.close, client.reset, client.end_writing))()

    async def decide(self) -> None:
        self.gate.on_connect = self.chance.choice((ALLOWED, None, None))
        waiting = [answer for answer in self.gate.waiting if not answer.done()]
        if waiting:
            self.chance.choice(waiting).set_result(self.chance.choice((ALLOWED, ALLOWED, Verdict(403))))


def check(site: Site) -> None:
    """Compare what is counted with what is there."""
    queue, places, opened = site.server.websockets.queue, site.server.http.limiter, site.connections()
    handshakes = site.handshakes()
    with_place = [handshake for handshake in handshakes if not handshake.reject_reason]
    assert site.sample("places_taken") == len(with_place) + len(opened) <= LIMITS["max_connections"]
    deciding = sum(handshake.on_lost is not None for handshake in handshakes)
    assert queue.waiting + queue._running == deciding
    assert 0 <= queue._running <= LIMITS["max_handshakes"]
    assert places._network_of.keys() <= {*with_place, *opened}
    assert places._by_network.total() == len(places._network_of)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("seed", range(4))
async def test_places_and_turns_are_those_of_who_is_there(
    start: Start,
    seed: int,
    secure: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of the crowds are still there when the server stops."""
    monkeypatch.setattr(limiter, "_MIN_IDLE", 0.01)
    gate = Gate(connect=None)
    site = await start(gate, tls=server_tls if secure else None, **LIMITS)
    crowd = Crowd(site, gate, seed, client_tls if secure else None)
    for _ in range(250):
        await crowd.act()
        check(site)
    stopping = asyncio.create_task(site.server.stop(5.0)) if seed % 2 else None
    for client in site.clients:
        client.close()
        check(site)
    await eventually(lambda: not site.handshakes() and not site.server.connections)
    if stopping is not None:
        await stopping
    queue = site.server.websockets.queue
    assert (site.sample("places_taken"), queue._running, queue.waiting) == (0, 0, 0)
    assert not site.server.http.limiter._by_network
    assert not site.server.http.limiter._network_of
    places = site.server.http.limiter
    for waits in (places._reading_head, places._refused, places._rejected):
        assert len(waits) == 0
