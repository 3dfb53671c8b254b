"""A message that is larger than what a transport gets at a time: nothing overtakes it, and it ends whole."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest

from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, close, command, frame
from support.ws_site import Site, Start

pytestmark = both_loops

LARGE = "x" * 1_500_000


@pytest.fixture(params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest) -> dict[str, ssl.SSLContext | None]:
    """How clients connect, and what the server needs for that."""
    names = {"server": "server_tls", "client": "client_tls"}
    secure = request.param == "TLS"
    return {side: request.getfixturevalue(name) if secure else None for side, name in names.items()}


async def stalled(site: Site, tls: dict[str, ssl.SSLContext | None]) -> Client:
    """A client in the topic that does not read, and has been sent the beginning of a large message."""
    client = await site.open(small_buffers=True, tls=tls["client"])
    await client.send(command("join", ["t"], id="1"))
    await client.frame()
    site.publish("t", LARGE)
    site.node.flush()
    return client


async def test_nothing_overtakes_a_large_message(start: Start, tls: dict[str, ssl.SSLContext | None]) -> None:
    site = await start(tls=tls["server"])
    client = await stalled(site, tls)
    await client.send(command("join", ["u"]) + frame(PING, b"p"))
    await eventually(lambda: "u" in site.hub)
    site.publish("u", "last")
    site.node.flush()
    assert (await client.json())["payload"] == LARGE
    assert [await client.frame() for _ in range(3)] == [
        (TEXT, b'{"topic":"@join","payload":["u"]}'),
        (PONG, b"p"),
        (TEXT, b'{"topic":"u","payload":"last"}'),
    ]
    assert await client.silent()


async def test_several_large_messages_arrive_in_order(
    start: Start, tls: dict[str, ssl.SSLContext | None]
) -> None:
    site = await start(tls=tls["server"], send_queue=100_000_000)
    client = await stalled(site, tls)
    for size in (65_536, 70_000, 400_000, 10):
        site.publish("t", "y" * size)
        site.node.flush()
    received = [(await client.json())["payload"] for _ in range(5)]
    assert list(map(len, received)) == [len(LARGE), 65_536, 70_000, 400_000, 10]
    assert await client.silent()


async def test_a_client_that_falls_behind_in_a_large_message_gets_it_whole_and_then_1013(
    start: Start, tls: dict[str, ssl.SSLContext | None]
) -> None:
    site = await start(tls=tls["server"], send_queue=1000)
    client = await stalled(site, tls)
    while len(site.hub):
        site.publish("t", "y" * 300)
        site.node.flush()
        await asyncio.sleep(0)
    assert (await client.json())["payload"] == LARGE
    assert await client.frame() == (CLOSE, close(1013, "send queue full"))


async def test_the_large_message_that_was_begun_is_not_dropped(
    start: Start, tls: dict[str, ssl.SSLContext | None]
) -> None:
    site = await start(tls=tls["server"], send_queue=1000, send_queue_policy="drop", on_gap="tell")
    client = await stalled(site, tls)
    for _ in range(40):
        site.publish("t", "y" * 300)
        site.node.flush()
    assert (await client.json())["payload"] == LARGE
    assert await client.json() == {"topic": "#gap", "payload": ["t"], "id": ""}
    assert (await client.json())["payload"] == "y" * 300


async def test_a_stop_in_the_middle_of_a_large_message_lets_it_end(
    start: Start, tls: dict[str, ssl.SSLContext | None]
) -> None:
    site = await start(tls=tls["server"])
    client = await stalled(site, tls)
    stopping = asyncio.create_task(site.server.stop(20.0))
    payload = json.loads((await client.frame()).payload)["payload"]
    assert payload == LARGE
    assert await client.frame() == (CLOSE, close(1001, "server is stopping"))
    client.close()
    await stopping
