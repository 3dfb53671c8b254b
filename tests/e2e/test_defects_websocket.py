"""Defects of RoadRunner's plugin that show on one WebSocket: each test fails on a server that has the defect.

The ids are those of websockets-plugin.md section 12; tests/README.md has the table.
"""

from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest

from e2e.client import Client, Connect, OpenRaw
from support.blocking import BlockingClient
from support.process import Server, Servers
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, push, reply

JOIN = '{"command":"join","topics":["news"]}'
JOINED = reply("@join", ["news"])


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start()


@pytest.fixture
def bystander(server: Server, connect: Connect) -> Client:
    """A client to whom nothing may happen."""
    client = connect(server)
    client.join("bystanders")
    return client


def is_well(bystander: Client, server: Server) -> None:
    server.php("$broadcast->publish('bystanders', 'still there?');")
    bystander.expect(push("bystanders", "still there?"))


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (64 * 1024 + 1, 1009),
        (1 << 32, 1009),
        (1 << 40, 1009),
        (1 << 62, 1009),
        ((1 << 63) - 1, 1009),
        (1 << 63, None),  # RFC 6455 section 5.2: the most significant bit must be 0
        ((1 << 64) - 1, None),
    ],
)
def test_d3_a_huge_announced_length_costs_no_memory_and_only_its_sender(
    length: int, code: int | None, server: Server, raw: OpenRaw, bystander: Client
) -> None:
    """14 bytes that announce a terabyte ended RoadRunner."""
    before = server.memory()
    attacker = raw(server)
    attacker.upgrade()
    attacker.send(struct.pack("!BBQ4s", 0x80 | TEXT, 0x80 | 127, length, b"mask"))
    closed = attacker.frame().close_code
    assert closed == code if code else closed in (1002, 1009)
    attacker.rest()
    assert server.memory() - before < 8 * 1024 * 1024
    is_well(bystander, server)


def test_d3_a_message_in_many_fragments_has_the_same_limit(
    server: Server, raw: OpenRaw, bystander: Client
) -> None:
    attacker = raw(server)
    attacker.upgrade()
    attacker.send(frame(TEXT, b" " * 60_000, fin=False) + frame(CONTINUATION, b" " * 60_000, fin=False))
    assert attacker.frame().close_code == 1009
    is_well(bystander, server)


def test_d4_the_leave_of_a_stranger_takes_nobody_out_of_a_topic(server: Server, connect: Connect) -> None:
    member, other, stranger = connect(server), connect(server), connect(server)
    member.join("club")
    stranger.leave("club")
    server.php("$broadcast->publish('club', 'one');")
    member.expect(push("club", "one"))
    other.join("club")
    stranger.leave("club", "club")
    server.php("$broadcast->publish('club', 'two');")
    member.expect(push("club", "two"))
    other.expect(push("club", "two"))


def test_d4_who_left_does_not_come_back(server: Server, connect: Connect) -> None:
    """Topics joined and left in orders that confused a binary tree: a node with two children goes first."""
    for topics in ("mdp", "mdpaf", "mpdzn", "fbgadce"):
        client = connect(server)
        client.join(*topics)
        for topic in topics:
            client.leave(topic)
            rest = topics[topics.index(topic) + 1 :]
            server.php(f"$broadcast->publish(str_split('{topics}'), 'x');")
            client.expect(*(push(left, "x") for left in rest))
        client.leave("nothing more")


