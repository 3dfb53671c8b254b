"""RFC 7692: permessage-deflate, from the offer to the last block."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence

import pytest

from conformance.exchange import (
    CONTINUATION,
    CONTROL_OPCODES,
    JOIN,
    TALK,
    Send,
    alive,
    answered,
    each_kind,
    each_way,
    failed,
    join,
    message,
    refused,
    single_bytes,
)
from support.ws_peer import BINARY, CLOSE, PING, PONG, TEXT, Client, close, frame, request
from support.ws_site import Site, Start

OFFER = "permessage-deflate"
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TAIL = b"\x00\x00\xff\xff"
RSV1 = 4
LIMIT = 1000
EMPTY_BLOCK = b"\x00" + TAIL

LEVELS = {"stored": 0, "fast": 1, "best": 9}
STRATEGIES = {
    "default": zlib.Z_DEFAULT_STRATEGY,
    "filtered": zlib.Z_FILTERED,
    "huffman only": zlib.Z_HUFFMAN_ONLY,
    "run lengths": zlib.Z_RLE,
    "fixed": zlib.Z_FIXED,
}

each_level = pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
each_fin = pytest.mark.parametrize("fin", [False, True], ids=["not final", "final"])


def deflate(
    data: bytes,
    *,
    level: int = 6,
    bits: int = 15,
    strategy: int = zlib.Z_DEFAULT_STRATEGY,
    flush: int = zlib.Z_SYNC_FLUSH,
) -> bytes:
    """A compressed message (section 7.2.1)."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits, 8, strategy)
    return (compressor.compress(data) + compressor.flush(flush)).removesuffix(TAIL)


