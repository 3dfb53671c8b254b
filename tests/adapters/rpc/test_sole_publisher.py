"""Who alone publishes, a call after another, has each written at once; what it costs and means is as ever."""

from __future__ import annotations

from typing import Any, cast

import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.rpc import build_registry
from rr_py_ws.adapters.rpc.connection import _SOLE, RPCConnection
from rr_py_ws.adapters.rpc.partial_frames import PartialFrames
from rr_py_ws.adapters.rpc.turns import BUDGET, CallTurns
from rr_py_ws.adapters.rpc.unread import UnreadReplies
from rr_py_ws.config import Limits
from rr_py_ws.core.node import Node
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.pb import broadcast_pb2
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import STRING
from rr_py_ws.wire.rpc import encode_request
from support.turns import Turns


class Client:
    """A subscriber that tells what it gets, and when."""

    id = me = "client"
    encoding = STRING
    descriptor = -1

    def __init__(self, written: list[str]) -> None:
        self._written = written

    def send(self, frames: bytes) -> int:
        self._written.append(f"push {frames.count(b'payload')}")
        return len(frames)


class Peer:
    """A publisher: the transport of its connection."""

    def __init__(self, name: str, site: Site) -> None:
        self._written = site.written
        self._name = name
        counters = site.registry.counters
        frames, unread = PartialFrames(1 << 20, 30, counters), UnreadReplies(1 << 20, counters)
        self.connection = RPCConnection(
            site.registry, Limits(), frames, unread, lambda _: None, lambda _: None
        )
        self.connection.connection_made(cast(Any, self))
        self._decoder = FrameDecoder()

    def write(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        while (frame := self._decoder.next_frame()) is not None:
            failed = "error" if frame.flags & Flag.ERROR else "ok"
            self._written.append(f"{self._name} {failed}")

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def publish(self, *, calls: int = 1, parts: int = 1) -> None:
        call = _call() * calls
        size = -(-len(call) // parts)
        for start in range(0, len(call), size):
            self.connection.data_received(call[start : start + size])


class Site:
    """One client in one topic, and publishers.

    Attributes:
        written: what leaves, in order: pushes, and replies to publishers.
        loop: what the loop was asked for.
    """

    def __init__(self) -> None:
        self.written: list[str] = []
        self.loop = Turns()
        end = TurnEnd(self.loop.schedule)
        self.broker = MemoryBroker()
        self.node = Node({"main": self.broker}, "main", end.schedule)
        self.turns = CallTurns(end)
        self.registry = build_registry(
            publisher=self.node,
            pools={},
            probes={},
            version="",
            config=lambda: b"",
            limits=Limits(),
            turns=self.turns,
        )

    async def start(self) -> None:
        await self.node.start()
        self.node.join(Client(self.written), "", ["topic"])

    def settle(self, peer: Peer) -> None:
        """Let a publisher become the only one."""
        for _ in range(_SOLE):
            peer.publish()
        self.loop.end()
        self.written.clear()


def _call() -> bytes:
    one = broadcast_pb2.Message(topics=["topic"], payload=b"text")
    request = broadcast_pb2.Request(messages=[one])
    return encode_request(7, "broadcast.Publish", request.SerializeToString(), Flag.PROTO)


@pytest.fixture
async def site() -> Site:
    site = Site()
    await site.start()
    return site


async def test_the_reply_comes_first_then_the_push_and_the_loop_has_nothing_to_do(site: Site) -> None:
    peer = Peer("a", site)
    site.settle(peer)
    peer.publish()
    peer.publish()
    assert site.written == ["a ok", "push 1", "a ok", "push 1"]
    assert not site.loop.scheduled


async def test_what_two_publishers_bring_in_a_turn_is_written_together(site: Site) -> None:
    one, other = Peer("a", site), Peer("b", site)
    site.settle(one)
    for _ in range(2 * _SOLE):
        site.written.clear()
        other.publish()
        one.publish()
        assert site.written == ["b ok", "a ok"]
        site.loop.end()
        assert site.written[2:] == ["push 2"]


async def test_what_was_gathered_before_is_not_overtaken(site: Site) -> None:
    """A broker of a network has brought something in this turn; the hub's flush is on its way."""
    peer = Peer("a", site)
    site.settle(peer)
    site.broker.publish(Publication("topic", b"of another node"))
    peer.publish()
    assert site.written == ["a ok"]
    site.loop.end()
    assert site.written == ["a ok", "push 2"]


@pytest.mark.parametrize("options", [{"calls": 2}, {"parts": 2}], ids=["pipelined", "in parts"])
async def test_other_reads_go_the_general_way(site: Site, options: dict[str, int]) -> None:
    peer = Peer("a", site)
    site.settle(peer)
    peer.publish(**options)
    calls = options.get("calls", 1)
    assert site.written == ["a ok"] * calls
    site.loop.end()
    assert site.written[calls:] == [f"push {calls}"]


async def test_it_is_charged_as_ever(site: Site) -> None:
    alone, in_parts = Peer("a", site), Peer("b", site)
    site.settle(alone)
    costs = []
    for peer, parts in ((alone, 1), (in_parts, 2)):
        left, used = site.turns.left, max(peer.connection.used, site.turns.floor)
        peer.publish(parts=parts)
        costs.append((left - site.turns.left, peer.connection.used - used))
        assert site.turns.latest >= peer.connection.used
    assert costs[0] == costs[1]
    assert costs[0][0] == costs[0][1] > 0


async def test_the_budget_of_a_turn_holds_for_it(site: Site) -> None:
    peer = Peer("a", site)
    site.settle(peer)
    site.turns.left = 0
    peer.publish()
    assert not site.written  # it waits for the next turn
    assert site.turns.renewing
    site.turns._begin()
    assert site.written == ["a ok"]
    assert BUDGET // 2 < site.turns.left < BUDGET


async def test_a_refusal_is_answered_and_the_next_call_is_gathered_as_ever(site: Site) -> None:
    peer = Peer("a", site)
    site.settle(peer)
    publish = site.broker.publish

    def refuse(publication: Publication) -> None:
        raise BrokerError("away")

    site.broker.publish = refuse
    peer.publish()
    site.broker.publish = publish
    assert site.written == ["a error"]
    assert not site.turns.end.held
    peer.publish()
    assert site.written == ["a error", "a ok", "push 1"]


async def test_who_has_left_is_forgotten(site: Site) -> None:
    peer = Peer("a", site)
    site.settle(peer)
    assert site.turns.last is peer.connection
    site.turns.discard(peer.connection)
    assert site.turns.last is None
