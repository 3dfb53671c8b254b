"""What RoadRunner's own end-to-end tests observe: websockets-plugin.md section 13, point by point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from e2e.client import Connect, OpenRaw
from support.process import Server, Servers, configuration, start_failure
from support.ws_peer import KEY


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start("ok.php")


def test_wsp13_1_upgrade_with_a_worker_that_always_answers_200(server: Server, raw: OpenRaw) -> None:
    """The answer is RoadRunner's to the byte, and nothing of PHP's answer is in it."""
    browser = raw(server)
    browser.send(
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % KEY.encode()
    )
    # The pair of keys is that of RFC 6455 section 1.3.
    assert browser.head() == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


def test_wsp13_2_join_is_answered(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.send('{"command":"join","topics":["foo","foo2"]}')
    browser.expect('{"topic":"@join","payload":["foo","foo2"]}')


def test_wsp13_3_a_publish_arrives_once_for_each_topic(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.join("foo", "foo2")
    server.php("$broadcast->publish('foo', 'hello, PHP');")
    browser.expect('{"topic":"foo","payload":"hello, PHP"}')
    server.php("$broadcast->publish(['foo', 'foo2'], 'hello, PHP');")
    browser.expect('{"topic":"foo","payload":"hello, PHP"}', '{"topic":"foo2","payload":"hello, PHP"}')


def test_wsp13_3_the_documented_sample_gets_pushes_where_a_section_is_called_memory(
    servers: Servers, connect: Connect
) -> None:
    """Point 9.5: it sends `"broker":"memory"`, which selected the section that nobody publishes to."""
    sections = {name: {"driver": "memory", "config": {}} for name in ("default", "memory")}
    server = servers.start("ok.php", broadcast=sections)
    browser = connect(server)
    browser.send('{"command":"join","broker":"memory","topics":["foo","foo2"],"payload":""}')
    browser.expect('{"topic":"@join","payload":["foo","foo2"]}')
    server.php("$broadcast->publish('foo', 'hello, PHP');")
    browser.expect('{"topic":"foo","payload":"hello, PHP"}')
    browser.send('{"command":"leave","broker":"memory","topics":["foo"],"payload":""}')
    browser.expect('{"topic":"@leave","payload":["foo"]}')
    server.php("$broadcast->publish(['foo', 'foo2'], 'hello, PHP');")
    browser.expect('{"topic":"foo2","payload":"hello, PHP"}')


def test_wsp13_4_after_leave_only_the_other_topic_arrives(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.join("foo", "foo2")
    browser.send('{"command":"leave","topics":["foo"]}')
    browser.expect('{"topic":"@leave","payload":["foo"]}')
    server.php("$broadcast->publish('foo', 'not for you'); $broadcast->publish('foo2', 'hello, PHP2');")
    browser.expect('{"topic":"foo2","payload":"hello, PHP2"}')


def test_wsp13_5_a_refused_join_and_the_leave_after_it(servers: Servers, connect: Connect) -> None:
    browser = connect(servers.start("deny_topics.php"))
    browser.send('{"command":"join","topics":["foo","foo2"]}')
    browser.expect('{"topic":"#join","payload":["foo","foo2"]}')
    browser.send('{"command":"leave","topics":["foo"]}')
    browser.expect('{"topic":"@leave","payload":["foo"]}')


def test_wsp13_6_a_refused_connection_fails_with_the_status_of_php(
    servers: Servers, connect: Connect
) -> None:
    server = servers.start("obedient.php")
    with pytest.raises(InvalidStatus) as refused:
        connect(server, "/ws?do=401")
    response = refused.value.response
    assert response.status_code == 401
    assert response.body == b"PHP says 401"
    assert response.headers.get_all("X-Reason") == ["one", "two"]


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"websockets": {"broker": "missing"}}, "websockets.broker"),
        ({"websockets": {"broker": ""}}, "websockets.broker"),
        ({"broadcast": {"default": {"driver": "carrier pigeon"}}}, "broadcast.default.driver"),
        ({"broadcast": {"default": {"driver": None}}}, "broadcast.default.driver"),
    ],
)
def test_wsp13_7_a_broker_that_cannot_be_used_stops_the_start(
    sections: dict[str, Any], text: str, tmp_path: Path
) -> None:
    assert start_failure(tmp_path, configuration(**sections)).startswith(text)


def test_wsp13_8_publish_async_returns_ok_and_the_same_frames_arrive(
    server: Server, connect: Connect
) -> None:
    browser = connect(server)
    browser.join("foo", "foo2")
    server.php("$broadcast->publishAsync(['foo', 'foo2'], 'hello, PHP');")  # throws unless ok is true
    browser.expect('{"topic":"foo","payload":"hello, PHP"}', '{"topic":"foo2","payload":"hello, PHP"}')


def test_wsp13_9_rr_broadcast_path_is_in_the_environment_of_workers(
    servers: Servers, connect: Connect
) -> None:
    server = servers.start("mirror.php", websockets={"path": "/live/updates"})
    with pytest.raises(InvalidStatus) as refused:
        connect(server, "/live/updates?env")
    assert b'"RR_BROADCAST_PATH":"\\/live\\/updates"' in refused.value.response.body
