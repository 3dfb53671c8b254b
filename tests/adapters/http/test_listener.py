"""Addresses, metrics, and the orderly end."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws import logs
from rr_py_ws.adapters.http import REFUSALS, listener
from rr_py_ws.adapters.http.states import State
from rr_py_ws.errors import ConfigError
from rr_py_ws.wire.verdict import Verdict
from support.http_site import Site, Start, get, parse
from support.loops import both_loops
from support.ports import needs_ipv6
from support.waiting import eventually
from support.ws_peer import Client

pytestmark = both_loops

# Listening


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("8080", "'8080' is not an address; write host:port, [IPv6]:port or :port"),
        ("localhost:http", "'localhost:http' is not an address"),
        ("127.0.0.1:65536", "is not an address"),
        ("a..b:0", "cannot listen on a..b:0: it cannot be resolved"),
        ("203.0.113.1:0", "cannot listen on 203.0.113.1:0: "),
    ],
)
async def test_a_bad_address_is_one_line_that_names_the_key(site: Site, address: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        await site.listener.listen(address, key="websockets.address")
    assert raised.value.key == "websockets.address"
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_an_address_in_use_is_said_to_be(site: Site) -> None:
    place = f"127.0.0.1:{site.address[1]}"
    problem = re.escape(f"http.address: cannot listen on {place}: it is in use by another process")
    with pytest.raises(ConfigError, match="^" + problem):
        await site.listener.listen(place)


@needs_ipv6
async def test_several_addresses_are_served_and_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listener.log, "info", logs.get_logger("websockets").warning)
    await site.listener.listen("[::1]:0", path="/ws")
    await site.listener.listen(":0")
    assert [host for host, _ in site.listener.addresses] == ["127.0.0.1", "::1", "0.0.0.0"]
    for port in (site.listener.addresses[2][1],):
        client = await Client.connect(("127.0.0.2", port))
        site.clients.append(client)
        await client.send(get())
        assert await client.exactly(6) == b"hello\n"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "websocket listener was started" in lines[0]
    assert f'"address": "[::1]:{site.listener.addresses[1][1]}"' in lines[0]
    assert '"path": "/ws", "tls": false, "inherited": false' in lines[0]


async def test_inherited_sockets_are_served_and_stay(start: Start, tmp_path: Path) -> None:
    """They are another process's too: connections that come after the stop wait for the next server."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.create_server(str(tmp_path / "s"), family=socket.AF_UNIX) as unix,
    ):
        for _ in range(2):
            site = await start()
            await site.listener.listen("127.0.0.1:1", inherited=[tcp.dup(), unix.dup()])
            for address in (site.listener.addresses[1], unix.getsockname()):
                client = Client(socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET))
                client._socket.connect(address)
                client._socket.setblocking(False)
                site.clients.append(client)
                await client.send(get())
                assert await client.exactly(6) == b"hello\n"
                client.close()
            await site.listener.stop(5.0)
        (await Client.connect(tcp.getsockname())).close()


async def test_the_kernel_holds_little_that_is_not_sent(site: Site) -> None:
    await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    found = site.held[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    assert found == 128 * 1024


# Metrics


async def test_metrics_have_the_names_that_dashboards_know(site: Site) -> None:
    await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    assert [sample.name for sample in site.listener.metrics()] == [
        "handshakes",
        "places",
        "places_taken",
        "connections_cut",
        "refusal_bytes",
        "refusals_cut",
        "handshakes_refused",
        "accept_failures",
    ]
    assert (site.sample("handshakes"), site.sample("places_taken")) == (1, 1)
    assert [site.sample("handshakes_refused", reason) for reason in REFUSALS] == [0] * len(REFUSALS)


# The end


async def test_connections_without_an_answer_get_a_503(site: Site) -> None:
    held, incomplete, late = [await site.send(data) for data in (get("/held"), get()[:20], b"")]
    handed_over = await site.echo()
    await eventually(lambda: len(site.held) == 1 and len(site.listener) == 3)
    stopping = asyncio.create_task(site.listener.stop(20.0))
    for client in (held, incomplete, late):
        if client is late:
            await client.send(get())
        status, headers, body = parse(await client.rest())
        assert (status, headers["retry-after"], body) == (503, "1", b"server is stopping")
        assert not stopping.done()
        client.close()
    assert await stopping == 0
    assert site.lost == site.held
    assert site.sample("handshakes_refused", "stopping") == 3
    await handed_over.send(b"x")
    assert await handed_over.exactly(1) == b"x"


@pytest.mark.parametrize("sent", [b"", get("/page")])
async def test_a_stop_does_not_wait_for_who_has_nothing_to_say(start: Start, sent: bytes) -> None:
    """Browsers keep connections open that they do not look at: each stop took ten seconds beside one."""
    site = await start(limits={"close_timeout": 100.0})

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    site.serve(page)
    kept = await site.send(sent)
    if sent:
        await kept.head()
    await eventually(lambda: len(site.listener) == 1)
    site.listener.refuse()  # long before, when others are told to go
    assert await site.listener.stop(10.0) == 0
    # No answer that nobody has asked for: a browser takes it for that to its next request, to another server.
    assert await kept.rest() == b""
    assert site.sample("handshakes_refused", "stopping") == 0


async def test_an_answer_that_comes_after_the_stop_changes_nothing(site: Site) -> None:
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    site.listener.refuse()
    assert site.held[0].closing
    site.held[0].refuse("authorization", Verdict(403))
    assert parse(await client.rest())[0] == 503
    assert site.sample("handshakes_refused", "authorization") == 0


async def test_connections_that_do_not_go_are_cut_and_counted(site: Site) -> None:
    polite, stubborn = [await site.send(get("/held")) for _ in range(2)]
    await eventually(lambda: len(site.held) == 2)
    stopping = asyncio.create_task(site.listener.stop(0.3))
    await polite.rest()
    polite.close()
    assert await stopping == 1
    assert [connection.state for connection in site.held] == [State.CLOSED] * 2
    await stubborn.ended()


async def test_a_connection_that_is_cut_and_not_yet_reported_does_not_stop_the_stop(site: Site) -> None:
    """uvloop's transport raises when it is written to."""
    client = await site.send(get("/held"))
    await eventually(lambda: len(site.held) == 1)
    site.held[0].cut()
    stopping = asyncio.create_task(site.listener.stop(20.0))
    await client.ended()
    assert await stopping == 0
    assert site.lost == site.held
    assert site.sample("handshakes_refused", "stopping") == 0


async def test_tls_a_stop_does_not_wait_for_connections_that_say_nothing(
    start: Start, server_tls: ssl.SSLContext
) -> None:
    site = await start(tls=server_tls)
    silent = await site.connect()
    await eventually(lambda: site.sample("handshakes") == 1)
    assert await site.listener.stop(20.0) == 0
    await silent.ended()


async def test_nobody_new_is_let_in(site: Site) -> None:
    """Neither by the listener nor from the queue of accepted connections."""
    address = site.address
    waiting = [await site.connect() for _ in range(3)]
    stopping = asyncio.create_task(site.listener.stop(20.0))
    await asyncio.sleep(0)
    for late in waiting:
        try:
            await late.send(get())
            assert (await late.rest())[:13] in (b"HTTP/1.1 503 ", b"")
        except ConnectionError:
            pass
        late.close()
    await stopping
    assert site.listener.addresses == []
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(address)


async def test_stopping_twice_or_without_clients_is_fine(site: Site) -> None:
    assert await site.listener.stop(0.0) == 0
    assert await site.listener.stop(0.0) == 0
