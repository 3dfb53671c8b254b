"""`send_queue_policy: drop`: what a slow client misses, what it is told, and what it never misses."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import pytest

from rr_py_ws.adapters.ws import sender
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, close, command, frame
from support.ws_site import Site, Start

SIZE = 20_000
LIMIT = 500_000

Open = Callable[..., Awaitable[Client]]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def site(start: Start, secure: bool, server_tls: ssl.SSLContext) -> Site:
    tls = server_tls if secure else None
    return await start(
        tls=tls,
        send_queue=LIMIT // 4,
        send_queue_burst=4,
        send_queue_policy="drop",
        on_gap="tell",
        commands_per_second=0,
    )


@pytest.fixture
def open_client(site: Site, secure: bool, client_tls: ssl.SSLContext) -> Open:
    """Open a WebSocket that reads nothing by itself, and join topics."""

    async def open_client(*topics: str, **more: Any) -> Client:
        client = await site.open(small_buffers=True, tls=client_tls if secure else None)
        await client.send(command("join", topics, **more))
        await client.frame()
        return client

    return open_client


async def publish(site: Site, topic: str, first: int, last: int) -> None:
    """Publish numbered messages, five in each turn."""
    for number in range(first, last):
        site.publish(topic, f"{number:08}".ljust(SIZE, "."))
        if number % 5 == 4:
            await asyncio.sleep(0)
    await asyncio.sleep(0)


async def publish_until_dropped(site: Site, *topics: str, known: int = 0) -> int:
    """Publish in turn to topics until a client misses messages; return how many each topic had."""
    published = 0
    while site.sample("dropped_messages") <= known:
        for topic in topics:
            await publish(site, topic, published, published + 50)
        published += 50
    return published


async def all_of(client: Client) -> list[tuple[str, Any]]:
    """Everything that waits for a client: topics, and numbers or what else there is in the messages."""
    await client.send(frame(PING, b"end"))
    received: list[tuple[str, Any]] = []
    while (got := await client.frame()) != (PONG, b"end"):
        if got.opcode == PONG:
            received.append(("pong", got.payload))
            continue
        assert got.opcode == TEXT, got
        message = json.loads(got.payload)
        is_push = isinstance(message["payload"], str)
        received.append((message["topic"], int(message["payload"][:8]) if is_push else message["payload"]))
    return received


async def test_the_oldest_messages_are_dropped_and_the_connection_goes_on(
    site: Site, open_client: Open
) -> None:
    client = await open_client("t")
    published = await publish_until_dropped(site, "t")
    received = await all_of(client)
    [hole] = [at for at, message in enumerate(received) if message == ("#gap", ["t"])]
    numbers = [number for _, number in received[:hole] + received[hole + 1 :]]
    assert numbers[hole - 1] + 1 < numbers[hole]
    assert (numbers[0], numbers[-1]) == (0, published - 1)
    assert len(numbers) + site.sample("dropped_messages") == published
    assert (len(numbers) - hole) * SIZE <= LIMIT + 5 * SIZE
    frame_size = SIZE + 4 + len('{"topic":"t","payload":""}')
    assert site.sample("dropped_bytes") == site.sample("dropped_messages") * frame_size
    await publish(site, "t", published, published + 1)
    assert await all_of(client) == [("t", published)]
    assert site.sample("slow_clients") == 0


async def test_who_would_not_be_told_is_closed_instead(start: Start) -> None:
    """Point 9.7: it kept a hole, and nobody had said so."""
    site = await start(send_queue=LIMIT // 4, send_queue_policy="drop")
    client = await site.open(small_buffers=True)
    await client.join("t")
    published = 0
    while "t" in site.hub:
        await publish(site, "t", published, published + 50)
        published += 50
    received = 0
    while (answer := await client.frame()).opcode == TEXT:
        assert json.loads(answer.payload)["payload"].startswith(f"{received:08}")
        received += 1
    assert answer == (CLOSE, close(1013, "send queue full"))
    assert site.sample("dropped_messages") == 0


async def test_one_line_tells_of_a_client_that_misses_messages(
    site: Site, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one for each message: lines are rationed, and those about other clients would be lost."""
    log = Mock()
    monkeypatch.setattr(sender, "log", log)
    client = await open_client("t")
    published = await publish_until_dropped(site, "t")
    await publish(site, "t", published, published + 50)
    assert site.sample("dropped_messages") > 1
    assert log.warning.call_count == 1
    await all_of(client)
    await publish_until_dropped(site, "t", known=int(site.sample("dropped_messages")))
    assert log.warning.call_count == 2  # it had caught up in between


