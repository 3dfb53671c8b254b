"""Slow readers in a topic of their own, with a publisher of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from chaos.attackers.connection import TEXT, Connection, Target, close_all, frame
from chaos.attackers.publishers import message
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.rpc import encode_request

_READERS = 16
_RECEIVE_BUFFER = 32 * 1024
_ABSTAIN = 1.0
"""Seconds without reading: less than a publisher is made to wait for anybody."""
_QUIET = 0.02
"""Seconds after which a reader to whom nothing came has caught up."""

_JOIN = frame(TEXT, b'{"command":"join","topics":["gulps"]}')


def gulps(target: Target) -> Iterator[None]:
    """Read nothing for a second, then everything, and again; a publisher sends all that it may meanwhile.

    A step is a tenth of that second.
    """
    call = encode_request(1, "broadcast.Publish", message(b"gulps", b"x" * 16_000), Flag.PROTO)
    connections: list[Connection] = []
    try:
        while len(connections) < _READERS:
            connections.append(Connection(target.web, receive_buffer=_RECEIVE_BUFFER))
            connections[-1].upgrade()
            connections[-1].send(_JOIN)
        publisher = Publisher(target, call)
        connections.append(publisher.connection)
        while True:
            for _ in range(10):
                publisher.publish(_ABSTAIN / 10)
                yield
            _catch_up(connections[:_READERS])
    finally:
        close_all(connections)


class Publisher:
    """Sends a call again and again, without ever waiting for long."""

    def __init__(self, target: Target, call: bytes) -> None:
        self.connection = Connection(target.rpc)
        self._call = call
        self._sent = 0

    def publish(self, seconds: float) -> None:
        """Publish for so long what the server takes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            count = self.connection.send_some(self._call[self._sent :])
            self._sent = (self._sent + count) % len(self._call)
            self.connection.discard()
            if not count:
                time.sleep(0.002)


def _catch_up(readers: Sequence[Connection]) -> None:
    """Read until nothing comes any more."""
    quiet = time.monotonic()
    while time.monotonic() < quiet + _QUIET:
        if sum(reader.discard() for reader in readers):
            quiet = time.monotonic()
        else:
            time.sleep(0.001)
