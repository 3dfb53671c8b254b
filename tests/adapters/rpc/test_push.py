"""The service `push`, on real connections, with a memory broker behind it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack
import orjson
import pytest

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.rpc import RPCListener
from rr_py_ws.config import HistoryRule, Limits
from rr_py_ws.core.history import Receipt
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.node import Node
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.pb import push_pb2
from rr_py_ws.wire.publication import Publication
from support.clock import Clock
from support.rpc_peer import Peer, node_registry
from support.waiting import eventually

Connect = Callable[[], Awaitable[Peer]]
RULE = HistoryRule(topics=("news*",), size=5, ttl=60.0)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = 1000.0
    return clock


@pytest.fixture
async def node(clock: Clock) -> AsyncIterator[Node]:
    broker = MemoryBroker(HistoryRules([RULE]), now=clock.time)
    node = Node({"memory": broker}, "memory", asyncio.get_running_loop().call_soon)
    await node.start()
    yield node
    await node.close()


@pytest.fixture
async def peer(node: Node) -> AsyncIterator[Peer]:
    server = RPCListener(node_registry(node), "tcp://127.0.0.1:0", limits=Limits())
    await server.start()
    peer = await Peer.connect(server.address)
    yield peer
    await peer.close()
    await server.stop(grace=1.0)


async def ask(peer: Peer, method: str, **fields: Any) -> Any:
    """Call in JSON; an error is returned as its text."""
    flags, body = await peer.call(f"push.{method}", orjson.dumps(fields))
    return body.decode() if flags & Flag.ERROR else orjson.loads(body)


async def publish(peer: Peer, *payloads: str, topics: tuple[str, ...] = ("news",), **options: Any) -> Any:
    messages = [
        {"topics": topics, "payload": base64.b64encode(payload.encode()).decode(), **options}
        for payload in payloads
    ]
    answer = await ask(peer, "Publish", messages=messages)
    return answer["published"] if isinstance(answer, dict) else answer


async def payloads(peer: Peer, **query: Any) -> list[str]:
    answer = await ask(peer, "History", topic="news", **query)
    return [base64.b64decode(message["payload"]).decode() for message in answer["messages"]]


async def test_publish_answers_where_each_message_stands(peer: Peer) -> None:
    published = await publish(peer, "1", "2", topics=("news", "chat"))
    assert [(one["topic"], one["duplicate"]) for one in published] == [
        ("news", False),
        ("chat", False),
        ("news", False),
        ("chat", False),
    ]
    positions = [one["position"] for one in published]
    assert positions[1] == positions[3] == ""
    assert positions[0] != positions[2]
    assert await payloads(peer, since=positions[0]) == ["2"]


async def test_everything_in_protobuf(peer: Peer) -> None:
    request = push_pb2.PublishRequest(
        messages=[push_pb2.Message(topics=["news"], payload=b"\xff\0", exclude=["me"])]
    )
    flags, body = await peer.call("push.Publish", request.SerializeToString(), Flag.PROTO)
    assert flags == Flag.PROTO
    [published] = push_pb2.PublishResponse.FromString(body).published
    assert published.topic == "news"
    query = push_pb2.HistoryRequest(topic="news", limit=1, reverse=True)
    flags, body = await peer.call("push.History", query.SerializeToString(), Flag.PROTO)
    page = push_pb2.HistoryResponse.FromString(body)
    [message] = page.messages
    assert (message.payload, message.exclude, message.position) == (b"\xff\0", ["me"], published.position)
    assert message.time_ms == 1_000_000
    assert (page.position, page.complete, page.reason) == (published.position, True, "")
    clear = push_pb2.ClearHistoryRequest(topic="news").SerializeToString()
    flags, body = await peer.call("push.ClearHistory", clear, Flag.PROTO)
    assert push_pb2.ClearHistoryResponse.FromString(body).position == published.position


async def test_everything_in_msgpack(peer: Peer) -> None:
    body = msgpack.packb({"Messages": [{"Topics": ["news"], "Payload": b"\xff"}]})
    _, answer = await peer.call("push.Publish", body, Flag.MSGPACK)
    [published] = msgpack.unpackb(answer)["Published"]
    assert published["Topic"] == "news"
    _, answer = await peer.call("push.History", msgpack.packb({"topic": "news"}), Flag.MSGPACK)
    assert msgpack.unpackb(answer)["Messages"][0]["Payload"] == b"\xff"


async def test_what_is_published_under_one_key_is_published_once(peer: Peer, clock: Clock) -> None:
    [first] = await publish(peer, "1", idempotency_key="a")
    [again] = await publish(peer, "other", idempotency_key="a")
    assert again == {**first, "duplicate": True}
    [other_topic] = await publish(peer, "1", topics=("news 2",), idempotency_key="a")
    assert not other_topic["duplicate"]
    assert await payloads(peer) == ["1"]
    clock.now += 300.0
    [later] = await publish(peer, "2", idempotency_key="a")
    assert not later["duplicate"]


@pytest.mark.parametrize("name", ["idempotency_key", "idempotencyKey", "IdempotencyKey", "IDEMPOTENCY_KEY"])
async def test_a_key_counts_however_a_library_writes_its_name(peer: Peer, name: str) -> None:
    """Unknown names are ignored: it would be published again and again."""
    assert [one["duplicate"] for one in await publish(peer, "1", "1", **{name: "a"})] == [False, True]
    [skipped] = await publish(peer, "2", skipHistory=True)
    assert skipped["position"] == ""


async def test_a_key_holds_for_a_topic_without_history(peer: Peer) -> None:
    assert [
        one["duplicate"] for one in await publish(peer, "1", "1", topics=("chat",), idempotency_key="a")
    ] == [
        False,
        True,
    ]


async def test_what_skips_the_history_is_delivered_and_not_kept(peer: Peer, node: Node) -> None:
    [published] = await publish(peer, "1", skip_history=True)
    assert published["position"] == ""
    assert node.hub().published == 1
    assert await payloads(peer) == []


async def test_other_services_feed_the_history(peer: Peer) -> None:
    body = b'{"messages":[{"topics":["news"],"payload":"MQ=="}]}'
    for method in (
        "broadcast.Publish",
        "broadcast.PublishAsync",
        "websockets.Publish",
        "websockets.PublishAsync",
    ):
        assert await peer.call(method, body) == (Flag.JSON, b'{"ok":true}')
    assert await payloads(peer) == ["1"] * 4


async def test_history_in_both_directions_and_in_pages(peer: Peer) -> None:
    published = await publish(peer, *"1234")
    assert await payloads(peer) == ["1", "2", "3", "4"]
    assert await payloads(peer, reverse=True) == ["4", "3", "2", "1"]
    assert await payloads(peer, limit=2) == ["1", "2"]
    assert await payloads(peer, limit=2, reverse=True) == ["4", "3"]
    assert await payloads(peer, since=published[1]["position"]) == ["3", "4"]
    page = await ask(peer, "History", topic="news", limit=2)
    assert (page["complete"], page["reason"], page["position"]) == (False, "limit", published[3]["position"])


async def test_history_says_why_something_is_missing(peer: Peer, clock: Clock) -> None:
    [first, *_] = await publish(peer, *"1234567")
    page = await ask(peer, "History", topic="news", since=first["position"])
    assert (page["complete"], page["reason"], len(page["messages"])) == (False, "trimmed", 5)
    epoch = first["position"].partition(".")[0]
    for since, reason in (("x", "epoch"), ("other.1", "epoch"), (f"{epoch}.8", "ahead")):
        page = await ask(peer, "History", topic="news", since=since)
        assert (page["complete"], page["reason"], page["messages"]) == (False, reason, [])
    page = await ask(peer, "History", topic="chat")
    assert page == {"messages": [], "position": "", "complete": False, "reason": "off"}
    clock.now += 60.0
    assert await payloads(peer) == []


async def test_clearing_keeps_the_counter(peer: Peer) -> None:
    *_, last = await publish(peer, *"123")
    assert await ask(peer, "ClearHistory", topic="news") == {"position": last["position"]}
    page = await ask(peer, "History", topic="news", since=last["position"])
    assert (page["complete"], page["messages"], page["position"]) == (True, [], last["position"])
    assert await ask(peer, "ClearHistory", topic="chat") == {"position": ""}


@pytest.mark.parametrize(
    ("method", "body", "text"),
    [
        ("Publish", b"[]", "the body: not an object"),
        ("Publish", b"{", "the body cannot be decoded"),
        ("Publish", b'{"messages":{}}', "messages is not a list"),
        ("Publish", b'{"messages":[5]}', "messages: not an object"),
        ("Publish", b'{"messages":[{"topics":[5]}]}', "topics is not a list of texts"),
        ("Publish", b'{"messages":[{"topics":[""]}]}', "a topic is empty"),
        ("Publish", b'{"messages":[{"topics":["a"],"payload":"?"}]}', "payload is not base64"),
        (
            "Publish",
            b'{"messages":[{"topics":["a"],"exclude":[""]}]}',
            "exclude: an id has 1 to 64 characters",
        ),
        ("Publish", b'{"messages":[{"topics":["a"],"idempotency_key":5}]}', "idempotency_key is not a text"),
        (
            "Publish",
            b'{"messages":[{"topics":["a"],"skip_history":1}]}',
            "skip_history is neither true nor false",
        ),
        ("History", b"{}", "topic is missing"),
        ("History", b'{"topic":"a","limit":-1}', "limit is not a whole number, 0 or more"),
        ("ClearHistory", b"", "topic is missing"),
    ],
)
async def test_what_is_wrong_is_told_in_a_line(peer: Peer, method: str, body: bytes, text: str) -> None:
    assert await peer.call(f"push.{method}", body) == (Flag.JSON | Flag.ERROR, text.encode())


@pytest.mark.parametrize("codec", [Flag.PROTO, Flag.MSGPACK, Flag.GOB, Flag.RAW])
@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff", b"\xc1"])
async def test_bytes_that_are_none_of_a_codec_are_an_error(peer: Peer, codec: Flag, body: bytes) -> None:
    flags, _ = await peer.call("push.Publish", body, codec)
    assert flags & Flag.ERROR or codec is Flag.RAW


async def test_a_call_has_limits(peer: Peer) -> None:
    assert len(await publish(peer, "1", topics=("a",) * 512)) == 512
    assert await publish(peer, "1", topics=("a",) * 513) == "more than 512 messages times topics in one call"
    many = push_pb2.PublishRequest(messages=[push_pb2.Message()] * 100_000).SerializeToString()
    flags, text = await peer.call("push.Publish", many, Flag.PROTO)
    assert (flags, text) == (
        Flag.PROTO | Flag.ERROR,
        b"more than 8192 messages, topics and other fields",
    )
    assert "exclude" in await publish(peer, "1", exclude=["a"] * 17)
    assert "idempotency_key" in await publish(peer, "1", idempotency_key="é" * 65)


async def test_a_large_message_for_many_topics_is_published_in_pieces(
    peer: Peer, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is encoded for each of its topics; meanwhile others have their turns, but not the next call."""
    loop, broker = asyncio.get_running_loop(), node.brokers["memory"]
    publish_once, turn = broker.publish_once, 0
    turns: list[int] = []

    def count() -> None:
        nonlocal turn
        turn += 1
        if len(turns) <= 512:
            loop.call_soon(count)

    def recording(publication: Publication, key: str, *, skip_history: bool) -> Any:
        turns.append(turn)
        return publish_once(publication, key, skip_history=skip_history)

    monkeypatch.setattr(broker, "publish_once", recording)
    topics = [f"news.{number}" for number in range(512)]
    large = push_pb2.Message(topics=topics, payload=b"x" * 20_000)
    count()
    for sequence, message in enumerate((large, push_pb2.Message(topics=["news"], payload=b"y"))):
        body = push_pb2.PublishRequest(messages=[message]).SerializeToString()
        peer.request(sequence, "push.Publish", body, Flag.PROTO)
    assert [(await peer.frame()).options[0] for _ in range(2)] == [0, 1]
    assert len(turns) == 513
    assert turns == sorted(turns)
    assert max(map(turns.count, turns)) * len(large.payload) <= 1024 * 1024


async def test_a_large_message_whose_broker_refuses_is_told(peer: Peer, node: Node) -> None:
    await node.brokers["memory"].close()
    answer = await publish(peer, "x" * 20_000, topics=tuple(f"news.{number}" for number in range(512)))
    assert "not running" in answer


async def test_a_broker_that_refuses_in_the_middle(
    peer: Peer, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted stays published, and is waited for; the rest is not handed over."""
    handed_over: list[bytes] = []
    accepted = asyncio.get_running_loop().create_future()

    def publish_once(publication: Publication, key: str, *, skip_history: bool) -> Awaitable[Receipt]:
        if publication.payload == b"2":
            raise BrokerError("full")
        handed_over.append(publication.payload)
        return accepted

    monkeypatch.setattr(node.brokers["memory"], "publish_once", publish_once)
    answer = asyncio.create_task(publish(peer, "1", "2", "3"))
    await eventually(lambda: handed_over)
    accepted.set_result(Receipt())
    assert await answer == "full"
    assert handed_over == [b"1"]
