"""Marks and messages that find each other again."""

from __future__ import annotations

from rr_py_ws.adapters.brokers.redis.marks import Pairing, checksum_of
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.wire.position import StreamPosition

CHANNEL, MARKS = b"h", b"marks of h"


class Messages:
    """Takes what is put together."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []

    def receive(self, topic: str, arrival: Arrival) -> None:
        self.arrivals.append(arrival)

    def lost(self, topic: str) -> None: ...
    def cleared(self, topic: str, position: StreamPosition) -> None: ...
    def interrupted(self, topic: str) -> None: ...


def mark(position: str, payload: bytes) -> bytes:
    return b"mark %s 0 1000\n%s " % (position.encode(), checksum_of(payload))


def test_marks_of_a_subscription_before_this_one_count_as_none() -> None:
    """A topic is joined again while messages are on their way that came before it was left.

    There may have been more of the same epoch in between. If a history began with such a message, and the
    store lost its own before anybody asks for it, a client would be told a position behind which something is
    missing.
    """
    messages = Messages()
    pairing = Pairing("h", MARKS, messages)
    for position, payload in (("e1.1.11", b"late"), ("e1.3.13", b"now")):
        if payload == b"now":
            pairing.begin()
        pairing.receive(MARKS, mark(position, payload))
        pairing.receive(CHANNEL, payload)
    assert messages.arrivals == [Arrival(b"late"), Arrival(b"now", (), "e1", 3, 13, 0, 1.0)]


def test_in_a_fleet_that_is_alone_such_a_message_does_not_come() -> None:
    messages = Messages()
    pairing = Pairing("h", MARKS, messages)
    whole = mark("e1.1.11", b"late").replace(b"mark", b"whole") + b"\n\nlate"
    pairing.receive(MARKS, whole)
    assert messages.arrivals == []
    pairing.begin()
    pairing.receive(MARKS, whole)
    assert messages.arrivals == [Arrival(b"late", (), "e1", 1, 11, 0, 1.0)]
