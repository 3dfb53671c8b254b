"""What is told of each message of a history on a channel of its own, and which message a mark belongs to.

A message of a history travels twice: as a mark, and as it is, so that anybody may subscribe. Both leave Redis
together, but another node of a cluster may put a message of its own between them, and messages that others
publish have no mark. So a mark is paired with the next message of its length and checksum.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Protocol
from zlib import crc32

from rr_py_ws import logs
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.wire.position import StreamPosition, decode_position

_MOST_WAITING = 1024
"""Marks of one topic that wait for their messages; more means that the messages do not come."""

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class
_Told = tuple[tuple[str, ...], str, int, int, int, float]
"""An `Arrival` without its payload."""
_Mark = tuple[bytes, _Told]
"""The checksum of a payload, and what is told of it."""

limited = logs.get_limited("broadcast")


class MarkedMessages(Protocol):
    """Who takes what arrives of a topic with a history, in order."""

    def receive(self, topic: str, arrival: Arrival) -> None:
        """Take a message."""

    def lost(self, topic: str) -> None:
        """The next message was not kept: no history holds it."""

    def cleared(self, topic: str, position: StreamPosition) -> None:
        """All messages up to a position are gone."""

    def interrupted(self, topic: str) -> None:
        """Messages do not arrive from now on."""


def checksum_of(payload: bytes) -> bytes:
    """What a mark says of its message."""
    return b"%d:%08x" % (len(payload), crc32(payload))


def encode_exclude(exclude: Sequence[str]) -> bytes:
    """Make the text of who is excluded; empty for nobody."""
    return json.dumps(exclude).encode() if exclude else b""


def decode_exclude(text: bytes) -> tuple[str, ...]:
    """Read the text of who is excluded.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return ()
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not a list of names")
    return tuple(names)


def mark_line(payload: bytes, exclude: Sequence[str]) -> bytes:
    """Make what a mark says of one message: its checksum, and who is excluded."""
    return b"%b %b" % (checksum_of(payload), encode_exclude(exclude))


def unkept_mark(payload: bytes, exclude: Sequence[str]) -> bytes:
    """Make the mark of a message that is in no history, for the sake of who is excluded."""
    return b"mark - 0 0\n" + mark_line(payload, exclude)


class Pairing:
    """Puts marks and messages of one topic together again.

    Args:
        topic: what clients call it.
        marks: the channel of its marks.
        messages: gets the messages, and what else is told.

    Attributes:
        marks: as given.
        is_live: whether marks arrive.
    """

    __slots__ = ("_messages", "_topic", "_waiting", "is_live", "marks")

    def __init__(self, topic: str, marks: bytes, messages: MarkedMessages) -> None:
        self._topic = topic
        self.marks = marks
        self._messages = messages
        self._waiting: deque[_Mark] = deque()
        self.is_live = False

    def begin(self) -> None:
        """Marks arrive from now on."""
        self.is_live = True

    def end(self) -> None:
        """The connection is lost: what is awaited does not come."""
        if self.is_live:
            self._messages.interrupted(self._topic)
        self.is_live = False
        self._waiting.clear()

    def receive(self, channel: bytes, data: bytes) -> None:
        """Take what has arrived on one of the two channels."""
        if channel != self.marks:
            self._messages.receive(self._topic, self._pair(data))
            return
        if not self.is_live:
            return  # of a subscription before this one: there may have been more of its epoch since
        try:
            self._receive_mark(data)
        except ValueError:  # anybody may publish there; if it should have been one, its message is missing
            limited.warning(
                "redis brought what is no mark of a message", topic=self._topic, got=ascii(data[:60])
            )

    def _receive_mark(self, data: bytes) -> None:
        kind, _, rest = data.partition(b" ")
        match kind:
            case b"mark":
                for marked in _decode_marks(rest):
                    if len(self._waiting) == _MOST_WAITING:
                        self._waiting.popleft()
                    self._waiting.append(marked)
            case b"whole":  # a fleet that is alone: the messages are in it
                for arrival in _decode_whole(rest):
                    self._messages.receive(self._topic, arrival)
            case b"lost":
                self._messages.lost(self._topic)
            case b"clear":
                position = decode_position(rest.decode())
                if position is None:
                    raise ValueError("no position")
                self._messages.cleared(self._topic, position)
            case _:
                raise ValueError("unknown kind")

    def _pair(self, payload: bytes) -> Arrival:
        """Put a message and its mark together; marks before that stay without one, which was lost."""
        waiting = self._waiting
        if waiting:
            checksum = checksum_of(payload)
            for at, (expected, told) in enumerate(waiting):
                if expected == checksum:
                    for _ in range(at + 1):
                        waiting.popleft()
                    return _new(Arrival, (payload, *told))
        return Arrival(payload)


def _decode_marks(text: bytes) -> list[_Mark]:
    """Read a mark of messages that follow each other: of each the checksum, and what else is told."""
    head, *lines = text.split(b"\n")
    where, previous, milliseconds = head.split(b" ")
    marked = [line.split(b" ", 1) for line in lines]
    if where == b"-":
        return [(checksum, Arrival(b"", decode_exclude(exclude))[1:]) for checksum, exclude in marked]
    position = decode_position(where.decode())
    if position is None:
        raise ValueError("no position")
    epoch, offset, nonce = position
    before, time, found = int(previous), int(milliseconds) / 1000, []
    for checksum, exclude in marked:
        found.append((checksum, (decode_exclude(exclude), epoch, offset, nonce, before, time)))
        offset, before = offset + 1, nonce
    return found


def _decode_whole(text: bytes) -> list[Arrival]:
    """Read a mark that has the payloads behind it."""
    marks, _, payloads = text.partition(b"\n\n")
    arrivals, at = [], 0
    for checksum, told in _decode_marks(marks):
        end = at + int(checksum.partition(b":")[0])
        arrivals.append(Arrival(payloads[at:end], *told))
        at = end + 1
    if at != len(payloads) + 1:
        raise ValueError("not as long as it says")
    return arrivals