def flushed(parts: Sequence[bytes], flush: int = zlib.Z_SYNC_FLUSH) -> list[bytes]:
    """One compressed message in parts of which each can be decompressed when it is there."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    compressed = [compressor.compress(part) + compressor.flush(flush) for part in parts]
    return [*compressed[:-1], compressed[-1].removesuffix(TAIL)]


def inflate(data: bytes, bits: int = 15) -> bytes:
    """Decompress a message of the server as a client does that agreed on this window."""
    return zlib.decompressobj(-bits).decompress(data + TAIL)


def deflated(opcode: int, data: bytes, **options: int) -> bytes:
    """The frame of a compressed message."""
    return frame(opcode, deflate(data, **options), rsv=RSV1)


def fragments(opcode: int, *parts: bytes) -> list[bytes]:
    """The frames of one compressed message, whose compressed bytes are in parts."""
    last = len(parts) - 1
    return [
        frame(CONTINUATION if n else opcode, part, fin=n == last, rsv=0 if n else RSV1)
        for n, part in enumerate(parts)
    ]


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def serve(start: Start, **settings: int) -> Site:
    """A server that compresses whatever becomes shorter by it."""
    return await start(**{"compression_level": 6, "compression_min_size": 1, **settings})


async def agree(site: Site, *offers: str) -> tuple[Client, str]:
    """A WebSocket, and what the server answers to these headers."""
    client = await site.connect()
    fields = "".join(f"Sec-WebSocket-Extensions: {offer}\r\n" for offer in offers)
    await client.send(request("/ws").removesuffix(b"\r\n") + fields.encode() + b"\r\n")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101 ")
    answers = [
        line.partition(": ")[2]
        for line in head.decode().split("\r\n")
        if line.lower().startswith("sec-websocket-extensions:")
    ]
    assert len(answers) <= 1
    return client, "".join(answers)


@pytest.fixture
async def site(start: Start) -> Site:
    return await serve(start)


@pytest.fixture
async def client(site: Site) -> Client:
    """A WebSocket that has agreed on compression."""
    return await open_deflated(site)


async def open_deflated(site: Site, *headers: str) -> Client:
    return await site.open(f"Sec-WebSocket-Extensions: {OFFER}", *headers)


async def limited(start: Start, limit: int = LIMIT) -> Client:
    return await open_deflated(await serve(start, max_message_size=limit))


async def pushed(client: Client) -> tuple[int, bool, bytes]:
    """The next frame: opcode, whether it is compressed, payload as it is on the wire."""
    first, length = await client.exactly(2)
    assert first & 0xB0 == 0x80, "the server neither fragments nor uses other reserved bits"
    if length == 126:
        length = int.from_bytes(await client.exactly(2))
    elif length == 127:
        length = int.from_bytes(await client.exactly(8))
    return first & 0x0F, bool(first & 0x40), await client.exactly(length)


async def joined(client: Client) -> None:
    await client.send(frame(TEXT, JOIN))
    await answered(client)


# The agreement (section 7.1)


def negotiation(ours: bool, theirs: bool, bits: int | None, client_bits: int | str | None) -> tuple[str, str]:
    """An offer with these parameters, and what is answered."""
    offer, answer = OFFER, ANSWER
    if ours:
        offer += "; server_no_context_takeover"
    if theirs:
        offer += "; client_no_context_takeover"
    if bits:
        offer += f"; server_max_window_bits={bits}"
        answer += f"; server_max_window_bits={window(bits)}"
    if client_bits is not None:
        offer += "; client_max_window_bits"
        if client_bits:
            offer += f"={client_bits}"
            answer += f"; client_max_window_bits={client_bits}"
    return offer, answer


def window(bits: int | None) -> int:
    """What the server uses when asked for so much: a smaller window is allowed."""
    return 9 if bits and bits < 15 else 15


LONG = b" ".join(b"%d" % (n * n) for n in range(2000)) * 2
"""Matches itself at a distance of 14 KB, and nearer."""

WRITTEN = {
    "in quotes": ([f'{OFFER}; server_max_window_bits="10"'], f"{ANSWER}; server_max_window_bits=9"),
    "without spaces": (
        [f"{OFFER};client_max_window_bits;server_no_context_takeover"],
        ANSWER,
    ),
    "with spaces": ([f"  {OFFER} \t; server_max_window_bits = 9  "], f"{ANSWER}; server_max_window_bits=9"),
    "after an unknown extension": ([f"x-webkit-deflate-frame; no_context_takeover, {OFFER}"], ANSWER),
    "before an unknown extension": ([f"{OFFER}, mux"], ANSWER),
    "after one with an unknown parameter": ([f"{OFFER}; x=1, {OFFER}"], ANSWER),
    "after one with a window too small": ([f"{OFFER}; server_max_window_bits=8, {OFFER}"], ANSWER),
    "the first of two": (
        [f"{OFFER}; server_max_window_bits=12, {OFFER}; server_max_window_bits=10"],
        f"{ANSWER}; server_max_window_bits=9",
    ),
    "in a second header": (["mux", OFFER], ANSWER),
    "in the first header": (
        [f"{OFFER}; client_max_window_bits", f"{OFFER}; server_max_window_bits=9"],
        ANSWER,
    ),
    "with an empty element": ([f", ,{OFFER},"], ANSWER),
}

DECLINED = [
    f"{OFFER}; server_max_window_bits=8",
    *(
        f"{OFFER}; {name}={value}"
        for name in ("server_max_window_bits", "client_max_window_bits")
        for value in ("0", "7", "16", "-9", "08", "010", "1e1", "15.0", "9999999999", "x", '"7"')
    ),
    f"{OFFER}; server_max_window_bits",
    f"{OFFER}; server_no_context_takeover=1",
    f"{OFFER}; client_no_context_takeover=true",
    f"{OFFER}; server_no_context_takeover; server_no_context_takeover",
    f"{OFFER}; client_no_context_takeover; client_no_context_takeover",
    f"{OFFER}; server_max_window_bits=10; server_max_window_bits=10",
    f"{OFFER}; client_max_window_bits; client_max_window_bits",
    f"{OFFER}; client_max_window_bits=10; client_max_window_bits=11",
    f"{OFFER}; unknown",
    f"{OFFER}; Server_No_Context_Takeover",
    f"{OFFER}; server_max_window_bits=8, {OFFER}; x",
    "Permessage-Deflate",
    "permessage-deflate2",
    "permessage-bzip2",
    "x-webkit-deflate-frame",
    "deflate-stream",
    # what cannot be read
    ",",
    ";",
    "=",
    f"{OFFER};",
    f"{OFFER}; ;",
    f"{OFFER}; =1",
    f"{OFFER}; server_max_window_bits=",
    f'{OFFER}; server_max_window_bits="',
    f'{OFFER}; server_max_window_bits=""',
    f'{OFFER}; server_max_window_bits="1 0"',
    f"{OFFER} {OFFER}",
    f"{OFFER}, {OFFER}; (",
]


@pytest.mark.parametrize("ours", [False, True], ids=["", "server_no_context_takeover"])
@pytest.mark.parametrize("theirs", [False, True], ids=["", "client_no_context_takeover"])
@pytest.mark.parametrize("bits", [None, *range(9, 16)])
@pytest.mark.parametrize("client_bits", [None, "", *range(8, 16)])
async def test_each_combination_of_parameters_is_agreed_to(
    site: Site, ours: bool, theirs: bool, bits: int | None, client_bits: int | str | None
) -> None:
    """And kept: what the server sends can be decompressed with the window that the client asked for."""
    offer, answer = negotiation(ours, theirs, bits, client_bits)
    client, said = await agree(site, offer)
    assert said == answer
    await client.send(deflated(TEXT, JOIN))
    await answered(client)
    site.publish("t", LONG)
    opcode, compressed, payload = await pushed(client)
    assert (opcode, compressed) == (TEXT, True)
    assert inflate(payload, window(bits)) == b'{"topic":"t","payload":"%b"}' % LONG
    await alive(client)


@pytest.mark.parametrize(("offers", "answer"), WRITTEN.values(), ids=WRITTEN)
async def test_an_offer_may_be_written_in_many_ways(site: Site, offers: list[str], answer: str) -> None:
    client, said = await agree(site, *offers)
    assert said == answer
    await client.send(deflated(TEXT, JOIN))
    await answered(client)
    await alive(client)


@pytest.mark.parametrize("offer", DECLINED)
async def test_an_offer_that_is_wrong_is_declined_and_nothing_is_compressed(site: Site, offer: str) -> None:
    client, said = await agree(site, offer)
    assert said == ""
    await joined(client)
    site.publish("t", b"x" * 1000)
    assert await client.frame() == (TEXT, b'{"topic":"t","payload":"%b"}' % (b"x" * 1000))
    await client.send(deflated(TEXT, JOIN))
    await failed(client, 1002)


async def test_without_an_offer_nothing_is_compressed(site: Site) -> None:
    client, said = await agree(site)
    assert said == ""
    await joined(client)
    site.publish("t", b"x" * 1000)
    assert (await client.frame()).opcode == TEXT
    await client.send(deflated(TEXT, JOIN))
    await failed(client, 1002)


async def test_a_server_that_does_not_compress_declines(start: Start) -> None:
    client, said = await agree(await start(), OFFER)
    assert said == ""
    await client.send(deflated(TEXT, JOIN))
    await failed(client, 1002)


# Whole messages

LENGTHS = [33, 62, 119, 120, 121, 125, 126, 127, 128, 1000, 4096, 32767, 32768, 32769, 65530, 65535, 65536]


@pytest.mark.parametrize("length", LENGTHS)
@each_kind
@each_level
@each_way
async def test_messages_of_each_length_are_received(
    client: Client, length: int, opcode: int, level: int, send: Send
) -> None:
    await send(client, deflated(opcode, message(length), level=level))
    await answered(client)
    await alive(client)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("length", [100, 60_000])
async def test_messages_compressed_with_each_window_are_received(
    client: Client, bits: int, length: int
) -> None:
    await client.send(deflated(TEXT, message(length), bits=bits))
    await answered(client)
    await alive(client)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("length", [100, 60_000])
@each_level
async def test_messages_in_each_kind_of_block_are_received(
    client: Client, strategy: int, length: int, level: int
) -> None:
    await client.send(deflated(TEXT, message(length), strategy=strategy, level=level))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("data", [b"\x00", b"\x02\x00", b"\x01", EMPTY_BLOCK * 3 + b"\x00", b"\x03\x00"])
@each_way
async def test_an_empty_message_is_received(client: Client, opcode: int, data: bytes, send: Send) -> None:
    await client.send(TALK)
    await send(client, frame(opcode, data, rsv=RSV1))
    await refused(client)
    await alive(client)


@each_kind
@each_way
async def test_a_message_need_not_be_compressed(client: Client, opcode: int, send: Send) -> None:
    for length in (33, 100, 126, 70, 5000, 33):
        await send(client, frame(opcode, message(length)))
        await answered(client)
    await alive(client)


@each_way
async def test_compressed_and_other_messages_may_follow_each_other(client: Client, send: Send) -> None:
    data = b""
    for n in range(0, 30, 5):
        data += deflated(TEXT, join(f"t{n}")) + frame(TEXT, join(f"t{n + 1}"))
        data += deflated(BINARY, join(f"t{n + 2}")) + b"".join(
            fragments(TEXT, *single_bytes(deflate(join(f"t{n + 3}"))))
        )
        data += frame(TEXT, join(f"t{n + 4}")[:9], fin=False)
        data += frame(CONTINUATION, join(f"t{n + 4}")[9:])
    await send(client, data)
    for n in range(30):
        await answered(client, f"t{n}")
    await alive(client)


async def test_a_small_compressed_message_in_a_packet_of_its_own(client: Client) -> None:
    """Hundreds of them, as a browser sends commands; pongs in between."""
    for n in range(300):
        await client.send(deflated(TEXT, join(f"topic.{n}")))
        await answered(client, f"topic.{n}")
        await client.send(frame(PONG, b"x"))
    await alive(client)


@pytest.mark.parametrize("bits", [1, 2, 3], ids=["rsv 3", "rsv 2", "both"])
@each_kind
async def test_other_reserved_bits_beside_rsv1_are_closed_with_1002(
    client: Client, opcode: int, bits: int
) -> None:
    await client.send(frame(opcode, deflate(JOIN), rsv=RSV1 | bits))
    await failed(client, 1002)


# Fragments

COMPRESSED = deflate(JOIN)
PARTS = [JOIN[:5], JOIN[5:9], b"", JOIN[9:]]
FLUSHES = {"sync": zlib.Z_SYNC_FLUSH, "full": zlib.Z_FULL_FLUSH}
BETWEEN = {
    "a ping": ([frame(PING, "p")], [b"p"]),
    "an empty ping": ([frame(PING)], [b""]),
    "a ping of 125 bytes": ([frame(PING, b"\xff" * 125)], [b"\xff" * 125]),
    "ten pings": ([frame(PING, f"{n}") for n in range(10)], [b"%d" % n for n in range(10)]),
    "a pong": ([frame(PONG, "p")], []),
}


@each_kind
@pytest.mark.parametrize("place", range(len(COMPRESSED) + 1))
async def test_a_compressed_message_may_be_split_anywhere(client: Client, opcode: int, place: int) -> None:
    await client.send(b"".join(fragments(opcode, COMPRESSED[:place], COMPRESSED[place:])))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("length", [33, 3000])
@each_way
async def test_fragments_of_each_size_are_assembled(
    client: Client, opcode: int, size: int, length: int, send: Send
) -> None:
    await send(client, b"".join(fragments(opcode, *split(deflate(message(length)), size))))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("flush", FLUSHES.values(), ids=FLUSHES)
@each_way
async def test_fragments_may_be_flushed_one_by_one(
    client: Client, opcode: int, flush: int, send: Send
) -> None:
    await send(client, b"".join(fragments(opcode, *flushed(PARTS, flush))))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("place", [0, 1, 9, len(COMPRESSED)])
@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_fragments_may_be_empty(client: Client, opcode: int, place: int, count: int) -> None:
    await client.send(
        b"".join(fragments(opcode, COMPRESSED[:place], *[b""] * count, COMPRESSED[place:], b""))
    )
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("count", [1, 10, 1000])
async def test_empty_blocks_may_come_anywhere(client: Client, opcode: int, count: int) -> None:
    first, *others = flushed(PARTS)
    blocks = EMPTY_BLOCK * count
    await client.send(frame(opcode, blocks + first + blocks + b"".join(others), rsv=RSV1))
    await answered(client)
    await client.send(b"".join(fragments(opcode, blocks, first, blocks, *others)))
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize(("frames", "pongs"), BETWEEN.values(), ids=BETWEEN)
@each_way
async def test_control_frames_may_come_between_any_compressed_fragments(
    client: Client, opcode: int, frames: list[bytes], pongs: list[bytes], send: Send
) -> None:
    first, *others = fragments(opcode, *split(COMPRESSED, 9))
    await send(client, first)
    for fragment in others:
        await send(client, b"".join(frames))
        for data in pongs:
            assert await client.frame() == (PONG, data)
        await send(client, fragment)
    await answered(client)
    await alive(client)


@each_kind
@pytest.mark.parametrize("place", [1, 2, 3], ids=["second", "third", "last"])
@each_way
async def test_rsv1_of_a_continuation_is_closed_with_1002(
    client: Client, opcode: int, place: int, send: Send
) -> None:
    frames = fragments(opcode, *split(COMPRESSED, 10)[:3], b"".join(split(COMPRESSED, 10)[3:]))
    frames[place] = bytes([frames[place][0] | RSV1 << 4]) + frames[place][1:]
    await send(client, b"".join(frames))
    await failed(client, 1002)


@each_kind
@each_fin
async def test_rsv1_of_a_continuation_of_an_uncompressed_message_is_closed_with_1002(
    client: Client, opcode: int, fin: bool
) -> None:
    await client.send(frame(opcode, JOIN[:5], fin=False) + frame(CONTINUATION, JOIN[5:], fin=fin, rsv=RSV1))
    await failed(client, 1002)


@each_fin
@pytest.mark.parametrize("before", [b"", deflated(TEXT, JOIN)], ids=["nothing", "a complete message"])
async def test_a_compressed_continuation_of_nothing_is_closed_with_1002(
    client: Client, before: bytes, fin: bool
) -> None:
    await client.send(before + frame(CONTINUATION, COMPRESSED, fin=fin, rsv=RSV1))
    if before:
        await answered(client)
    await failed(client, 1002)


@each_kind
@each_fin
@pytest.mark.parametrize("rsv", [0, RSV1], ids=["plain", "compressed"])
@pytest.mark.parametrize("started", [0, RSV1], ids=["in a plain one", "in a compressed one"])
async def test_a_new_message_inside_a_fragmented_one_is_closed_with_1002(
    client: Client, opcode: int, fin: bool, rsv: int, started: int
) -> None:
    data = {0: JOIN, RSV1: COMPRESSED}
    await client.send(frame(TEXT, data[started][:9], fin=False, rsv=started))
    await alive(client)
    await client.send(frame(opcode, data[rsv], fin=fin, rsv=rsv))
    await failed(client, 1002)


# Control frames are never compressed (section 6)


@pytest.mark.parametrize("opcode", CONTROL_OPCODES.values(), ids=CONTROL_OPCODES)
@pytest.mark.parametrize(
    "payload", [b"", close(1000), deflate(close(1000))], ids=["empty", "plain", "compressed"]
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside a message"])
@each_way
async def test_a_compressed_control_frame_is_closed_with_1002(
    client: Client, opcode: int, payload: bytes, inside: bool, send: Send
) -> None:
    if inside:
        await send(client, frame(TEXT, COMPRESSED[:5], fin=False, rsv=RSV1))
    await send(client, frame(opcode, payload, rsv=RSV1))
    await failed(client, 1002)


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside a message"])
async def test_a_close_frame_is_answered_uncompressed(client: Client, inside: bool) -> None:
    if inside:
        await client.send(frame(TEXT, COMPRESSED[:5], fin=False, rsv=RSV1))
    else:
        await client.send(deflated(TEXT, JOIN))
        await answered(client)
    await client.send(frame(CLOSE, close(1000, "bye")))
    assert await client.rest() == frame(CLOSE, close(1000, "bye"), mask=False)


# Blocks that say that they are the last (section 7.2.3.4)

FINAL = deflate(JOIN, flush=zlib.Z_FINISH)


@each_kind
@pytest.mark.parametrize("after", [b"", b"\x00"], ids=["nothing", "an empty block"])
@each_level
@each_way
async def test_the_last_block_may_say_so(
    client: Client, opcode: int, after: bytes, level: int, send: Send
) -> None:
    data = deflate(message(1000), flush=zlib.Z_FINISH, level=level) + after
    await send(client, frame(opcode, data, rsv=RSV1))
    await answered(client)
    await send(client, b"".join(fragments(opcode, *split(data, 50), b"")))
    await answered(client)
    await send(client, frame(opcode, FINAL + after, rsv=RSV1))
    await answered(client)
    await alive(client)


@pytest.mark.parametrize(
    "after",
    [b"\x01", b"\x00\x00", b"\x02\x00", FINAL, COMPRESSED, b"\x00" + TAIL, TAIL, b"x" * 1000],
    ids=["01", "00 00", "02 00", "a last one", "another", "an empty one", "a tail", "garbage"],
)
@pytest.mark.parametrize("fragmented", [False, True], ids=["whole", "in fragments"])
async def test_what_follows_the_last_block_is_closed_with_1002(
    client: Client, after: bytes, fragmented: bool
) -> None:
    parts = [FINAL, after] if fragmented else [FINAL + after]
    await client.send(b"".join(fragments(TEXT, *parts)))
    await failed(client, 1002)


async def test_what_follows_the_last_block_is_not_collected(client: Client) -> None:
    """The core's own implementation keeps all of it, without a limit."""
    await client.send(frame(TEXT, FINAL, fin=False, rsv=RSV1))
    await alive(client)
    await client.send(frame(CONTINUATION, b"x" * 100, fin=False))
    await failed(client, 1002)


