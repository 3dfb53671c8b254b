"""RFC 6455 sections 5.5.1 and 7: close frames, their codes and reasons, and the end of the connection.

How a connection ends is also a matter of the event loop; those cases run on both.
"""

from __future__ import annotations

import asyncio

import pytest

from conformance.exchange import (
    CONTINUATION,
    JOIN,
    Send,
    alive,
    answered,
    closed,
    each_way,
    failed,
    fragments,
    odd_frame,
)
from conformance.utf8_samples import INCOMPLETE, INVALID
from rr_py_ws.wire.verdict import ALLOWED
from support.loops import both_loops, one_loop
from support.waiting import eventually
from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, Gate, close, frame
from support.ws_site import Site, Start

pytestmark = both_loops

NORMAL = close(1000)
VALID_CODES = [
    *(1000, 1001, 1002, 1003),  # RFC 6455 section 7.4.1
    *(1007, 1008, 1009, 1010, 1011),
    *(1012, 1013, 1014),  # registered since
    *(3000, 3001, 3999),  # for libraries and frameworks
    *(4000, 4001, 4999),  # for applications
]
INVALID_CODES = [
    *(0, 1, 999),
    *(1004, 1005, 1006, 1015),  # never in a frame
    *(1016, 1100, 1999, 2000, 2999),  # not given to anybody
    *(5000, 32768, 65535),
]
REASONS = {
    "1 byte": "x",
    "122 bytes": "x" * 122,
    "123 bytes": "x" * 123,
    "41 characters of 3 bytes": "€" * 41,
    "30 characters of 4 bytes": "😀" * 30,
    "noncharacters": "\ufdd0\ufffe\uffff\U0010ffff",
}
BAD_REASONS = [
    *("first continuation byte", "four bytes without the fourth", "overlong slash in two bytes"),
    *("surrogate D800", "above U+10FFFF", "FF"),
]
AFTER = {
    "a text": frame(TEXT, JOIN),
    "a ping": frame(PING, "p"),
    "a pong": frame(PONG, "p"),
    "another close": frame(CLOSE, close(4000)),
    "an invalid close": frame(CLOSE, b"\x00"),
    "a reserved opcode": frame(3),
    "reserved bits": frame(TEXT, JOIN, rsv=7),
    "invalid text": frame(TEXT, b"\xff"),
    "half a frame": frame(TEXT, JOIN)[:9],
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
    "a message over the limit": frame(TEXT, b" " * 70_000),
    "300 KB": b"\x00" * 300_000,
}


# Valid


@each_way
async def test_a_close_without_code_is_answered_without_code(client: Client, send: Send) -> None:
    await send(client, frame(CLOSE))
    await closed(client, b"")


@one_loop
@pytest.mark.parametrize("code", VALID_CODES)
@pytest.mark.parametrize("reason", ["", "why"], ids=["no reason", "with reason"])
async def test_a_valid_code_is_echoed(client: Client, code: int, reason: str) -> None:
    await client.send(frame(CLOSE, close(code, reason)))
    await closed(client, close(code, reason))


@one_loop
@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
@each_way
async def test_a_reason_of_up_to_123_bytes_is_echoed(client: Client, reason: str, send: Send) -> None:
    await send(client, frame(CLOSE, close(1000, reason)))
    await closed(client, close(1000, reason))


# Invalid


@one_loop
@pytest.mark.parametrize("payload", [b"\x00", b"\x03", b"\xe8", b"\xff"], ids=bytes.hex)
@each_way
async def test_a_close_with_half_a_code_is_closed_with_1002(
    client: Client, payload: bytes, send: Send
) -> None:
    await send(client, frame(CLOSE, payload))
    await failed(client, 1002)


@one_loop
@pytest.mark.parametrize("code", INVALID_CODES)
@pytest.mark.parametrize("reason", ["", "why"], ids=["no reason", "with reason"])
async def test_an_invalid_code_is_closed_with_1002(client: Client, code: int, reason: str) -> None:
    await client.send(frame(CLOSE, close(code, reason)))
    await failed(client, 1002)


@one_loop
@pytest.mark.parametrize("length", [124, 125, 1000])
@each_way
async def test_a_longer_reason_is_closed_with_1002(client: Client, length: int, send: Send) -> None:
    await send(client, frame(CLOSE, close(1000, "x" * length)))
    await failed(client, 1002)


@one_loop
@pytest.mark.parametrize("name", BAD_REASONS)
async def test_a_reason_that_is_not_utf8_is_closed_with_1007(client: Client, name: str) -> None:
    await client.send(frame(CLOSE, NORMAL + b"why " + INVALID[name].data))
    await failed(client, 1007)


@one_loop
@pytest.mark.parametrize("beginning", INCOMPLETE.values(), ids=INCOMPLETE)
async def test_a_reason_that_ends_inside_a_character_is_closed_with_1007(
    client: Client, beginning: bytes
) -> None:
    await client.send(frame(CLOSE, NORMAL + b"why " + beginning))
    await failed(client, 1007)


