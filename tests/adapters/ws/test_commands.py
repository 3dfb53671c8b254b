"""Commands and their replies, publishes and their pushes: bytes on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rr_py_ws.adapters.ws import handler
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.verdict import Verdict
from support.loops import both_loops
from support.ws_peer import BINARY, TEXT, Client, Gate, command, frame, text
from support.ws_site import Site, Start


async def joined(site: Site, *topics: str) -> Client:
    """A WebSocket in these topics."""
    client = await site.open()
    await client.send(command("join", topics))
    assert (await client.json())["topic"] == "@join"
    return client


# Replies


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        ('{"command":"join","topics":["foo","foo2"]}', '{"topic":"@join","payload":["foo","foo2"]}'),
        ('{"command":"join","topics":["foo","foo"]}', '{"topic":"@join","payload":["foo","foo"]}'),
        ('{"command":"join","topics":[]}', '{"topic":"@join","payload":[]}'),
        ('{"command":"join"}', '{"topic":"@join","payload":null}'),
        ('{"command":"join","topics":[null]}', '{"topic":"@join","payload":[""]}'),
        (
            '{"command":"join","broker":"memory","topics":["t"],"payload":""}',
            '{"topic":"@join","payload":["t"]}',
        ),
        (
            '{"COMMAND":"join","Topics":["<é/\\u2028>"]}',
            '{"topic":"@join","payload":["\\u003cé/\\u2028\\u003e"]}',
        ),
        ('{"command":"leave","topics":["never joined"]}', '{"topic":"@leave","payload":["never joined"]}'),
        ('{"command":"leave"}', '{"topic":"@leave","payload":null}'),
        (
            '{"command":"leave","topics":["\\ud83d"],"id":7}',
            '{"topic":"@leave","payload":["�"],"id":7}',
        ),
    ],
)
async def test_replies_are_roadrunners_bytes(site: Site, sent: str, reply: str) -> None:
    client = await site.open()
    await client.send(frame(TEXT, sent))
    expected = text(reply)
    assert await client.exactly(len(expected)) == expected
    assert await client.silent()


@pytest.mark.parametrize(
    "sent",
    [
        '{"command":"headers"}',
        '{"command":"headers","topics":["a"]}',
        '{"command":"JOIN","topics":["a"]}',
        '{"command":"publish","topics":["a"],"payload":"aGk="}',
        '{"command":"","topics":["a"]}',
        '{"topic":"join","payload":["a"]}',
        "{}",
        "null",
        "",
        "[]",
        '"join"',
        '{"command":"join","topics":["a"]}x',
        '{"command":"join","topics":"a"}',
        '{"command":"join","topics":[1]}',
        '{"command":"join","topics":["a"],"payload":"no base64"}',
        '{"command":1}',
        "[" * 60_000,
        '{"a":' * 10_000,
        "\0",
    ],
    ids=lambda sent: sent[:40],
)
async def test_commands_without_answer_leave_the_connection_open(site: Site, sent: str) -> None:
    client = await site.open()
    await client.send(frame(TEXT, sent))
    assert await client.silent()
    assert len(site.hub) == 0


async def test_d25_a_client_that_uses_ids_is_told_why(start: Start) -> None:
    site = await start(Gate(join=Verdict(403)))
    client = await site.open()
    await client.send(command("join", ["a"], id="1") + command("fly", id=2))
    refused, unknown = await client.json(), await client.json()
    assert (refused["topic"], refused["id"]) == ("#join", "1")
    assert (unknown["topic"], unknown["id"]) == ("#error", 2)
    assert refused["reason"] and unknown["reason"]


async def test_a_refused_join_names_all_topics_and_joins_none(start: Start) -> None:
    gate = Gate(join=Verdict(401))
    site = await start(gate)
    client = await site.open()
    await client.send(command("join", ["foo", "foo2"]))
    assert await client.frame() == (TEXT, b'{"topic":"#join","payload":["foo","foo2"]}')
    assert (gate.topics, len(site.hub)) == ([["foo", "foo2"]], 0)
    await client.send(command("leave", ["foo"]))
    assert await client.frame() == (TEXT, b'{"topic":"@leave","payload":["foo"]}')


async def test_d23_an_empty_join_is_refused_when_php_refuses(start: Start) -> None:
    site = await start(Gate(join=Verdict(403)))
    client = await site.open()
    await client.send(command("join", []))
    assert await client.frame() == (TEXT, b'{"topic":"#join","payload":[]}')


async def test_an_authorizer_that_raises_refuses_the_join_and_the_connection_goes_on(
    start: Start, log: Callable[[], str]
) -> None:
    gate = Gate(join=RuntimeError("a bug"))
    site = await start(gate)
    client = await site.open()
    await client.send(command("join", ["a"]))
    assert await client.frame() == (TEXT, b'{"topic":"#join","payload":["a"]}')
    gate.on_join = None
    await client.send(command("join", ["b"]))
    await gate.asked(1)
    gate.waiting[0].set_exception(RuntimeError("a later bug"))
    assert await client.frame() == (TEXT, b'{"topic":"#join","payload":["b"]}')
    assert await client.silent()
    lines = log()
    assert "RuntimeError: a bug" in lines and "RuntimeError: a later bug" in lines


# Pushes


@pytest.mark.parametrize(
    ("payload", "pushed"),
    [
        (b"hello, PHP", '{"topic":"t","payload":"hello, PHP"}'),
        (b"", '{"topic":"t","payload":""}'),
        (b'{"a":1}', '{"topic":"t","payload":"{\\"a\\":1}"}'),
        (
            b"<a href='/'>&\b\f\n\x7f",
            '{"topic":"t","payload":"\\u003ca href=\'/\'\\u003e\\u0026\\u0008\\u000c\\n\x7f"}',
        ),
        (b"\xe2\x82", '{"topic":"t","payload":"\\ufffd\\ufffd"}'),
        ("é😀".encode(), '{"topic":"t","payload":"é😀"}'),
        (b"x" * 200, '{"topic":"t","payload":"' + "x" * 200 + '"}'),
        (b"x" * 70_000, '{"topic":"t","payload":"' + "x" * 70_000 + '"}'),
    ],
    ids=lambda value: value[:20],
)
async def test_pushes_are_roadrunners_bytes(site: Site, payload: bytes, pushed: str) -> None:
    client = await joined(site, "t")
    site.publish("t", payload)
    expected = text(pushed)
    assert await client.exactly(len(expected)) == expected


async def test_subprotocols_change_pushes_and_not_replies(site: Site) -> None:
    clients = {
        name: await site.open(*(f"Sec-WebSocket-Protocol: {name}" for _ in [0] if name))
        for name in ("", "rr.json", "rr.binary")
    }
    for client in clients.values():
        await client.send(command("join", ["t"]))
        assert await client.frame() == (TEXT, b'{"topic":"@join","payload":["t"]}')
    site.publish("t", b'{"n":[1]}')
    site.publish("t", b"\xff")
    assert await clients[""].frame() == (TEXT, b'{"topic":"t","payload":"{\\"n\\":[1]}"}')
    assert await clients[""].frame() == (TEXT, b'{"topic":"t","payload":"\\ufffd"}')
    assert await clients["rr.json"].frame() == (TEXT, b'{"topic":"t","payload":{"n":[1]}}')
    assert await clients["rr.json"].frame() == (TEXT, b'{"topic":"t","payload":"\\ufffd"}')
    assert await clients["rr.binary"].frame() == (BINARY, b'\0\1t{"n":[1]}')
    assert await clients["rr.binary"].frame() == (BINARY, b"\0\1t\xff")


async def test_d4_leaving_a_topic_that_was_never_joined_harms_nobody(site: Site) -> None:
    member, stranger = await joined(site, "news", "other"), await site.open()
    await stranger.send(command("leave", ["news", "", "nothing"]))
    await stranger.frame()
    site.publish("news", "still here")
    assert await member.json() == {"topic": "news", "payload": "still here"}


async def test_d4_who_left_gets_nothing_and_who_stayed_everything(site: Site) -> None:
    client, other = await joined(site, "foo", "foo2", ""), await joined(site, "foo")
    await client.send(command("leave", ["foo", ""]))
    await client.frame()
    site.publish("foo", "1")
    site.publish("foo2", "2")
    assert await client.json() == {"topic": "foo2", "payload": "2"}
    assert await other.json() == {"topic": "foo", "payload": "1"}
    assert await client.silent()


async def test_joining_twice_is_joining_once(site: Site) -> None:
    client = await joined(site, "a")
    await client.send(command("join", ["a", "a"]))
    await client.frame()
    site.publish("a", "once")
    assert await client.json() == {"topic": "a", "payload": "once"}
    assert await client.silent()


async def test_d5_what_is_published_once_the_join_reply_is_sent_arrives(site: Site) -> None:
    """Publishing in the same loop turn in which the reply can first be seen, a hundred times."""
    for number in range(100):
        client = await site.open()
        await client.send(command("join", [f"t{number}"]))
        while f"t{number}" not in site.hub:  # noqa: ASYNC110 - not a turn later
            await asyncio.sleep(0)
        site.publish(f"t{number}", "first")
        assert (await client.json())["topic"] == "@join"
        assert await client.json() == {"topic": f"t{number}", "payload": "first"}
        client.close()


async def test_d9_order_is_kept_over_topics_and_turns(site: Site) -> None:
    clients = [await joined(site, "a", "b"), await joined(site, "a"), await joined(site, "b", "a")]
    for number in range(300):
        site.publish("ab"[number % 3 == 0], str(number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    for client in (clients[0], clients[2]):
        assert [int((await client.json())["payload"]) for _ in range(300)] == list(range(300))
    assert [int((await clients[1].json())["payload"]) for _ in range(200)] == [n for n in range(300) if n % 3]


@pytest.mark.parametrize("slow", [False, True], ids=["reads", "does not read"])
async def test_a_gap_is_told_between_the_messages_before_and_after_it(start: Start, slow: bool) -> None:
    """What the broker brings in one turn; also to a client for which messages are waiting."""
    site = await start(send_queue=100_000_000)
    client = await site.open(small_buffers=slow)
    await client.send(command("join", ["a"], id=1))
    await client.frame()
    waiting = 400 if slow else 0  # 20 MB, more than the kernels take
    for _ in range(waiting):
        site.publish("a", "x" * 50_000)
        await asyncio.sleep(0)
    site.publish("a", "before")
    site.hub.tell_missed(["a"])
    site.publish("a", "after")
    for _ in range(waiting):
        await client.frame()
    assert await client.json() == {"topic": "a", "payload": "before"}
    assert await client.json() == {"topic": "#gap", "payload": ["a"], "id": ""}
    assert await client.json() == {"topic": "a", "payload": "after"}


@both_loops
async def test_d9_replies_keep_their_place_among_pushes(site: Site) -> None:
    client = await joined(site, "a")
    await client.send(command("join", ["b"]))
    while "b" not in site.hub:
        site.publish("a", "x")
        await asyncio.sleep(0)
    site.publish("b", "y")
    topics = []
    while topics[-1:] != ["b"]:
        topics.append((await client.json())["topic"])
    assert topics.index("@join") == len(topics) - 2


async def test_d26_a_message_is_encoded_once_for_all_connections(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def push(publication: Publication) -> bytes:
        encoded.append(publication.payload)
        return text(publication.payload)

    monkeypatch.setattr(handler, "STRING", Encoding("", push))
    site = await start()
    clients = [await joined(site, "a") for _ in range(20)]
    site.publish("a", "one")
    site.publish("a", "two")
    for client in clients:
        assert await client.frame() == (TEXT, b"one")
        assert await client.frame() == (TEXT, b"two")
    assert encoded == [b"one", b"two"]
