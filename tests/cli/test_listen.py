"""`listen` against real WebSocket servers."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from rr_py_ws.cli.listen import listen_url
from rr_py_ws.config import HTTP, SSL, Config, WebSockets
from rr_py_ws.errors import ConfigError
from support.program import Cli, one_error_line, start

Behaviour = Callable[[ServerConnection, list[str]], Awaitable[None]]


@asynccontextmanager
async def server(behave: Behaviour, **options: Any) -> AsyncIterator[str]:
    """A server that calls `behave` with the topics of the join command; yields its URL."""

    async def handle(connection: ServerConnection) -> None:
        command = json.loads(await connection.recv())
        assert command["command"] == "join"
        await behave(connection, command["topics"])

    async with serve(handle, "127.0.0.1", 0, **options) as running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/ws"


async def send(connection: ServerConnection, topic: str, payload: object) -> None:
    await connection.send(json.dumps({"topic": topic, "payload": payload}))


async def push_some(connection: ServerConnection, topics: list[str]) -> None:
    await send(connection, "@join", topics)
    await send(connection, topics[0], '{"a": 1}')
    await send(connection, topics[-1], "line\nbreak \x1b[2J")
    await send(connection, "@join", "a topic may have this name")
    await connection.send("no JSON\r")
    await connection.close(1001, "going away")


async def test_each_message_is_one_line_with_its_topic(cli: Cli) -> None:
    async with server(push_some) as url:
        code, out, err = await cli("listen", "news", "user.1", "--url", url)
    assert out.splitlines() == [
        'news\t{"a": 1}',
        "user.1\tline\\nbreak \\x1b[2J",
        "@join\ta topic may have this name",
        "no JSON\\r",
    ]
    joined, lost = err.splitlines()
    assert joined == "joined news, user.1, Ctrl-C ends"
    assert (code, lost) == (1, f"error: the connection to {url} is lost (close code 1001 going away)")


async def test_raw_prints_the_messages_as_they_are(cli: Cli) -> None:
    async with server(push_some) as url:
        _, out, _ = await cli("listen", "news", "--raw", "--url", url)
    assert [json.loads(line)["payload"] for line in out.splitlines()[:2]] == [
        '{"a": 1}',
        "line\nbreak \x1b[2J",
    ]


async def test_the_reason_of_a_refused_join_is_told(cli: Cli) -> None:
    """Point 12: the command did not ask for it, so the server did not tell."""

    async def behave(connection: ServerConnection, topics: list[str]) -> None:
        answer = {"topic": "#join", "payload": topics, "id": "listen", "reason": "refused with status 403"}
        await connection.send(json.dumps(answer))
        await connection.wait_closed()

    async with server(behave) as url:
        code, _, err = await cli("listen", "a", "--url", url)
    assert code == 1
    assert one_error_line(err) == "the server refuses to join a: refused with status 403"


async def test_a_refused_join_is_an_error(cli: Cli) -> None:
    async def refuse(connection: ServerConnection, topics: list[str]) -> None:
        await send(connection, "#join", topics)
        await connection.wait_closed()

    async with server(refuse) as url:
        code, out, err = await cli("listen", "a", "b\x1b[2J", "--url", url)
    assert (code, out) == (1, "")
    assert one_error_line(err) == "the server refuses to join a, b\\x1b[2J"


async def test_a_refused_handshake_is_an_error_that_shows_the_answer(cli: Cli) -> None:
    seen = []

    def refuse(connection: ServerConnection, request: Request) -> Response:
        seen.append(request.headers)
        return connection.respond(403, "not\nyou")

    async with server(push_some, process_request=refuse) as url:
        result = await cli("listen", "a", "--url", url, "--header", "Authorization: Bearer x:y")
    assert result.code == 1
    assert one_error_line(result.err) == f"{url} refuses the connection: HTTP status 403, not you"
    assert seen[0]["Authorization"] == "Bearer x:y"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ws://127.0.0.1:1/ws", "cannot connect to ws://127.0.0.1:1/ws: connection refused"),
        ("http://127.0.0.1:1/ws", "cannot connect to http://127.0.0.1:1/ws: "),
        ("nonsense", "cannot connect to nonsense: "),
        ("ws://[::1/", "cannot connect to ws://[::1/: "),
        ("ws://a:b/", "cannot connect to ws://a:b/: "),
    ],
)
async def test_a_server_that_cannot_be_reached_is_an_error(url: str, text: str, cli: Cli) -> None:
    code, _, err = await cli("listen", "a", "--url", url)
    assert code == 1 and one_error_line(err).startswith(text)


async def test_a_server_that_breaks_off_is_an_error(cli: Cli) -> None:
    async def break_off(connection: ServerConnection, _topics: list[str]) -> None:
        connection.transport.abort()

    async with server(break_off) as url:
        code, _, err = await cli("listen", "a", "--url", url)
    assert code == 1 and one_error_line(err) == f"the connection to {url} is lost (close code 1006)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_ends_it_well_and_closes_the_connection(number: signal.Signals, tmp_path: Path) -> None:
    closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def stay(connection: ServerConnection, topics: list[str]) -> None:
        await send(connection, "@join", topics)
        await connection.wait_closed()
        closed.set_result(connection.close_code)

    async with server(stay) as url:
        process = await start("listen", "a", "--url", url, cwd=tmp_path)
        assert process.stderr
        assert await process.stderr.readline() == b"joined a, Ctrl-C ends\n"
        process.send_signal(number)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0
        assert await closed == 1000


async def test_the_url_comes_from_the_configuration(cli: Cli, tmp_path: Path) -> None:
    async with server(push_some) as url:
        port = url.removeprefix("ws://127.0.0.1:").removesuffix("/ws")
        (tmp_path / ".rr.yaml").write_text(
            f"websockets: {{broker: default, path: /ws, address: ':{port}'}}\n"
            "broadcast: {default: {driver: memory, config: {}}}\n"
        )
        _, out, _ = await cli("listen", "a")
    assert out.startswith("a\t")


@pytest.mark.parametrize(
    ("http", "websockets", "url"),
    [
        (HTTP(address="0.0.0.0:8080"), WebSockets(), "ws://127.0.0.1:8080/ws"),
        (HTTP(address=":8080"), WebSockets(path="/a"), "ws://127.0.0.1:8080/a"),
        (HTTP(address="[::]:8080"), WebSockets(), "ws://[::1]:8080/ws"),
        (HTTP(address="example.com:80"), WebSockets(address="10.0.0.1:81"), "ws://10.0.0.1:81/ws"),
        (None, WebSockets(address=":81"), "ws://127.0.0.1:81/ws"),
        (HTTP(ssl=SSL(address=":443", cert="a")), WebSockets(), "wss://127.0.0.1:443/ws"),
        (HTTP(address=":80", ssl=SSL(address=":443", cert="a")), WebSockets(), "ws://127.0.0.1:80/ws"),
    ],
)
def test_url_of_a_configuration(http: HTTP | None, websockets: WebSockets, url: str) -> None:
    config = Config(path=Path(), directory=Path(), tree={}, http=http, websockets=websockets)
    assert listen_url(config) == url


@pytest.mark.parametrize("sections", [{}, {"websockets": WebSockets()}, {"http": HTTP(address=":80")}])
def test_a_configuration_without_an_address_is_an_error(sections: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name the server with --url"):
        listen_url(Config(path=Path(), directory=Path(), tree={}, **sections))


def test_where_the_plain_port_only_sends_on_the_url_is_that_with_tls() -> None:
    """Point 2: `http.ssl.redirect` answers 308, which is no server to listen to."""
    ssl = SSL(address="127.0.0.1:443", cert="a", key="a", redirect=True)
    http = HTTP(address="127.0.0.1:80", ssl=ssl)
    config = Config(path=Path(), http=http, websockets=WebSockets())
    assert listen_url(config) == "wss://127.0.0.1:443/ws"
    own = config.model_copy(update={"websockets": WebSockets(address="127.0.0.1:81")})
    assert listen_url(own) == "ws://127.0.0.1:81/ws"


async def test_recover_connects_again_and_names_the_last_position(tmp_path: Path) -> None:
    """What cannot be recovered is told; the answer's position counts until the first push."""
    joins: list[Any] = []
    answers = [
        {"recovered": True, "count": 0, "pos": "e.1"},
        {"recovered": True, "count": 1, "pos": "e.2"},
        {"recovered": False, "count": 0, "pos": "f.9", "reason": "epoch"},
        {"recovered": True, "count": 0, "pos": "f.9"},
    ]

    async def handle(connection: ServerConnection) -> None:
        join = json.loads(await connection.recv())
        joins.append(join["history"])
        number = len(joins)
        answer = {"topic": "@join", "payload": ["a"], "history": {"a": answers[number - 1]}}
        await connection.send(json.dumps(answer))
        if number == 1:
            await connection.send(json.dumps({"topic": "a", "payload": "1", "pos": "e.2"}))
        await connection.close(4500 if number == 4 else 1001)

    async with serve(handle, "127.0.0.1", 0) as running:
        url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/ws"
        process = await start("listen", "a", "--recover", "--url", url, cwd=tmp_path)
        out, err = await process.communicate()
    assert joins == [{"a": True}, {"a": "e.2"}, {"a": "e.2"}, {"a": "f.9"}]
    assert out == b"a\t1\n"
    lines = err.decode().splitlines()
    lost = f"the connection to {url} is lost (close code 1001)"
    joined = "joined a, Ctrl-C ends"
    missing = "messages of a are missing: epoch"
    assert lines == [
        *(joined, lost),
        *(joined, lost),
        *(joined, missing, lost),
        *(joined, f"error: the connection to {url} is lost (close code 4500)"),
    ]
    assert process.returncode == 1


