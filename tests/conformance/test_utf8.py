"""RFC 6455 sections 5.6 and 8.1: texts are UTF-8. What is not is closed with 1007, as soon as that is known.

In a fragmented message that is when the fragment with the bad byte is complete: the core hands over whole
frames. A bad byte in an unfragmented message is noticed when all of it is there.
"""

from __future__ import annotations

import pytest

from conformance.exchange import (
    CONTINUATION,
    JOIN,
    Send,
    alive,
    answered,
    each_way,
    failed,
    fragments,
    join,
    single_bytes,
)
from conformance.utf8_samples import INCOMPLETE, INVALID, VALID, Bad
from support.ws_peer import BINARY, PING, PONG, TEXT, Client, frame
from support.ws_site import Site

BEFORE = b'{"command":"join","topics":["'
CHARACTERS = {"two bytes": "é", "three bytes": "€", "four bytes": "😀"}

each_valid = pytest.mark.parametrize("topic", VALID.values(), ids=VALID)
each_invalid = pytest.mark.parametrize("bad", INVALID.values(), ids=INVALID)
each_incomplete = pytest.mark.parametrize("beginning", INCOMPLETE.values(), ids=INCOMPLETE)
each_position = pytest.mark.parametrize("position", range(len(JOIN)))


# Valid


@each_valid
async def test_valid_text_is_received(client: Client, topic: str) -> None:
    await client.send(frame(TEXT, join(topic)))
    await answered(client, topic)
    await alive(client)


@each_valid
async def test_valid_text_may_be_in_fragments_of_one_byte(client: Client, topic: str) -> None:
    await client.send(b"".join(fragments(TEXT, *single_bytes(join(topic)))))
    await answered(client, topic)
    await alive(client)


@pytest.mark.parametrize(
    ("topic", "split"),
    [(topic, split) for topic in CHARACTERS.values() for split in range(1, len(topic.encode()))],
    ids=[f"{name} after {n}" for name, topic in CHARACTERS.items() for n in range(1, len(topic.encode()))],
)
@pytest.mark.parametrize(
    "between",
    [b"", frame(PING, b"\xff"), frame(CONTINUATION, b"", fin=False)],
    ids=["nothing", "a ping", "an empty fragment"],
)
@each_way
async def test_a_character_may_be_split_over_fragments(
    client: Client, topic: str, split: int, between: bytes, send: Send
) -> None:
    data = join(topic)
    place = len(BEFORE) + split
    first, last = fragments(TEXT, data[:place], data[place:])
    await send(client, first + between)
    if between.startswith(b"\x89"):
        assert await client.frame() == (PONG, b"\xff")
    await send(client, last)
    await answered(client, topic)
    await alive(client)


# Invalid


@each_invalid
async def test_invalid_text_is_closed_with_1007(site: Site, client: Client, bad: Bad) -> None:
    await client.send(frame(TEXT, join(bad.data)))
    await failed(client, 1007)
    assert len(site.hub) == 0


@each_invalid
async def test_invalid_text_is_closed_before_its_message_ends(client: Client, bad: Bad) -> None:
    """The message would go on after the fragment with the bad bytes."""
    await client.send(frame(TEXT, BEFORE + bad.data, fin=False))
    await failed(client, 1007)


@each_invalid
async def test_invalid_text_is_closed_at_the_first_byte_that_shows_it(client: Client, bad: Bad) -> None:
    """What comes before it is still accepted: a ping is answered."""
    first, *others = [BEFORE, *single_bytes(bad.data[: bad.seen])]
    await client.send(frame(TEXT, first, fin=False))
    for part in others[:-1]:
        await client.send(frame(CONTINUATION, part, fin=False))
    await alive(client)
    await client.send(frame(CONTINUATION, others[-1], fin=False))
    await failed(client, 1007)


@each_position
async def test_an_invalid_byte_at_any_position_is_closed_with_1007(client: Client, position: int) -> None:
    await client.send(frame(TEXT, JOIN[:position] + b"\xff" + JOIN[position + 1 :]))
    await failed(client, 1007)


@each_position
async def test_an_invalid_fragment_at_any_position_is_closed_with_1007_at_once(
    client: Client, position: int
) -> None:
    frames = fragments(TEXT, *single_bytes(JOIN))[:position]
    await client.send(b"".join(frames))
    await alive(client)
    await client.send(frame(CONTINUATION if position else TEXT, b"\xff", fin=False))
    await failed(client, 1007)


@each_position
async def test_an_invalid_byte_in_the_last_of_two_fragments_is_closed_with_1007(
    client: Client, position: int
) -> None:
    data = JOIN[:position] + b"\xff" + JOIN[position + 1 :]
    await client.send(b"".join(fragments(TEXT, data[:position], data[position:])))
    await failed(client, 1007)


@each_incomplete
async def test_a_text_that_ends_inside_a_character_is_closed_with_1007(
    client: Client, beginning: bytes
) -> None:
    await client.send(frame(TEXT, JOIN + beginning))
    await failed(client, 1007)


@each_incomplete
async def test_a_last_fragment_that_ends_inside_a_character_is_closed_with_1007(
    client: Client, beginning: bytes
) -> None:
    await client.send(frame(TEXT, JOIN, fin=False))
    await client.send(frame(CONTINUATION, beginning))
    await failed(client, 1007)


@each_incomplete
async def test_an_empty_last_fragment_does_not_complete_a_character(client: Client, beginning: bytes) -> None:
    await client.send(frame(TEXT, JOIN + beginning, fin=False))
    await alive(client)
    await client.send(frame(CONTINUATION, b""))
    await failed(client, 1007)


@each_incomplete
async def test_a_character_does_not_go_on_in_the_next_message(client: Client, beginning: bytes) -> None:
    rest = "😀€é".encode()
    await client.send(frame(TEXT, beginning) + frame(TEXT, rest[len(beginning) :]))
    await failed(client, 1007)


@pytest.mark.parametrize("parts", [[b"\xff"], [b"\xff", JOIN]], ids=["whole", "in fragments"])
async def test_only_what_precedes_invalid_text_is_done(
    site: Site, client: Client, parts: list[bytes]
) -> None:
    await client.send(frame(TEXT, JOIN) + b"".join(fragments(TEXT, *parts)) + frame(TEXT, JOIN))
    await answered(client)
    await failed(client, 1007)
    assert len(site.hub) == 0


# What need not be UTF-8


@each_invalid
async def test_binary_messages_need_not_be_utf8(client: Client, bad: Bad) -> None:
    await client.send(frame(BINARY, join(bad.data)))
    assert (await client.json())["topic"] == "@join"
    await alive(client)


@each_incomplete
async def test_binary_fragments_need_not_be_utf8(client: Client, beginning: bytes) -> None:
    await client.send(b"".join(fragments(BINARY, *single_bytes(join(beginning + b"\xff")))))
    assert (await client.json())["topic"] == "@join"
    await alive(client)


async def test_texts_and_binaries_in_fragments_do_not_mix(client: Client) -> None:
    """What is incomplete in one message is not completed, and not missed, in the next."""
    for _ in range(3):
        await client.send(b"".join(fragments(BINARY, *single_bytes(join(b"\xf0\x9f")))))
        assert (await client.json())["topic"] == "@join"
        await client.send(b"".join(fragments(TEXT, *single_bytes(join("😀")))))
        await answered(client, "😀")
    await alive(client)
