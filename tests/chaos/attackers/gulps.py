"""Slow readers: in a topic of their own, with a publisher of their own, and in the topics of others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from chaos.attackers.commands import long_answer
from chaos.attackers.connection import TEXT, Connection, Stream, Target, close_all, frame
from chaos.attackers.publishers import message, publishing
from chaos.topics import TOPICS, topic

_READERS = 16
_RECEIVE_BUFFER = 32 * 1024
_ABSTAIN = 1.0
"""Seconds without reading: less than a publisher is made to wait for anybody."""
_CATCH_UP = 0.25
_QUIET = 0.02
"""Seconds after which a reader to whom nothing came has caught up."""
_ANSWERS = 6
"""Of 64 KiB each."""


def gulps(target: Target) -> Iterator[None]:
    """Read nothing for a second, then everything, and again; a publisher sends all that it may meanwhile.

    A step is a tenth of that second.
    """
    call = publishing(message([b"gulps"], b"x" * 16_000))
    connections: list[Connection] = []
    try:
        for reader in _readers(target, b'"gulps"'):
            connections.append(reader)
            yield
        connections.append(Connection(target.rpc))
        publisher = Stream(connections[-1], call)
        while True:
            for _ in range(10):
                _publish(publisher, _ABSTAIN / 10)
                yield
            _catch_up(connections[:_READERS])
    finally:
        close_all(connections)


def gulps_in_many_topics(target: Target) -> Iterator[None]:
    """Be in the topics of those who behave, and always behind: by answers of our own that we do not read.

    What is unread is less than what a client is given up for, and is read after a moment.
    """
    topics = ",".join(f'"{topic(number)}"' for number in range(TOPICS))
    answers = long_answer() * _ANSWERS
    readers: list[Connection] = []
    try:
        for reader in _readers(target, topics.encode()):
            readers.append(reader)
            yield
        while True:
            for reader in readers:
                reader.send_unread(answers)
            for _ in range(8):
                time.sleep(_ABSTAIN / 10)
                yield
            _catch_up(readers)
    finally:
        close_all(readers)


def _readers(target: Target, topics: bytes) -> Iterator[Connection]:
    """Clients for whom the kernel keeps little, in these topics."""
    for _ in range(_READERS):
        reader = Connection(target.web, receive_buffer=_RECEIVE_BUFFER)
        reader.upgrade()
        reader.send(frame(TEXT, b'{"command":"join","topics":[%b]}' % topics))
        yield reader


def _publish(publisher: Stream, seconds: float) -> None:
    """Publish for so long what the server takes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        count = publisher.send()
        publisher.connection.discard()
        if not count:
            time.sleep(0.002)


def _catch_up(readers: Sequence[Connection]) -> None:
    """Read until nothing comes any more, or for a quarter of a second when others keep publishing."""
    quiet = time.monotonic()
    end = quiet + _CATCH_UP
    while time.monotonic() < min(quiet + _QUIET, end):
        if sum(reader.discard() for reader in readers):
            quiet = time.monotonic()
        else:
            time.sleep(0.001)
