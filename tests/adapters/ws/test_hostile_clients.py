"""Many clients that do anything at any time, while messages are published and PHP has its moods."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable
from contextlib import suppress
from random import Random

import pytest

from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, TEXT, Client, Gate, close, command, frame, request
from support.ws_site import NOTHING, Site, Start, living


class Moody(Gate):
    """Allows, refuses, raises; at once or later."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def _answer(self, answer: Verdict | Exception | None) -> Verdict | Awaitable[Verdict]:
        choice = self._random.choice([ALLOWED, ALLOWED, Verdict(403), RuntimeError("a bug")])
        if self._random.random() < 0.5:
            return super()._answer(choice)
        return self._later(choice)

    async def _later(self, answer: Verdict | Exception) -> Verdict:
        for _ in range(self._random.randrange(50)):
            await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise type(answer)(*answer.args)  # a fresh one: no cycle with this frame
        return answer


async def misbehave(client: Client, random: Random) -> None:
    """Speak the protocol, more or less."""
    early = command("join", ["a"]) * random.randrange(8)
    await client.send((request() + early)[: random.choice([20, -3, None, None, None, None])])
    for _ in range(random.randrange(8)):
        for _ in range(random.randrange(40)):
            await asyncio.sleep(0)
        match random.randrange(11):
            case 0:
                await client.send(command("join", ["a", "b"]) * random.randrange(1, 20))
            case 1:
                await client.send(command("leave", ["a"]))
            case 2:
                await client.send(frame(PING, b"x" * random.randrange(126)) * random.randrange(1, 50))
            case 3:
                await client.send(random.randbytes(30))
            case 4:
                await client.send(frame(TEXT, "{", fin=False))
            case 5:
                await client.send(frame(CLOSE, close(1000)))
            case 6:
                await client.send(frame(TEXT, b"\xff"))
            case 7:
                await client.send(b"\x82\xff" + struct.pack("!Q", 1 << 40))
            case 8:
                await client.send_until_stalled(frame(TEXT, b" " * 200_000))
            case 9:
                client.end_writing()
            case _:
                for _ in range(1000):
                    await asyncio.sleep(0)


async def come_and_go(site: Site, random: Random, limit: asyncio.Semaphore) -> None:
    async with limit:
        client = await Client.connect(site.address, small_buffers=True)
        with suppress(OSError):
            await misbehave(client, random)
        if random.random() < 0.5:
            client.reset()
        else:
            client.close()


@both_loops
@pytest.mark.parametrize(("send_queue", "commands"), [(1_000, 1), (10_000_000, 64)])
async def test_nobody_brings_the_server_out_of_order(
    start: Start, no_collector: None, send_queue: int, commands: int
) -> None:
    """One quiet client gets everything in order; in the end nothing is left behind, and nobody complained."""
    random = Random(send_queue)
    site = await start(
        Moody(random), send_queue=send_queue, max_commands_waiting=commands, max_head_size=1000
    )
    quiet = await _quiet_client(site)
    limit = asyncio.Semaphore(20)
    clients = [asyncio.create_task(come_and_go(site, Random(number), limit)) for number in range(120)]
    published = 0
    while not all(client.done() for client in clients):
        payload = str(published).rjust(random.choice([10, 50_000]))
        site.publish("a", payload)
        assert await quiet.json() == {"topic": "a", "payload": payload}
        published += 1
    await asyncio.gather(*clients)
    await eventually(lambda: site.server.connections == 1)
    assert await quiet.silent()
    quiet.close()
    del quiet, clients
    await eventually(lambda: living() == NOTHING)


async def _quiet_client(site: Site) -> Client:
    """Ask until PHP is in the mood."""
    while True:
        client = await site.connect()
        await client.send(request())
        if (await client.head()).startswith(b"HTTP/1.1 101 "):
            while True:
                await client.send(command("join", ["a"]))
                if (await client.json())["topic"] == "@join":
                    return client
        client.close()
