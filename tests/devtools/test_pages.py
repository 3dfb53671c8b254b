"""The pages of the worker in Python."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.devtools.pages import Pages
from rr_py_ws.wire import publish
from rr_py_ws.wire.goridge import Flag, FrameDecoder
from rr_py_ws.wire.rpc import encode_error, encode_reply, parse_request
from rr_py_ws.wire.worker import Message
from support.waiting import DEADLINE

OK = publish.encode_ok(Flag.PROTO)
Reply = Callable[[Any], bytes]
NOT_REACHED = "unix:///nowhere/rpc.sock"


class Server:
    """An RPC server that answers one call."""

    def __init__(self, listener: socket.socket, reply: Reply) -> None:
        self.calls: list[tuple[bytes, list[publish.Message]]] = []
        self._listener = listener
        self._reply = reply
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            decoder = FrameDecoder()
            while (frame := decoder.next_frame()) is None:
                decoder.receive_data(connection.recv(65536))
            call = parse_request(frame)
            self.calls.append((call.method, publish.decode_broadcast(call.codec, call.body)))
            connection.sendall(self._reply(call))

    def close(self) -> None:
        self._thread.join(DEADLINE)
        self._listener.close()


StartServer = Callable[[Reply], tuple[Server, str]]


@pytest.fixture(params=["unix", "tcp"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartServer]:
    with ExitStack() as stack:

        def start(reply: Reply) -> tuple[Server, str]:
            if request.param == "unix":
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(f"{tmp_path}/rpc.sock")
                listener.listen()
                address = f"unix://{tmp_path}/rpc.sock"
            else:
                listener = socket.create_server(("127.0.0.1", 0))
                address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            server = Server(listener, reply)
            stack.callback(server.close)
            return server, address

        yield start


def post(pages: Pages, fields: dict[str, Any] | None, **more: Any) -> tuple[int, str]:
    """Status and error text of the answer to a form."""
    request = {"method": "POST", "uri": "http://localhost:8080/x", "parsed": fields is not None, **more}
    return read(pages.answer(request, b"" if fields is None else json.dumps(fields).encode()))


def read(answer: Message) -> tuple[int, str]:
    return json.loads(answer.context)["status"], json.loads(answer.body)["error"] if answer.body else ""


def test_a_form_is_published_to_its_topic(start: StartServer) -> None:
    server, address = start(lambda call: encode_reply(call, OK))
    pages = Pages(lambda topic: topic == "news", rpc=address)
    assert post(pages, {"topic": "news", "name": "Jörg", "text": ""}) == (204, "")
    [(method, [message])] = server.calls
    assert (method, message.topics) == (b"broadcast.Publish", ["news"])
    assert message.payload.decode() == '{"name": "Jörg", "text": ""}'


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda call: encode_error(call, "no broker"), "no broker"),
        (lambda call: encode_reply(call, b""), "the server did not accept the message"),
        (lambda call: encode_reply(call, b"\xff"), "the answer is not in protobuf"),
        (lambda call: b"", "the server closed the connection"),
        (lambda call: b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
    ],
)
def test_what_the_server_does_not_take_is_said(start: StartServer, reply: Reply, why: str) -> None:
    _, address = start(reply)
    status, error = post(Pages(lambda topic: True, rpc=address), {"topic": "news"})
    assert status == 503
    assert error.startswith("Cannot publish: ") and why in error


def test_a_server_that_is_not_there_is_said() -> None:
    status, error = post(Pages(lambda topic: True, rpc=NOT_REACHED), {"topic": "news"})
    assert (status, error.startswith("Cannot publish: ")) == (503, True)


@pytest.mark.parametrize(
    ("fields", "more", "status"),
    [
        ({"topic": "private"}, {}, 403),
        ({"topic": "news"}, {"headers": {"Origin": ["http://evil.example"]}}, 403),
        ({"topic": "news"}, {"headers": {"Origin": ["null"]}}, 403),
        ({"topic": "news"}, {"uploads": {"file": {"name": "a"}}}, 501),
        ({"topic": ["news"]}, {}, 501),
        ({"topic": ""}, {}, 501),
        ({"password": "x"}, {}, 501),
        (None, {}, 501),
    ],
)
def test_what_is_not_published(fields: dict[str, Any] | None, more: dict[str, Any], status: int) -> None:
    pages = Pages(lambda topic: topic == "news", rpc=NOT_REACHED)
    answered, error = post(pages, fields, **more)
    assert (answered, bool(error)) == (status, True)


def test_a_page_of_the_same_origin_may_publish() -> None:
    pages = Pages(lambda topic: True, rpc=NOT_REACHED)
    assert post(pages, {"topic": "news"}, headers={"Origin": ["https://localhost:8080"]})[0] == 503


def test_the_index_is_a_file() -> None:
    def get(pages: Pages, uri: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(pages.answer({"method": "GET", "uri": uri}, b"").context)
        return answer

    pages = Pages(lambda topic: True, index="/index.html")
    for uri in ("http://localhost/", "http://localhost", "http://localhost/?a=1"):
        assert get(pages, uri) == {"status": 302, "headers": {"Location": ["/index.html"]}}
    assert get(pages, "http://localhost/index.html")["status"] == 404
    assert get(Pages(lambda topic: True), "http://localhost/")["status"] == 404