async def test_who_has_used_an_id_is_told_of_the_gap_at_its_place_and_for_its_topics(
    site: Site, open_client: Open
) -> None:
    client = await open_client("t", "u", "quiet", id=1)
    published = await publish_until_dropped(site, "t", "u")
    await publish(site, "quiet", 0, 1)
    received = await all_of(client)
    gaps = [at for at, (topic, _) in enumerate(received) if topic == "#gap"]
    assert len(gaps) == 1
    missing = {
        topic: sorted(set(range(published)) - {number for name, number in received if name == topic})
        for topic in ("t", "u")
    }
    assert sum(map(len, missing.values())) == site.sample("dropped_messages")
    assert set(received[gaps[0]][1]) == {topic for topic, numbers in missing.items() if numbers}
    for topic, numbers in missing.items():
        before = [number for name, number in received[: gaps[0]] if name == topic]
        after = [number for name, number in received[gaps[0] :] if name == topic]
        assert before + numbers + after == list(range(published))
    assert received[-1] == ("quiet", 0)


async def test_replies_and_pongs_are_never_dropped_and_keep_their_order(
    site: Site, open_client: Open
) -> None:
    client = await open_client("t", id=1)
    published = await publish_until_dropped(site, "t")
    for number in range(10):
        await client.send(command("join", [f"topic {number}"], id=number) + frame(PING, b"%d" % number))
        await eventually(lambda number=number: f"topic {number}" in site.hub)
        await publish(site, "t", published + 50 * number, published + 50 * (number + 1))
    received = await all_of(client)
    others = [(topic, payload) for topic, payload in received if topic not in ("t", "#gap")]
    assert [payload for kind, payload in others if kind == "@join"] == [[f"topic {n}"] for n in range(10)]
    assert [payload for kind, payload in others if kind == "pong"] == [b"%d" % n for n in range(10)]
    last = -1
    for at, (topic, number) in enumerate(received):
        if topic == "t":
            told = any(kind == "#gap" for kind, _ in _since_last_push(received, at))
            assert number == last + 1 or (number > last and told)
            last = number
    assert last == published + 499


def _since_last_push(received: list[tuple[str, Any]], at: int) -> list[tuple[str, Any]]:
    """What came between the push there and the one before."""
    between = []
    for entry in reversed(received[:at]):
        if entry[0] == "t":
            break
        between.append(entry)
    return between


async def test_a_client_that_only_pings_and_never_reads_is_closed(site: Site, open_client: Open) -> None:
    """What may not be dropped has the same limit."""
    client = await open_client("t")
    pings = frame(PING, b"x" * 125) * 1000
    while "t" in site.hub:
        await client.send(pings)
        await asyncio.sleep(0)
    while (answer := await client.frame()).opcode == PONG:
        pass
    assert answer == (CLOSE, close(1013, "send queue full"))
    assert site.sample("slow_clients") == 1


async def test_a_stalled_client_that_closes_gets_what_waits_and_then_the_echo(
    site: Site, open_client: Open
) -> None:
    client = await open_client("t", id=1)
    await publish_until_dropped(site, "t")
    await client.send(frame(CLOSE, close(1000)))
    await eventually(lambda: len(site.hub) == 0)
    while (answer := await client.frame()).opcode == TEXT:
        pass
    assert answer == (CLOSE, close(1000))
