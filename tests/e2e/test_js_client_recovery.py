"""What the JavaScript client and the server do together so that nothing is missed, in Chromium."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.client import OpenRaw
from support.chromium import Chromium, Tab
from support.js_client import browse, make_site, offline, page, publish, shows, told
from support.process import Server, Servers, configuration


def config(public: Path) -> dict[str, Any]:
    """A server with the page, that keeps 1,000 messages of most topics and 5 of those in `short.`."""
    return configuration(
        "ok.php",
        http={"middleware": ["static", "websockets"], "static": {"dir": str(public)}},
        websockets={
            "history": [
                {"topics": "short.*", "size": 5, "ttl": "1h"},
                {"topics": "*", "size": 1000, "ttl": "1h"},
            ],
            "limits": {"recovery_messages": 1000},
        },
    )


@pytest.fixture(scope="module")
def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    public, home = tmp_path_factory.mktemp("public"), tmp_path_factory.mktemp("site")
    make_site(public)
    return servers.add(Server(home, config(public)))


@pytest.fixture(scope="module")
def chromium(site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser that ends before the server does, which would wait for its idle connections."""
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def away(tab: Tab) -> None:
    """Lose the network, and the connection with it."""
    offline(tab, True)
    tab.run("client.reconnect()")
    tab.wait("client.state === 'waiting'")


def numbers(topic: str, count: int, start: int = 0) -> list[tuple[str, Any]]:
    return [(topic, number) for number in range(start, start + count)]


def joined(topic: str, count: int, *, again: bool = True) -> list[Any]:
    return [topic, "joined", {"again": again, "count": count}]


def test_500_messages_while_a_page_is_offline_arrive_in_order_and_once(
    chromium: Chromium, site: Server
) -> None:
    tab = browse(chromium, site, "phone", history=True)
    publish(site, "phone", *range(10))
    shows(tab, *numbers("phone", 10))
    away(tab)
    publish(site, "phone", *range(10, 510))
    offline(tab, False)
    told(tab, ["phone", "recovered", {"count": 500}], joined("phone", 500))
    publish(site, "phone", 510)
    shows(tab, *numbers("phone", 511))


def test_more_than_is_kept_is_told_before_what_follows(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site, "short.1", history=True)
    tab.run("void client.topic('short.1').onGap(() => shown.push('gap'))")
    away(tab)
    publish(site, "short.1", *range(6))
    offline(tab, False)
    told(tab, ["short.1", "lost", {"reason": "trimmed"}], joined("short.1", 0))
    publish(site, "short.1", 6)
    tab.wait("JSON.stringify(shown) === JSON.stringify(['gap', ['short.1', 6]])")


def test_a_page_in_the_back_forward_cache_misses_nothing(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site, "cached", history=True)
    publish(site, "cached", 0)
    shows(tab, *numbers("cached", 1))
    tab.go(page(site, "other.html"))
    publish(site, "cached", 1, 2)
    tab.run("history.back()")
    tab.wait("window.ready === true")
    assert ["pageshow", True] in tab.run("told")
    told(tab, ["cached", "recovered", {"count": 2}], joined("cached", 2))
    shows(tab, *numbers("cached", 3))


def test_the_latest_value_comes_first_and_a_position_goes_from_page_to_page(
    chromium: Chromium, site: Server
) -> None:
    publish(site, "price", 1, 2, 3)
    first = browse(chromium, site, "price", history={"last": 1})
    told(first, joined("price", 1, again=False))
    shows(first, ("price", 3))
    position = first.run("client.topic('price').position")
    publish(site, "price", 4, 5)
    second = browse(chromium, site, "price", history=position)
    told(second, ["price", "recovered", {"count": 2}], joined("price", 2, again=False))
    for tab, seen in (first, [3, 4, 5]), (second, [4, 5]):
        shows(tab, *(("price", value) for value in seen))


def test_topics_with_and_without_history_keep_one_order(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site, "one", history=True)
    tab.run("void watch('other')")
    tab.wait("client.topic('other').state === 'joined'")
    site.php("foreach (range(0, 99) as $n) $broadcast->publish($n % 3 ? 'one' : 'other', (string) $n);")
    shows(tab, *(("one" if number % 3 else "other", number) for number in range(100)))


