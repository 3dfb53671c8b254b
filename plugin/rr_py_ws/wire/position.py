"""Where a publication stands in the history of its topic: what the opaque text `pos` holds.

A text is `<epoch>.<offset>.<nonce>`. The epoch names one history of the topic: a counter that was lost begins
anew under another epoch. The offset counts the publications of the topic from 1; 0 stands before the first.
The nonce tells two publications with the same offset apart, which a failover to a server that lags can make;
0 is not compared.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rr_py_ws.wire.publication import Position

LONGEST = 64
"""Characters of a position, at most."""

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


def decode_position(text: str) -> StreamPosition | None:
    """Take a position apart; None when the text is none. It may be as long, and whatever, a client likes."""
    match = _POSITION.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        return None
    epoch, offset, nonce = match.groups()
    return StreamPosition(epoch, int(offset), int(nonce or 0))
