"""Receivers that read in gulps: they hold the publishers of their topic, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rr_py_ws.adapters.rpc import RPCListener
from rr_py_ws.config import Limits
from rr_py_ws.core import backpressure, hold
from rr_py_ws.core.hold import FEW
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import Message
from rr_py_ws.wire.publish_protobuf import encode_broadcast
from support.loops import both_loops
from support.rpc_peer import Peer, node_registry
from support.waiting import eventually
from support.ws_peer import Client, push
from support.ws_site import Site, Start

pytestmark = both_loops

METHOD = "broadcast.Publish"
CALLS = 50


@pytest.fixture
async def site(start: Start, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A server whose holds last until receivers have caught up."""
    for room, name, value in (
        (hold, "LONGEST", 1000.0),
        (hold, "REST", 0.01),
        (backpressure, "LONGEST", 1000.0),
        (backpressure, "REST", 0.01),
    ):
        monkeypatch.setattr(room, name, value)
    site = await start(send_queue=100_000_000)
    yield site
    await eventually(lambda: not site.backpressure.watching)


@pytest.fixture
async def rpc(site: Site) -> AsyncIterator[RPCListener]:
    rpc = RPCListener(node_registry(site.node), "tcp://127.0.0.1:0", limits=Limits())
    await rpc.start()
    yield rpc
    await rpc.stop(5.0)


async def joined(site: Site, count: int, *topics: str) -> list[Client]:
    clients = [await site.open(small_buffers=True) for _ in range(count)]
    for client in clients:
        await client.join(*topics)
    return clients


def to(topic: str, payload: str) -> bytes:
    return encode_broadcast([Message("", [topic], payload.encode())])


async def read(client: Client, *texts: str) -> None:
    for text in texts:
        await client.expect(text)


async def test_publishers_of_other_topics_are_never_paused(site: Site, rpc: RPCListener) -> None:
    """They had a third of the time left: readers in gulps held everybody, again and again."""
    gulpers = await joined(site, FEW, "slow")
    members = await joined(site, 3, "fine")
    slow, fine = [await Peer.connect(rpc.address) for _ in range(2)]
    payload = "x" * 50_000
    for _ in range(3):
        sent = 0
        while not site.backpressure.held:
            assert await slow.call(METHOD, to("slow", payload), Flag.PROTO) == (Flag.PROTO, b"\x08\x01")
            sent += 1
        slow.request(1, METHOD, to("slow", payload), Flag.PROTO)
        for number in range(CALLS):
            assert await fine.call(METHOD, to("fine", f"{number}"), Flag.PROTO) == (Flag.PROTO, b"\x08\x01")
        assert list(site.backpressure.held) == [("default", "slow")]
        assert rpc._registry.counters.held == 1
        await asyncio.gather(
            *(read(member, *(push("fine", f"{number}") for number in range(CALLS))) for member in members),
            *(read(gulper, *[push("slow", payload)] * sent) for gulper in gulpers),
        )
        assert (await slow.frame()).options[0] == 1
        await asyncio.gather(*(read(gulper, push("slow", payload)) for gulper in gulpers))
    for peer in (slow, fine):
        await peer.close()


async def test_receivers_that_leave_let_the_publishers_of_their_topic_go_on(
    site: Site, rpc: RPCListener
) -> None:
    stalled = await joined(site, FEW, "slow")
    peer = await Peer.connect(rpc.address)
    while not site.backpressure.held:
        await peer.call(METHOD, to("slow", "x" * 50_000), Flag.PROTO)
    peer.request(1, METHOD, to("slow", "x"), Flag.PROTO)
    await eventually(lambda: rpc._registry.counters.held)
    for client in stalled:
        client.reset()
    assert (await peer.frame()).options[0] == 1
    await peer.close()


async def test_members_of_a_healthy_topic_who_are_slow_in_another_do_not_hold_it(
    site: Site, rpc: RPCListener
) -> None:
    """As long as they are no more than a quarter of it."""
    stalled = await joined(site, FEW, "slow", "fine")
    members = await joined(site, 3 * FEW, "fine")
    peer = await Peer.connect(rpc.address)
    while not site.backpressure.held:
        await peer.call(METHOD, to("slow", "x" * 50_000), Flag.PROTO)
    for number in range(CALLS):
        await peer.call(METHOD, to("fine", f"{number}"), Flag.PROTO)
    await asyncio.gather(
        *(read(member, *(push("fine", f"{number}") for number in range(CALLS))) for member in members)
    )
    for client in stalled:
        client.close()
    await peer.close()
