"""The WebSocket protocol on the wire: control frames, fragments, errors, the close handshake."""

from __future__ import annotations

import asyncio
import struct

import pytest

from support.loops import both_loops
from support.ws_peer import BINARY, CLOSE, PING, PONG, TEXT, Client, close, command, frame, text
from support.ws_site import Site, Start

JOIN = '{"command":"join","topics":["a"]}'
JOINED = {"topic": "@join", "payload": ["a"]}
CONTINUATION = 0


async def closed_with(client: Client, code: int) -> None:
    """The server sends a close frame with this code, nothing after it, and ends with FIN."""
    opcode, payload = await client.frame()
    assert (opcode, struct.unpack("!H", payload[:2])[0]) == (CLOSE, code), payload
    payload[2:].decode()
    assert await client.rest() == b""


# Control frames


@pytest.mark.parametrize("data", [b"", b"x", JOIN.encode(), bytes(range(125))], ids=len)
async def test_d6_a_ping_is_answered_with_its_data_and_is_no_command(site: Site, data: bytes) -> None:
    client = await site.open()
    await client.send(frame(PING, data))
    assert await client.frame() == (PONG, data)
    assert len(site.hub) == 0


async def test_d6_a_ping_may_arrive_byte_by_byte(site: Site) -> None:
    client = await site.open()
    await client.send_slowly(frame(PING, b"slow") + frame(PING, b"and steady"))
    assert await client.frame() == (PONG, b"slow")
    assert await client.frame() == (PONG, b"and steady")


async def test_pings_in_one_packet_are_answered_in_order(site: Site) -> None:
    client = await site.open()
    await client.send(b"".join(frame(PING, str(number)) for number in range(1000)))
    for number in range(1000):
        assert await client.frame() == (PONG, str(number).encode())


async def test_pongs_are_ignored(site: Site) -> None:
    client = await site.open()
    await client.send(frame(PONG) + frame(PONG, JOIN))
    assert await client.silent()


# Messages


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_text_and_binary_messages_are_both_commands(site: Site, opcode: int) -> None:
    client = await site.open()
    await client.send(frame(opcode, JOIN))
    assert await client.json() == JOINED


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "byte by byte"])
async def test_d7_fragments_are_assembled_with_pings_in_between(
    site: Site, opcode: int, slowly: bool
) -> None:
    client = await site.open()
    data = frame(opcode, JOIN[:5], fin=False)
    data += frame(PING, b"1")
    data += frame(CONTINUATION, JOIN[5:9], fin=False) + frame(CONTINUATION, b"", fin=False)
    data += frame(PING, b"2")
    data += frame(CONTINUATION, JOIN[9:])
    await (client.send_slowly(data) if slowly else client.send(data))
    received = [await client.frame() for _ in range(3)]
    assert sorted(received) == [(TEXT, b'{"topic":"@join","payload":["a"]}'), (PONG, b"1"), (PONG, b"2")]


async def test_d7_a_character_may_be_split_over_fragments(site: Site) -> None:
    client = await site.open()
    data = '{"command":"join","topics":["é"]}'.encode()
    middle = data.index("é".encode()) + 1
    await client.send(frame(TEXT, data[:middle], fin=False) + frame(CONTINUATION, data[middle:]))
    assert await client.json() == {"topic": "@join", "payload": ["é"]}


async def test_each_frame_length_form_is_read(site: Site) -> None:
    client = await site.open()
    for padding in (0, 80, 200, 65_000):
        await client.send(frame(TEXT, JOIN + " " * padding))
        assert await client.json() == JOINED


@both_loops
async def test_a_message_at_the_limit_is_read(start: Start) -> None:
    site = await start(max_message_size=1000)
    client = await site.open()
    await client.send(frame(TEXT, JOIN.ljust(1000)))
    assert await client.json() == JOINED
    await client.send(frame(TEXT, JOIN[:9], fin=False) + frame(CONTINUATION, JOIN[9:].ljust(991)))
    assert await client.json() == JOINED


# What breaks the protocol


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, JOIN, mask=False),
        frame(TEXT, JOIN, rsv=4),
        frame(TEXT, JOIN, rsv=2),
        frame(TEXT, JOIN, rsv=1),
        frame(PING, rsv=4),
        frame(3),
        frame(7),
        frame(11),
        frame(15),
        frame(PING, b"x" * 126),
        frame(CLOSE, close(1000, "x" * 124)),
        frame(PING, b"", fin=False),
        frame(CONTINUATION, JOIN),
        frame(CONTINUATION, JOIN, fin=False),
        frame(TEXT, JOIN[:5], fin=False) + frame(TEXT, JOIN[5:]),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, close(999)),
        frame(CLOSE, close(1005)),
        frame(CLOSE, close(1006)),
        frame(CLOSE, close(1016)),
        frame(CLOSE, close(5000)),
    ],
)
async def test_d20_what_breaks_the_protocol_is_closed_with_1002(site: Site, data: bytes) -> None:
    client = await site.open()
    await client.send(data)
    await closed_with(client, 1002)


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b'{"command":"join","topics":["\xff"]}'),
        frame(TEXT, b'{"command":"join","topics":["\xed\xa0\x80"]}'),
        frame(TEXT, b'"\xc3', fin=False) + frame(CONTINUATION, b'"'),
        frame(CLOSE, struct.pack("!H", 1000) + b"\xff"),
    ],
)
async def test_d20_text_that_is_not_utf8_is_closed_with_1007(site: Site, data: bytes) -> None:
    client = await site.open()
    await client.send(data)
    await closed_with(client, 1007)


