"""Where the connection of a client is, and where it may go from there.

::

    ACCEPTED ──> READING_HEAD ──> HANDLING ──> HANDED_OVER
        │          │    ^            │
        │          │    └──SERVING<──┤
        │          │          │      │
        │          └──> CLOSING <────┘
        └───────────────┴─────┴──────┴───────> CLOSED
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Where a connection is."""

    ACCEPTED = 0
    """There is a socket, and no transport yet: with TLS, until the TLS handshake is done."""
    READING_HEAD = 1
    HANDLING = 2
    """The request is complete; a handler owes the answer."""
    SERVING = 3
    """A page answers; it writes, and what comes is for it."""
    CLOSING = 4
    """The last answer is written; what the peer still sends is thrown away until it closes its side."""
    HANDED_OVER = 5
    """The transport belongs to another protocol."""
    CLOSED = 6


# Looking up `State.CLOSING` takes Python 3.11 twice as long as a comparison, and a handshake needs a dozen.
ACCEPTED, READING_HEAD, HANDLING, SERVING, CLOSING, HANDED_OVER, CLOSED = State

NEXT = (
    (READING_HEAD, CLOSED),
    (HANDLING, CLOSING, CLOSED),
    (SERVING, CLOSING, HANDED_OVER, CLOSED),
    (READING_HEAD, CLOSING, CLOSED),
    (CLOSED,),
    (),
    (),
)
"""Where a connection may go from each state; the picture above."""
