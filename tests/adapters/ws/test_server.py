"""Listening, TLS, and the orderly end of everything."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from rr_py_ws import logs
from rr_py_ws.config import Limits, Logs
from rr_py_ws.errors import ConfigError
from support.loops import both_loops
from support.ports import needs_ipv6
from support.waiting import eventually
from support.ws_peer import CLOSE, TEXT, Client, Gate, close, command, frame, request
from support.ws_site import Site, Start, asked_of_php

pytestmark = both_loops

GOODBYE = close(1001, "server is stopping")


async def joined(site: Site, *, small_buffers: bool = False) -> Client:
    client = await site.open(small_buffers=small_buffers)
    await client.send(command("join", ["a"]))
    await client.frame()
    return client


# Listening


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("8080", "'8080' is not an address; write host:port"),
        ("localhost:http", "write host:port"),
        ("127.0.0.1:65536", "write host:port"),
        ("127.0.0.1:²", "write host:port"),
        ("a" * 64 + ".test:0", "cannot be resolved"),
        ("a..b:0", "cannot be resolved"),
        ("[::zz]:0", "cannot be resolved"),
        ("203.0.113.1:0", "cannot listen on 203.0.113.1:0: "),
    ],
)
async def test_a_bad_address_is_one_line_that_names_the_key(site: Site, address: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        await site.server.listen(address, key="websockets.address")
    assert raised.value.key == "websockets.address"
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_an_address_in_use_is_said_to_be(site: Site) -> None:
    address = f"127.0.0.1:{site.address[1]}"
    with pytest.raises(ConfigError, match=f"^http.address: cannot listen on {address}: it is in use by"):
        await site.server.listen(address)


@needs_ipv6
async def test_clients_that_come_and_go_do_not_fill_the_log(site: Site, tmp_path: Path) -> None:
    """At the default level, debug, each wrote two lines, as often as it liked."""
    logs.setup(Logs(mode="raw", output=(str(tmp_path / "log"),)), Limits().log_queue)
    for _ in range(25):
        (await site.open()).reset()
    await eventually(lambda: not site.connections())
    logs.shutdown()
    text = (tmp_path / "log").read_text()
    assert text.count("client connected") <= 10 and text.count("client disconnected") <= 10


async def test_several_addresses_serve_the_same_topics(site: Site) -> None:
    await site.server.listen("[::1]:0")
    await site.server.listen(":0")
    assert [host for host, _ in site.server.addresses] == ["127.0.0.1", "::1", "0.0.0.0"]
    first = await joined(site)
    async with connect(f"ws://[::1]:{site.server.addresses[1][1]}/ws") as second:
        await second.send('{"command":"join","topics":["a"]}')
        await second.recv()
        site.publish("a", "x")
        assert await first.json() == json.loads(await second.recv()) == {"topic": "a", "payload": "x"}


async def test_inherited_sockets_are_served_and_stay(start: Start) -> None:
    """They are another process's too: connections that come after the stop wait for who listens next."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        for _ in range(2):
            site = await start()
            await site.server.listen("127.0.0.1:1", inherited=[one.dup(), other.dup()])
            for address in site.server.addresses[1:]:
                client = await Client.connect(address)
                site.clients.append(client)
                await client.send(request())
                assert (await client.head()).startswith(b"HTTP/1.1 101 ")
                client.close()
            await site.server.stop(5.0)
        (await Client.connect(one.getsockname())).close()


@needs_ipv6
async def test_php_sees_an_ipv4_client_of_a_socket_for_both_families_as_one(start: Start) -> None:
    """Such are the sockets of systemd."""
    gate = Gate()
    site = await start(gate)
    await site.server.listen(
        ":1", inherited=[socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)]
    )
    client = await Client.connect(("127.0.0.1", site.server.addresses[1][1]))
    site.clients.append(client)
    await client.send(request())
    await client.head()
    assert (await asked_of_php(gate.requests[0]))["remoteAddr"] == "127.0.0.1"


# TLS


def secure(site: Site) -> str:
    return f"wss://localhost:{site.address[1]}/ws"


