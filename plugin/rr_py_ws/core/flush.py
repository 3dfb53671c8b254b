"""Writes frames to their receivers: where nearly all of the server's time is spent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rr_py_ws.core.ports import Subscriber
from rr_py_ws.native import twin

Topics = str | Sequence[tuple[str, int]]
"""The topic of one message, or topic and number of messages of each run of them."""
Batch = tuple[Iterable[Subscriber], Topics, bytes]
"""What leaves together: to whom, of what topics, and whole frames, joined."""


@twin
def flush(batches: Sequence[Batch]) -> list[tuple[Subscriber, int, int]]:
    """Send the frames of each batch to its subscribers.

    The twin in C does not call `send` of a subscriber that has a `descriptor`: it writes to that itself.

    Args:
        batches: nobody is in two of them, and nothing changes them meanwhile.

    Returns:
        Who has not taken all, of which batch, and how many bytes of it: the socket is full, or gone.
    """
    behind: list[tuple[Subscriber, int, int]] = []
    for place, (subscribers, _, frames) in enumerate(batches):
        size = len(frames)
        for subscriber in subscribers:
            send = subscriber.send
            try:
                taken = send(frames)
            except Exception:
                taken = 0
            if taken != size:
                behind.append((subscriber, place, taken))
    return behind
