"""Nothing is left of a crowd, whatever it did: sent too much, read nothing, stopped in the middle, left."""

from __future__ import annotations

import asyncio
import random
import ssl
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from rr_py_ws.adapters.ws.sender import State
from rr_py_ws.core import backpressure, hold, hub
from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, PONG, TEXT, Gate, close, command, frame, request
from support.ws_site import NOTHING, Site, Start, living

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
FORMS: list[list[str]] = [
    [],
    [DEFLATE],
    [f"{DEFLATE}; server_max_window_bits=10", "Sec-WebSocket-Protocol: rr.binary"],
    ["Sec-WebSocket-Protocol: rr.json"],
]
TOPICS = "abcde"
PAYLOADS = [b"small", b"1" * 1000, *[random.Random(0).randbytes(30_000)] * 3]


def deflated(text: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return frame(TEXT, (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)


FRAMES = [
    *[command("join", pair) for pair in ("ab", "cd", "e")] * 4,
    *[command("leave", pair, id=7) for pair in ("ab", "cd")] * 2,
    *[deflated(b'{"command":"join","topics":["a"]}' + b" " * more) for more in (0, 10_000)] * 2,
    command("join", "bd", id=1) * 200,
    command("leave", "bd", id="x") * 200,
    command("join", ()),
    frame(TEXT, '{"command":"headers"' + " " * 60_000 + "}"),
    frame(PING, b"x" * 100),
    frame(PING, b"x" * 100) * 2000,
    frame(PONG),
    *[frame(TEXT, "half", fin=False) + frame(0, "of one")] * 4,
    frame(TEXT, "half", fin=False),
    frame(CLOSE, close(1000)),
]


class Crowd:
    """Clients that do something by chance, one thing at a time; so do PHP and a publisher."""

    def __init__(self, site: Site, gate: Gate, seed: int, tls: ssl.SSLContext | None) -> None:
        self.site = site
        self.gate = gate
        self.chance = random.Random(seed)
        self.tls = tls
        say, publish = [self.say] * 4, [self.publish] * 3
        self.actions: list[Callable[[], Awaitable[None]]] = [
            self.open,
            *say,
            *publish,
            self.go,
            self.read,
            self.decide,
        ]

    async def act(self) -> None:
        """Let one do something; what then fails has failed because the server, or it, has closed before."""
        with suppress(OSError):
            await self.chance.choice(self.actions)()
        await asyncio.sleep(self.chance.choice((0, 0, 0, 0, 0.001, 0.005)))

    async def open(self) -> None:
        if len(self.site.here()) > 10:
            self.site.somebody(self.chance).close()
        client = await self.site.connect(small_buffers=self.chance.random() < 0.7, tls=self.tls)
        await client.send(request("/ws", *self.chance.choice(FORMS)) + command("join", list(TOPICS)))

    async def say(self) -> None:
        """Send without waiting for room; who has none stops in the middle for good."""
        client = self.site.somebody(self.chance)
        data = b"".join(self.chance.choices(FRAMES, k=self.chance.choice((1, 1, 2, 4))))
        try:
            async with asyncio.timeout(0.01):
                await client.send(data)
        except TimeoutError:
            client.end_writing()

    async def read(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await self.site.somebody(self.chance).receive()

    async def go(self) -> None:
        if self.chance.random() < 0.3:
            client = self.site.somebody(self.chance)
            self.chance.choice((client.close, client.reset, client.end_writing))()

    async def decide(self) -> None:
        self.gate.on_join = self.chance.choice((ALLOWED, None, None))
        waiting = [answer for answer in self.gate.waiting if not answer.done()]
        for answer in self.chance.sample(waiting, min(3, len(waiting))):
            answer.set_result(self.chance.choice((ALLOWED, ALLOWED, Verdict(403))))

    async def publish(self) -> None:
        for _ in range(self.chance.choice((1, 1, 3, 6))):
            self.site.publish(self.chance.choice(TOPICS), self.chance.choice(PAYLOADS))
        if self.chance.random() < 0.3:
            self.site.node.flush()


async def check(site: Site) -> None:
    """Compare what is known of connections with those that there are."""
    brake, connections = site.backpressure, site.connections()
    assert brake._behind | brake._full_at.keys() | brake._awaited.keys() <= set(connections)
    ended = (State.CLOSING, State.CLOSED)
    joined = [connection for connection in connections if connection in site.hub._joined]
    assert len(joined) == len(site.hub._joined)
    assert all(connection._state not in ended for connection in joined)

    def joins() -> int:
        return sum(
            connection._session._busy and not connection._session._closed for connection in site.connections()
        )

    # A task ends some turns of the loop after it was cancelled.
    await eventually(lambda: site.sample("joins_waiting") == joins())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("policy", ["close", "drop"])
@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_left_of_a_crowd(
    start: Start,
    seed: int,
    policy: str,
    secure: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    no_collector: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of the crowds are still there when the server stops."""
    for room, name, value in (
        (backpressure, "FEW", 2),
        (hold, "FEW", 2),
        (hub, "FEW", 2),
        (backpressure, "LONGEST", 0.02),
        (backpressure, "REST", 0.02),
        (hold, "REST", 0.02),
        (hold, "LONGEST", 0.02),
    ):
        monkeypatch.setattr(room, name, value)
    gate = Gate(join=None)
    site = await start(
        gate,
        tls=server_tls if secure else None,
        send_queue=200_000,
        send_queue_policy=policy,
        commands_per_second=200,
        max_commands_waiting=4,
        close_timeout=0.05,
        compression_level=1,
        ping_interval=0.05,
        ping_timeout=1.0,
        turn=100_000,
    )
    crowd = Crowd(site, gate, seed, client_tls if secure else None)
    for _ in range(180):
        await crowd.act()
        await check(site)
    stopping = asyncio.create_task(site.server.stop(5.0)) if seed % 2 else None
    for client in site.clients:
        client.close()
    await eventually(lambda: site.sample("handshakes") == 0 == site.server.connections)
    if stopping is not None:
        await stopping
    await check(site)
    await eventually(lambda: not site.backpressure.paused and not site.backpressure.watching)
    gate.waiting.clear()
    await eventually(lambda: living() == NOTHING)