async def test_binary_messages_need_not_be_utf8(site: Site) -> None:
    """Also RoadRunner keeps the bytes of a topic; what leaves has them replaced."""
    client = await site.open()
    await client.send(frame(BINARY, b'{"command":"join","topics":["\xff"]}'))
    assert await client.frame() == (TEXT, b'{"topic":"@join","payload":["\\ufffd"]}')


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\xff" + struct.pack("!Q", 1 << 40) + b"\1\2\3\4",
        b"\x81\xff" + struct.pack("!Q", 1 << 62) + b"\1\2\3\4",
        b"\x81\xff" + struct.pack("!Q", (1 << 64) - 1) + b"\1\2\3\4",
        b"\x89\xff" + struct.pack("!Q", 1 << 40) + b"\1\2\3\4",
        frame(TEXT, b" " * 65537)[:14],
        frame(TEXT, b" " * 60000, fin=False) + frame(CONTINUATION, b" " * 6000)[:8],
    ],
)
async def test_d3_a_too_long_message_is_closed_with_1009_before_it_is_there(site: Site, data: bytes) -> None:
    """The length alone decides: the announced bytes are neither reserved nor waited for."""
    client = await site.open()
    await client.send(data)
    await closed_with(client, 1009)
    assert await (await site.open()).silent()


async def test_d3_many_small_fragments_are_counted_together(start: Start) -> None:
    site = await start(max_message_size=1000)
    client = await site.open()
    await client.send(frame(TEXT, b" " * 100, fin=False) + frame(CONTINUATION, b" " * 100, fin=False) * 20)
    await closed_with(client, 1009)


async def test_d8_a_client_in_the_middle_of_a_too_long_message_reads_why_it_is_closed(site: Site) -> None:
    """The rest of the message must not be answered with a reset, which would destroy the close frame."""
    client = await site.open(small_buffers=True)
    await client.send(frame(TEXT, b" " * 5_000_000))
    await closed_with(client, 1009)


async def test_nothing_that_follows_a_protocol_error_is_done(site: Site) -> None:
    client = await site.open()
    await client.send(frame(3) + command("join", ["a"]) + frame(PING))
    await closed_with(client, 1002)
    assert len(site.hub) == 0


async def test_nothing_that_follows_bad_text_is_done(site: Site) -> None:
    client = await site.open()
    await client.send(command("join", ["a"]) + frame(TEXT, b"\xff") + command("join", ["b"]))
    assert await client.json() == JOINED
    await closed_with(client, 1007)
    assert len(site.hub) == 0


# The close handshake


@pytest.mark.parametrize(
    "payload",
    [
        close(),
        close(1000),
        close(1001, "going"),
        close(1012),
        close(3000),
        close(4999, "é" * 61),
    ],
)
async def test_d8_a_close_frame_is_echoed_and_the_end_is_a_fin(site: Site, payload: bytes) -> None:
    client = await site.open()
    await client.send(frame(CLOSE, payload))
    assert await client.rest() == frame(CLOSE, payload, mask=False)


async def test_d8_a_close_frame_may_arrive_byte_by_byte(site: Site) -> None:
    client = await site.open()
    await client.send_slowly(frame(CLOSE, close(4000, "bye")))
    assert await client.rest() == frame(CLOSE, close(4000, "bye"), mask=False)


@both_loops
async def test_d8_what_a_client_sends_after_its_close_frame_is_ignored_and_causes_no_reset(
    site: Site,
) -> None:
    client = await site.open()
    await client.send(frame(CLOSE, close(1000)) + command("join", ["a"]) + frame(PING) + b"\0" * 100_000)
    assert await client.rest() == frame(CLOSE, close(1000), mask=False)


async def test_nothing_is_pushed_after_the_close_frame(site: Site) -> None:
    """Messages are published in every turn of the loop until the client is gone from its topic."""
    client = await site.open()
    await client.send(command("join", ["a"]))
    await client.frame()
    await client.send(frame(PING) + frame(CLOSE, close(1000)))
    while "a" in site.hub:
        site.publish("a", "x")
        await asyncio.sleep(0)
    pushed, closed, rest = (await client.rest()).partition(frame(CLOSE, close(1000), mask=False))
    assert closed
    assert pushed.replace(text('{"topic":"a","payload":"x"}'), b"") == frame(PONG, mask=False)
    assert rest == b""
