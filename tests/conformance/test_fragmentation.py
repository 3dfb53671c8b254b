"""RFC 6455 section 5.4: messages in fragments, with control frames between them."""

from __future__ import annotations

import pytest

from conformance.exchange import (
    CONTINUATION,
    CONTROL_OPCODES,
    JOIN,
    JOINED,
    TALK,
    Send,
    alive,
    answered,
    each_kind,
    each_way,
    failed,
    fragments,
    join,
    refused,
    single_bytes,
)
from support.ws_peer import BINARY, PING, PONG, TEXT, Client, close, frame
from support.ws_site import Site

KINDS = {"text": TEXT, "binary": BINARY}
EMPTY_PARTS = {
    "first": (b"", JOIN),
    "last": (JOIN, b""),
    "middle": (JOIN[:9], b"", JOIN[9:]),
    "first and last": (b"", JOIN, b""),
    "all around": (b"", b"", JOIN[:9], b"", b"", JOIN[9:], b"", b""),
    "a thousand": (JOIN[:9], *[b""] * 1000, JOIN[9:]),
}
STARTED = {
    "after one fragment": [JOIN[:5]],
    "after an empty fragment": [b""],
    "after three fragments": [JOIN[:5], JOIN[5:9], JOIN[9:12]],
}
BETWEEN = {
    "a ping": ([frame(PING, "p")], [b"p"]),
    "an empty ping": ([frame(PING)], [b""]),
    "a ping of 125 bytes": ([frame(PING, b"\xff" * 125)], [b"\xff" * 125]),
    "ten pings": ([frame(PING, f"{n}") for n in range(10)], [b"%d" % n for n in range(10)]),
    "a pong": ([frame(PONG, "p")], []),
    "pings and pongs": ([frame(PONG), frame(PING, "a"), frame(PONG, "x"), frame(PING, "b")], [b"a", b"b"]),
}


@pytest.mark.parametrize("place", range(len(JOIN) + 1))
async def test_a_message_may_be_split_anywhere(client: Client, place: int) -> None:
    await client.send(b"".join(fragments(TEXT, JOIN[:place], JOIN[place:])))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
@each_way
async def test_fragments_of_each_size_are_assembled(
    client: Client, opcode: int, size: int, send: Send
) -> None:
    parts = [JOIN[start : start + size] for start in range(0, len(JOIN), size)]
    await send(client, b"".join(fragments(opcode, *parts)))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("parts", EMPTY_PARTS.values(), ids=EMPTY_PARTS)
async def test_fragments_may_be_empty(client: Client, opcode: int, parts: tuple[bytes, ...]) -> None:
    await client.send(b"".join(fragments(opcode, *parts)))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("count", [2, 3, 10])
