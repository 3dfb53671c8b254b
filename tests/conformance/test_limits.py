"""`limits.max_message_size`: a message over it is closed with 1009, as soon as its length is known."""

from __future__ import annotations

import pytest

from conformance.exchange import (
    CONTINUATION,
    JOIN,
    Send,
    alive,
    answered,
    each_kind,
    each_way,
    failed,
    fragments,
    message,
)
from support.ws_peer import PING, PONG, Client, frame
from support.ws_site import Start

LIMIT = 1000
LIMITS = [125, 126, 127, LIMIT, 65535, 65536, 65537, 1_000_000]

each_limit = pytest.mark.parametrize("limit", LIMITS)


async def limited(start: Start, limit: int = LIMIT) -> Client:
    return await (await start(max_message_size=limit)).open()


def split(data: bytes, count: int) -> list[bytes]:
    """In so many parts, all but the last of one length."""
    size = len(data) // count
    return [data[n * size : (n + 1) * size if n < count - 1 else None] for n in range(count)]


# Whole messages


@each_limit
@each_kind
@each_way
async def test_a_message_of_the_limit_is_received(start: Start, limit: int, opcode: int, send: Send) -> None:
    client = await limited(start, limit)
    await send(client, frame(opcode, message(limit)))
    await answered(client)
    await alive(client)


@each_limit
@each_kind
@each_way
async def test_a_message_over_the_limit_is_closed(start: Start, limit: int, opcode: int, send: Send) -> None:
    client = await limited(start, limit)
    await send(client, frame(opcode, message(limit + 1)))
    await failed(client, 1009)


@each_limit
@each_kind
async def test_a_message_over_the_limit_is_closed_before_it_is_sent(
    start: Start, limit: int, opcode: int
) -> None:
    client = await limited(start, limit)
    data = frame(opcode, message(limit + 1))
    await client.send(data[: len(data) - limit - 1])
    await failed(client, 1009)


async def test_the_default_limit_is_64_kib(start: Start) -> None:
    client = await (await start()).open()
    await client.send(frame(1, message(65536)))
    await answered(client)
    await client.send(frame(1, message(65537)))
    await failed(client, 1009)


# Messages in fragments


@each_kind
@pytest.mark.parametrize("count", [2, 3, 10, LIMIT])
@each_way
async def test_fragments_of_the_limit_together_are_received(
    start: Start, opcode: int, count: int, send: Send
) -> None:
    client = await limited(start)
    await send(client, b"".join(fragments(opcode, *split(message(LIMIT), count))))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("count", [2, 3, 10, LIMIT])
@each_way
async def test_fragments_over_the_limit_together_are_closed(
    start: Start, opcode: int, count: int, send: Send
) -> None:
    client = await limited(start)
    await send(client, b"".join(fragments(opcode, *split(message(LIMIT + 1), count))))
    await failed(client, 1009)


@each_kind
@pytest.mark.parametrize("fin", [False, True], ids=["not final", "final"])
async def test_fragments_over_the_limit_are_closed_before_the_last_is_sent(
    start: Start, opcode: int, fin: bool
) -> None:
    client = await limited(start)
    await client.send(frame(opcode, b" " * 900, fin=False))
    await alive(client)
    await client.send(frame(CONTINUATION, b" " * 126, fin=fin)[:8])
    await failed(client, 1009)


@each_kind
async def test_a_first_fragment_over_the_limit_is_closed(start: Start, opcode: int) -> None:
    client = await limited(start)
    await client.send(frame(opcode, b" " * (LIMIT + 1), fin=False)[:8])
    await failed(client, 1009)


@each_kind
async def test_empty_fragments_after_a_full_message_are_received(start: Start, opcode: int) -> None:
    client = await limited(start)
    await client.send(b"".join(fragments(opcode, message(LIMIT), *[b""] * 50)))
    await answered(client)
    await alive(client)


@each_kind
async def test_an_endless_message_of_small_fragments_is_closed(start: Start, opcode: int) -> None:
    client = await limited(start)
    await client.send(frame(opcode, b" ", fin=False) + frame(CONTINUATION, b" ", fin=False) * 5000)
    await failed(client, 1009)


# What the limit is not about


@each_kind
async def test_messages_do_not_add_up(start: Start, opcode: int) -> None:
    client = await limited(start)
    await client.send(
        (frame(opcode, message(LIMIT)) + b"".join(fragments(opcode, *split(message(LIMIT), 3)))) * 5
    )
    for _ in range(10):
        await answered(client)
    await alive(client)


@each_kind
async def test_pings_do_not_add_up_with_fragments(start: Start, opcode: int) -> None:
    client = await limited(start)
    first, last = fragments(opcode, message(LIMIT)[:875], message(LIMIT)[875:])
    await client.send(first + frame(PING, b"x" * 125) * 100)
    for _ in range(100):
        assert await client.frame() == (PONG, b"x" * 125)
    await client.send(last)
    await answered(client)


@pytest.mark.parametrize("left", [0, 1, 124])
async def test_a_ping_may_be_longer_than_what_is_left_for_the_message(start: Start, left: int) -> None:
    """RFC 6455 section 5.4: control frames may be injected in the middle of a fragmented message."""
    client = await limited(start)
    first, last = fragments(1, message(LIMIT)[: LIMIT - left], message(LIMIT)[LIMIT - left :])
    await client.send(first + frame(PING, b"x" * (left + 1)))
    assert await client.frame() == (PONG, b"x" * (left + 1))
    await client.send(last)
    await answered(client)


@pytest.mark.parametrize("after", [frame(1, JOIN), frame(PING)], ids=["a text", "a ping"])
async def test_nothing_that_follows_a_too_long_message_is_done(start: Start, after: bytes) -> None:
    site = await start(max_message_size=LIMIT)
    client = await site.open()
    await client.send(frame(1, message(LIMIT + 1)) + after)
    await failed(client, 1009)
    assert len(site.hub) == 0
