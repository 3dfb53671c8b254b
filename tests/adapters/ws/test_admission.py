"""Which WebSockets are let in when there are too many: places, turns, failing accepts.

What holds for every connection of the port is in `adapters/http/test_limiter.py`.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl

import pytest
from websockets.asyncio.client import connect

from rr_py_ws.adapters.net import deadline
from rr_py_ws.wire.verdict import ALLOWED, Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import Client, Gate, command, frame, request
from support.ws_site import Site, Start


def sample(site: Site, name: str) -> float:
    [value] = [value.values[()] for value in site.server.metrics() if value.name == name]
    return value


def refused(site: Site, reason: str) -> int:
    return site.server.http.refusals[reason]


async def answer(client: Client) -> tuple[int, str]:
    """Status and Retry-After of a response, which ends the connection unless it is a 101."""
    head = (await client.head()).decode()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    status = int(head.split()[1])
    if status != 101:
        await client.rest()
        client.close()
    return status, fields.get("Retry-After", "")


async def ask(site: Site, *headers: str) -> tuple[int, str]:
    client = await site.connect()
    await client.send(request("/ws", *headers))
    return await answer(client)


async def joined(site: Site) -> Client:
    client = await site.open()
    await client.send(command("join", ["a"]))
    await client.frame()
    return client


# Places


async def test_over_max_connections_the_answer_is_503_and_everybody_else_is_served(start: Start) -> None:
    site = await start(max_connections=3)
    clients = [await joined(site) for _ in range(3)]
    for number in range(1, 4):
        status, retry = await ask(site)
        assert (status, refused(site, "connections")) == (503, number)
        assert 2 <= int(retry) <= 6
    site.publish("a", "x")
    for client in clients:
        assert await client.json() == {"topic": "a", "payload": "x"}
    assert sample(site, "places") == sample(site, "places_taken") == 3


@both_loops
async def test_a_place_is_free_when_its_connection_has_ended_in_whatever_way(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate, max_connections=1, head_timeout=0.05)
    waiting = await site.connect()
    await waiting.send(request())
    await gate.asked(1)
    waiting.reset()
    await eventually(lambda: sample(site, "places_taken") == 0)
    refused_by_path = await site.connect()
    await refused_by_path.send(request("/other"))
    await refused_by_path.rest()
    assert sample(site, "places_taken") == 1
    refused_by_path.close()
    await eventually(lambda: sample(site, "places_taken") == 0)
    silent = await site.connect()
    assert await silent.rest() == b""
    await eventually(lambda: sample(site, "places_taken") == 0)
    gate.on_connect = ALLOWED
    opened = await site.open()
    assert (await ask(site))[0] == 503
    opened.close()
    await eventually(lambda: sample(site, "places_taken") == 0)
    await site.open()


# Turns


async def test_handshakes_beyond_max_handshakes_wait_in_order(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=2)
    clients = []
    for number in range(6):
        clients.append(await site.connect())
        await clients[-1].send(request(f"/ws?{number}"))
        await eventually(lambda number=number: sample(site, "handshakes_waiting") == max(0, number - 1))  # type: ignore[misc]
    assert len(gate.requests) == 2
    for number, client in enumerate(clients):
        await gate.asked(number + 1)
        gate.waiting[number].set_result(ALLOWED)
        assert (await answer(client))[0] == 101
    asked = [asked.head.query for asked in gate.requests]
    assert asked == ["0", "1", "2", "3", "4", "5"]


@both_loops
async def test_who_waits_too_long_for_its_turn_gets_503(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=1, handshake_wait=0.05)
    first = await site.connect()
    await first.send(request())
    await gate.asked(1)
    for _ in range(3):
        status, retry = await ask(site)
        assert (status, int(retry) >= 2) == (503, True)
    gate.waiting[0].set_result(ALLOWED)
    assert (await answer(first))[0] == 101
    assert (refused(site, "busy"), len(gate.requests)) == (3, 1)


@both_loops
async def test_where_nobody_may_wait_for_a_turn_the_503_comes_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after any time that is over, the sockets were looked at again, and a moment went by."""
    monkeypatch.setattr(deadline, "MOMENT", 3600.0)
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=1, handshake_wait=0)
    first = await site.connect()
    await first.send(request())
    await gate.asked(1)
    for _ in range(2):
        assert (await ask(site))[0] == 503
    gate.waiting[0].set_result(ALLOWED)
    assert (await answer(first))[0] == 101
    assert (refused(site, "busy"), sample(site, "handshakes_waiting"), len(gate.requests)) == (2, 0, 1)


@pytest.mark.parametrize("leave", ["close", "reset", "end_writing"])
async def test_who_goes_away_leaves_the_queue_and_frees_its_turn(start: Start, leave: str) -> None:
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=1)
    clients = [await site.connect() for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send(request(f"/ws?{number}"))
        await gate.asked(1)
        await eventually(lambda number=number: sample(site, "handshakes_waiting") == number)  # type: ignore[misc]
    getattr(clients[1], leave)()
    await eventually(lambda: sample(site, "handshakes_waiting") == 1)
    getattr(clients[0], leave)()
    await gate.asked(2)
    assert gate.waiting[0].cancelled()
    gate.waiting[1].set_result(Verdict(403))
    assert (await answer(clients[2]))[0] == 403


async def test_waiting_and_deciding_take_no_longer_than_deciding_may(start: Start) -> None:
    """PHP never answers; the second client has waited for the first, and is answered all the same."""
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=1, handshake_wait=60.0, authorize_timeout=0.4)
    first = await site.connect()
    await first.send(request())
    await gate.asked(1)
    second = await site.connect()
    await second.send(request())
    await eventually(lambda: sample(site, "handshakes_waiting") == 1)
    gate.waiting[0].set_result(ALLOWED)
    await gate.asked(2)
    status, _ = await answer(second)
    assert (status, gate.waiting[1].cancelled()) == (400, True)
    assert refused(site, "unanswered") == 1
    third = await site.connect()
    await third.send(request())
    await gate.asked(3)
    assert (await ask(site))[0] == 503  # it has waited for as long as deciding may take, not for 60 s