@each_way
async def test_a_message_of_empty_fragments_is_an_empty_message(
    client: Client, opcode: int, count: int, send: Send
) -> None:
    await client.send(TALK)
    await send(client, b"".join(fragments(opcode, *[b""] * count)))
    await refused(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize(("frames", "pongs"), BETWEEN.values(), ids=BETWEEN)
@each_way
async def test_control_frames_may_come_between_any_fragments(
    client: Client, opcode: int, frames: list[bytes], pongs: list[bytes], send: Send
) -> None:
    first, *others = fragments(opcode, JOIN[:5], JOIN[5:9], b"", JOIN[9:])
    await send(client, first)
    for fragment in others:
        await send(client, b"".join(frames))
        for data in pongs:
            assert await client.frame() == (PONG, data)
        await send(client, fragment)
    assert await client.frame() == JOINED
    await alive(client)


@each_kind
async def test_a_thousand_pings_between_a_thousand_fragments(client: Client, opcode: int) -> None:
    parts = single_bytes(JOIN.ljust(1000))
    await client.send(
        b"".join(fragment + frame(PING, str(n)) for n, fragment in enumerate(fragments(opcode, *parts)))
    )
    received = [await client.frame() for _ in range(1001)]
    assert JOINED in received
    received.remove(JOINED)
    assert received == [(PONG, str(n).encode()) for n in range(1000)]


@each_kind
@each_way
async def test_fragmented_and_whole_messages_may_follow_each_other(
    client: Client, opcode: int, send: Send
) -> None:
    data = b""
    for number in range(0, 9, 3):
        whole = (join(f"t{number + n}") for n in range(3))
        data += b"".join(fragments(opcode, *single_bytes(next(whole)))) + frame(TEXT, next(whole))
        data += b"".join(fragments(BINARY, *single_bytes(next(whole))))
    await send(client, data)
    for number in range(9):
        await answered(client, f"t{number}")
    await alive(client)


# Fragments out of place


@pytest.mark.parametrize("fin", [False, True], ids=["not final", "final"])
@pytest.mark.parametrize("payload", [b"", JOIN], ids=["empty", "with payload"])
@each_way
async def test_a_continuation_of_nothing_is_closed_with_1002(
    client: Client, fin: bool, payload: bytes, send: Send
) -> None:
    await send(client, frame(CONTINUATION, payload, fin=fin))
    await failed(client, 1002)


@pytest.mark.parametrize("fin", [False, True], ids=["not final", "final"])
@pytest.mark.parametrize(
    "before",
    [[frame(TEXT, JOIN)], [frame(BINARY, JOIN)], fragments(TEXT, JOIN[:5], JOIN[5:])],
    ids=["a text", "a binary", "fragments"],
)
async def test_a_continuation_of_a_complete_message_is_closed_with_1002(
    site: Site, client: Client, before: list[bytes], fin: bool
) -> None:
    await client.send(b"".join(before) + frame(CONTINUATION, JOIN, fin=fin) + frame(TEXT, JOIN))
    await answered(client)
    await failed(client, 1002)
    assert len(site.hub) == 0


@pytest.mark.parametrize("control", [PING, PONG], ids=["ping", "pong"])
async def test_a_control_frame_cannot_be_continued(client: Client, control: int) -> None:
    await client.send(frame(control, "p") + frame(CONTINUATION, JOIN))
    if control == PING:
        assert await client.frame() == (PONG, b"p")
    await failed(client, 1002)


@pytest.mark.parametrize("started", KINDS.values(), ids=[f"in a {kind}" for kind in KINDS])
@each_kind
@pytest.mark.parametrize("fin", [False, True], ids=["not final", "final"])
@pytest.mark.parametrize("before", STARTED.values(), ids=STARTED)
async def test_a_new_message_inside_a_fragmented_one_is_closed_with_1002(
    site: Site, client: Client, started: int, opcode: int, fin: bool, before: list[bytes]
) -> None:
    await client.send(b"".join(fragments(started, *before, b"")[:-1]))
    await alive(client)
    await client.send(frame(opcode, JOIN, fin=fin))
    await failed(client, 1002)
    assert len(site.hub) == 0


# Control frames in fragments


@pytest.mark.parametrize("opcode", CONTROL_OPCODES.values(), ids=CONTROL_OPCODES)
@pytest.mark.parametrize("payload", [b"", close(1000)], ids=["empty", "with payload"])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside a message"])
@each_way
async def test_a_fragmented_control_frame_is_closed_with_1002(
    client: Client, opcode: int, payload: bytes, inside: bool, send: Send
) -> None:
    if inside:
        await send(client, frame(TEXT, JOIN[:5], fin=False))
    await send(client, frame(opcode, payload, fin=False))
    await failed(client, 1002)


@pytest.mark.parametrize("opcode", CONTROL_OPCODES.values(), ids=CONTROL_OPCODES)
async def test_the_rest_of_a_fragmented_control_frame_is_not_looked_at(
    site: Site, client: Client, opcode: int
) -> None:
    await client.send(frame(opcode, b"", fin=False) + frame(CONTINUATION, b"") + frame(TEXT, JOIN))
    await failed(client, 1002)
    assert len(site.hub) == 0
