"""What the cases send and what must come back.

Messages are commands, so that their effect can be seen. A case that wants to see that a message which is no
command was received, too, begins with `TALK`: from then on the server answers everything.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest

from support.ws_peer import CLOSE, PING, PONG, TEXT, Client, Received, frame

CONTINUATION = 0

DATA_OPCODES = {"text": TEXT, "binary": 2}
CONTROL_OPCODES = {"close": CLOSE, "ping": PING, "pong": PONG}

JOIN = b'{"command":"join","topics":["t"]}'
JOINED = Received(TEXT, b'{"topic":"@join","payload":["t"]}')
TALK = frame(TEXT, '{"command":"headers","id":1}')


def join(topic: str | bytes) -> bytes:
    """A command whose answer shows the topic."""
    return b'{"command":"join","topics":["%b"]}' % (topic if isinstance(topic, bytes) else topic.encode())


def message(length: int) -> bytes:
    """A message of so many bytes: a join, with an unknown key in front of it, when there is room for one."""
    padding = length - len(JOIN) - len(b'"":"",')
    if padding < 0:
        return b" " * (length - len(JOIN)) + JOIN if length >= len(JOIN) else b"x" * length
    filling = "".join(map(chr, range(0x30, 0x5B))) * (padding // 43 + 1)
    return b'{"%b":"",' % filling[:padding].encode() + JOIN[1:]


def odd_frame(
    first: int, payload: bytes, *, form: int = 0, length: int | None = None, key: bytes = b"\1\2\3\4"
) -> bytes:
    """A masked frame that `ws_peer.frame` would not make.

    Args:
        first: the first byte.
        payload: before masking.
        form: how many bytes the extended length takes: 0, 2 or 8.
        length: what is announced, when it is not the length of the payload.
        key: for masking.
    """
    announced = len(payload) if length is None else length
    if form:
        head = bytes([first, 0x80 | {2: 126, 8: 127}[form]]) + announced.to_bytes(form)
    else:
        head = bytes([first, 0x80 | announced])
    return head + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def fragments(opcode: int, *parts: bytes) -> list[bytes]:
    """The frames of one message."""
    last = len(parts) - 1
    return [
        frame(opcode if index == 0 else CONTINUATION, part, fin=index == last)
        for index, part in enumerate(parts)
    ]


def single_bytes(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


Send = Callable[[Client, bytes], Awaitable[None]]


async def whole(client: Client, data: bytes) -> None:
    """In one packet, as far as the kernel likes."""
    await client.send(data)


async def chopped(client: Client, data: bytes) -> None:
    """Byte by byte; of long data the head and the end, the rest in 50 pieces."""
    if len(data) <= 400:
        await client.send_slowly(data)
        return
    await client.send_slowly(data[:20])
    size = len(data) // 50
    for start in range(20, len(data) - 4, size):
        await client.send(data[start : min(start + size, len(data) - 4)])
        await asyncio.sleep(0)
    await client.send_slowly(data[-4:])


async def in_packets(client: Client, *parts: bytes) -> None:
    """Each in a packet of its own, which the server sees before it sees the next."""
    for part in parts:
        await client.send(part)
        for _ in range(3):
            await asyncio.sleep(0)


each_way = pytest.mark.parametrize("send", [whole, chopped], ids=["whole", "chopped"])
each_kind = pytest.mark.parametrize("opcode", DATA_OPCODES.values(), ids=DATA_OPCODES)


async def answered(client: Client, topic: str = "t") -> None:
    """The next frame is the answer to `join(topic)`."""
    assert await client.json() == {"topic": "@join", "payload": [topic]}


async def refused(client: Client) -> None:
    """The next frame says that a message was received but is no command."""
    answer = await client.json()
    assert (answer["topic"], answer["id"]) == ("#error", ""), answer


async def alive(client: Client) -> None:
    """Nothing more has come, and the connection works."""
    assert await client.silent()


async def failed(client: Client, code: int) -> None:
    """A close frame with this code comes next, nothing after it, and the server ends its side with FIN."""
    opcode, payload = await client.frame()
    assert opcode == CLOSE, (opcode, payload)
    assert struct.unpack("!H", payload[:2]) == (code,), payload
    payload[2:].decode()
    assert await client.rest() == b""


async def closed(client: Client, payload: bytes) -> None:
    """The client's close frame is echoed, nothing comes after it, and the server ends its side with FIN."""
    assert await client.rest() == frame(CLOSE, payload, mask=False)
