"""What an existing PHP application needs to run unchanged: php-apps.md section 8, point by point."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.client import Connect, OpenRaw
from support.ports import free_port
from support.process import Server, Servers
from support.ws_peer import KEY, TEXT, frame, push, reply


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start("obedient.php")


@pytest.fixture(scope="module")
def unix(servers: Servers) -> Server:
    """Everything over unix sockets."""
    return servers.start(
        "publishing.php",
        rpc={"listen": "unix://rpc.sock"},
        server={"relay": "unix://relay.sock"},
        websockets={"pool": {"num_workers": 1}},
    )


@pytest.fixture(scope="module")
def mirror(servers: Servers) -> Server:
    return servers.start("mirror.php", server={"env": [{"APP_ENV": "production"}], "relay": "pipes"})


def test_php8_1_informer_list_contains_websockets(server: Server) -> None:
    assert "websockets" in json.loads(server.call("informer.List", "true"))
    assert server.php("var_export($broadcast->isAvailable());") == "true"


def test_php8_2_publish_is_answered_over_tcp_outside_of_workers(server: Server, connect: Connect) -> None:
    """`publish` throws unless the answer is ok=true."""
    browser = connect(server)
    browser.join("a", "b")
    server.php("$broadcast->join(['a', 'b'])->publish(['1', '']);")
    browser.expect(push("a", "1"), push("b", "1"), push("a", ""), push("b", ""))


def test_php8_2_publish_is_answered_over_unix_outside_of_workers(unix: Server, connect: Connect) -> None:
    browser = connect(unix)
    browser.command("join", ["a"])
    assert browser.receive() == reply("@join", ["a"])
    unix.php("$broadcast->publish('a', json_encode(['id' => 1, 'text' => '<é>']));")
    browser.expect(r'{"topic":"a","payload":"{\"id\":1,\"text\":\"\u003c\\u00e9\u003e\"}"}')


@pytest.mark.parametrize("relay", ["unix", "pipes", "tcp"])
def test_php8_2_a_worker_publishes_while_it_is_asked(
    relay: str, servers: Servers, unix: Server, connect: Connect
) -> None:
    """The only worker waits for the answer to its RPC call before it answers itself."""
    server = unix
    if relay != "unix":
        address = "pipes" if relay == "pipes" else f"tcp://127.0.0.1:{free_port()}"
        server = servers.start(
            "publishing.php", server={"relay": address}, websockets={"pool": {"num_workers": 1}}
        )
    listener, newcomer = connect(server), connect(server)
    listener.command("join", ["lobby"])
    listener.expect(reply("@join", ["lobby"]))
    newcomer.join("chess", "go")
    listener.expect(push("lobby", "joins chess and go"))


def test_php8_3_the_order_of_sequential_publishes_is_kept(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.join("first", "second")
    server.php(
        """for ($i = 0; $i < 50; $i++) {
            $broadcast->publish('first', "$i");
            $broadcast->publish('second', "$i");
        }"""
    )
    for number in range(50):
        browser.expect(push("first", str(number)), push("second", str(number)))


def environment_of_a_worker(server: Server, raw: OpenRaw) -> dict[str, str]:
    environment: dict[str, str] = json.loads(raw(server).refused("/ws?env").body)
    return environment


def test_php8_4_the_environment_of_workers(mirror: Server, raw: OpenRaw) -> None:
    environment = environment_of_a_worker(mirror, raw)
    expected = {
        "RR_MODE": "http",
        "RR_RPC": mirror.rpc,
        "RR_RELAY": "pipes",
        "RR_BROADCAST_PATH": "/ws",
        "APP_ENV": "production",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert "PATH" in environment, "the server's own environment is handed on"


def test_php8_4_the_environment_of_workers_with_a_socket_relay(servers: Servers, raw: OpenRaw) -> None:
    server = servers.start(
        "mirror.php", rpc={"listen": "unix://rpc.sock"}, server={"relay": "unix://relay.sock"}
    )
    environment = environment_of_a_worker(server, raw)
    assert (environment["RR_RELAY"], environment["RR_RPC"]) == ("unix://relay.sock", "unix://rpc.sock")


REQUEST = (
    b"GET /ws?token=a%%20b&x[]=1 HTTP/1.1\r\nHost: app.example:8080\r\nX-API-key: one\r\n"
    b"upgrade: websocket\r\nCONNECTION: keep-alive, Upgrade\r\nsec-websocket-key: %b\r\n"
    b"Sec-WebSocket-Version: 13\r\nOrigin: https://app.example\r\n"
    b"Cookie: session=abc%%20def; theme=dark; bad=%%zz\r\nx-api-KEY: two\r\n\r\n"
) % KEY.encode()


def context(attributes: dict[str, Any]) -> str:
    """What PHP is asked about that request, by the rules of websockets-plugin.md 3.4."""
    return json.dumps(
        {
            "remoteAddr": "127.0.0.1",
            "protocol": "HTTP/1.1",
            "method": "GET",
            "uri": r"http://app.example:8080/ws?token=a%20b&x[]=1",
            "headers": {
                "Connection": ["keep-alive, Upgrade"],
                "Cookie": ["session=abc%20def; theme=dark; bad=%zz"],
                "Origin": ["https://app.example"],
                "Sec-Websocket-Key": [KEY],
                "Sec-Websocket-Version": ["13"],
                "Upgrade": ["websocket"],
                "X-Api-Key": ["one", "two"],
            },
            "cookies": {"session": "abc def", "theme": "dark"},
            "rawQuery": "token=a%20b&x[]=1",
            "parsed": False,
            "attributes": attributes,
        },
        separators=(",", ":"),
    ).replace("&", r"\u0026")


def test_php8_5_the_request_of_a_connection_is_complete(mirror: Server, raw: OpenRaw) -> None:
    browser = raw(mirror)
    browser.send(REQUEST)
    refusal = browser.response()
    assert refusal.status == 403
    assert refusal.header("Content-Type") == ["application/json"]
    assert refusal.body.decode() == context({"ws:joinServer": True})


def test_php8_5_the_request_of_a_join_has_the_topics_in_one_text(mirror: Server, raw: OpenRaw) -> None:
    since = len(mirror.log)
    browser = raw(mirror)
    browser.send(REQUEST.replace(b"token=a%20b", b"let-in"))
    assert browser.head().startswith(b"HTTP/1.1 101 ")
    browser.join("a", "b")
    line = json.loads(mirror.log.wait_for("ws:joinTopics", since=since))
    expected = context({"ws:joinTopics": "a,b"}).replace("token=a%20b", "let-in")
    assert line["msg"] == f"asked: {expected}"


@pytest.mark.parametrize("status", [201, 204, 299, 400, 401, 403, 404, 405, 426, 500, 503])
def test_php8_6_any_status_but_200_refuses_a_connection_and_is_passed_on(
    status: int, server: Server, raw: OpenRaw
) -> None:
    refusal = raw(server).refused(f"/ws?do={status}")
    assert refusal.status == status
    assert refusal.header("X-Reason") == ["one", "two"]
    assert refusal.header("Content-Type") == ["text/plain"]
    assert refusal.body == (b"" if status == 204 else b"PHP says %d" % status)


def test_php8_6_a_redirect_refuses_a_connection_and_is_passed_on(server: Server, raw: OpenRaw) -> None:
    refusal = raw(server).refused("/ws?do=redirect")
    assert refusal.status == 302
    assert refusal.header("Location") == ["/login"]
    assert refusal.header("Set-Cookie") == ["a=1", "b=2"]


def test_php8_6_a_refusal_comes_before_the_checks_of_the_upgrade(server: Server, raw: OpenRaw) -> None:
    """A plain GET is answered by PHP when PHP refuses, and else told what is missing."""
    for query, status, body in (
        ("?do=403", 403, b"PHP says 403"),
        ("", 400, b'handshake error: bad "Upgrade" header'),
    ):
        plain = raw(server)
        plain.send(b"GET /ws%b HTTP/1.1\r\nHost: a\r\n\r\n" % query.encode())
        assert plain.response()[::2] == (status, body)


@pytest.mark.parametrize("status", [201, 204, 299, 401, 403, 500])
def test_php8_6_any_status_but_200_refuses_all_topics_of_a_join(
    status: int, server: Server, connect: Connect
) -> None:
    browser = connect(server)
    browser.is_refused(f"do.{status}", "news")
    server.php("$broadcast->publish('news', 'not for you');")
    browser.join("news")
    server.php("$broadcast->publish('news', 'for you');")
    browser.expect(push("news", "for you"))


def test_php8_7_frames_are_text_and_have_the_form_that_clients_parse(server: Server, raw: OpenRaw) -> None:
    browser = raw(server)
    browser.upgrade()
    browser.send(
        frame(TEXT, '{"command":"join","topics":["news","news","<ü>"],"broker":"memory","payload":""}')
    )
    browser.expect(r'{"topic":"@join","payload":["news","news","\u003cü\u003e"]}')
    server.php(r"""$broadcast->publish('news', "\"\\/\x01\t\r\n<>&\u{2028}ü\x7f");""")
    browser.expect(r'{"topic":"news","payload":"\"\\/\u0001\t\r\n\u003c\u003e\u0026\u2028ü' + '\x7f"}')
    browser.send(frame(TEXT, '{"command":"join"}') + frame(TEXT, '{"command":"join","topics":[]}'))
    browser.expect('{"topic":"@join","payload":null}', '{"topic":"@join","payload":[]}')


def test_php8_8_every_leave_is_answered(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.join("a")
    for topics in (["a"], ["a"], ["never joined", "a"], [], ["", "a", "a"]):
        browser.leave(*topics)
    browser.send('{"command":"leave"}')
    browser.expect('{"topic":"@leave","payload":null}')


@pytest.mark.parametrize(
    "message",
    [
        '{"command":"unknown","topics":["a"]}',
        '{"command":"JOIN","topics":["a"]}',
        '{"command":"headers"}',
        '{"command":"update","topics":{"any":["thing"]}}',
        '{"command":"join","topics":"a"}',
        '{"command":"join","topics":[1]}',
        '{"command":"join","topics":["a"],"payload":"no base64!"}',
        '{"command":"join","topics":["a"]} and more',
        "{}",
        "null",
        "",
        "no JSON",
        "[]",
        "[" * 20_000,
        b"\xff\x00",
    ],
)
def test_php8_9_unknown_commands_and_bad_json_never_close_the_connection(
    message: str | bytes, server: Server, connect: Connect
) -> None:
    browser = connect(server)
    browser.join("news")
    browser.send(message)
    browser.leave("other")
    server.php("$broadcast->publish('news', 'still here');")
    browser.expect(push("news", "still here"))


@pytest.mark.parametrize("failure", ["throw", "exit", "fatal", "noise"])
def test_php8_10_a_php_failure_refuses_a_join_and_the_next_one_works(
    failure: str, server: Server, connect: Connect
) -> None:
    browser = connect(server)
    browser.is_refused(f"do.{failure}", "a")
    browser.join("a")


@pytest.mark.parametrize("failure", ["throw", "exit", "fatal", "noise"])
def test_php8_10_a_php_failure_refuses_a_connection_with_400_and_the_next_one_works(
    failure: str, server: Server, raw: OpenRaw
) -> None:
    refusal = raw(server).refused(f"/ws?do={failure}")
    assert (refusal.status, refusal.body) == (400, b"")
    raw(server).upgrade()
