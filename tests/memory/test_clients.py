"""What clients make the server hold: one test for each row of the table that is about clients."""

from __future__ import annotations

import asyncio

import pytest

from memory.conftest import REFUSALS, Site
from rr_py_ws.config import Limits
from support.memory import KIB, MIB
from support.waiting import eventually
from support.ws_peer import CLOSE, close, frame, request

LIMITS = Limits()
HEAD = LIMITS.max_head_size
COUNT = 50
SLOW = 15
"""Fewer than publishers wait for (`core.backpressure`)."""
SLACK = 2 * MIB
MESSAGE = 4 * MIB
PLAIN = 8 * KIB
BASE = {("uvloop", False): PLAIN, ("uvloop", True): 96 * KIB, ("asyncio", True): 320 * KIB}
"""Bytes of a connection that holds nothing, by event loop, without and with TLS. Asyncio's loop has
its own TLS; its plain connections hold what uvloop's do."""
WINDOW = {False: 128 * KIB, True: 256 * KIB}
"""What a transport may hold for a client that does not read."""

ports = pytest.mark.parametrize(
    ("loop", "tls"), list(BASE), ids=["plain", "TLS", "TLS of asyncio"], indirect=["loop"], scope="module"
)
one_port = pytest.mark.parametrize("loop", ["uvloop"], indirect=True, scope="module")


def largest_head(target: str = "/ws") -> bytes:
    """As many headers as there may be, and as many bytes, each six bytes of JSON."""
    names = LIMITS.max_headers - 5
    room = HEAD - len(request(target)) - names * len("A00: \r\n") - 1
    return request(target, *[f"A{number:02}: {'<' * (room // names)}" for number in range(names)])


@ports
async def test_connections_that_say_nothing(site: Site, tls: bool) -> None:
    memory = site.measure()
    await site.sends(COUNT, b"", tls=tls)
    await site.reaches("rr_ws_places_taken", COUNT)
    assert memory.peak() < COUNT * BASE[site.loop, tls] + SLACK


@ports
async def test_heads_that_are_not_complete(site: Site, tls: bool) -> None:
    memory = site.measure()
    await site.sends(COUNT, largest_head()[:-2], tls=tls)
    await site.reaches("rr_ws_handshakes", COUNT)
    assert memory.peak() < COUNT * (BASE[site.loop, tls] + 2 * HEAD) + SLACK


@ports
async def test_open_connections_keep_no_more_than_their_head(site: Site, tls: bool) -> None:
    """What Python keeps of what it took to decide about as many was there before."""
    for _ in range(2):
        await site.leave()
        memory = site.measure()
        await site.sends(COUNT, largest_head(), tls=tls)
        await site.reaches("rr_ws_connections", COUNT)
    assert memory.growth() < COUNT * (BASE[site.loop, tls] + HEAD) + SLACK


@one_port
async def test_handshakes_that_wait_for_php(site: Site) -> None:
    """Head, question and its frame; the workers are busy with the first ones."""
    memory = site.measure()
    await site.sends(COUNT, largest_head("/ws?do=sleep"))
    await site.reaches("rr_ws_handshakes", COUNT)
    assert memory.peak() < COUNT * (PLAIN + 16 * HEAD) + SLACK
    await site.leave()
    site.server.tolerated.append("worker")
    for worker in site.server.family():  # they sleep
        worker.kill()


@ports
async def test_a_large_message_is_there_once_whoever_reads_it(site: Site, tls: bool) -> None:
    """And for a moment as the call, its payload, its JSON, its frame."""
    reading = await site.join("large", 5, tls=tls)
    await site.join("large", SLOW, tls=tls, receive_buffer=4096)
    memory = site.measure()
    tasks = [asyncio.create_task(client.frame()) for client in reading]
    await site.publish("large", MESSAGE)
    for task in tasks:
        assert len((await task).payload) > MESSAGE
    assert memory.peak() < 14 * MESSAGE + SLOW * WINDOW[tls]


@ports
async def test_connections_that_are_closed_in_the_middle_of_a_large_message(site: Site, tls: bool) -> None:
    """What was begun has to end, so a close frame may wait behind it for ten seconds."""
    clients = await site.join("closing", SLOW, tls=tls, receive_buffer=4096)
    memory = site.measure()
    await site.publish("closing", MESSAGE)
    for client in clients:
        await client.send(frame(CLOSE, close(1000)))

    async def left() -> bool:
        return await site.metric('rr_ws_subscriptions{broker="default"}') == 0

    await eventually(left, pause=0.05)
    assert memory.peak() < 14 * MESSAGE + SLOW * WINDOW[tls]


@ports
async def test_what_waits_in_send_queues_is_shared(site: Site, tls: bool) -> None:
    await site.join("slow", SLOW, tls=tls, receive_buffer=4096)
    memory = site.measure()
    ceiling = LIMITS.send_queue * LIMITS.send_queue_burst
    await site.publish("slow", 15_000, ceiling // 15_000)
    assert memory.peak() < ceiling + SLOW * WINDOW[tls] + SLACK


@one_port
async def test_what_waits_for_one_client_alone_ends_at_the_ceiling(site: Site) -> None:
    """Point 9.6: nothing is shared by clients in topics of their own."""
    ceiling, count, message = LIMITS.send_queue * LIMITS.send_queue_burst, 3, 100_000
    for number in range(count):
        await site.join(f"own {number}", 1, receive_buffer=4096)
    memory = site.measure()
    for number in range(count):
        await site.publish(f"own {number}", message, 2 * ceiling // message)
    assert memory.peak() < count * (ceiling + message + WINDOW[False]) + SLACK + 6 * message


@ports
@pytest.mark.parametrize("size", [60_000, 1_000_000])
async def test_refusals_that_nobody_reads(site: Site, tls: bool, size: int) -> None:
    """Of those over `max_refusal_size` only the status is sent; the others are cut over `refusal_memory`."""
    count = REFUSALS // 60_000 + 30
    before = await site.metric("rr_ws_refusals_cut_total")
    memory = site.measure()
    await site.sends(count, request(f"/ws?do=bytes-{size}"), tls=tls)
    if size < LIMITS.max_refusal_size:
        await site.reaches("rr_ws_refusals_cut_total", before + 30)
        assert await site.metric("rr_ws_refusal_bytes") <= REFUSALS
    assert memory.peak() < 2 * REFUSALS + count * BASE[site.loop, tls] + SLACK


@one_port
async def test_metrics_that_nobody_reads(site: Site) -> None:
    """The page is some 30 KiB, for as many connections as there may be."""
    memory = site.measure()
    host, _, port = site.server.config["metrics"]["address"].rpartition(":")
    writers = []
    for _ in range(100):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 1_900 + b"\r\n")
        writers.append(writer)
    await asyncio.gather(*(writer.drain() for writer in writers), return_exceptions=True)
    for writer in writers:
        writer.close()
    assert memory.peak() < LIMITS.max_monitoring_connections * MIB
