"""Defects of RoadRunner's plugin in delivery: each test fails on a server that has the defect.

The ids are those of websockets-plugin.md section 12; tests/README.md has the table.
"""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from e2e.client import Connect, OpenRaw
from support.blocking import BlockingClient
from support.php import StartPHP
from support.process import Server, Servers
from support.waiting import eventually_sync
from support.ws_peer import CLOSE, PING, PONG, TEXT, Received, command, frame, push, reply, text

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=[1, 3], ids=["one process", "several processes"])
def server(servers: Servers, request: pytest.FixtureRequest) -> Server:
    return servers.start(websockets={"processes": request.param})


@pytest.mark.parametrize(
    "end", ["reset", "end within a frame", "end between frames", "end after a close frame"]
)
def test_d2_a_connection_leaves_nothing_behind_however_it_ends(
    end: str, server: Server, raw: OpenRaw, connect: Connect
) -> None:
    healthy = connect(server)
    healthy.join("news")
    before = server.descriptors()
    for _ in range(20):
        browser = raw(server)
        browser.upgrade()
        browser.join("news", "other")
        if end == "reset":
            browser.reset()
            continue
        if end == "end within a frame":
            browser.send(frame(TEXT, "half of it")[:5])
        elif end == "end after a close frame":
            browser.send(frame(CLOSE, b"\x03\xe9"))
        browser.close()
    eventually_sync(lambda: server.descriptors() <= before, "the sockets are closed")
    server.php("$broadcast->publish('news', 'hello');")
    healthy.expect(push("news", "hello"))


def test_d2_the_topics_of_connections_that_are_gone_are_forgotten(server: Server, raw: OpenRaw) -> None:
    """500 connections, each with 40 kB of topics that nobody else is in."""

    def come_and_go(first: int, last: int) -> None:
        open_before = server.descriptors()
        for number in range(first, last):
            browser = raw(server)
            browser.upgrade()
            browser.join(*(f"{number} {topic} ".ljust(1000, "x") for topic in range(40)))
            browser.reset()
        eventually_sync(lambda: server.descriptors() <= open_before, "all are gone")

    come_and_go(0, 100)
    before = server.memory()
    come_and_go(100, 600)
    assert server.memory() - before < 8 * MIB


def test_d5_a_message_published_right_after_the_answer_to_join_arrives(
    server: Server, connect: Connect, php: StartPHP
) -> None:
    """Many times, and in several threads at once."""

    def join_and_publish(thread: int) -> None:
        browser = connect(server)
        publisher = php(
            server,
            r"while ($topic = fgets(STDIN)) { $broadcast->publish(trim($topic), 'now'); echo 1, PHP_EOL; }",
        )
        for number in range(50):
            topic = f"topic {thread} {number}"
            browser.join(topic)
            publisher.ask(topic)
            browser.expect(push(topic, "now"))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(join_and_publish, range(4)))


@pytest.mark.parametrize("method", ["publish", "publishAsync"])
def test_d9_300_sequential_publishes_arrive_in_order_at_every_client(
    method: str, server: Server, connect: Connect
) -> None:
    browsers = [connect(server) for _ in range(4)]
    for browser in browsers:
        browser.join("even", "odd")
    server.php(f"for ($i = 0; $i < 300; $i++) {{ $broadcast->{method}($i % 2 ? 'odd' : 'even', \"$i\"); }}")
    expected = [push("odd" if number % 2 else "even", str(number)) for number in range(300)]
    for browser in browsers:
        assert [browser.receive() for _ in expected] == expected