# What is no DEFLATE data

DAMAGED = {
    "no bytes": b"",
    "a reserved kind of block": b"\x06",
    "a reserved kind of last block": b"\x07",
    "a length without its complement": b"\x00\x05\x00\x05\x00hello",
    "a distance to before the beginning": b"\x02\x04\x02\x00",
    "too many codes": b"\xfc\x00\x00",
    "no code for the end": b"\x04" + bytes(20),
    "the tail was left on": COMPRESSED + TAIL,
    "the tail twice": deflate(JOIN) + TAIL + TAIL,
    "gzip": zlib.compressobj(6, zlib.DEFLATED, 31).compress(JOIN) or b"\x1f\x8b\x08\x00",
    "zlib's head": zlib.compress(JOIN),
    "a command that is not compressed": JOIN,
    "one bits": b"\xff" * 100,
}


@each_kind
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@each_way
async def test_damaged_data_is_closed_with_1002(client: Client, opcode: int, data: bytes, send: Send) -> None:
    await send(client, frame(opcode, data, rsv=RSV1))
    await failed(client, 1002)


@each_kind
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
async def test_damaged_fragments_are_closed_with_1002(client: Client, opcode: int, data: bytes) -> None:
    """But for one whose first half can be decompressed, to what is no text."""
    await client.send(b"".join(fragments(opcode, *split(data, 2), b"")))
    await failed(client, 1007 if opcode == TEXT and data == JOIN else 1002)


