"""Defects of RoadRunner's plugin around PHP workers: each test fails on a server that has the defect.

The ids are those of websockets-plugin.md section 12; tests/README.md has the table.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.client import Connect, OpenRaw
from support.blocking import BlockingClient
from support.process import Server, Servers
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import push, reply


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start("ok.php", websockets={"allowed_origin": "https://*.example"})


def test_d1_a_refused_origin_blocks_neither_resets_nor_anything_after_them(
    server: Server, raw: OpenRaw, connect: Connect
) -> None:
    before = connect(server, origin="https://app.example")
    for headers in (["Origin: https://evil.test"], [], ["Origin: https://app.example.evil.test"]):
        refusal = raw(server).refused("/ws", *headers)
        assert (refusal.status, refusal.body) == (405, b"")
        assert refusal.header("X-Powered-By") == []
    workers = server.workers()
    assert server.cli("reset").returncode == 0
    eventually_sync(lambda: workers.isdisjoint(server.workers()), "the old workers are gone")
    shown = server.cli("workers")
    assert shown.returncode == 0 and "ready" in shown.stdout
    after = connect(server, origin="https://APP.example")
    for browser in (before, after):
        browser.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    for browser in (before, after):
        browser.expect(push("news", "hello"))


def test_d11_an_answer_without_status_is_a_refusal_with_400(servers: Servers, raw: OpenRaw) -> None:
    server = servers.start("mirror.php")
    for _ in range(3):
        refusal = raw(server).refused("/ws?no-status")
        assert (refusal.status, refusal.body) == (400, b"")
    assert raw(server).refused("/ws").status == 403


def test_d23_a_join_without_topics_is_refused_when_php_refuses(servers: Servers, connect: Connect) -> None:
    """PHP is asked `ws:joinServer` again, and a session that has ended says no."""
    server = servers.start("session.php")
    session = server.directory / "of-user-5"
    session.touch()
    browser = connect(server, headers={"Cookie": "session=of-user-5"})
    browser.command("join", [])
    browser.send('{"command":"join"}')
    browser.expect(reply("@join", []), reply("@join", None))
    session.unlink()
    browser.command("join", [])
    browser.send('{"command":"join"}')
    browser.expect(reply("#join", []), reply("#join", None))
    session.touch()
    browser.command("join", [])
    browser.expect(reply("@join", []))


def test_d24_a_topic_with_a_comma_is_refused_and_php_is_not_asked(servers: Servers, raw: OpenRaw) -> None:
    """PHP would allow `a` and `b`, and the client would be in the topic `a,b`."""
    server = servers.start("mirror.php")
    browser = raw(server)
    browser.upgrade("/ws?let-in")
    since = len(server.log)
    for topics in (["a,b"], ["fine", ","], ["a", "b,"]):
        browser.command("join", topics)
        browser.expect(reply("#join", topics))
    browser.join("a", "b")
    server.log.wait_for("ws:joinTopics", since=since)
    assert len(server.log.having("ws:joinTopics", since)) == 1
    server.php("$broadcast->publish(['a,b', 'fine', ',', 'b,', 'a'], 'hello');")
    browser.expect(push("a", "hello"))


def test_d24_with_the_key_php_is_asked_about_a_topic_with_a_comma_as_roadrunner_asks(
    servers: Servers, raw: OpenRaw
) -> None:
    server = servers.start("mirror.php", websockets={"allow_commas": True})
    assert '"level":"warn"' in server.log.wait_for("allow_commas is on: who may join")
    browser = raw(server)
    browser.upgrade("/ws?let-in")
    browser.join("a,b", "c")
    assert r"ws:joinTopics\":\"a,b,c\"" in server.log.wait_for("ws:joinTopics")
    server.php("$broadcast->publish(['a', 'b', 'a,b'], 'hello');")
    browser.expect(push("a,b", "hello"))


def test_d25_a_refusal_carries_its_reason_for_a_command_with_an_id(
    servers: Servers, connect: Connect
) -> None:
    browser = connect(servers.start("deny_topics.php"))
    browser.send('{"command":"join","topics":["a"],"id":7}')
    browser.expect('{"topic":"#join","payload":["a"],"id":7,"reason":"refused with status 401"}')
    browser.send('{"command":"join","topics":["a"]}')
    browser.expect('{"topic":"#join","payload":["a"]}')


def test_d30_connections_that_arrive_while_the_pool_starts_are_served_or_not_accepted(
    servers: Servers, raw: OpenRaw
) -> None:
    """Before PHP is there nobody listens; from the first accepted connection on, all are answered."""
    server = servers.start("gated.php", wait=False)
    arriving = threading.Event()
    accepted: list[BlockingClient] = []

    def arrive() -> None:
        while len(accepted) < 20:
            try:
                browser: BlockingClient = raw(server)
            except ConnectionRefusedError:
                arriving.set()
                time.sleep(0.005)  # leave the processor to what we wait for
                continue
            browser.upgrade()
            browser.join("news")
            accepted.append(browser)

    with ThreadPoolExecutor(2) as threads:
        clients = [threads.submit(arrive) for _ in range(2)]
        server.log.wait_for("booting", count=2)
        assert arriving.wait(DEADLINE) and not accepted
        (server.directory / "open").touch()
        for client in clients:
            client.result(DEADLINE)
    server.wait_until_ready()


def test_d31_resets_under_a_load_of_joins_and_connections_refuse_nobody(
    server: Server, connect: Connect
) -> None:
    stopping = threading.Event()

    def come_and_join() -> int:
        joins = 0
        while not stopping.is_set():
            browser = connect(server, origin="https://app.example")
            for number in range(20):
                browser.join(f"topic {number}")
                joins += 1
            browser.websocket.close()
        return joins

    with ThreadPoolExecutor(4) as threads:
        clients = [threads.submit(come_and_join) for _ in range(4)]
        try:
            for _ in range(5):
                assert server.call("resetter.Reset", '"websockets"') == "true"
        finally:
            stopping.set()
        assert all(client.result(DEADLINE) for client in clients)
    eventually_sync(lambda: len(server.family()) == 3, "the old workers are gone")
