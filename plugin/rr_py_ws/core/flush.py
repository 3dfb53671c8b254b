"""Writes frames to their receivers: where nearly all of the server's time is spent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rr_py_ws.core.ports import Subscriber
from rr_py_ws.native import twin
from rr_py_ws.wire.publication import Pushes


@twin
def flush(batches: Sequence[tuple[Iterable[Subscriber], Pushes]]) -> list[tuple[Subscriber, Pushes, int]]:
    """Send each batch of pushes to its subscribers.

    The twin in C does not call `send` of a subscriber that has a `descriptor`: it writes to that itself.

    Args:
        batches: nobody is in two of them, and nothing changes them meanwhile.

    Returns:
        Who has not taken all, and how many bytes of it were taken: the socket is full, or gone.
    """
    behind: list[tuple[Subscriber, Pushes, int]] = []
    for subscribers, pushes in batches:
        frames = pushes.frames
        size = len(frames)
        for subscriber in subscribers:
            send = subscriber.send
            try:
                taken = send(frames)
            except Exception:
                taken = 0
            if taken != size:
                behind.append((subscriber, pushes, taken))
    return behind