def test_d9_both_methods_of_one_publisher_keep_one_order(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.join("t")
    server.php(
        """for ($i = 0; $i < 300; $i++) {
            $i % 2 ? $broadcast->publish('t', "$i") : $broadcast->publishAsync('t', "$i");
        }"""
    )
    browser.expect(*(push("t", str(number)) for number in range(300)))


def test_d9_replies_and_pushes_under_load_are_whole_and_in_order(
    server: Server, raw: OpenRaw, php: StartPHP
) -> None:
    """A client that talks all the time, in a topic that is published to all the time."""
    browser = raw(server)
    browser.upgrade()
    browser.join("load")
    messages, commands = 5000, 200
    php(server, f"for ($i = 0; $i < {messages}; $i++) {{ $broadcast->publishAsync('load', \"$i\"); }}")
    pushes: list[Received] = []
    for number in range(commands):
        topic = f"other {number}"
        browser.send(command("join", [topic]) + frame(PING, b"%d" % number))
        replies = {Received(TEXT, reply("@join", [topic]).encode()), Received(PONG, b"%d" % number)}
        while replies:
            received = browser.frame()
            if received in replies:
                replies.remove(received)
            else:
                pushes.append(received)
    while len(pushes) < messages:
        pushes.append(browser.frame())
    assert pushes == [Received(TEXT, push("load", str(number)).encode()) for number in range(messages)]


def stuck_browser(server: Server, raw: OpenRaw, topic: str) -> BlockingClient:
    """A client that joins and then reads nothing any more."""
    browser: BlockingClient = raw(server, receive_buffer=256 * 1024)
    browser.upgrade()
    browser.join(topic)
    return browser


def read_to_close(browser: BlockingClient) -> list[Received]:
    """Read what is still coming, and answer the close frame at its end."""
    frames = [browser.frame()]
    while frames[-1].opcode != CLOSE:
        frames.append(browser.frame())
    browser.send(frame(CLOSE, frames[-1].payload))
    assert browser.rest() == b""
    return frames


def test_d19_ten_stuck_clients_hold_up_neither_publishers_nor_others(
    server: Server, raw: OpenRaw, connect: Connect
) -> None:
    """8 MB for each of them: more than the kernel and the send queue take.

    They are closed with a code that tells them that they missed something, after whole frames only.
    """
    stuck = [stuck_browser(server, raw, "flood") for _ in range(10)]
    healthy = connect(server)
    healthy.join("flood")
    since = len(server.log)
    messages = 160
    server.php(
        f"""for ($i = 0; $i < {messages}; $i++) {{
            $broadcast->publish('flood', str_repeat(chr(97 + $i % 26), 50000));
        }}"""
    )
    for number in range(messages):
        assert healthy.receive() == push("flood", chr(97 + number % 26) * 50_000)
    line = server.log.wait_for("slow client closed", count=10, since=since)
    assert re.search(r'"remote":"127\.0\.0\.1:\d+"', line), "point 16"
    for browser in stuck:
        *pushes, close = read_to_close(browser)
        assert close.close_code == 1013
        assert pushes == [
            Received(TEXT, push("flood", chr(97 + number % 26) * 50_000).encode())
            for number in range(len(pushes))
        ]


def test_d19_who_reads_again_in_time_misses_nothing(server: Server, raw: OpenRaw, connect: Connect) -> None:
    slow = stuck_browser(server, raw, "flood")
    server.php("for ($i = 0; $i < 90; $i++) { $broadcast->publish('flood', str_repeat('x', 10000)); }")
    for _ in range(90):
        slow.expect(push("flood", "x" * 10_000))


def test_who_reads_again_in_time_misses_nothing_though_more_than_a_send_queue_arrived(
    server: Server, raw: OpenRaw
) -> None:
    """Point 9.6: a pause while 3 MB arrive, as messages of 700 kB and as small ones, was 1013."""
    slow = stuck_browser(server, raw, "flood")
    payloads = ["x" * 700_000] * 3 + ["y" * 10_000] * 90
    server.php(
        """for ($i = 0; $i < 3; $i++) { $broadcast->publish('flood', str_repeat('x', 700000)); }
        for ($i = 0; $i < 90; $i++) { $broadcast->publish('flood', str_repeat('y', 10000)); }"""
    )
    for payload in payloads:
        slow.expect(push("flood", payload))


def test_d29_memory_does_not_grow_with_what_is_published(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.join("a", "b")

    def publish_20_000() -> None:
        server.php(
            "for ($i = 0; $i < 20; $i++) { $broadcast->publish(['a', 'b'], array_fill(0, 500, 'x')); }"
        )
        expected = (text(push("a", "x")) + text(push("b", "x"))) * 500 * 20
        assert browser.exactly(len(expected)) == expected

    publish_20_000()
    before = server.memory()
    publish_20_000()
    publish_20_000()
    assert server.memory() - before < 4 * MIB


def test_d32_10_000_async_publishes_leave_nothing_running(
    server: Server, connect: Connect, raw: OpenRaw
) -> None:
    """Nothing that grows: no threads, no memory, no descriptors; and what follows comes after all of them."""
    server.php("$broadcast->publishAsync('warm up', 'x');")
    process = psutil.Process(server.process.pid)
    threads, before = process.num_threads(), server.memory()
    browser = raw(server)
    browser.upgrade()
    browser.join("many", "end")
    server.php(
        """for ($i = 0; $i < 10000; $i++) {
            $broadcast->publishAsync('many', 'x');
        }
        $broadcast->publish('end', '');"""
    )
    expected = text(push("many", "x")) * 10_000 + text(push("end", ""))
    assert browser.exactly(len(expected)) == expected
    assert process.num_threads() == threads
    assert server.memory() - before < 4 * MIB


def test_d33_a_stuck_client_does_not_keep_the_server_from_stopping(
    servers: Servers, raw: OpenRaw, connect: Connect
) -> None:
    """The healthy ones are told why; the stuck one is cut within the grace period."""
    server = servers.start("ok.php", endure={"grace_period": "6s"})
    stuck = stuck_browser(server, raw, "flood")
    healthy = [connect(server) for _ in range(3)]
    for client in healthy:
        client.join("news")
    server.php(
        "$broadcast->publish('flood', str_repeat('x', 12000000)); $broadcast->publish('news', 'last words');"
    )
    server.signal(signal.SIGTERM)
    for client in healthy:
        client.expect(push("news", "last words"))
        assert client.close_code() == 1001
    assert server.wait() == 0
    with suppress(ConnectionResetError):
        assert len(stuck.rest()) < 12_000_000
