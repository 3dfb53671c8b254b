"""What we lean on in libraries that their documentation does not promise: these tests fail when it moves.

Each such library has a cap in pyproject.toml. `make compat` runs this file with its lowest version.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

import rr_py_ws
from support.ws_peer import BINARY, CONTINUATION, PING, PONG, TEXT, frame


def test_a_socket_accepts_without_making_a_socket_object() -> None:
    """`adapters/net/acceptor.py` makes one of the base class, by what is known of the listening socket."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        descriptor, peer = listening._accept()  # type: ignore[attr-defined]
        assert peer == client.getsockname()
        accepted = socket.SocketType(listening.family, listening.type, listening.proto, descriptor)
        client.send(b"hello")
        assert accepted.recv(5) == b"hello"
        accepted.close()
        assert client.recv(1) == b""


class Counting(Protocol):
    """The protocol of `websockets`, overridden where `adapters/ws/protocol/core.py` overrides it."""

    def __init__(self) -> None:
        self.limit = 10
        self.asked = 0
        super().__init__(SERVER, state=State.OPEN)

    @property
    def max_message_size(self) -> int:
        self.asked += 1
        return self.limit

    @max_message_size.setter
    def max_message_size(self, _: object) -> None:
        """It must be assigned to, not only set in the class."""


def test_websockets_asks_for_the_limit_at_each_frame() -> None:
    protocol = Counting()
    for count in range(1, 4):
        protocol.receive_data(frame(TEXT, b"x" * 10))
        assert protocol.asked >= count
    protocol.limit = 9
    protocol.receive_data(frame(TEXT, b"x" * 10))
    assert isinstance(protocol.parser_exc, PayloadTooBig)


def test_websockets_subtracts_what_a_message_has_already_and_lets_it_be_read() -> None:
    protocol = Counting()
    assert protocol.current_size is None
    protocol.receive_data(frame(BINARY, b"x" * 6, fin=False))
    assert protocol.current_size == 6
    protocol.receive_data(frame(CONTINUATION, b"x" * 4))
    assert protocol.current_size is None
    protocol.receive_data(frame(BINARY, b"x" * 6, fin=False) + frame(CONTINUATION, b"x" * 5))
    assert isinstance(protocol.parser_exc, PayloadTooBig)


def test_websockets_hands_over_frames_without_looking_at_their_text() -> None:
    protocol = Counting()
    protocol.receive_data(frame(TEXT, b"\xff") + frame(PING, "p"))
    [text, ping] = protocol.events_received()
    assert isinstance(text, Frame) and isinstance(ping, Frame)
    assert (text.opcode, bytes(text.data), text.fin) == (Opcode.TEXT, b"\xff", True)
    assert b"".join(protocol.data_to_send()) == frame(PONG, "p", mask=False)


async def test_uvicorn_runs_what_we_override() -> None:
    """`main_loop` and `capture_signals` of the server, and the callbacks of the protocol class."""
    called: set[str] = set()

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            called.add("capture_signals")
            yield

        async def main_loop(self) -> None:
            called.add("main_loop")
            _, port = self.servers[0].sockets[0].getsockname()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            called.add((await reader.read()).decode().partition("\r\n")[0])
            writer.close()
            await writer.wait_closed()

    class Connection(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            called.add("connection_made")
            super().connection_made(transport)
            assert self.transport is transport and self.loop is asyncio.get_running_loop()

        def data_received(self, data: bytes) -> None:
            called.add("data_received")
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            called.add("connection_lost")
            super().connection_lost(exc)

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    await Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, http=Connection, ws="none", lifespan="off", log_config=None
        )
    ).serve()
    assert called == {
        *("capture_signals", "main_loop", "connection_made", "data_received", "connection_lost"),
        "HTTP/1.1 204 No Content",
    }


def test_no_group_of_a_pattern_is_possessive() -> None:
    """Until Python 3.11.4, what follows such a group starts where its last try failed, not where that began.

    With Debian 12's 3.11.2 a cookie `a=100%; b=%%41` was a KeyError.
    """
    modules = pkgutil.walk_packages(rr_py_ws.__path__, "rr_py_ws.")
    names = [module.name for module in modules if not module.name.endswith("__main__")]
    values = [value for name in names for value in vars(importlib.import_module(name)).values()]
    patterns = [value.pattern for value in values if isinstance(value, re.Pattern)]
    texts = [one.decode("latin-1") if isinstance(one, bytes) else one for one in patterns]
    without_sets = [re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text) for text in texts]
    assert len(texts) > 20
    assert [text for text in without_sets if re.search(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>", text)] == []
