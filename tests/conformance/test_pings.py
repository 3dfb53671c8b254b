"""RFC 6455 sections 5.5, 5.5.2 and 5.5.3: pings and pongs."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from conformance.exchange import (
    JOIN,
    JOINED,
    Send,
    alive,
    answered,
    each_way,
    failed,
    fragments,
    join,
    odd_frame,
)
from support.ws_peer import PING, PONG, TEXT, Client, frame
from support.ws_site import Site

PAYLOADS = {
    "no data": b"",
    "one byte": b"x",
    "text": "κόσμε".encode(),
    "not UTF-8": b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",
    "a command": JOIN,
    "124 bytes": bytes(range(124)),
    "125 bytes": b"\xfe" * 125,
}
TOO_LONG = [(126, 2), (127, 2), (128, 2), (65535, 2), (65536, 8)]


@pytest.mark.parametrize("data", PAYLOADS.values(), ids=PAYLOADS)
@each_way
async def test_a_ping_is_answered_with_its_data(site: Site, client: Client, send: Send, data: bytes) -> None:
    await send(client, frame(PING, data))
    assert await client.frame() == (PONG, data)
    await alive(client)
    assert len(site.hub) == 0


@pytest.mark.parametrize("data", PAYLOADS.values(), ids=PAYLOADS)
@each_way
async def test_a_pong_that_nobody_asked_for_is_ignored(
    site: Site, client: Client, send: Send, data: bytes
) -> None:
    await send(client, frame(PONG, data))
    await alive(client)
    assert len(site.hub) == 0


@pytest.mark.parametrize(("length", "form"), TOO_LONG, ids=[str(length) for length, _ in TOO_LONG])
@pytest.mark.parametrize("opcode", [PING, PONG], ids=["ping", "pong"])
@each_way
async def test_more_than_125_bytes_are_closed_with_1002(
    client: Client, opcode: int, send: Send, length: int, form: int
) -> None:
    await send(client, odd_frame(0x80 | opcode, b"x" * length, form=form))
    await failed(client, 1002)


@pytest.mark.parametrize("opcode", [PING, PONG], ids=["ping", "pong"])
async def test_more_than_the_limit_of_messages_is_closed_unread(client: Client, opcode: int) -> None:
    """Too long for a control frame (1002) and for this server (1009); the core sees the latter first."""
    await client.send(odd_frame(0x80 | opcode, b"", form=8, length=65537))
    await failed(client, 1009)


@pytest.mark.parametrize("count", [2, 10, 1000])
@each_way
async def test_many_pings_are_answered_in_order(client: Client, send: Send, count: int) -> None:
    await send(client, b"".join(frame(PING, str(number)) for number in range(count)))
    for number in range(count):
        assert await client.frame() == (PONG, str(number).encode())
    await alive(client)


@pytest.mark.parametrize("count", [1, 10])
@each_way
async def test_pongs_before_a_ping_change_nothing(client: Client, send: Send, count: int) -> None:
    await send(client, b"".join(frame(PONG, str(number)) for number in range(count)) + frame(PING, "p"))
    assert await client.frame() == (PONG, b"p")
    await alive(client)


@each_way
async def test_empty_pings_are_each_answered(client: Client, send: Send) -> None:
    await send(client, frame(PING) * 10)
    for _ in range(10):
        assert await client.frame() == (PONG, b"")
    await alive(client)


@each_way
async def test_pings_between_messages_are_answered_in_order_and_so_are_the_messages(
    client: Client, send: Send
) -> None:
    """A pong may overtake an answer, and the other way round."""
    await send(client, b"".join(frame(PING, f"{n}") + frame(TEXT, join(f"t{n}")) for n in range(10)))
    received = [await client.frame() for _ in range(20)]
    pongs = [data for opcode, data in received if opcode == PONG]
    answers = [data for opcode, data in received if opcode == TEXT]
    assert pongs == [b"%d" % n for n in range(10)]
    assert answers == [b'{"topic":"@join","payload":["t%d"]}' % n for n in range(10)]


async def test_a_ping_is_answered_before_the_message_that_follows_later(client: Client) -> None:
    await client.send(frame(PING, "p"))
    assert await client.frame() == (PONG, b"p")
    await client.send(frame(TEXT, JOIN))
    assert await client.frame() == JOINED


async def test_what_follows_a_too_long_ping_is_not_done(site: Site, client: Client) -> None:
    await client.send(odd_frame(0x80 | PING, b"x" * 126, form=2) + frame(TEXT, JOIN) + frame(PING))
    await failed(client, 1002)
    assert len(site.hub) == 0


async def test_what_precedes_a_too_long_ping_is_done(client: Client) -> None:
    await client.send(frame(TEXT, JOIN) + odd_frame(0x80 | PING, b"x" * 126, form=2))
    await answered(client)
    await failed(client, 1002)


@pytest.mark.parametrize("seed", range(40))
async def test_answers_leave_in_the_order_of_what_they_answer(client: Client, seed: int) -> None:
    """Point 9.14: a pong came after the reply to a later fragment.

    Commands whole and in fragments, with pings between these, in packets of any size.
    """
    chance = Random(seed)
    sent, expected = bytearray(), []
    for number in range(chance.randrange(5, 60)):
        command = join(f"{number}")
        cuts = sorted(chance.randrange(len(command)) for _ in range(chance.randrange(3)))
        pieces = [command[a:b] for a, b in zip([0, *cuts], [*cuts, len(command)], strict=True)]
        for at, part in enumerate(fragments(TEXT, *pieces)):
            if at or chance.random() < 0.3:
                ping = f"{number} {at}".encode()
                sent += frame(PING, ping)
                expected.append((PONG, ping))
            sent += part
        expected.append((TEXT, f'{{"topic":"@join","payload":["{number}"]}}'.encode()))
    while sent:
        size = chance.choice([1, 2, 5, 40, 1000, len(sent)])
        await client.send(bytes(sent[:size]))
        del sent[:size]
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    assert [await client.frame() for _ in expected] == expected
