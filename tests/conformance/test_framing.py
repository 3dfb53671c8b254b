"""RFC 6455 section 5.1 and 5.2: masks and lengths, in both directions."""

from __future__ import annotations

import pytest

from conformance.exchange import (
    CONTINUATION,
    CONTROL_OPCODES,
    DATA_OPCODES,
    JOIN,
    TALK,
    Send,
    alive,
    answered,
    each_kind,
    each_way,
    failed,
    in_packets,
    join,
    message,
    odd_frame,
    refused,
)
from support.ws_peer import BINARY, PING, PONG, TEXT, Client, command, frame, text
from support.ws_site import Site

OPCODES = {"continuation": CONTINUATION, **DATA_OPCODES, **CONTROL_OPCODES}
KEYS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\xff\0\xff", b"\x80\0\0\1", b"\x37\xfa\x21\x3d"]


@pytest.mark.parametrize("length", [0, 1, 2, 124, 125, 126, 127, 128, 129, 65533, 65534, 65535, 65536, 65537])
@each_kind
@each_way
async def test_messages_of_each_length_are_received(
    patient: Client, opcode: int, send: Send, length: int
) -> None:
    await patient.send(TALK)
    await send(patient, frame(opcode, message(length)))
    await (answered(patient) if length >= len(JOIN) else refused(patient))
    await alive(patient)


@each_kind
@pytest.mark.parametrize("count", [2, 10, 100])
async def test_several_messages_in_one_packet_are_answered_in_order(
    client: Client, opcode: int, count: int
) -> None:
    topics = [f"t{number}" for number in range(count)]
    await client.send(b"".join(frame(opcode, join(topic)) for topic in topics))
    for topic in topics:
        await answered(client, topic)
    await alive(client)


@pytest.mark.parametrize("key", KEYS, ids=bytes.hex)
@pytest.mark.parametrize("length", [35, 36, 37, 38, 200, 70_000])
async def test_any_masking_key_is_good_for_any_length(patient: Client, key: bytes, length: int) -> None:
    form = 0 if length < 126 else 2 if length < 65536 else 8
    await patient.send(odd_frame(0x81, message(length), form=form, key=key))
    await answered(patient)


@pytest.mark.parametrize("opcode", OPCODES.values(), ids=OPCODES)
@pytest.mark.parametrize("payload", [b"", JOIN], ids=["empty", "with payload"])
async def test_a_frame_without_mask_is_closed_with_1002(client: Client, opcode: int, payload: bytes) -> None:
    """RFC 6455 section 5.1."""
    if opcode == CONTINUATION:
        await client.send(frame(TEXT, JOIN[:5], fin=False))
    await client.send(frame(opcode, payload, mask=False))
    await failed(client, 1002)


# Lengths in more bytes than they need. A sender must not do so ("the minimal number of bytes MUST be used"),
# a receiver has no duty by RFC 6455. The core takes them for what they say.

LONG_FORMS = [(2, length) for length in (0, 1, 34, 124, 125)] + [
    (8, length) for length in (0, 1, 34, 125, 126, 127, 65534, 65535)
]


@pytest.mark.parametrize(
    ("form", "length"), LONG_FORMS, ids=[f"{length} in {form} bytes" for form, length in LONG_FORMS]
)
@each_kind
async def test_a_length_in_more_bytes_than_it_needs_is_understood(
    client: Client, opcode: int, form: int, length: int
) -> None:
    await client.send(TALK)
    await client.send(odd_frame(0x80 | opcode, message(length), form=form))
    await (answered(client) if length >= len(JOIN) else refused(client))
    await alive(client)


@pytest.mark.parametrize("form", [2, 8])
@pytest.mark.parametrize("length", [0, 125])
async def test_a_pings_length_in_more_bytes_than_it_needs_is_understood(
    client: Client, form: int, length: int
) -> None:
    await client.send(odd_frame(0x80 | PING, b"x" * length, form=form))
    assert await client.frame() == (PONG, b"x" * length)


# "The most significant bit MUST be 0". What announces so much breaks the protocol (1002) and all limits: the
# core says 1009 and does not wait for the data.


@pytest.mark.parametrize("length", [1 << 63, 1 << 63 | 34, (1 << 64) - 1], ids=hex)
@pytest.mark.parametrize("opcode", OPCODES.values(), ids=OPCODES)
async def test_a_length_with_the_top_bit_set_is_closed(client: Client, opcode: int, length: int) -> None:
    if opcode == CONTINUATION:
        await client.send(frame(TEXT, JOIN[:5], fin=False))
    await client.send(odd_frame(0x80 | opcode, b"", form=8, length=length))
    await failed(client, 1009)


# What the server sends


@pytest.mark.parametrize("length", [124, 125, 126, 127, 65534, 65535, 65536, 65537])
async def test_the_server_sends_the_shortest_form_of_each_length_unmasked(
    site: Site, client: Client, length: int
) -> None:
    await client.send(command("join", ["t"]))
    await answered(client)
    envelope = '{"topic":"t","payload":"%s"}'
    payload = "x" * (length - len(envelope) + 2)
    site.publish("t", payload)
    expected = text(envelope % payload)
    assert len(expected) == length + (2 if length < 126 else 4 if length < 65536 else 10)
    assert await client.exactly(len(expected)) == expected
    await alive(client)


async def test_text_and_binary_may_take_turns(client: Client) -> None:
    await client.send((frame(TEXT, JOIN) + frame(BINARY, JOIN)) * 5)
    for _ in range(10):
        await answered(client)
    await alive(client)


# Packets are not frames

INNER = {
    "a text": odd_frame(0x81, JOIN, key=b"\x80" * 4),
    "a ping": odd_frame(0x89, b"p", key=b"\x80" * 4),
    "a pong": odd_frame(0x8A, b"", key=b"\x80" * 4),
    "a close": odd_frame(0x88, b"", key=b"\x80" * 4),
}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize("fin", [0x80, 0], ids=["whole", "in fragments"])
async def test_a_packet_inside_a_frame_may_look_like_a_frame(client: Client, inner: bytes, fin: int) -> None:
    """It is data; a mask of zeros leaves it as it is."""
    data = odd_frame(fin | BINARY, b'{"x":"%b",' % inner + JOIN[1:], key=bytes(4))
    before, behind = data.split(inner)
    await in_packets(client, before, inner, behind)
    if not fin:
        await client.send(frame(CONTINUATION))
    await answered(client)
    await alive(client)


@pytest.mark.parametrize("cut", range(1, 6))
@pytest.mark.parametrize("payload", [JOIN, message(200)], ids=["short", "long"])
async def test_a_frame_may_begin_in_the_packet_of_the_one_before(
    client: Client, payload: bytes, cut: int
) -> None:
    data = frame(TEXT, payload)
    await in_packets(client, data + data[:cut], data[cut:] + frame(PING, "p")[:cut], frame(PING, "p")[cut:])
    await answered(client)
    await answered(client)
    assert await client.frame() == (PONG, b"p")
    await alive(client)
