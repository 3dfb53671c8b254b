"""However a connection ends, nothing of it stays: no topic, no socket, no task, no memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from rr_py_ws.wire.verdict import Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, Gate, close, command, frame, request
from support.ws_site import NOTHING, Site, Start, living

pytestmark = both_loops


async def joined(site: Site) -> Client:
    client = await site.open()
    await client.send(command("join", ["a", "b"]))
    await client.frame()
    return client


async def _close(client: Client) -> None:
    await client.send(frame(CLOSE, close(1000)))
    await client.rest()
    client.close()


async def _fin(client: Client) -> None:
    client.close()


async def _half_close(client: Client) -> None:
    client.end_writing()


async def _fin_mid_frame(client: Client) -> None:
    await client.send(command("join", ["c"])[:9])
    client.close()


async def _fin_mid_message(client: Client) -> None:
    await client.send(frame(TEXT, "{", fin=False))
    client.close()


async def _reset(client: Client) -> None:
    client.reset()


async def _reset_mid_frame(client: Client) -> None:
    await client.send(command("join", ["c"])[:3])
    client.reset()


async def _protocol_error(client: Client) -> None:
    await client.send(frame(3))
    await client.rest()
    client.close()


async def _too_long(client: Client) -> None:
    await client.send(frame(TEXT, b" " * 100_000))
    client.close()


async def _bad_text(client: Client) -> None:
    await client.send(frame(TEXT, b"\xff"))
    client.reset()


ENDINGS = [
    _close,
    _fin,
    _half_close,
    _fin_mid_frame,
    _fin_mid_message,
    _reset,
    _reset_mid_frame,
    _protocol_error,
    _too_long,
    _bad_text,
]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__.strip("_"))
async def test_d2_an_ended_connection_leaves_nothing_behind(
    site: Site, no_collector: None, end: Callable[[Client], Awaitable[None]]
) -> None:
    """Also its memory is free at once, not when a garbage collection comes by: that may take hours."""
    witness = await joined(site)
    before = living()
    await end(await joined(site))
    await eventually(lambda: site.server.connections == 1)
    assert (site.hub.subscribers("a"), site.hub.subscribers("b"), "c" in site.hub) == (1, 1, False)
    await eventually(lambda: site.sockets() == 1)
    await eventually(lambda: living() == before)
    site.publish("a", "x")
    assert await witness.json() == {"topic": "a", "payload": "x"}


async def test_d2_a_connection_that_ends_while_php_is_asked_leaves_nothing_behind(
    start: Start, no_collector: None
) -> None:
    gate = Gate(join=None)
    site = await start(gate, close_timeout=0.1)
    for end in ENDINGS:
        client = await site.open()
        await client.send(command("join", ["a"]) * 3)
        await gate.asked(1)
        await end(client)
        await eventually(gate.waiting.pop().cancelled)
    await eventually(lambda: site.server.connections == 0 == site.sockets())
    await eventually(lambda: living() == NOTHING)


async def test_d2_a_connection_that_was_too_slow_leaves_nothing_behind(
    start: Start, no_collector: None
) -> None:
    site = await start(send_queue=1000)
    client = await site.open(small_buffers=True)
    await client.send(command("join", ["a"]))
    await client.frame()
    while len(site.hub):
        site.publish("a", "x" * 100_000)
        await asyncio.sleep(0)
    client.reset()
    await eventually(lambda: site.server.connections == 0 == site.sockets())
    await eventually(lambda: living() == NOTHING)


async def test_a_connection_that_missed_messages_leaves_nothing_behind(
    start: Start, no_collector: None
) -> None:
    site = await start(send_queue=1000, send_queue_policy="drop")
    client = await site.open(small_buffers=True)
    await client.send(command("join", ["a"], id=1))
    await client.frame()
    while not site.sample("dropped_messages"):
        site.publish("a", "x" * 100_000)
        await asyncio.sleep(0)
    client.reset()
    await eventually(lambda: site.server.connections == 0 == site.sockets())
    await eventually(lambda: living() == NOTHING)


async def test_a_handshake_that_comes_to_nothing_leaves_nothing_behind(
    start: Start, no_collector: None
) -> None:
    gate = Gate(connect=None)
    site = await start(gate)
    for part in (b"", request()[:20], b"garbage\r\n\r\n", request("/other"), request()):
        client = await site.connect()
        await client.send(part)
        if part == request():
            await gate.asked(1)
        client.reset()
    refused = await site.connect()
    await refused.send(request())
    await gate.asked(2)
    gate.waiting[1].set_result(Verdict(403))
    await refused.rest()
    refused.close()
    await eventually(gate.waiting[0].cancelled)
    gate.waiting.clear()
    await eventually(lambda: site.sockets() == 0)
    await eventually(lambda: living() == NOTHING)


async def test_d29_d32_many_publishes_leave_no_growth(site: Site) -> None:
    """Delivered, to nobody, and to somebody who has left: after each burst everything is free again."""
    client, gone = await joined(site), await joined(site)
    gone.close()
    await eventually(lambda: site.server.connections == 1)

    async def burst() -> None:
        for _ in range(50):
            for _ in range(20):
                site.publish("a", "x" * 100)
                site.publish("nobody", "x" * 100)
            for _ in range(20):
                await client.frame()

    await burst()
    tracemalloc.start()
    try:
        await burst()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            await burst()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000  # of 300 KB pushed
    finally:
        tracemalloc.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_churn_of_connections_leaves_no_growth(site: Site, no_collector: None) -> None:
    for _ in range(20):
        clients = [await joined(site) for _ in range(10)]
        for client in clients:
            client.close()
        await eventually(lambda: site.server.connections == 0)
    await eventually(lambda: living() == NOTHING)


# Peers that do not end


async def test_d18_a_silent_peer_is_pinged_and_then_cut(start: Start) -> None:
    site = await start(ping_interval=0.02, ping_timeout=0.1)
    client = await site.open()
    await client.send(command("join", ["a"]))
    received = await client.rest()
    assert received.count(frame(PING, mask=False)) >= 1
    await eventually(lambda: site.server.connections == 0)
    assert len(site.hub) == 0


async def test_d18_a_peer_that_answers_stays(start: Start) -> None:
    site = await start(ping_interval=0.75, ping_timeout=0.75)
    client = await joined(site)
    for _ in range(2):
        assert await client.frame() == (PING, b"")
        await client.send(frame(PONG))
    assert await client.silent()


async def test_a_peer_that_does_not_answer_our_close_frame_is_cut(start: Start) -> None:
    """It has been told why, it has seen our FIN, it goes on sending: in the end it gets a reset."""
    site = await start(close_timeout=0.05)
    client = await joined(site)
    await client.send(frame(3))
    assert (await client.rest()).startswith(b"\x88")
    with pytest.raises(ConnectionError):
        while True:
            await client.send(frame(PING, b"still here"))
            await asyncio.sleep(0)


async def test_a_message_that_a_peer_has_begun_after_our_close_frame_may_go_on(site: Site) -> None:
    """It was not looked at, because nothing is done for this client any more."""
    client = await site.open()
    stopping = asyncio.create_task(site.server.stop(20.0))
    assert (await client.frame()).opcode == CLOSE
    begun = frame(TEXT, "a message") + frame(TEXT, "half ", fin=False)
    await client.send(begun)
    await eventually(lambda: site.sample("received_bytes") == len(begun))
    await client.send(frame(0, "of one") + frame(CLOSE, close(1001)))
    assert await client.rest() == b""
    client.close()
    await stopping


async def test_a_peer_that_keeps_its_side_open_after_the_close_handshake_is_cut(start: Start) -> None:
    site = await start(close_timeout=0.05)
    client = await joined(site)
    await client.send(frame(CLOSE))
    await client.rest()
    await eventually(lambda: site.sockets() == 0)


# With a real client library


async def test_d8_a_client_library_sees_a_clean_close_whoever_starts_it(site: Site) -> None:
    async with connect(site.url) as client:
        await client.send('{"command":"join","topics":["a"]}')
        assert await client.recv() == '{"topic":"@join","payload":["a"]}'
        await (await client.ping())
        await client.close(4001, "mine")
    assert (client.close_code, client.close_reason) == (4001, "mine")
    async with connect(site.url, max_size=None) as client:
        await client.send("x" * 70_000)
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert client.close_code == 1009
    await eventually(lambda: site.server.connections == 0)