@pytest.mark.parametrize("length", range(len(COMPRESSED)))
async def test_a_message_that_ends_too_early_is_closed_with_1002(client: Client, length: int) -> None:
    """Most implementations take what there is for the message."""
    await client.send(frame(TEXT, COMPRESSED[:length], rsv=RSV1))
    await failed(client, 1002)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 50, 1000, 2000])
@each_level
async def test_a_long_message_that_ends_too_early_is_closed_with_1002(
    client: Client, length: int, level: int
) -> None:
    data = deflate(os.urandom(1000).hex().encode(), level=level)
    await client.send(frame(TEXT, data[:-length], rsv=RSV1))
    await failed(client, 1002)


@each_way
async def test_a_message_must_not_refer_to_the_one_before(client: Client, send: Send) -> None:
    """`client_no_context_takeover` was agreed on."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    for code in (None, 1002):
        data = compressor.compress(message(500)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        await send(client, frame(TEXT, data.removesuffix(TAIL), rsv=RSV1))
        if code is None:
            await answered(client)
        else:
            await failed(client, code)


async def test_only_what_precedes_damaged_data_is_done(site: Site, client: Client) -> None:
    await client.send(
        deflated(TEXT, JOIN) + frame(TEXT, b"\x07", rsv=RSV1) + deflated(TEXT, JOIN) + frame(PING)
    )
    await answered(client)
    await failed(client, 1002)
    assert len(site.hub) == 0


# UTF-8 is checked in what comes out

BAD = {
    "a lone byte": b"\xff",
    "cut short": b"\xe2\x82",
    "overlong": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "too high": b"\xf4\x90\x80\x80",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("length", [0, 100, 5000])
@each_way
async def test_compressed_text_that_is_not_utf8_is_closed_with_1007(
    client: Client, bad: bytes, length: int, send: Send
) -> None:
    await send(client, deflated(TEXT, b"x" * length + bad))
    await failed(client, 1007)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_compressed_binary_need_not_be_utf8(client: Client, bad: bytes) -> None:
    await client.send(TALK + deflated(BINARY, bad))
    await refused(client)
    await alive(client)


@pytest.mark.parametrize("bad", [*list(BAD.values())[2:], b"\xff"])
async def test_bad_text_is_noticed_before_the_message_ends(client: Client, bad: bytes) -> None:
    first, _ = flushed([b"good" + bad, b""])
    await client.send(frame(TEXT, first, fin=False, rsv=RSV1))
    await failed(client, 1007)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("flush", [False, True], ids=["cut", "flushed"])
async def test_characters_may_be_split_over_compressed_fragments(
    client: Client, size: int, flush: bool
) -> None:
    data = join("é€😀ß")
    parts = flushed(split(data, size)) if flush else split(deflate(data), size)
    await client.send(b"".join(fragments(TEXT, *parts)))
    await answered(client, "é€😀ß")
    await alive(client)


# The limit of a message is that of what comes out

LIMITS = [125, 126, 127, LIMIT, 65535, 65536, 65537, 1_000_000]
each_limit = pytest.mark.parametrize("limit", LIMITS)


@each_limit
@each_kind
@each_level
async def test_a_message_of_the_limit_is_received(start: Start, limit: int, opcode: int, level: int) -> None:
    """Also one that compression makes longer than the limit."""
    client = await limited(start, limit)
    await client.send(deflated(opcode, message(limit), level=level))
    await answered(client)
    await alive(client)


@each_limit
@each_kind
@each_level
async def test_a_message_over_the_limit_is_closed(start: Start, limit: int, opcode: int, level: int) -> None:
    client = await limited(start, limit)
    await client.send(deflated(opcode, message(limit + 1), level=level))
    await failed(client, 1009)


@each_limit
@each_kind
@pytest.mark.parametrize("over", [0, 1])
async def test_the_limit_holds_for_other_messages_of_the_same_connection(
    start: Start, limit: int, opcode: int, over: int
) -> None:
    client = await limited(start, limit)
    await client.send(frame(opcode, message(limit + over)))
    await (failed(client, 1009) if over else answered(client))


@each_kind
@each_level
@pytest.mark.parametrize("count", [2, 3, 10, LIMIT])
@pytest.mark.parametrize("over", [0, 1], ids=["at the limit", "over the limit"])
@pytest.mark.parametrize("flush", [False, True], ids=["cut", "flushed"])
async def test_fragments_are_limited_together(
    start: Start, opcode: int, level: int, count: int, over: int, flush: bool
) -> None:
    client = await limited(start)
    data = message(LIMIT + over)
    if flush:
        parts = flushed(split(data, len(data) // count))
    else:
        compressed = deflate(data, level=level)
        parts = split(compressed, max(1, len(compressed) // count))
    await client.send(b"".join(fragments(opcode, *parts, b"")))
    await (failed(client, 1009) if over else answered(client))


@each_kind
@pytest.mark.parametrize("size", [LIMIT + 1, 100 * LIMIT, 20_000_000])
@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH], ids=["flushed", "finished"])
async def test_a_bomb_is_closed_with_1009(start: Start, opcode: int, size: int, flush: int) -> None:
    client = await limited(start, 60_000 if size > 60_000 else LIMIT)
    await client.send(deflated(opcode, bytes(size), level=1, flush=flush))
    await failed(client, 1009)


async def test_a_bomb_in_fragments_is_closed_by_the_fragment_that_is_too_much(start: Start) -> None:
    client = await limited(start)
    half, rest = flushed([b" " * 600, b" " * 401])
    await client.send(frame(TEXT, half, fin=False, rsv=RSV1))
    await alive(client)
    await client.send(frame(CONTINUATION, rest + TAIL, fin=False))
    await failed(client, 1009)


async def test_a_full_message_may_go_on_without_bytes(start: Start) -> None:
    """With none left the core's own implementation has no limit at all for the next fragment."""
    client = await limited(start)
    full, end = flushed([message(LIMIT), b""])
    await client.send(frame(TEXT, full, fin=False, rsv=RSV1))
    await client.send(frame(CONTINUATION, EMPTY_BLOCK * 20, fin=False) * 100 + frame(CONTINUATION, end))
    await answered(client)
    await alive(client)


