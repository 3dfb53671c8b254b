"""Point 23: a file with one of `broadcast` and `websockets` starts what there is, as RoadRunner starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.client import Connect
from support.ports import free_port
from support.process import Servers, configuration, start_failure
from support.redis_servers import RedisServer, redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def test_websockets_without_broadcast_have_a_broker_in_memory(servers: Servers, connect: Connect) -> None:
    server = servers.start(None, broadcast=None)
    browser = connect(server)
    browser.join("news")
    assert server.cli("publish", "news", "hello").returncode == 0
    browser.expect('{"topic":"news","payload":"hello"}')
    assert "broadcast" in server.cli("check").stdout


def test_broadcast_without_websockets_publishes_to_other_nodes(
    servers: Servers, connect: Connect, redis: RedisServer
) -> None:
    broker = {"default": {"driver": "redis", "config": {"addrs": [redis.address]}}}
    listening = servers.start(None, broadcast=broker)
    browser = connect(listening)
    browser.join("news")
    publishing = servers.start(None, broadcast=broker, websockets=None)
    published = publishing.cli("publish", "news", "from elsewhere")
    assert published.returncode == 0, published.stderr
    browser.expect('{"topic":"news","payload":"from elsewhere"}')
    assert "no websockets section" in publishing.log.wait_for("no websockets section")


def test_neither_of_them_is_nothing_to_serve(tmp_path: Path) -> None:
    file = configuration(None, websockets=None, broadcast=None)
    file["http"]["address"] = f"127.0.0.1:{free_port()}"
    assert start_failure(tmp_path, file).startswith("websockets: missing, so there is nothing to serve")
