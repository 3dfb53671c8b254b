"""Joins with a position: what a client has missed, without a hole and without a duplicate.

Nobody who does not ask sees a difference, so clients of both kinds are in the same topics here.
"""

from __future__ import annotations

from typing import Any

import pytest

from rr_py_ws.config import HistoryRule
from rr_py_ws.wire.publication import Publication
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import TEXT, Client, command, frame, push, reply
from support.ws_site import Site, Start

NEWS = HistoryRule(topics=("news*",), size=10, ttl=60.0)


@pytest.fixture
async def site(start: Start) -> Site:
    return await start(history=(NEWS,))


def publish(site: Site, topic: str, *payloads: str, exclude: tuple[str, ...] = ()) -> None:
    for payload in payloads:
        site.node.publish("", Publication(topic, payload.encode(), exclude=exclude))


async def read(client: Client) -> Any:
    return await client.json()


async def join(client: Client, *topics: str, **more: Any) -> Any:
    """Join and return the answer."""
    await client.send(command("join", topics, **more))
    return await read(client)


async def position(site: Site, topic: str = "news") -> str:
    """Where a topic is now."""
    client = await site.open()
    answer = await join(client, topic, history=True)
    pos: str = answer["history"][topic]["pos"]
    return pos


async def test_a_client_that_does_not_ask_gets_roadrunners_bytes_beside_one_that_does(site: Site) -> None:
    old, new = await site.open(), await site.open()
    await old.send(command("join", ["news"]))
    await old.expect(reply("@join", ["news"]))
    await join(new, "news", history=True)
    publish(site, "news", "1")
    await old.expect(push("news", "1"))
    got = await read(new)
    assert got["payload"] == "1"
    assert len(got["pos"]) <= 64
    await old.send(command("leave", ["news"]))
    await old.expect(reply("@leave", ["news"]))


async def test_what_was_missed_follows_the_answer_and_live_messages_follow_that(site: Site) -> None:
    first = await site.open()
    await join(first, "news", history=True)
    publish(site, "news", "1")
    pos = (await read(first))["pos"]
    first.close()
    publish(site, "news", "2", "3")
    again = await site.open()
    await again.send(command("join", ["news"], id=7, history={"news": pos}))
    answer = await read(again)
    client = answer.pop("client")
    assert len(client) == 22
    assert answer == {
        "topic": "@join",
        "payload": ["news"],
        "id": 7,
        "history": {"news": {"pos": pos, "recovered": True, "count": 2}},
    }
    publish(site, "news", "4")
    assert [(await read(again))["payload"] for _ in range(3)] == ["2", "3", "4"]


async def test_each_push_moves_the_position_on(site: Site) -> None:
    """A client that was cut off in the middle of a replay goes on from where it was."""
    pos = await position(site)
    publish(site, "news", *"123456")
    for payload in "123456":
        client = await site.open()
        answer = await join(client, "news", history={"news": pos})
        assert answer["history"]["news"]["recovered"] is True
        got = await read(client)
        assert got["payload"] == payload
        pos = got["pos"]
    client = await site.open()
    answer = await join(client, "news", history={"news": pos})
    assert answer["history"] == {"news": {"pos": pos, "recovered": True, "count": 0}}


async def test_a_topic_that_nothing_was_published_to_has_a_position(site: Site) -> None:
    pos = await position(site)
    client = await site.open()
    answer = await join(client, "news", history={"news": pos})
    assert answer["history"] == {"news": {"pos": pos, "recovered": True, "count": 0}}


async def test_at_the_position_before_the_oldest_message_nothing_is_missing(site: Site) -> None:
    pos = await position(site)
    publish(site, "news", *"0123456789")
    answer = await join(await site.open(), "news", history={"news": pos})
    assert answer["history"]["news"] == {"pos": pos, "recovered": True, "count": 10}
    publish(site, "news", "x")
    answer = await join(await site.open(), "news", history={"news": pos})
    assert answer["history"]["news"] == {
        "pos": await position(site),
        "recovered": False,
        "count": 0,
        "reason": "trimmed",
    }