@one_loop
async def test_a_close_that_announces_more_than_the_limit_is_closed_unread(client: Client) -> None:
    await client.send(odd_frame(0x80 | CLOSE, b"", form=8, length=65537))
    await failed(client, 1009)


# What else is under way


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
async def test_what_follows_a_close_in_its_packet_is_ignored(
    site: Site, client: Client, after: bytes
) -> None:
    await client.send(frame(CLOSE, NORMAL) + after)
    await closed(client, NORMAL)
    assert len(site.hub) == 0


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
async def test_what_follows_a_close_later_is_ignored_and_causes_no_reset(
    site: Site, client: Client, after: bytes
) -> None:
    await client.send(frame(CLOSE, NORMAL))
    assert await client.frame() == (CLOSE, NORMAL)
    await client.send(after)
    client.end_writing()
    assert await client.rest() == b""
    await eventually(lambda: site.server.connections == 0 == site.sockets())


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
async def test_what_follows_an_error_is_ignored_and_causes_no_reset(
    site: Site, client: Client, after: bytes
) -> None:
    await client.send(frame(3) + after)
    await failed(client, 1002)
    client.end_writing()
    await eventually(lambda: site.server.connections == 0 == site.sockets())
    assert len(site.hub) == 0


@each_way
async def test_what_precedes_a_close_is_done(site: Site, client: Client, send: Send) -> None:
    """Also when it comes in the same packet: how the network cuts the stream makes no difference."""
    data = frame(TEXT, JOIN) + b"".join(fragments(TEXT, JOIN[:5], JOIN[5:])) + frame(PING, "p")
    await send(client, data + frame(CLOSE, NORMAL))
    received = [await client.frame() for _ in range(3)]
    assert [opcode for opcode, _ in received] == [TEXT, TEXT, PONG]
    await closed(client, NORMAL)
    assert len(site.hub) == 0


async def test_invalid_text_before_a_close_is_not_done(site: Site, client: Client) -> None:
    """One close frame, whichever of the two it answers."""
    await client.send(frame(TEXT, b"\xff") + frame(TEXT, JOIN) + frame(CLOSE, NORMAL))
    assert await client.rest() in (
        frame(CLOSE, NORMAL, mask=False),
        frame(CLOSE, close(1007, "text is not UTF-8"), mask=False),
    )
    assert len(site.hub) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
@each_way
async def test_a_close_inside_a_fragmented_message_is_answered_like_any_other(
    client: Client, send: Send, count: int
) -> None:
    """Control frames may come there (RFC 6455 section 5.4); the protocol core would answer 1002."""
    await send(client, b"".join(fragments(TEXT, JOIN[:5], JOIN[5:9], b"", JOIN[9:])[:count]))
    await alive(client)
    await send(client, frame(CLOSE, NORMAL) + frame(CONTINUATION, JOIN[9:]))
    await closed(client, NORMAL)


async def test_a_close_is_answered_behind_what_php_is_being_asked(start: Start) -> None:
    """Point 9.14: the commands before it have their answers first."""
    gate = Gate(join=None)
    site = await start(gate)
    client = await site.open()
    await client.send(frame(TEXT, JOIN) * 2)
    await gate.asked(1)
    await client.send(frame(CLOSE, NORMAL))
    for number in (1, 2):
        await gate.asked(number)
        gate.waiting[number - 1].set_result(ALLOWED)
        await answered(client)
    await closed(client, NORMAL)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "after the answer"])
async def test_the_client_may_end_its_side_after_its_close(site: Site, client: Client, at_once: bool) -> None:
    await client.send(frame(CLOSE, NORMAL))
    if at_once:
        client.end_writing()
    await closed(client, NORMAL)
    if not at_once:
        client.end_writing()
    await eventually(lambda: site.server.connections == 0 == site.sockets())


@pytest.mark.parametrize(
    "answer", [b"", NORMAL, close(1001), close(4000, "late")], ids=["no code", "1000", "1001", "4000"]
)
async def test_the_answer_to_the_servers_close_is_not_answered(
    site: Site, client: Client, answer: bytes
) -> None:
    stopping = asyncio.create_task(site.server.stop(5.0))
    opcode, payload = await client.frame()
    assert (opcode, payload[:2]) == (CLOSE, close(1001))
    await client.send(frame(CLOSE, answer))
    assert await client.rest() == b""
    client.end_writing()
    await stopping


@pytest.mark.parametrize(
    "sent", [frame(TEXT, JOIN), frame(CONTINUATION), b"\xff" * 100], ids=["text", "stray", "garbage"]
)
async def test_what_crosses_the_servers_close_is_ignored(site: Site, client: Client, sent: bytes) -> None:
    stopping = asyncio.create_task(site.server.stop(5.0))
    opcode, payload = await client.frame()
    assert (opcode, payload[:2]) == (CLOSE, close(1001))
    await client.send(sent + frame(CLOSE, payload))
    assert await client.rest() == b""
    assert len(site.hub) == 0
    client.end_writing()
    await stopping


async def test_the_command_before_a_close_of_an_error_is_answered(client: Client) -> None:
    await client.send(frame(TEXT, JOIN))
    await answered(client)
    await client.send(frame(CLOSE, close(999)))
    await failed(client, 1002)