def test_clients_without_positions_get_the_bytes_that_they_always_got(
    chromium: Chromium, site: Server, raw: OpenRaw
) -> None:
    """Beside a page that has positions in the same topic, and has missed some."""
    old = raw(site)
    old.upgrade()
    old.join("both")
    tab = browse(chromium, site, "both", history=True)
    away(tab)
    publish(site, "both", 0, "text")
    offline(tab, False)
    told(tab, ["both", "recovered", {"count": 2}], joined("both", 2))
    publish(site, "both", 2)
    shows(tab, ("both", 0), ("both", "text"), ("both", 2))
    for payload in (rb'"0"', rb'"\"text\""', rb'"2"'):
        content = b'{"topic":"both","payload":%b}' % payload
        assert old.exactly(2 + len(content)) == bytes((0x81, len(content))) + content


def test_1000_topics_are_recovered_by_few_commands(chromium: Chromium, site: Server) -> None:
    tab = browse(chromium, site)
    tab.run("for (let at = 0; at < 1000; at++) watch(`many.${at}`, {history: true})")
    tab.wait("told.filter(([, event]) => event === 'joined').length === 1000")
    away(tab)
    site.php('foreach (range(0, 999) as $n) $broadcast->publish("many.$n", (string) $n);')
    offline(tab, False)
    tab.wait("told.filter(([, event]) => event === 'recovered').length === 1000")
    tab.wait("shown.length === 1000")
    assert tab.run("shown.every(([topic, value], at) => topic === `many.${at}` && value === at)")


def test_the_sender_is_left_out_and_misses_nothing_else(chromium: Chromium, site: Server) -> None:
    sender, other = (browse(chromium, site, "draft", history=True) for _ in range(2))
    me = sender.run("client.me")
    message = {"topics": ["draft"], "payload": base64.b64encode(b'"mine"').decode(), "exclude": [me]}
    push = json.dumps({"messages": [message]})
    site.call("push.Publish", push)
    publish(site, "draft", "to all")
    shows(other, ("draft", "mine"), ("draft", "to all"))
    shows(sender, ("draft", "to all"))
    away(sender)
    site.call("push.Publish", push)
    publish(site, "draft", "again")
    offline(sender, False)
    shows(sender, ("draft", "to all"), ("draft", "again"))
    shows(other, *(("draft", text) for text in ("mine", "to all", "mine", "again")))


def test_who_has_expired_gets_another_token_and_misses_nothing(
    servers: Servers, chromium: Chromium, site: Server, tmp_path: Path
) -> None:
    """PHP lets each token live for a second."""
    own = configuration("expiring.php", websockets={"history": [{"topics": "*", "size": 9, "ttl": "1h"}]})
    server = servers.add(Server(tmp_path, own))
    tab = browse(chromium, site)
    tab.run("client.close(), void (window.tokens = 0)")
    tab.run(
        f"void start((token) => `{server.url}/ws?token=${{token}}`, {{token: async () => `t${{++tokens}}`}})"
    )
    tab.run("void watch('news', {history: true})")
    tab.wait("told.some(([state, code]) => state === 'waiting' && code === 4001)")
    publish(server, "news", 1)
    tab.wait("tokens >= 2")
    shows(tab, ("news", 1))
    assert not tab.run("told.some(([, event]) => event === 'lost')")


def test_a_restart_of_the_memory_broker_is_told(
    servers: Servers, chromium: Chromium, site: Server, tmp_path: Path
) -> None:
    own = configuration("ok.php", websockets={"history": [{"topics": "*", "size": 9, "ttl": "1h"}]})
    server = servers.add(Server(tmp_path, own))
    tab = browse(chromium, site, "news", to=server.url, history=True)
    publish(server, "news", 1)
    shows(tab, ("news", 1))
    server.end()
    server = servers.add(Server(tmp_path, own))
    told(tab, ["news", "lost", {"reason": "epoch"}], joined("news", 0))
    publish(server, "news", 2)
    shows(tab, ("news", 1), ("news", 2))