async def test_recover_tells_what_is_missed_without_a_position(tmp_path: Path) -> None:
    """Without a history, or while it cannot be read, messages are lost with each connection."""
    joins: list[Any] = []
    off = {"recovered": False, "count": 0, "reason": "off"}
    answers = [off, off, {"recovered": False, "count": 0, "pos": "e.1", "reason": "epoch"}]

    async def handle(connection: ServerConnection) -> None:
        joins.append(json.loads(await connection.recv())["history"])
        answer = {"topic": "@join", "payload": ["a"], "history": {"a": answers[len(joins) - 1]}}
        await connection.send(json.dumps(answer))
        await connection.close(4500 if len(joins) == 3 else 1001)

    async with serve(handle, "127.0.0.1", 0) as running:
        url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/ws"
        process = await start("listen", "a", "--recover", "--url", url, cwd=tmp_path)
        _, err = await process.communicate()
    assert joins == [{"a": True}, {"a": ""}, {"a": ""}]
    told = [line for line in err.decode().splitlines() if "missing" in line]
    assert told == ["messages of a are missing: off", "messages of a are missing: epoch"]


async def test_recover_joins_again_when_the_server_could_not_decide(tmp_path: Path) -> None:
    """After a restart PHP or Redis may be there later than the server."""
    answers: list[dict[str, Any]] = [
        {"topic": "#join", "reason": "PHP gave no answer"},
        {"topic": "@join", "history": {"a": {"recovered": True, "count": 0, "pos": "e.1"}}},
        {"topic": "#join", "reason": "redis has not confirmed within 4 s"},
        {"topic": "#join", "reason": "refused with status 403"},
    ]
    wishes = []

    async def handle(connection: ServerConnection) -> None:
        wishes.append(json.loads(await connection.recv())["history"]["a"])
        await connection.send(json.dumps({"payload": ["a"], **answers[len(wishes) - 1]}))
        if len(wishes) == 2:
            await connection.close(1001)
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as running:
        url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/ws"
        process = await start("listen", "a", "--recover", "--url", url, cwd=tmp_path)
        _, err = await process.communicate()
    assert wishes == [True, True, "e.1", "e.1"]
    lines = err.decode().splitlines()
    assert lines[0] == "the server refuses to join a: PHP gave no answer"
    assert lines[-1] == "error: the server refuses to join a: refused with status 403"
    assert process.returncode == 1