async def test_tls_serves_and_php_sees_https(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    gate = Gate()
    site = await start(gate, tls=server_tls)
    async with connect(secure(site) + "?q=1", ssl=client_tls, compression=None) as client:
        await client.send('{"command":"join","topics":["a"]}')
        assert await client.recv() == '{"topic":"@join","payload":["a"]}'
        site.publish("a", "x" * 100_000)
        assert await client.recv() == '{"topic":"a","payload":"' + "x" * 100_000 + '"}'
    assert client.close_code == 1000
    asked = await asked_of_php(gate.requests[0])
    assert asked["uri"] == f"https://localhost:{site.address[1]}/ws?q=1"
    await eventually(lambda: site.server.connections == 0)


async def test_tls_stop_says_1001(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls)
    async with connect(secure(site), ssl=client_tls) as client:
        stopping = asyncio.create_task(site.server.stop(20.0))
        with pytest.raises(ConnectionClosed):
            await client.recv()
        await stopping
    assert client.close_code == 1001


async def test_tls_refusals_arrive_whole(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls)
    reader, writer = await asyncio.open_connection("localhost", site.address[1], ssl=client_tls)
    writer.write(request("/other"))
    assert (await reader.read()).endswith(b"nothing is served at /other; WebSockets are at /ws\n")
    writer.close()
    await writer.wait_closed()


async def test_tls_a_slow_receiver_is_bounded_too(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls, send_queue=100_000, close_timeout=0.05)
    _, writer = await asyncio.open_connection("localhost", site.address[1], ssl=client_tls, limit=1000)
    writer.write(request() + command("join", ["a"]))
    await eventually(lambda: "a" in site.hub)
    while "a" in site.hub:
        site.publish("a", "x" * 50_000)
        await asyncio.sleep(0)
    await eventually(lambda: site.server.connections == 0)
    writer.transport.abort()


async def test_tls_a_plain_request_and_an_abandoned_one_disturb_nobody(
    start: Start, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    impatient = await start(tls=server_tls, head_timeout=0.05)
    silent = await impatient.connect()
    await silent.ended()
    site = await start(tls=server_tls)
    plain = await site.connect()
    await plain.send(request())
    await plain.ended()
    gone = await site.connect()
    await gone.send(b"\x16\x03\x01")
    gone.reset()
    async with connect(secure(site), ssl=client_tls) as client:
        await client.send('{"command":"leave"}')
        assert await client.recv() == '{"topic":"@leave","payload":null}'


# Stop


async def test_d33_stop_says_1001_to_everybody_and_returns_when_all_are_gone(start: Start) -> None:
    site = await start()
    clients = [await joined(site) for _ in range(450)]  # more than two batches
    stopping = asyncio.create_task(site.server.stop(20.0))
    for client in clients:
        assert await client.frame() == (CLOSE, GOODBYE)
        await client.send(frame(CLOSE, close(1001)))
        assert await client.rest() == b""
        client.close()
    await stopping
    assert (site.server.connections, len(site.hub), site.server.addresses) == (0, 0, [])


async def test_d33_nothing_follows_the_goodbye(site: Site) -> None:
    client = await joined(site)
    stopping = asyncio.create_task(site.server.stop(20.0))
    await eventually(lambda: len(site.hub) == 0)
    site.publish("a", "too late")
    await client.send(command("join", ["b"]) + frame(9, b"ping") + frame(CLOSE, close(1001)))
    assert await client.rest() == frame(CLOSE, GOODBYE, mask=False)
    client.close()
    await stopping


async def test_d33_stalled_clients_do_not_hold_up_the_stop(start: Start) -> None:
    """One reads nothing, one answers nothing, one is well: the first two are cut when the time is over."""
    site = await start(send_queue=100_000_000)
    stalled, rude, polite = await joined(site, small_buffers=True), await joined(site), await joined(site)
    for number in range(200):
        site.publish("a", str(number) * 10_000)
        for client in (rude, polite):
            assert (await client.frame()).opcode == TEXT
    stopping = asyncio.create_task(site.server.stop(0.8))
    for client in (rude, polite):
        assert await client.frame() == (CLOSE, GOODBYE)
    await polite.send(frame(CLOSE, close(1001)))
    assert await polite.rest() == b""
    await stopping
    assert (site.server.connections, site.sockets(), len(site.hub)) == (0, -1, 0)  # -1: the listener's
    await stalled.ended()
    assert await rude.rest() == b""


async def test_d33_handshakes_in_flight_get_a_503(start: Start) -> None:
    gate = Gate(connect=None)
    site = await start(gate)
    asking, incomplete, late = [await site.connect() for _ in range(3)]
    await asking.send(request())
    await incomplete.send(request()[:30])
    await gate.asked(1)
    stopping = asyncio.create_task(site.server.stop(20.0))
    for client in (asking, incomplete, late):
        if client is late:  # until then, it may be one that a browser keeps: it gets no answer unasked
            await client.send(request())
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1\r\n" in answer
        client.close()
    await stopping
    assert gate.waiting[0].cancelled()


async def test_d33_nobody_new_is_let_in(site: Site) -> None:
    """Neither by the listener nor from its queue of accepted connections."""
    client = await joined(site)
    address = site.address
    waiting = [await Client.connect(address) for _ in range(3)]
    stopping = asyncio.create_task(site.server.stop(20.0))
    await eventually(lambda: len(site.hub) == 0)
    for late in waiting:
        try:
            await late.send(request())
            assert (await late.rest())[:13] in (b"HTTP/1.1 503 ", b"")
        except ConnectionError:
            pass
        late.close()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(address)
    assert await client.frame() == (CLOSE, GOODBYE)
    client.close()
    await stopping


async def test_stopping_twice_or_without_clients_is_fine(start: Start) -> None:
    site = await start()
    await site.server.stop(0.0)
    await site.server.stop(0.0)
