"""What clients ask for, by what it costs: the unit is a small command, about 20 us of CPU time.

The transport counts frames and their bytes, the session what is in them, the hub what it does early because
of a client. A client is read the less the more it asks for (`commands_per_second`).
"""

from __future__ import annotations

from rr_py_ws.wire.recovery import Missed

QUESTION = 5
"""A question to PHP, here and in a worker."""

BYTES = 1024
"""Bytes of a message, after decompression, that cost as much to decode as a small command; fewer are free."""
_SLOWLY = 3
"""How many times as much comes on top when they have to be read slowly, see `wire.command`."""
TOPICS = 32
"""Topics that cost as much to join or leave, and to name in the reply; fewer are free."""
_WISHES = 2
"""Histories that cost as much to look into, and to tell of in the reply."""
_REPLAYED = 8
"""Messages of a replay that cost as much to encode as a small command,"""
_REPLAYED_BYTES = 8192
"""or bytes of them."""
_DEFLATED = 4
"""How much dearer a byte is that has to be compressed: nobody else gets the same frame."""
_WRITES = 32
"""Connections that are written to before the end of a turn. A quarter of what the writes take: they are only
made earlier."""
_DEAREST_FLUSH = 16
"""What a client is charged for these at most: it did not publish what is written."""


def message_cost(message: bytes) -> int:
    """Return what it costs to decode a message, beside what each frame does."""
    return len(message) // BYTES


def slow_cost(size: int) -> int:
    """Return what it costs more to decode so many bytes of a message slowly."""
    return _SLOWLY * (1 + size // BYTES)


def topics_cost(count: int) -> int:
    """Return what it costs to join or leave so many topics, beside what each command does."""
    return count // TOPICS


def flush_cost(receivers: int) -> int:
    """Return what it costs to end a turn early that writes to so many connections."""
    return min(_DEAREST_FLUSH, receivers // _WRITES)


def wishes_cost(count: int) -> int:
    """Return what it costs to find what so many topics have kept, beside what it costs to join them."""
    return count // _WISHES


def replay_cost(missed: Missed, *, deflated: bool) -> int:
    """Return what it costs to send these to one client again."""
    size = missed.size * _DEFLATED if deflated else missed.size
    return len(missed) // _REPLAYED + size // _REPLAYED_BYTES
