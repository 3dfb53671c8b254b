"""RFC 6455 section 5.2: reserved bits without an extension that uses them, and reserved opcodes."""

from __future__ import annotations

import pytest

from conformance.exchange import (
    CONTINUATION,
    CONTROL_OPCODES,
    DATA_OPCODES,
    JOIN,
    Send,
    answered,
    each_way,
    failed,
    fragments,
)
from support.ws_peer import PING, PONG, TEXT, Client, close, frame
from support.ws_site import Site

BITS = {f"rsv {value:03b}": value for value in range(1, 8)}
OPCODES = {**DATA_OPCODES, **CONTROL_OPCODES}
RESERVED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]

each_bit = pytest.mark.parametrize("rsv", BITS.values(), ids=BITS)
each_reserved = pytest.mark.parametrize("opcode", RESERVED)


@each_bit
@pytest.mark.parametrize("opcode", OPCODES.values(), ids=OPCODES)
async def test_reserved_bits_are_closed_with_1002(client: Client, opcode: int, rsv: int) -> None:
    payload = close(1000) if opcode == OPCODES["close"] else JOIN
    await client.send(frame(opcode, payload, rsv=rsv))
    await failed(client, 1002)


@each_bit
@pytest.mark.parametrize("opcode", OPCODES.values(), ids=OPCODES)
async def test_reserved_bits_of_an_empty_frame_are_closed_with_1002(
    client: Client, opcode: int, rsv: int
) -> None:
    await client.send(frame(opcode, rsv=rsv))
    await failed(client, 1002)


@each_bit
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
async def test_reserved_bits_of_a_fragment_are_closed_with_1002(client: Client, place: int, rsv: int) -> None:
    frames = fragments(TEXT, JOIN[:5], JOIN[5:9], JOIN[9:])
    frames[place] = bytes([frames[place][0] | rsv << 4]) + frames[place][1:]
    await client.send(b"".join(frames))
    await failed(client, 1002)


@each_bit
async def test_only_what_precedes_reserved_bits_is_done(site: Site, client: Client, rsv: int) -> None:
    await client.send(frame(TEXT, JOIN) + frame(TEXT, JOIN, rsv=rsv) + frame(TEXT, JOIN) + frame(PING))
    await answered(client)
    await failed(client, 1002)
    assert len(site.hub) == 0


@each_reserved
@pytest.mark.parametrize("payload", [b"", JOIN], ids=["empty", "with payload"])
@each_way
async def test_reserved_opcodes_are_closed_with_1002(
    client: Client, opcode: int, payload: bytes, send: Send
) -> None:
    await send(client, frame(opcode, payload))
    await failed(client, 1002)


@each_reserved
async def test_a_reserved_opcode_is_known_by_its_first_bytes(client: Client, opcode: int) -> None:
    """The rest of the frame is not waited for."""
    await client.send(frame(opcode, b"x" * 1000)[:2])
    await failed(client, 1002)


@each_reserved
async def test_only_what_precedes_a_reserved_opcode_is_done(site: Site, client: Client, opcode: int) -> None:
    await client.send(frame(TEXT, JOIN) + frame(PING, "p") + frame(opcode) + frame(TEXT, JOIN) + frame(PING))
    await answered(client)
    assert await client.frame() == (PONG, b"p")
    await failed(client, 1002)
    assert len(site.hub) == 0


@each_reserved
@pytest.mark.parametrize("fin", [False, True], ids=["not final", "final"])
async def test_a_reserved_opcode_between_fragments_is_closed_with_1002(
    client: Client, opcode: int, fin: bool
) -> None:
    await client.send(frame(TEXT, JOIN[:5], fin=False) + frame(opcode, JOIN[5:], fin=fin))
    await client.send(frame(CONTINUATION, JOIN[5:]))
    await failed(client, 1002)


@each_reserved
async def test_a_reserved_opcode_with_reserved_bits_is_closed_with_1002(client: Client, opcode: int) -> None:
    await client.send(frame(opcode, rsv=7))
    await failed(client, 1002)