async def test_a_position_of_another_history_recovers_nothing(site: Site) -> None:
    publish(site, "news", "1")
    epoch, offset = (await position(site)).split(".")
    for pos, reason in (
        (f"other.{offset}", "epoch"),
        ("", "epoch"),
        ("no position", "epoch"),
        ("x" * 60_000, "epoch"),
        (f"{epoch}.{'9' * 40}", "epoch"),
        (f"{epoch}.2", "ahead"),
        ({"lost": 5}, "epoch"),
        ({"last": -1}, "epoch"),
        ({"last": True}, "epoch"),
        ([], "epoch"),
        (1.5, "epoch"),
    ):
        answer = await join(await site.open(), "news", history={"news": pos})
        assert answer["history"]["news"] == {
            "pos": f"{epoch}.{offset}",
            "recovered": False,
            "count": 0,
            "reason": reason,
        }


async def test_the_newest_messages(site: Site) -> None:
    publish(site, "news", "1", "2", "3")
    client = await site.open()
    answer = await join(client, "news", history={"news": {"last": 2}})
    assert (answer["history"]["news"]["recovered"], answer["history"]["news"]["count"]) == (True, 2)
    assert [(await read(client))["payload"] for _ in range(2)] == ["2", "3"]
    client = await site.open()
    answer = await join(client, "news", history={"news": {"last": 9}})
    assert answer["history"]["news"]["count"] == 3


async def test_a_topic_without_history_is_joined_all_the_same(site: Site) -> None:
    client = await site.open()
    answer = await join(client, "chat", history={"chat": "a.1"})
    assert answer["history"] == {"chat": {"recovered": False, "count": 0, "reason": "off"}}
    publish(site, "chat", "1")
    await client.expect(push("chat", "1"))


@pytest.mark.parametrize("history", [5, None, False, "news", [], {}, {"other": True}, {"news": None}])
async def test_what_is_no_wish_changes_nothing(site: Site, history: object) -> None:
    client = await site.open()
    await client.send(command("join", ["news"], history=history))
    await client.expect(reply("@join", ["news"]))
    publish(site, "news", "1")
    await client.expect(push("news", "1"))


async def test_wishes_are_understood_in_a_message_that_is_read_slowly(site: Site) -> None:
    publish(site, "news", "1")
    client = await site.open()
    text = r'{"x":"\ud83d","command":"join","topics":["news"],"History":{"news":{"last":1}}}'
    await client.send(frame(TEXT, text))
    assert (await read(client))["history"]["news"]["count"] == 1
    assert (await read(client))["payload"] == "1"


async def test_the_form_of_pushes_belongs_to_the_connection(site: Site) -> None:
    """A topic that was joined before gets positions, too; one without history has none."""
    client = await site.open()
    await client.send(command("join", ["news.1", "chat"]))
    await client.expect(reply("@join", ["news.1", "chat"]))
    publish(site, "news.1", "1")
    await client.expect(push("news.1", "1"))
    await join(client, "news.2", history=True)
    publish(site, "news.1", "2")
    publish(site, "chat", "3")
    publish(site, "news.2", "4")
    got = [await read(client) for _ in range(3)]
    assert [message.get("pos", "") != "" for message in got] == [True, False, True]
    assert [message["payload"] for message in got] == ["2", "3", "4"]


async def test_topics_of_one_join_are_replayed_one_after_another(site: Site) -> None:
    for topic in ("news.a", "news.b"):
        publish(site, topic, f"{topic} 1", f"{topic} 2")
    client = await site.open()
    answer = await join(
        client, "news.b", "chat", "news.a", history={"news.a": {"last": 9}, "news.b": {"last": 1}}
    )
    assert list(answer["history"]) == ["news.b", "news.a"]
    got = [(await read(client))["payload"] for _ in range(3)]
    assert got == ["news.b 2", "news.a 1", "news.a 2"]


