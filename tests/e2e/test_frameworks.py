"""Applications that exist: how Spiral, Laravel, Symfony answer (php-apps.md 4), and the JS client (6.1)."""

from __future__ import annotations

import pytest
from websockets.exceptions import InvalidStatus

from e2e.client import Client, Connect, OpenRaw
from support.process import Server, Servers
from support.ws_peer import push, reply


@pytest.fixture(scope="module")
def spiral(servers: Servers) -> Server:
    return servers.start("spiral.php", websockets={"path": "/broadcast"})


@pytest.fixture(scope="module")
def laravel(servers: Servers) -> Server:
    return servers.start("laravel.php")


@pytest.fixture(scope="module")
def symfony(servers: Servers) -> Server:
    return servers.start("symfony.php")


def test_spiral_topics_need_a_pattern_and_its_callback_all_of_them(spiral: Server, connect: Connect) -> None:
    browser = connect(spiral, "/broadcast", headers={"Cookie": "session=of-user-5"})
    browser.join("channel-1", "channel-2", "user.5", "CHANNEL-3")
    for topics in (["user.6"], ["channel-4", "user.6"], ["no.pattern"], ["channel-a.b"], ["channel-4", ""]):
        browser.is_refused(*topics)
    spiral.php("$broadcast->publish(['channel-4', 'user.6', 'user.5'], 'hello');")
    browser.expect(push("user.5", "hello"))


def test_spiral_server_callback_decides_about_connections(spiral: Server, connect: Connect) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(spiral, "/broadcast?token=expired")
    assert refused.value.response.status_code == 403
    assert refused.value.response.headers["X-Powered-By"] == "Spiral"


def test_spiral_is_not_asked_about_other_paths_as_about_a_handshake(spiral: Server, raw: OpenRaw) -> None:
    browser = raw(spiral)
    browser.send(b"GET /broadcast/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert browser.response().status == 404


def test_laravel_body_headers_and_cookies_of_an_allowed_answer_are_dropped(
    laravel: Server, raw: OpenRaw
) -> None:
    """The controller answers 200 with JSON, cookies, and headers that would break the upgrade."""
    browser = raw(laravel)
    browser.send(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert browser.head().decode().split("\r\n")[1:-2] == [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ]
    browser.join("orders")


def test_laravel_guarded_channels_need_the_session(laravel: Server, connect: Connect) -> None:
    stranger = connect(laravel)
    for channel in ("private-orders.5", "presence-chat"):
        stranger.is_refused(channel)
    stranger.join("orders")
    user = connect(laravel, headers={"Cookie": "laravel_session=user%205"})
    user.join("private-orders.5")
    laravel.php("$broadcast->publish(['private-orders.5', 'orders'], '{\"event\":\"OrderShipped\"}');")
    user.expect(push("private-orders.5", '{"event":"OrderShipped"}'))
    stranger.expect(push("orders", '{"event":"OrderShipped"}'))


def test_symfony_firewall_sends_strangers_to_the_login_page(symfony: Server, raw: OpenRaw) -> None:
    refusal = raw(symfony).refused()
    assert refusal.status == 302
    assert refusal.header("Location") == ["/login"]
    assert refusal.header("Content-Type") == ["text/html; charset=utf-8"]
    assert refusal.body == b"<!DOCTYPE html><html><body>Redirecting"


def test_symfony_exceptions_and_redirects_refuse(symfony: Server, raw: OpenRaw, connect: Connect) -> None:
    assert raw(symfony).refused("/ws", "Cookie: PHPSESSID=broken").status == 400
    browser = connect(symfony, headers={"Cookie": "PHPSESSID=known"})
    browser.join("news")
    browser.is_refused("private")
    browser.is_refused("broken")
    browser.join("news")


class SFSocket:
    """The commands of `@spiralscout/websockets` 0.1.0, in its order."""

    def __init__(self, client: Client, channels: list[str]) -> None:
        self._client = client
        self.channels = channels
        for channel in channels:
            self.send_command("join", [channel])

    def send_command(self, name: str, data: object) -> None:
        self._client.command(name, data)

    def leave(self, channel: str) -> None:
        self.channels.remove(channel)
        self.send_command("leave", [channel])


def test_js_client_joins_channel_by_channel_and_again_after_a_reconnect(
    spiral: Server, connect: Connect
) -> None:
    """Each join is answered, in order, also the refused one: else the channel would be stuck for ever."""
    channels = ["channel-1", "user.7", "channel-2"]
    answers = [reply("@join", ["channel-1"]), reply("#join", ["user.7"]), reply("@join", ["channel-2"])]
    for _ in range(2):
        client = connect(spiral, "/broadcast?lang=en")
        SFSocket(client, channels)
        client.expect(*answers)
        spiral.php("$broadcast->publish('channel-2', '');")
        client.expect(push("channel-2", ""))
        client.websocket.close()


def test_js_client_custom_commands_with_any_data_do_no_harm(spiral: Server, connect: Connect) -> None:
    client = connect(spiral, "/broadcast")
    page = SFSocket(client, ["channel-1"])
    client.expect(reply("@join", ["channel-1"]))
    for data in ({"to": "all", "text": "hi"}, "text", 42, None, [1, [2]], ["channel-9"], True):
        page.send_command("say", data)
    client.send('{"topic":"join","payload":["channel-2"]}')  # versions for RoadRunner 1.x: no answer
    page.leave("channel-1")
    client.expect(reply("@leave", ["channel-1"]))
    spiral.php("$broadcast->publish(['channel-1', 'channel-2', 'channel-9'], 'to nobody');")
    client.join("channel-3")