async def test_a_full_message_may_not_go_on_with_a_byte(start: Start) -> None:
    client = await limited(start)
    full, end = flushed([message(LIMIT), b"x"])
    await client.send(frame(TEXT, full, fin=False, rsv=RSV1) + frame(CONTINUATION, end))
    await failed(client, 1009)


@pytest.mark.parametrize("left", [0, 1, 124])
async def test_a_ping_may_be_longer_than_what_is_left_for_the_message(start: Start, left: int) -> None:
    client = await limited(start)
    first, last = flushed([message(LIMIT)[: LIMIT - left], message(LIMIT)[LIMIT - left :]])
    await client.send(frame(TEXT, first, fin=False, rsv=RSV1) + frame(PING, b"x" * 125))
    assert await client.frame() == (PONG, b"x" * 125)
    await client.send(frame(CONTINUATION, last))
    await answered(client)


@each_kind
async def test_messages_do_not_add_up(start: Start, opcode: int) -> None:
    client = await limited(start)
    data = deflate(message(LIMIT), level=0)
    await client.send((frame(opcode, data, rsv=RSV1) + b"".join(fragments(opcode, *split(data, 99)))) * 5)
    for _ in range(10):
        await answered(client)
    await alive(client)


# What the server sends

SIZES = [1, 125, 126, 127, 1000, 65535, 65536, 100_000]
FORMS = {
    "default": ((), TEXT, b'{"topic":"t","payload":"%b"}'),
    "rr.json": (("Sec-WebSocket-Protocol: rr.json",), TEXT, b'{"topic":"t","payload":"%b"}'),
    "rr.binary": (("Sec-WebSocket-Protocol: rr.binary",), BINARY, b"\x00\x01t%b"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("headers", "opcode", "envelope"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("data", [b"x", os.urandom(50_000).hex().encode()], ids=["dull", "lively"])
async def test_pushes_of_each_size_and_form_are_compressed(
    site: Site, size: int, headers: tuple[str, ...], opcode: int, envelope: bytes, data: bytes
) -> None:
    client = await open_deflated(site, *headers)
    await joined(client)
    payload = (data * (size // len(data) + 1))[:size]
    site.publish("t", b'"%b"' % payload if "json" in "".join(headers) else payload)
    seen, compressed, received = await pushed(client)
    assert seen == opcode
    assert compressed == (len(received) < len(envelope % payload))
    assert (inflate(received) if compressed else received) == envelope % payload
    await alive(client)


@pytest.mark.parametrize("size", [255, 256])
async def test_a_push_below_the_least_size_is_not_compressed(start: Start, size: int) -> None:
    site = await serve(start, compression_min_size=256)
    client = await open_deflated(site)
    await joined(client)
    site.publish("t", b"x" * (size - len('{"topic":"t","payload":""}')))
    assert (await pushed(client))[1] == (size == 256)


@pytest.mark.parametrize("over", [0, 1])
async def test_a_push_that_takes_too_long_to_compress_is_not_compressed(site: Site, over: int) -> None:
    client = await open_deflated(site)
    await joined(client)
    site.publish("t", b"x" * (256 * 1024 + over - len('{"topic":"t","payload":""}')))
    assert (await pushed(client))[1] == (over == 0)


async def test_a_push_that_would_become_longer_is_not_compressed(site: Site) -> None:
    client = await open_deflated(site, "Sec-WebSocket-Protocol: rr.binary")
    await joined(client)
    noise = os.urandom(1000)
    site.publish("t", noise)
    assert await pushed(client) == (BINARY, False, b"\x00\x01t" + noise)


async def test_a_push_does_not_refer_to_the_one_before(site: Site) -> None:
    client = await open_deflated(site)
    await joined(client)
    for _ in range(5):
        site.publish("t", LONG)
        assert inflate((await pushed(client))[2]) == b'{"topic":"t","payload":"%b"}' % LONG


async def test_pushes_keep_their_order_whether_compressed_or_not(site: Site) -> None:
    client = await open_deflated(site)
    await client.send(frame(TEXT, '{"command":"join","topics":["a","b"]}'))
    await client.frame()
    for n in range(50):
        site.publish("ab"[n % 2], b"%d" % n + b" " * (n % 3 * 100))
    for n in range(50):
        _, compressed, payload = await pushed(client)
        data = inflate(payload) if compressed else payload
        assert data.startswith(b'{"topic":"%c","payload":"%d' % (b"ab"[n % 2], n))


async def test_clients_with_and_without_compression_share_a_topic(site: Site) -> None:
    plain, _ = await agree(site)
    small, _ = await agree(site, f"{OFFER}; server_max_window_bits=9")
    large, _ = await agree(site, OFFER)
    for client in (plain, small, large):
        await joined(client)
    site.publish("t", LONG)
    whole = b'{"topic":"t","payload":"%b"}' % LONG
    assert await pushed(plain) == (TEXT, False, whole)
    one, other = (await pushed(small))[2], (await pushed(large))[2]
    assert (inflate(one, 9), inflate(other)) == (whole, whole)
    assert len(other) < len(one) < len(whole)