async def test_who_is_excluded_does_not_get_it_later_either(site: Site) -> None:
    sender, other = await site.open(), await site.open()
    answer = await join(sender, "news", history=True, me="sender")
    pos = answer["history"]["news"]["pos"]
    await join(other, "news", history=True)
    publish(site, "news", "1", exclude=("sender",))
    publish(site, "news", "2", exclude=(answer["client"],))
    publish(site, "news", "3")
    assert (await read(sender))["payload"] == "3"
    assert [(await read(other))["payload"] for _ in range(3)] == ["1", "2", "3"]
    again = await site.open()
    answer = await join(again, "news", history={"news": pos}, me="sender")
    assert answer["history"]["news"]["count"] == 2
    assert [(await read(again))["payload"] for _ in range(2)] == ["2", "3"]


@pytest.mark.parametrize("me", [5, None, {}, "x" * 65])
async def test_a_name_that_is_none_is_ignored(site: Site, me: object) -> None:
    client = await site.open()
    await client.send(command("join", ["news"], me=me))
    await client.expect(reply("@join", ["news"]))


async def test_a_client_that_names_itself_is_told_its_id(site: Site) -> None:
    client = await site.open()
    answer = await join(client, "chat", me="a tab")
    assert list(answer) == ["topic", "payload", "client"]
    assert answer["client"] == site.connections()[0].id


async def test_more_than_may_be_sent_at_once_is_told(start: Start) -> None:
    rule = HistoryRule(topics=("*",), size=1000, ttl=60.0)
    site = await start(history=(rule,), recovery_messages=5, recovery_topic_size=100, recovery_size=330)
    pos = await position(site, "a")
    publish(site, "a", *"123456")
    answer = await join(await site.open(), "a", history={"a": pos})
    assert answer["history"]["a"] == {
        "pos": await position(site, "a"),
        "recovered": False,
        "count": 0,
        "reason": "limit",
    }
    client = await site.open()
    answer = await join(client, "a", history={"a": {"last": 6}})
    assert (answer["history"]["a"]["count"], answer["history"]["a"]["reason"]) == (5, "limit")
    assert (await read(client))["payload"] == "2"
    publish(site, "b", "x" * 60, "y" * 60)
    answer = await join(await site.open(), "b", history={"b": {"last": 2}})
    assert (answer["history"]["b"]["count"], answer["history"]["b"]["reason"]) == (1, "limit")
    for topic in ("c", "d", "e"):
        publish(site, topic, "x" * 60)
    answer = await join(await site.open(), "c", "d", "e", history={topic: {"last": 1} for topic in "cde"})
    assert [answer["history"][topic]["count"] for topic in "cde"] == [1, 1, 0]
    assert answer["history"]["e"]["reason"] == "limit"


async def test_the_newest_that_fit_into_what_a_join_may_get_are_sent(start: Start) -> None:
    """The last of three topics gets three of its four messages, and its position is before these."""
    rule = HistoryRule(topics=("*",), size=10, ttl=60.0)
    site = await start(history=(rule,), recovery_size=7 * (64 + 1))
    began = await position(site, "b")
    for topic in "abc":
        publish(site, topic, *"1234")
    client = await site.open()
    answer = await join(client, "a", "b", "c", history={"a": {"last": 4}, "b": began, "c": {"last": 4}})
    told = answer["history"]
    assert [told[topic]["count"] for topic in "abc"] == [4, 0, 3]
    assert [told[topic].get("reason", "") for topic in "abc"] == ["", "limit", "limit"]
    pushes = [await read(client) for _ in range(7)]
    assert [push["topic"] + push["payload"] for push in pushes] == ["a1", "a2", "a3", "a4", "c2", "c3", "c4"]
    # What came after the position that was told is what was sent.
    other = await site.open()
    answer = await join(other, "c", history={"c": told["c"]["pos"]})
    assert (answer["history"]["c"]["recovered"], answer["history"]["c"]["count"]) == (True, 3)
    assert told["b"]["pos"] == await position(site, "b")