def test_d4_the_leave_of_the_empty_topic_changes_nothing(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.join("last")
    client.leave("")
    server.php("$broadcast->publish('last', 'one');")
    client.expect(push("last", "one"))
    client.leave("last")
    server.php("$broadcast->publish('last', 'two');")
    client.leave("end")


@pytest.mark.parametrize("data", [b"", b"beat", b"x" * 125, b'{"command":"leave","topics":["news"]}'])
def test_d6_a_ping_gets_its_pong_and_is_no_command(data: bytes, server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.join("news")
    browser.send(frame(PING, data))
    assert browser.frame() == (PONG, data)
    browser.send(frame(PONG, data))
    server.php("$broadcast->publish('news', 'still joined');")
    browser.expect(push("news", "still joined"))


def test_d7_fragments_are_assembled_with_a_ping_between_them(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.send(frame(TEXT, JOIN[:10], fin=False))
    browser.send(frame(PING, b"between"))
    assert browser.frame() == (PONG, b"between")
    browser.send(frame(CONTINUATION, JOIN[10:20], fin=False) + frame(CONTINUATION, fin=False))
    browser.send(frame(CONTINUATION, JOIN[20:]))
    browser.expect(JOINED)


def test_d7_a_message_may_come_byte_by_byte(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    for number in range(len(JOIN)):
        last = number == len(JOIN) - 1
        browser.send(frame(CONTINUATION if number else TEXT, JOIN[number], fin=last))
    browser.expect(JOINED)


@pytest.mark.parametrize(
    ("sent", "echoed"), [(b"", b""), (b"\x03\xe8", b"\x03\xe8"), (b"\x0f\xa1bye", b"\x0f\xa1")]
)
def test_d8_a_close_is_answered_and_the_connection_ends_without_a_reset(
    sent: bytes, echoed: bytes, server: Server, raw: OpenRaw
) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.send(frame(CLOSE, sent))
    answer = browser.frame()
    assert answer.opcode == CLOSE
    assert answer.payload[:2] == echoed
    assert browser.rest() == b""  # a reset would raise


def test_d8_a_client_sees_a_clean_close(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.websocket.close(4321, "page left")
    assert client.websocket.protocol.close_rcvd is not None
    assert client.websocket.protocol.close_rcvd.code == 4321


def test_d12_a_failed_upgrade_is_answered_and_its_socket_closed(server: Server, raw: OpenRaw) -> None:
    before = server.descriptors()
    complete = [b"GET /ws HTTP/1.1", b"Host: a", b"Upgrade: websocket", b"Connection: Upgrade"]
    key, version = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13"
    for lines, status, text in (
        ([b"POST /ws HTTP/1.1", *complete[1:], key, version], 405, "bad HTTP request method"),
        ([b"GET /ws HTTP/1.0", *complete[1:], key, version], 505, "bad HTTP protocol version"),
        ([*complete[:1], *complete[2:], key, version], 400, 'bad "Host" header'),
        ([*complete[:2], *complete[3:], key, version], 400, 'bad "Upgrade" header'),
        ([*complete[:3], key, version], 400, 'bad "Connection" header'),
        ([*complete, version], 400, 'bad "Sec-WebSocket-Key" header'),
        ([*complete, key], 400, 'bad "Sec-WebSocket-Version" header'),
        ([*complete, key, b"Sec-WebSocket-Version: 8"], 426, 'bad "Sec-WebSocket-Version" header'),
    ):
        connection = raw(server)
        connection.send(b"\r\n".join([*lines, b"", b""]))
        refusal = connection.response()  # reads to the end of the connection
        assert (refusal.status, refusal.body.decode()) == (status, f"handshake error: {text}")
        assert refusal.header("Content-Type") == ["text/plain; charset=utf-8"]
        assert refusal.header("Sec-WebSocket-Version") == (["13"] if status == 426 else [])
    eventually_sync(lambda: server.descriptors() <= before, "the server closes its ends")


def test_d13_bytes_in_the_packet_of_the_handshake_are_not_lost(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade(then=frame(TEXT, JOIN) + frame(PING, b"now") + frame(TEXT, JOIN)[:5])
    browser.expect(JOINED)
    assert browser.frame() == (PONG, b"now")


def test_d18_a_silent_peer_is_cut_and_one_that_answers_pings_stays(
    servers: Servers, raw: OpenRaw, connect: Connect
) -> None:
    server = servers.start(websockets={"ping": {"interval": "200ms", "timeout": "3s"}})
    healthy, half_open = connect(server), raw(server)
    healthy.join("news")
    half_open.upgrade()
    assert half_open.frame() == (PING, b"")
    before = server.descriptors()
    with suppress(ConnectionResetError):
        half_open.rest()
    assert server.descriptors() < before
    server.php("$broadcast->publish('news', 'hello');")
    healthy.expect(push("news", "hello"))


def test_d18_a_request_head_that_never_ends_is_answered_and_closed(server: Server, raw: OpenRaw) -> None:
    connection = raw(server)
    connection.send(b"GET /ws HTTP/1.1\r\nX: " + b"y" * 20_000)
    assert connection.response().status == 431


def test_d20_a_client_can_have_payloads_as_they_were_published(server: Server, connect: Connect) -> None:
    """Binary ones with the subprotocol rr.binary, JSON with rr.json."""
    binary, parsed = connect(server, subprotocol="rr.binary"), connect(server, subprotocol="rr.json")
    for client in (binary, parsed):
        assert client.websocket.subprotocol is not None
        client.join("t")
    server.php('$broadcast->publish("t", implode(array_map("chr", range(0, 255))));')
    server.php("$broadcast->publish('t', '{\"id\": 1}');")
    assert binary.websocket.recv(timeout=DEADLINE) == b"\0\x01t" + bytes(range(256))
    assert binary.websocket.recv(timeout=DEADLINE) == b'\0\x01t{"id": 1}'
    assert json.loads(parsed.receive())["payload"][:128] == "".join(map(chr, range(128)))
    parsed.expect('{"topic":"t","payload":{"id": 1}}')


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, JOIN, mask=False), 1002, id="no mask"),
        pytest.param(frame(TEXT, JOIN, rsv=4), 1002, id="RSV1 without an extension"),
        pytest.param(frame(TEXT, JOIN, rsv=1), 1002, id="RSV3"),
        pytest.param(frame(3, JOIN), 1002, id="reserved opcode"),
        pytest.param(frame(11), 1002, id="reserved control opcode"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(frame(PING, b"x", fin=False), 1002, id="fragmented ping"),
        pytest.param(frame(CONTINUATION, b"x"), 1002, id="continuation of nothing"),
        pytest.param(frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002, id="message within a message"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(frame(CLOSE, b"\x03\xed"), 1002, id="close code that is never sent"),
        pytest.param(frame(CLOSE, b"\x03\xe8\xff"), 1007, id="close reason that is not UTF-8"),
        pytest.param(frame(TEXT, b'{"command":"\xff"}'), 1007, id="text that is not UTF-8"),
        pytest.param(frame(TEXT, b"\xed\xa0\x80"), 1007, id="text with a surrogate"),
    ],
)
def test_d20_what_breaks_the_protocol_is_told_so_and_harms_nobody_else(
    data: bytes, code: int, server: Server, raw: OpenRaw, bystander: Client
) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.send(data)
    assert browser.frame().close_code == code
    assert browser.rest() == b""
    is_well(bystander, server)


def test_d20_commands_may_be_binary_messages(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.send(frame(BINARY, JOIN))
    browser.expect(JOINED)


def test_d25_a_command_with_an_id_is_answered_with_it(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.send('{"command":"join","topics":["a"],"id":7}')
    client.expect('{"topic":"@join","payload":["a"],"id":7}')
    client.send('{"command":"leave","topics":["a"],"id":"x<1>"}')
    client.expect(r'{"topic":"@leave","payload":["a"],"id":"x\u003c1\u003e"}')
    client.send('{"command":"dance","topics":["a"],"id":8}')
    answer = json.loads(client.receive())
    assert (answer["topic"], answer["payload"], answer["id"]) == ("#error", ["a"], 8)
    assert "dance" in answer["reason"]
    client.send("no JSON")
    answer = json.loads(client.receive())
    assert answer["topic"] == "#error" and "JSON" in answer["reason"]


def test_d25_without_an_id_nothing_changes(server: Server, connect: Connect) -> None:
    client = connect(server)
    for message in ('{"command":"dance"}', "no JSON", '{"command":"join","topics":["a"],"id":null}'):
        client.send(message)
    client.expect('{"topic":"@join","payload":["a"]}')


def fewest_segments(browser: BlockingClient, server: Server, php: str, *messages: str) -> int:
    """In how many TCP segments the messages come that PHP publishes, at best: the kernel may repeat some."""
    counts = []
    for _ in range(5):
        before = browser.segments_received()
        server.php(php)
        browser.expect(*messages)
        counts.append(browser.segments_received() - before)
    return min(counts)


@pytest.mark.parametrize("size", [1, 1000, 20_000])
def test_d26_a_push_is_one_segment(size: int, server: Server, raw: OpenRaw) -> None:
    """RoadRunner wrote header and payload with two system calls."""
    browser = raw(server)
    browser.upgrade()
    browser.join("news")
    payload = "x" * size
    code = f"$broadcast->publish('news', '{payload}');"
    assert fewest_segments(browser, server, code, push("news", payload)) == 1


def test_d26_the_messages_of_one_call_share_a_segment(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.join("one", "two")
    code = "$broadcast->publish(['one', 'two'], range('a', 'z'));"
    letters = "abcdefghijklmnopqrstuvwxyz"
    messages = [push(topic, letter) for letter in letters for topic in ("one", "two")]
    assert fewest_segments(browser, server, code, *messages) == 1
