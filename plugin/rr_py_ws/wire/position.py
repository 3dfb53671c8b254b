"""Where a publication stands in the history of its topic: what the opaque text `pos` holds.

A text is `<epoch>.<offset>.<nonce>`. The epoch names one history of the topic: a counter that was lost begins
anew under another epoch. The offset counts the publications of the topic from 1; 0 stands before the first.
The nonce tells two publications with the same offset apart, which a failover to a server that lags can make;
0 is not compared.

What Redis keeps outlives its failovers, so the name of such an epoch tells more: `<random>_<time>`, the time
when it began, as milliseconds in hexadecimal; and behind that `-`, if it was begun because something was lost
of the one before.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rr_py_ws.wire.publication import Position

LONGEST = 64
"""Characters of a position, at most."""

_KNOWN = 1024
"""Positions that are remembered: all who lose their connections at once come back at the same ones."""

_TIME = re.compile(r"_([0-9a-f]{11})-?$")
_POSITION = re.compile(r"([A-Za-z0-9_-]{1,32})\.([0-9]{1,16})(?:\.([0-9]{1,10}))?")


class StreamPosition(NamedTuple):
    """A position, taken apart.

    Attributes:
        epoch: which history of the topic.
        offset: of the publication; 0 before the first.
        nonce: of the publication; 0 when nobody knows.
    """

    epoch: str
    offset: int
    nonce: int = 0

    def __str__(self) -> Position:
        epoch, offset, nonce = self
        return f"{epoch}.{offset}.{nonce}" if nonce else f"{epoch}.{offset}"


def tells_loss(epoch: str) -> bool:
    """Whether an epoch was begun because publications were lost that somebody may have missed."""
    return epoch.endswith("-")


def is_older(epoch: str, other: str) -> bool:
    """Whether an epoch began before another one, as far as their names tell."""
    one, two = _TIME.search(epoch), _TIME.search(other)
    return one is not None and two is not None and one[1] < two[1]


def decode_position(text: str) -> StreamPosition | None:
    """Take a position apart; None when the text is none. It may be as long, and whatever, a client likes."""
    return _decode(text) if len(text) <= LONGEST else None


@lru_cache(_KNOWN)
def _decode(text: str) -> StreamPosition | None:
    match = _POSITION.fullmatch(text)
    if match is None:
        return None
    epoch, offset, nonce = match.groups()
    return StreamPosition(epoch, int(offset), int(nonce or 0))