async def test_history_of_a_thousand_topics(site: Site) -> None:
    topics = [f"news {number}" for number in range(1024)]
    publish(site, topics[500], "here")
    client = await site.open()
    answer = await join(client, *topics, history={topic: {"last": 300} for topic in topics})
    assert len(answer["history"]) == 1024
    assert (await read(client))["payload"] == "here"


@both_loops
async def test_a_client_that_takes_nothing_gets_its_replay_in_pieces(start: Start) -> None:
    """It waits as a reference to what the history keeps, and live messages wait behind it."""
    rule = HistoryRule(topics=("*",), size=300, ttl=60.0, bytes=1 << 24)
    site = await start(history=(rule,), recovery_topic_size=1 << 24, recovery_size=1 << 24)
    payloads = [f"{number} " + "x" * 20_000 for number in range(200)]
    publish(site, "a", *payloads)
    client = await site.open(small_buffers=True)
    await client.send(command("join", ["a"], history={"a": {"last": 300}}))
    answer = await read(client)
    assert answer["history"]["a"]["count"] == 200
    [connection] = site.connections()
    assert connection._queue is not None
    assert connection._queue.size == 0
    publish(site, "a", "live 1", "live 2")
    assert [(await read(client))["payload"] for _ in range(202)] == [*payloads, "live 1", "live 2"]


async def test_binary_pushes_have_their_position_behind_the_topic(site: Site) -> None:
    client = await site.open("Sec-WebSocket-Protocol: rr.binary")
    await join(client, "news", "chat", history=True)
    publish(site, "news", "1")
    publish(site, "chat", "2")
    first, second = (await client.frame()).payload, (await client.frame()).payload
    pos = (await position(site)).encode()
    assert first == b"\x00\x04news" + bytes([len(pos)]) + pos + b"1"
    assert second == b"\x00\x04chat\x002"


async def test_metrics_tell_what_became_of_wishes(site: Site) -> None:
    pos = await position(site)
    publish(site, "news", "1", "2")
    client = await site.open()
    await join(client, "news", "chat", history={"news": pos, "chat": True})
    assert site.sample("recoveries", "recovered") == 2
    assert site.sample("recoveries", "off") == 1
    assert site.sample("replayed_messages") == 2


async def test_a_client_that_leaves_a_replay_unread_cannot_ask_for_another(start: Start) -> None:
    """Each would hold messages that the history keeps no more, and nothing would bound them."""
    rule = HistoryRule(topics=("news*",), size=300, ttl=60.0, bytes=8 << 20)
    big = 16 << 20
    site = await start(
        history=(rule,), commands_per_second=0, recovery_topic_size=big, recovery_size=big, ping_interval=0
    )
    publish(site, "news", *["x" * 50_000] * 150)
    client = await site.open(receive_buffer=4096)
    wish = command("join", ["news"], history={"news": {"last": 150}})
    for _ in range(10):
        await client.send(wish)
    [connection] = site.connections()
    await eventually(lambda: connection.replaying)
    other = await site.open()
    for _ in range(10):
        await client.send(wish)
        await other.join("other")
    assert connection._queue is not None
    assert connection._queue.replays <= 2
    for _ in range(20):  # all are answered, when the client takes what it has asked for
        assert (await read(client))["topic"] == "@join"
        for _ in range(150):
            assert len((await read(client))["payload"]) == 50_000
    await client.join("other")


async def test_to_ask_for_a_history_costs_the_client_what_it_costs_the_server(site: Site) -> None:
    client = await site.open()
    [connection] = site.connections()
    topics = [f"news{number}" for number in range(500)]
    await join(client, *topics)
    plain = connection.cost
    await join(client, *topics, history=True)
    assert connection.cost - 2 * plain >= len(topics) // 3
