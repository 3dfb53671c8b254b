"""What an application says of a client that it lets in."""

from __future__ import annotations

import pytest

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.config import HistoryRule
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.details import Details, Identity
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.verdict import Verdict
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, command, push, request
from support.ws_site import Start


class Says(AllowAll):
    """Allows everything, and says this of handshakes and of joins."""

    def __init__(self, of_client: Details | None = None, of_join: Details | None = None) -> None:
        self.of_client, self.of_join = of_client or Details(), of_join or Details()

    def connect(self, request: Request) -> Verdict:
        return Verdict(200, details=self.of_client)

    def join(self, grant: object, topics: object) -> Verdict:
        return Verdict(200, details=self.of_join)


async def test_the_server_knows_the_user(start: Start) -> None:
    site = await start(Says(Details(Identity("42", b'{"a":1}'))))
    await site.open()
    await site.open()
    assert len(site.server.websockets.registry.of_user("42")) == 2


async def test_a_client_is_put_into_topics_and_hears_nothing_of_it(start: Start) -> None:
    site = await start(Says(Details(join=("user.42", "all"))))
    client = await site.open()
    site.publish("user.42", "1")
    site.publish("all", "2")
    await client.expect(push("user.42", "1"), push("all", "2"))


async def test_commands_wait_until_the_client_is_in_its_topics(start: Start) -> None:
    site = await start(Says(Details(join=("user.42",))))
    client = await site.connect()
    await client.send(request("/ws") + command("leave", ["user.42"]))
    await client.head()
    assert (await client.json())["topic"] == "@leave"
    site.publish("user.42", "1")
    assert await client.silent()


@both_loops
async def test_the_connection_ends_when_its_time_is_over(start: Start) -> None:
    site = await start(Says(Details(expire=0.05)))
    client = await site.open()
    frame = await client.frame()
    assert (frame.close_code, frame.payload[2:]) == (4001, b"expired")


async def test_a_client_that_goes_earlier_leaves_no_timer(start: Start) -> None:
    site = await start(Says(Details(expire=1000.0)))
    client = await site.open()
    [connection] = site.connections()
    client.close()
    await eventually(lambda: not site.server.connections)
    assert connection._expiry is not None
    assert connection._expiry.cancelled


@pytest.mark.parametrize(
    ("join", "limits"),
    [
        (("a", "b", "c"), {"max_topics_per_command": 2}),
        (("a", "b", "c"), {"max_topics": 2}),
        (("x" * 11,), {"max_topic_length": 10}),
    ],
)
async def test_more_topics_than_a_client_could_join_let_nobody_in(
    start: Start, join: tuple[str, ...], limits: dict[str, int]
) -> None:
    site = await start(Says(Details(join=join)), **limits)
    client = await site.connect()
    await client.send(request("/ws"))
    assert (await client.head()).startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_cannot_be_put_into_its_topics_is_told_to_come_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would be connected and hear nothing."""
    site = await start(Says(Details(join=("user.42",))))

    def subscribe(topics: object) -> None:
        raise BrokerError("no")

    monkeypatch.setattr(site.node.brokers["default"], "subscribe", subscribe)
    client = await site.open()
    frame = await client.frame()
    assert (frame.opcode, frame.close_code) == (CLOSE, 1013)


@pytest.mark.parametrize(
    "withheld", [Details(without_histories=True), Details(without_history=frozenset(["news"]))]
)
async def test_a_history_that_is_withheld_is_off(start: Start, withheld: Details) -> None:
    rule = HistoryRule(topics=("*",), size=10, ttl=60.0)
    site = await start(Says(of_join=withheld), history=(rule,))
    client = await site.open()
    await client.send(command("join", ["news"], history={"news": {"last": 5}}))
    answer = await client.json()
    assert answer["history"] == {"news": {"recovered": False, "count": 0, "reason": "off"}}
    site.node.publish("", Publication("news", b"1"))
    assert (await client.json())["payload"] == "1"
