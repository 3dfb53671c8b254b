"""The WebSocket client that an application has: the `websockets` library, and the commands of the plugin.

It is the foreign client of the tests: it shares nothing with `support.ws_peer`, reads in the background and
answers pings there. Where bytes matter there is the fixture `raw`, a `BlockingClient`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from support.blocking import BlockingClient
from support.waiting import DEADLINE
from support.ws_peer import reply


class Client:
    """A connection; each wait has a deadline."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    def send(self, message: str | bytes) -> None:
        """Send one message as it is."""
        self.websocket.send(message)

    def command(self, command: str, topics: Any, **more: Any) -> None:
        """Send one command."""
        self.send(json.dumps({"command": command, "topics": topics, **more}))

    def receive(self) -> str:
        """Wait for the next message, which is text."""
        message = self.websocket.recv(timeout=DEADLINE)
        assert isinstance(message, str), message
        return message

    def expect(self, *messages: str) -> None:
        """Wait for exactly these messages, as the next ones."""
        for message in messages:
            received = self.receive()
            assert received == message, f"{received[:500]} instead of {message[:500]}"

    def join(self, *topics: str) -> None:
        """Join topics, successfully."""
        self.command("join", topics)
        self.expect(reply("@join", topics))

    def leave(self, *topics: str) -> None:
        """Leave topics."""
        self.command("leave", topics)
        self.expect(reply("@leave", topics))

    def is_refused(self, *topics: str) -> None:
        """Try to join topics, in vain."""
        self.command("join", topics)
        self.expect(reply("#join", topics))

    def close_code(self) -> int | None:
        """Wait for the end; return the code of the server's close frame."""
        try:
            while True:
                self.websocket.recv(timeout=DEADLINE)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


Connect = Callable[..., Client]
OpenRaw = Callable[..., BlockingClient]