async def test_what_is_sent_while_a_handshake_waits_is_not_lost(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=1, commands_per_second=0)
    first, second = await site.connect(), await site.connect(small_buffers=True)
    await first.send(request())
    await gate.asked(1)
    await second.send(request())
    filler = frame(1, b'{"command":"headers"}' + b" " * 60_000)
    left = await second.send_until_stalled(filler * 70 + command("join", ["last"]))
    assert len(left) > 2_000_000
    gate.on_connect = ALLOWED
    gate.waiting[0].set_result(ALLOWED)
    await second.send(left)
    assert (await answer(second))[0] == 101
    assert await second.json() == {"topic": "@join", "payload": ["last"]}


async def test_the_rate_delays_handshakes_also_when_nobody_is_asked(start: Start) -> None:
    site = await start(handshakes_per_second=50)
    clients = [await site.connect() for _ in range(20)]
    for client in clients:
        await client.send(request() + frame(8))
    await eventually(lambda: sample(site, "handshakes_waiting") > 0)
    for client in clients:
        assert (await client.rest()).startswith(b"HTTP/1.1 101 ")
    assert sample(site, "handshakes_waiting") == 0


async def test_a_stopping_server_does_not_let_anybody_wait(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate, max_handshakes=1)
    clients = [await site.connect() for _ in range(3)]
    for client in clients:
        await client.send(request())
    await eventually(lambda: sample(site, "handshakes_waiting") == 2)
    stopping = asyncio.create_task(site.server.stop(20.0))
    for client in clients:
        assert (await answer(client))[0] == 503
    await stopping
    assert len(gate.requests) == 1


# Connections that are slow to say what they want


async def test_d18_heads_byte_by_byte_are_cut_however_often_a_byte_comes(start: Start) -> None:
    """The time is counted from the beginning of the connection; meanwhile others are served."""
    site = await start(head_timeout=0.5)
    slow = [await site.connect() for _ in range(30)]
    endless = b"GET /ws HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000

    async def drip(client: Client) -> None:
        try:
            for byte in endless:
                await client.send(bytes([byte]))
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass

    dripping = [asyncio.create_task(drip(client)) for client in slow]
    await (await joined(site)).silent()
    for client in slow:
        assert (await client.receive()).startswith(b"HTTP/1.1 408 ")
    for task, client in zip(dripping, slow, strict=True):
        task.cancel()
        client.close()
    await asyncio.wait(dripping)
    await eventually(lambda: site.handshakes() == [])
    assert refused(site, "head") == 30


# TLS


@both_loops
async def test_tls_connections_count_before_they_are_secure(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls, max_connections=2)
    silent = [await site.connect() for _ in range(2)]
    await silent[1].send(b"\x16\x03\x01")
    await eventually(lambda: sample(site, "places_taken") == 2)
    reader, writer = await asyncio.open_connection("localhost", site.address[1], ssl=client_tls)
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()
    await writer.wait_closed()
    silent[0].reset()
    await silent[1].send(b"no TLS at all" * 10)
    await silent[1].ended()
    await eventually(lambda: sample(site, "places_taken") == 0)
    async with connect(f"wss://localhost:{site.address[1]}/ws", ssl=client_tls) as client:
        assert sample(site, "places_taken") == 1
        await client.ping()
    await eventually(lambda: sample(site, "places_taken") == 0)


@both_loops
async def test_tls_a_turn_that_comes_when_its_client_has_just_gone_is_given_back(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Its socket is closed, and the handshake is told one turn of the event loop later."""
    gate = Gate(connect=None)
    site = await start(gate, tls=server_tls, max_handshakes=1)
    first, second = [await site.connect(tls=client_tls) for _ in range(2)]
    await first.send(request())
    await gate.asked(1)
    await second.send(request())
    await eventually(lambda: sample(site, "handshakes_waiting") == 1)
    gate.on_connect, turns = ALLOWED, site.server.websockets.queue
    deciding, waiting = sorted(site.handshakes(), key=lambda one: one.on_lost.__self__ in turns._waiting)
    waiting.cut()
    deciding.dismiss()
    await first.ended()
    first.close()
    await eventually(lambda: sample(site, "places_taken") == 0)
    assert sample(site, "handshakes_accepted") == 0


@both_loops
async def test_tls_a_stop_does_not_wait_for_who_says_nothing(
    start: Start, server_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls)
    silent = await site.connect()
    await eventually(lambda: sample(site, "handshakes") == 1)
    await site.server.stop(20.0)
    await silent.ended()


# When the system has run out of descriptors


@both_loops
async def test_a_server_without_free_descriptors_goes_on_and_accepts_later(site: Site) -> None:
    """Those that come meanwhile wait in the queue of the kernel; those that are here are served."""
    here = await joined(site)
    late = socket.socket()
    late.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await asyncio.get_running_loop().sock_connect(late, site.address)
        client = Client(late)
        site.clients.append(client)
        await client.send(request())
        await eventually(lambda: sample(site, "accept_failures") >= 1)
        site.publish("a", "x")
        assert await here.json() == {"topic": "a", "payload": "x"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (await answer(client))[0] == 101
    await site.open()
