"""The program's own listener with sessions that send each message back, for test suites that want an echo.

`python -m conformance.echo_server --port N [--compression]`, with `tests` on PYTHONPATH, serves
`ws://127.0.0.1:N/ws` until SIGTERM or SIGINT. All that happens to bytes and frames is the server's own work;
what is replaced is the meaning of messages. A session is not told whether a message was text or binary, so
the protocol notes that for the echo.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from typing import Any
from unittest.mock import patch

import uvloop
from websockets.frames import Frame, Opcode

from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.adapters.ws import connection, ending, handler
from rr_py_ws.adapters.ws.protocol.core import WebSocketProtocol
from rr_py_ws.core.node import Node
from rr_py_ws.core.session import Session
from rr_py_ws.wire.framing.websocket import server_frame
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import Encoding
from support.ws_site import Server, make_backpressure

_SETTINGS: dict[str, Any] = {
    "max_message_size": 16 * 1024 * 1024,
    "send_queue": 64 * 1024 * 1024,
    "commands_per_second": 0,
    "ping_interval": 0.0,
    "compression_min_size": 1,
}


class EchoProtocol(WebSocketProtocol):
    """Notes the kinds of messages.

    Attributes:
        kinds: of the messages that are complete and were not sent back yet, in order.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.kinds: deque[Opcode] = deque()
        self._kind = Opcode.TEXT
        super().__init__(*args, **options)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame of the client, before its message gets to the session."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._kind = frame.opcode
        if frame.fin and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self.kinds.append(self._kind)
        super().recv_frame(frame)


class EchoSession(Session):
    """Sends each message back, as a push: the way that compresses when that was agreed on."""

    __slots__ = ()

    def receive_message(self, message: bytes) -> None:
        """Send a message back as what it was; all that is read without a protocol is text."""
        protocol = self._transport._protocol  # type: ignore[attr-defined]
        kind = Opcode.TEXT if protocol is None else protocol.kinds.popleft()
        self._transport.write(self._transport.encoding.push(Publication(kind.name, message)))


def _push_echo(publication: Publication) -> bytes:
    return server_frame(Opcode[publication.topic], publication.payload)


async def serve(port: int, *, compression: bool) -> None:
    """Send back what clients of a port of this machine send, until the process is told to stop."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    backpressure = make_backpressure()
    node = Node({"default": MemoryBroker()}, "default", loop.call_soon, backpressure)
    await node.start()
    server = Server(AllowAll(), node, backpressure, compression_level=int(compression), **_SETTINGS)
    await server.listen(f"127.0.0.1:{port}")
    await stopped.wait()
    await server.stop(1.0)


def main() -> None:
    """Serve with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--compression", action="store_true", help="accept permessage-deflate")
    options = parser.parse_args()
    with (
        patch.object(connection, "Session", EchoSession),
        patch.object(ending, "WebSocketProtocol", EchoProtocol),
        patch.object(handler, "STRING", Encoding("", _push_echo)),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(options.port, compression=options.compression))


if __name__ == "__main__":
    main()
