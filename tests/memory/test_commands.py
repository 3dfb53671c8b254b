"""What clients make the server hold by their commands, and publishers by their calls: the other rows."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgpack
import pytest

from memory.conftest import Site
from rr_py_ws.config import Limits
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request
from support.memory import KIB, MIB
from support.rpc_peer import Peer
from support.waiting import eventually
from support.ws_peer import TEXT, command, frame, request

LIMITS = Limits()
COUNT = 30
BASE = 8 * KIB
READ = 256 * KIB
"""What one read brings."""
SLACK = 2 * MIB

pytestmark = pytest.mark.parametrize("loop", ["uvloop"], indirect=True, scope="module")


def padded(name: str, size: int) -> bytes:
    """A command of so many bytes."""
    text = json.dumps({"command": name, "topics": ["a"], "payload": ""})
    return frame(TEXT, text[:-2] + "A" * ((size - len(text)) // 4 * 4) + '"}')


async def test_messages_that_are_not_complete(site: Site) -> None:
    """Half in fragments, and a frame of which half is here."""
    half = LIMITS.max_message_size // 2
    data = frame(TEXT, b" " * half, fin=False) + frame(0, b" " * half)[:-1]
    memory = site.measure()
    before = await site.metric("rr_ws_received_bytes_total")
    await site.sends(COUNT, request("/ws") + data)
    await site.reaches("rr_ws_received_bytes_total", before + COUNT * len(data))
    assert memory.growth() < COUNT * (BASE + 2 * LIMITS.max_message_size) + SLACK


async def test_topics(site: Site) -> None:
    """One character of four bytes makes Python keep four for each of the others."""
    [client] = await site.join("first", 1)
    width = LIMITS.max_topic_length - 4
    names = [f"{number:05}".ljust(width, "x") + "😀" for number in range(LIMITS.max_topics - 1)]
    memory = site.measure()
    for start in range(0, len(names), 56):
        await client.send(command("join", names[start : start + 56]))
        assert (await client.json())["topic"] == "@join"
    assert await site.metric('rr_ws_topics{broker="default"}') == LIMITS.max_topics
    held = await site.metric('rr_ws_topic_bytes{broker="default"}')
    assert held <= LIMITS.max_topics * 4 * LIMITS.max_topic_length
    each = 4 * LIMITS.max_topic_length + KIB
    assert memory.growth() < LIMITS.max_topics * each + SLACK


async def test_rpc_frames_that_are_not_complete(site: Site) -> None:
    size = 4 * MIB
    call = encode_request(1, "broadcast.Publish", b" " * size, Flag.JSON)
    memory = site.measure()
    peers = [await Peer.connect(site.server.rpc) for _ in range(5)]
    for peer in peers:
        peer.send(call[:-1])
    await site.reaches("rr_ws_rpc_unfinished_bytes", 5 * size)
    assert memory.growth() < 5 * (size + READ) * 5 / 4 + SLACK
    for peer in peers:
        await peer.close()


@pytest.mark.parametrize("codec", [Flag.PROTO, Flag.JSON, Flag.MSGPACK], ids=lambda codec: codec.name)
async def test_calls_of_many_elements(site: Site, codec: Flag) -> None:
    """As many as there may be, and four million of them, which are not decoded."""
    full: Callable[[int], bytes] = {
        Flag.PROTO: lambda count: b"\x0a\x00" * count,
        Flag.JSON: lambda count: b'{"messages":[' + b"{}," * count + b"{}]}",
        Flag.MSGPACK: lambda count: bytes(msgpack.packb({"messages": [{}] * count})),
    }[codec]
    peer = await Peer.connect(site.server.rpc)
    memory = site.measure()
    await peer.call("broadcast.Publish", full(LIMITS.rpc_elements // 3), codec)
    assert memory.peak() < 300 * LIMITS.rpc_elements + 4 * MIB
    body = full(2_000_000)
    memory = site.measure()
    flags, answer = await peer.call("broadcast.Publish", body, codec)
    assert flags & Flag.ERROR
    assert b"rpc_elements" in answer
    assert memory.peak() < 4 * len(body) + 4 * MIB
    await peer.close()


async def test_commands_that_wait(site: Site) -> None:
    """As bytes, up to their queue, one more, and what was read with them. Last: workers do not survive it."""
    large = padded("leave", LIMITS.max_message_size - KIB)
    clients = await site.join("waiting", COUNT)
    memory = site.measure()
    for client in clients:
        await client.send(command("join", ["do.sleep"]) + large * 4)
    await site.reaches("rr_ws_commands_waiting_bytes", COUNT * LIMITS.command_queue)
    waiting = await site.metric("rr_ws_commands_waiting_bytes")
    assert waiting < COUNT * (LIMITS.command_queue + LIMITS.max_message_size)
    assert await site.metric("rr_ws_held_bytes") <= COUNT * READ
    bound = LIMITS.command_queue + 2 * LIMITS.max_message_size + READ
    assert memory.growth() < COUNT * (BASE + bound) + SLACK
    site.server.tolerated.append("worker")

    async def answered() -> bool:
        for worker in site.server.family():  # it sleeps, and the next one will sleep for the next client
            worker.kill()
        return await site.metric("rr_ws_commands_waiting") == 0

    await eventually(answered, pause=0.05)
    await site.leave()
    assert await site.metric("rr_ws_commands_waiting_bytes") == await site.metric("rr_ws_held_bytes") == 0
