"""Clients are told to go one after another, and until then nothing changes for them."""

from __future__ import annotations

import asyncio

import pytest

from rr_py_ws.adapters.ws import drain
from rr_py_ws.adapters.ws.drain import FEW, close_all
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, TEXT, Client, Gate, close, command, request
from support.ws_site import Site, Start

pytestmark = both_loops

GOODBYE = close(1001, "server is stopping")


class Told:
    """A client that notes when it is told."""

    def __init__(self, *, gone: bool = False) -> None:
        self.at: list[float] = []
        self.gone = gone

    def close(self) -> bool:
        self.at.append(asyncio.get_running_loop().time())
        return not self.gone


async def dismissals(count: int, seconds: float) -> list[float]:
    """When each of so many clients was told, once, in their order."""
    clients = [Told() for _ in range(count)]
    await close_all([client.close for client in clients], seconds)
    return [moment for client in clients for moment in client.at]


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 1000])
@pytest.mark.parametrize("seconds", [0.0, 0.2])
async def test_each_client_is_told_once_and_in_order(count: int, seconds: float) -> None:
    moments = await dismissals(count, seconds)
    assert len(moments) == count
    assert moments == sorted(moments)


async def test_many_clients_are_spread_over_the_time() -> None:
    """None before its time, but for the length of one step; a loop that is late makes up for it."""
    moments = await dismissals(1000, 0.5)
    for number, moment in enumerate(moments):
        assert moment - moments[0] >= number / 1000 * 0.5 - 0.051


@pytest.mark.parametrize(("count", "seconds"), [(FEW, 3600.0), (1000, 0.0)])
async def test_a_few_or_no_time_is_as_fast_as_possible(count: int, seconds: float) -> None:
    await dismissals(count, seconds)


async def test_nobody_waits_for_those_who_have_gone_by_themselves() -> None:
    await close_all([Told(gone=True).close for _ in range(1000)], 3600.0)


async def joined(site: Site, **options: bool) -> Client:
    client = await site.open(**options)
    await client.send(command("join", ["a"]))
    assert (await client.json())["topic"] == "@join"
    return client


async def read_until_closed(client: Client) -> list[tuple[int, bytes]]:
    frames = [await client.frame()]
    while frames[-1][0] != CLOSE:
        frames.append(await client.frame())
    return frames


async def test_those_whose_turn_has_not_come_go_on_as_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four clients in 1,000 seconds: one is told at once, and the next one after our patience is over."""
    monkeypatch.setattr(drain, "FEW", 0)
    clients = [await joined(site) for _ in range(4)]
    stopping = asyncio.create_task(site.server.stop(20.0, drain=1000.0))
    closing = [asyncio.create_task(read_until_closed(client)) for client in clients]
    await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
    left = [client for client, task in zip(clients, closing, strict=True) if not task.done()]
    for task in closing:
        task.cancel()
    await asyncio.wait(closing)
    assert len(left) == 3
    site.publish("a", "still here")
    for client in left:
        assert await client.json() == {"topic": "a", "payload": "still here"}
        await client.send(command("join", ["b"]))
        assert (await client.json())["topic"] == "@join"
    stopping.cancel()
    await asyncio.wait([stopping])


async def test_what_waits_for_a_slow_client_comes_before_its_close_frame(site: Site) -> None:
    client = await joined(site, small_buffers=True)
    messages = [str(number) * 100_000 for number in range(8)]
    for message in messages:
        site.publish("a", message)
    site.node.flush()
    stopping = asyncio.create_task(site.server.stop(20.0))
    await asyncio.sleep(0)
    for message in messages:
        assert await client.json() == {"topic": "a", "payload": message}
    assert await client.frame() == (CLOSE, GOODBYE)
    client.close()
    assert await stopping == 0


async def test_a_join_that_php_has_not_decided_ends_with_1001(start: Start) -> None:
    gate = Gate(join=None)
    site = await start(gate)
    client = await site.open()
    await client.send(command("join", ["a"]))
    await gate.asked(1)
    stopping = asyncio.create_task(site.server.stop(20.0))
    assert await client.frame() == (CLOSE, GOODBYE)
    client.close()
    await stopping
    assert gate.waiting.pop().cancelled()


async def test_a_join_that_php_decides_before_its_turn_is_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "FEW", 0)
    gate = Gate(join=None)
    site = await start(gate)
    clients = [await site.open() for _ in range(2)]
    for client in clients:
        await client.send(command("join", ["a"]))
    await gate.asked(2)
    stopping = asyncio.create_task(site.server.stop(20.0, drain=1000.0))
    reading = [asyncio.create_task(client.frame()) for client in clients]
    [told], [waiting] = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    assert told.result() == (CLOSE, GOODBYE)
    for question in gate.waiting:
        if not question.done():
            question.set_result(gate.on_connect)  # type: ignore[arg-type]
    assert await waiting == (TEXT, b'{"topic":"@join","payload":["a"]}')
    stopping.cancel()
    await asyncio.wait([stopping])


async def test_connections_that_end_in_the_same_turn_do_not_stop_the_stop(site: Site) -> None:
    """Cut, but not yet reported: uvloop's transport raises when it is written to."""
    clients = [await joined(site) for _ in range(3)]
    handshake = await site.connect()
    await handshake.send(request()[:20])
    await eventually(lambda: any(half._buffer for half in site.handshakes()))
    site.connections()[0].abort()
    for half in site.handshakes():
        half.cut()
    stopping = asyncio.create_task(site.server.stop(20.0))
    await asyncio.sleep(0)
    for client in (*clients, handshake):
        client.close()
    await stopping


async def test_who_does_not_go_is_cut_and_counted(site: Site) -> None:
    clients = [await joined(site) for _ in range(3)]
    assert await site.server.stop(0.01) == 3
    for client in clients:
        await client.ended()


async def test_newcomers_are_refused_from_the_first_moment(site: Site) -> None:
    await joined(site)
    address = site.address
    site.server.refuse()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(address)
    assert site.server.connections == 1
