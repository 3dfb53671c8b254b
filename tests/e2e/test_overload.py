"""Publishers that bring too much: at once, or for longer than the machine can deliver it."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import sys
from pathlib import Path

from e2e.client import Connect
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import encode_broadcast
from support.process import Server, Servers
from support.rpc_peer import Peer
from support.ws_peer import TEXT, Client, push

MIB = 1 << 20
LIMIT = 16 * MIB
PUBLISHERS, CALLS, SIZE = 4, 40, 8192
RECEIVERS = 200
PREFIX = b'{"topic":"flood","payload":"'
MOST_MEMORY = RECEIVERS * 64 * 1024
"""A quarter of what would wait for them if nobody held the publishers."""
FLOOD = Path(__file__).parent / "workers" / "flood.py"


def test_php_is_told_that_a_message_is_too_large_and_goes_on(servers: Servers, connect: Connect) -> None:
    server = servers.start(websockets={"limits": {"rpc_payload": "1MiB"}})
    browser = connect(server)
    browser.join("news")
    answer = server.php(
        "try { $broadcast->publish('news', str_repeat('x', 1 << 20)); }"
        "catch (RRPyWs\\Exception\\ServiceException $e) { echo $e->getMessage(); }"
        "$broadcast->publish('news', 'small');"
    )
    assert re.fullmatch(
        r".*payload of 10486\d\d bytes, the limit is 1048576 \(websockets\.limits\.rpc_payload\).*", answer
    )
    browser.expect(push("news", "small"))


async def test_a_call_of_the_limit_reaches_a_browser(servers: Servers, connect: Connect) -> None:
    """All of it passes, and is in memory a handful of times for a moment, not once for each receiver."""
    server = servers.start(websockets={"limits": {"rpc_payload": LIMIT}})
    browsers = [connect(server) for _ in range(3)]
    for browser in browsers:
        browser.join("news")
    before = peak_memory(server)
    name = b"broadcast.Publish"
    body = encode_broadcast([Message("", ["news"], b"")])
    room = LIMIT - len(name) - len(body) - 8  # lengths take more bytes in a long message
    body = encode_broadcast([Message("", ["news"], b"x" * room)])
    payload = b"x" * (room + LIMIT - len(name) - len(body))
    body = encode_broadcast([Message("", ["news"], payload)])
    assert len(name) + len(body) == LIMIT
    peer = await Peer.connect(server.rpc)
    assert await peer.call(name.decode(), body, Flag.PROTO) == (Flag.PROTO, b"\x08\x01")
    await peer.close()
    for browser in browsers:
        assert await asyncio.to_thread(browser.receive) == push("news", payload.decode())
    assert peak_memory(server) - before < 7 * LIMIT


def peak_memory(server: Server) -> int:
    """The most resident bytes that the server ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


async def test_a_flood_slows_publishers_and_loses_no_healthy_receiver(servers: Servers) -> None:
    """Four publishers send as fast as they can to receivers who begin to read only when these have to wait.

    The server could read all of it at once, and would have to close all receivers as too slow. Instead
    publishers wait for their answers; everybody gets everything in order; then things are as before.
    """
    server = servers.start(websockets={"limits": {"send_queue": "256KiB"}}, logs={"level": "info"})
    # The kernel holds little for any of them.
    receivers = [await Client.connect(server.address, receive_buffer=32768) for _ in range(RECEIVERS)]
    for receiver in receivers:
        await receiver.upgrade()
        await receiver.join("flood")
    before = peak_memory(server)
    address = server.rpc.removeprefix("tcp://")
    publishers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(FLOOD), address, str(number), str(CALLS), str(SIZE)),
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(PUBLISHERS)
    ]
    await asyncio.to_thread(server.log.wait_for, "publishers wait, many receivers are behind")
    await asyncio.gather(*map(take_flood, receivers))
    for publisher in publishers:
        answered, _ = await publisher.communicate()
        assert int(answered) == CALLS
    assert peak_memory(server) - before < MOST_MEMORY
    assert server.log.having("slow client") == []
    server.php("$broadcast->publish('flood', 'after');")
    for receiver in receivers:
        await receiver.expect(push("flood", "after"))
        receiver.close()


async def test_a_stop_does_not_wait_for_slow_receivers_of_a_topic(servers: Servers, connect: Connect) -> None:
    server = servers.start(logs={"level": "info"})
    stalled = [await Client.connect(server.address, receive_buffer=32768) for _ in range(16)]
    for receiver in stalled:
        await receiver.upgrade()
        await receiver.join("slow")
    body = encode_broadcast([Message("", ["slow"], b"x" * 100_000)])
    publisher, other = await Peer.connect(server.rpc), await Peer.connect(server.rpc)
    waiting = asyncio.create_task(publish_for_ever(publisher, body))
    line = await asyncio.to_thread(server.log.wait_for, "publishers wait, many receivers are behind")
    assert '"topic":"slow","behind":16,"receivers":16' in line
    body = encode_broadcast([Message("", ["another"], b"x")])
    assert await other.call("broadcast.Publish", body, Flag.PROTO) == (Flag.PROTO, b"\x08\x01")
    server.signal(signal.SIGTERM)
    await waiting
    for receiver in stalled:
        receiver.close()
    assert await asyncio.to_thread(server.wait) == 0
    for peer in (publisher, other):
        await peer.close()


async def publish_for_ever(publisher: Peer, body: bytes) -> None:
    """Publish, one call after the other, until the server ends the connection."""
    for number in itertools.count():
        publisher.request(number, "broadcast.Publish", body, Flag.PROTO)
        try:
            answer = await publisher.frame()
        except (AssertionError, ConnectionError):
            break
        assert answer.options[0] == number


async def take_flood(receiver: Client) -> None:
    """Read everything: each publisher's messages in their order, and nothing else."""
    following = [0] * PUBLISHERS
    while following != [CALLS] * PUBLISHERS:
        opcode, payload = await receiver.frame()
        assert opcode == TEXT and payload.startswith(PREFIX) and len(payload) == len(PREFIX) + SIZE + 2
        number = payload[len(PREFIX) :]
        publisher, sequence = int(number[:1]), int(number[1:7])
        assert sequence == following[publisher]
        following[publisher] += 1
