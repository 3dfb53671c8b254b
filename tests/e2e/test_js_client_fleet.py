"""The JavaScript client in Chromium, and nodes on one Redis with sentinels; what it talks to goes away.

The nodes have one listening socket, as the old and the new server of a deployment may have.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from e2e.conftest import StartPHP
from support.chromium import Chromium, Tab
from support.js_client import browse, make_site, offline, shows
from support.process import Server, Servers, configuration
from support.redis_servers import Sentinels
from support.waiting import eventually_sync

PUBLISHER = r"""
$push = RRPyWs\Push::create();
while ($line = fgets(STDIN)) {
    [$topic, $from, $to] = explode(' ', trim($line));
    for ($n = (int) $from; $n < (int) $to; $n += (int) isset($accepted)) {
        try {
            $accepted = null;
            $accepted = $push->publish($topic, (string) $n, idempotencyKey: "number $n");
        } catch (RRPyWs\Exception\BroadcastException) {
        }
    }
    echo "all are accepted\n";
}
"""
"""Publishes numbers, each as often as it takes until it is accepted; the key keeps it from coming twice."""


class Fleet(NamedTuple):
    """What runs: nodes behind one address, their Redis, and a browser that has their page."""

    nodes: list[Server]
    sentinels: Sentinels
    chromium: Chromium

    def phone(self, topic: str) -> tuple[Tab, Server]:
        """Open a page that follows a topic; the node that it is connected to."""
        before = [len(node.log) for node in self.nodes]
        tab = browse(self.chromium, self.nodes[0], topic, history=True)
        connected: list[Server] = []

        def look() -> bool:
            for node, since in zip(self.nodes, before, strict=True):
                if node.log.having("websocket client connected", since):
                    connected.append(node)
            return bool(connected)

        eventually_sync(look, "the node that has the client")
        (node,) = connected
        return tab, node


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two nodes. The test that takes one away is the last: the browser keeps a spare connection to it."""
    public = tmp_path_factory.mktemp("public")
    make_site(public)
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=100) as http:
        sentinels = Sentinels(stack, tmp_path_factory.mktemp("redis"))
        servers = Servers(stack, tmp_path_factory.mktemp)
        nodes = [
            servers.add(Server(tmp_path_factory.mktemp("node"), section, sockets={"http": http}), wait=False)
            for section in (node_configuration(sentinels, public, http) for _ in range(2))
        ]
        for node in nodes:
            node.wait_until_ready()
        with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
            yield Fleet(nodes, sentinels, chromium)


def node_configuration(sentinels: Sentinels, public: Path, http: socket.socket) -> dict[str, Any]:
    redis = {"addrs": list(sentinels.addresses), "master_name": "main"}
    return configuration(
        http={
            "address": f"127.0.0.1:{http.getsockname()[1]}",
            "middleware": ["static", "websockets"],
            "static": {"dir": str(public)},
        },
        websockets={
            "history": [{"topics": "*", "size": 1000, "ttl": "1h"}],
            "limits": {"recovery_messages": 1000},
        },
        broadcast={"default": {"driver": "redis", "config": redis}},
    )


def numbers(topic: str, count: int) -> list[tuple[str, int]]:
    return [(topic, number) for number in range(count)]


def lost(tab: Tab) -> list[Any]:
    return [more for _, event, more in (one for one in tab.run("told") if len(one) == 3) if event == "lost"]


def test_redis_fails_over_while_a_phone_is_offline_and_another_looks_on(fleet: Fleet, php: StartPHP) -> None:
    """What the old master had acknowledged is waited for: a replica that lags is another matter.

    After that the new master loses everything, which is told.
    """
    (away, node), (watching, _) = fleet.phone("fail"), fleet.phone("fail")
    offline(away, True)
    away.run("client.reconnect()")
    away.wait("client.state === 'waiting'")
    publisher = php(node, PUBLISHER)
    assert publisher.ask("fail 0 250") == "all are accepted"
    old = fleet.sentinels.master
    with old.session() as ask:
        ask("SET", "something", "what is waited for")
        assert ask("WAIT", 1, 10_000) == 1
    old.kill()
    assert publisher.ask("fail 250 500") == "all are accepted"
    assert fleet.sentinels.master is not old
    offline(away, False)
    for tab in (away, watching):
        shows(tab, *numbers("fail", 500))
        assert lost(tab) == []
    offline(away, True)
    away.run("client.reconnect()")
    away.wait("client.state === 'waiting'")
    fleet.sentinels.master.ask("FLUSHALL")
    assert publisher.ask("fail 500 501") == "all are accepted"
    offline(away, False)
    eventually_sync(lambda: lost(away) == [{"reason": "epoch"}], "the loss")


def test_a_node_drains_and_another_takes_over(fleet: Fleet, php: StartPHP) -> None:
    """500 messages are published meanwhile, at a third place; each arrives once and in order."""
    tab, leaving = fleet.phone("drain")
    fleet.nodes.remove(leaving)
    (staying,) = fleet.nodes
    publisher = php(staying, PUBLISHER)
    assert publisher.ask("drain 0 100") == "all are accepted"
    leaving.signal(signal.SIGTERM)
    assert publisher.ask("drain 100 500") == "all are accepted"
    tab.wait("told.some(([state, code]) => state === 'waiting' && code === 1001)")
    assert leaving.wait() == 0
    shows(tab, *numbers("drain", 500))
    tab.wait("client.topic('drain').state === 'joined'")
    assert publisher.ask("drain 500 501") == "all are accepted"
    shows(tab, *numbers("drain", 501))
    assert lost(tab) == []
