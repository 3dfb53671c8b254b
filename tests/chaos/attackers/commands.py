"""Clients that send commands that are dear to read, to obey or to answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, cycle

from chaos.attackers.connection import BINARY, TEXT, Attack, Connection, Target, message

Texts = Callable[[], Iterator[bytes]]
"""Makes endless commands; those that are the same are the same object."""

_TOPICS = 1024
"""As many as the server lets a client be in, and a command name."""
_BURST = 16 * 1024


def _join(topics: bytes, more: bytes = b"") -> bytes:
    return b'{"command":"join","topics":[%b]%b}' % (topics, more)


def _leave(topics: bytes) -> bytes:
    return b'{"command":"leave","topics":[%b]}' % topics


def _names(pattern: bytes, many: int) -> bytes:
    return b",".join([b'"%b"' % pattern] * many)


def refused_joins() -> Iterator[bytes]:
    """Too many names, all of them empty, in as many bytes as a message may have."""
    return cycle([_join(_names(b"", 21_800))])


def refused_leaves() -> Iterator[bytes]:
    """The same of leaves."""
    return cycle([_leave(_names(b"", 21_800))])


def escapes() -> Iterator[bytes]:
    r"""Texts of nothing but `\u00e9`: as many names as are allowed, one that is too long, a payload."""
    return cycle(
        [
            _join(_names(rb"\u00e9" * 10, 1000)),
            _join(_names(rb"\u00e9" * 10_900, 1)),
            _join(b"", rb',"payload":"' + rb"\u00e9" * 10_900 + b'"'),
        ]
    )


def surrogates() -> Iterator[bytes]:
    r"""The same of `\ud800` without a partner, which is no character."""
    return cycle([_join(_names(rb"\ud800" * 10, 1000)), _join(_names(rb"\ud800" * 10_900, 1))])


def backspaces() -> Iterator[bytes]:
    r"""A name of nothing but `\b`, and an id; answers repeat them."""
    many = rb"\b" * 32_000
    return cycle([_join(_names(many, 1)), _join(b'"a"', b',"id":"%b"' % many)])


def duplicate_keys() -> Iterator[bytes]:
    """A key again and again, in other case each time; the last one counts."""
    return cycle([_join(b'"a"', b',"Topics":["a"],"tOPICS":["b"]' * 2000)])


def invalid_utf8() -> Iterator[bytes]:
    """Bytes that are no UTF-8, in binary messages: a long name, and as many as are allowed."""
    return cycle([_join(_names(b"\xff" * 65_000, 1)), _join(_names(b"\xff" * 60, 1000))])


def bad_bytes() -> Iterator[bytes]:
    """The same, in names of one byte, and beside a payload that is a list of numbers."""
    return cycle([_join(_names(b"\xff", 16_000)), _join(b'"\xff"', b',"payload":[%b1]' % (b"1," * 32_000))])


def numbers() -> Iterator[bytes]:
    """A payload that is a list of numbers."""
    return cycle([_join(b'"a"', b',"payload":[%b1]' % (b"1," * 32_000))])


def nesting() -> Iterator[bytes]:
    """Lists in lists, as deep as fits: where topics are, and where nobody looks."""
    deep = b"[" * 32_000 + b"]" * 32_000
    return cycle([_join(deep), _join(b'"a"', b',"other":' + deep)])


def long_ids() -> Iterator[bytes]:
    """An id that fills the message: plain, of characters that take six bytes each in an answer, a number."""
    ids = (b'"%b"' % (b"x" * 65_000), b'"%b"' % (rb"\u0001" * 10_800), b"1" * 65_000)
    return cycle([_join(b'"a"', b',"id":' + id) for id in ids])


def same_topics() -> Iterator[bytes]:
    """Join as many topics as are allowed, leave them, and again."""
    names = b",".join(b'"topic-%04d"' % number for number in range(_TOPICS))
    return cycle([_join(names), _leave(names)])


def unique_topics() -> Iterator[bytes]:
    """The same, of topics that nobody has ever been in."""
    names = b",".join(b'"########-%04d"' % number for number in range(_TOPICS))
    for number in count():
        new = names.replace(b"########", b"%08d" % number)
        yield _join(new)
        yield _leave(new)


def small_commands() -> Iterator[bytes]:
    """As little as a command can be."""
    return cycle([_join(b'"a"'), _leave(b'"a"')])


@cache
def long_answer() -> bytes:
    """The frame of a join that is refused with an answer of 64 KiB: one of its names is too long."""
    names = b",".join(b'"%060d"' % number for number in range(1000))
    return message(TEXT, _join(names + b',"%b"' % (b"x" * 1100)), False)


def sending(texts: Texts, opcode: int = TEXT, *, deflated: bool = False) -> Attack:
    """Attack by commands, as fast as the server takes them; answers are read."""

    def attack(target: Target) -> Iterator[None]:
        connection = Connection(target.web)
        try:
            connection.upgrade(deflated=deflated)
            for text in texts():
                connection.send(message(opcode, text, deflated))
                yield
        finally:
            connection.close()

    return attack


def dripping(texts: Texts, bytes_per_second: int) -> Attack:
    """Attack by compressed commands that are small on the wire, so many bytes each second."""

    def attack(target: Target) -> Iterator[None]:
        connection = Connection(target.web)
        try:
            connection.upgrade(deflated=True)
            for text in texts():
                data = message(TEXT, text, True)
                connection.send(data)
                connection.discard()
                yield
                time.sleep(len(data) / bytes_per_second)
        finally:
            connection.close()

    return attack


def bursting(texts: Texts) -> Attack:
    """Attack by 16 KiB of such commands in one packet, once a second."""

    def attack(target: Target) -> Iterator[None]:
        connection = Connection(target.web)
        try:
            connection.upgrade(deflated=True)
            one = message(TEXT, next(texts()), True)
            burst = one * (_BURST // len(one))
            while True:
                connection.send(burst)
                yield
                time.sleep(1)
                connection.discard()
        finally:
            connection.close()

    return attack


COMMANDS: dict[str, tuple[Texts, int]] = {
    "refused-joins": (refused_joins, TEXT),
    "refused-leaves": (refused_leaves, TEXT),
    "escapes": (escapes, TEXT),
    "surrogates": (surrogates, TEXT),
    "backspaces": (backspaces, TEXT),
    "duplicate-keys": (duplicate_keys, TEXT),
    "invalid-utf8": (invalid_utf8, BINARY),
    "bad-bytes": (bad_bytes, BINARY),
    "numbers": (numbers, TEXT),
    "nesting": (nesting, TEXT),
    "long-ids": (long_ids, TEXT),
    "same-topics": (same_topics, TEXT),
    "unique-topics": (unique_topics, TEXT),
}
"""What makes a difference when it is compressed."""
