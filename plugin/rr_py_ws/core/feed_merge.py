"""What is to be handed over when the store has been read: what it has, and what came over the feed meanwhile.

There are three cases:

* The store goes on with the history of the ring. What it has behind the ring is missing here, or is waiting.
* It has another epoch. What has come of those before is all that will come of them.
* It has gone back: an epoch that had ended is there again, or a publication that has come is not. So it is
  after a failover to a server that lagged. Nobody knows what is missing then: nothing of it is handed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from rr_py_ws.core.feed_rings import Arrival, differ
from rr_py_ws.core.ring import Ring
from rr_py_ws.wire.position import is_older

_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class Merged(NamedTuple):
    """How a topic goes on.

    Attributes:
        ring: behind which; the one that there was when the store goes on with it, else one without entries.
        has_gone_back: whether the store has.
        before: what has come of other epochs, to be handed over before the ring counts.
        found: what is to be handed over then, oldest first.
        rest: what has come besides, in order.
    """

    ring: Ring
    has_gone_back: bool
    before: Sequence[Arrival]
    found: Sequence[Arrival]
    rest: Sequence[Arrival]


def merge(
    ring: Ring, ended: Collection[str], stored: Ring, waiting: Sequence[Arrival], asked: int
) -> Merged | None:
    """Put together what is known of a topic; None when the store has to be asked once more.

    Args:
        ring: what was handed over.
        ended: epochs that have ended before that of the ring.
        stored: what the store has.
        waiting: what has come since.
        asked: so many of these had come before the store was asked, so it should have them.
    """
    before: Sequence[Arrival] = ()
    newer = [at for at, arrival in enumerate(waiting) if is_older(stored.epoch, arrival.epoch)]
    if newer and newer[-1] >= asked:
        return None  # did it begin after the store was asked, or is it gone?
    if newer:
        before = waiting[: newer[-1] + 1]
    elif stored.epoch != ring.epoch:
        epochs = [arrival.epoch for arrival in waiting]
        if stored.epoch in epochs:
            before = waiting[: epochs.index(stored.epoch)]
        elif not {"", ring.epoch}.issuperset(epochs[asked:]):
            return None  # a third epoch, and nobody knows which of the two is newer
        else:
            before = waiting
    others = waiting[len(before) :]
    is_behind = _is_behind(stored, ring)
    same = [arrival for arrival in others if arrival.epoch == stored.epoch]
    older = [arrival for arrival in waiting[:asked] if arrival.epoch == stored.epoch]
    if stored.epoch == ring.epoch and not is_behind:
        # What differs from what was handed over, and is not in the store, was on its way since a failover.
        late = {id(arrival) for arrival in older if arrival.offset <= ring.top}
        same = [arrival for arrival in same if id(arrival) not in late]
    if (
        newer
        or is_behind
        or has_ended(stored.epoch, ring, ended)
        or any(arrival.offset > stored.top for arrival in older)
        or any(differ(stored.nonce_at(arrival.offset), arrival.nonce) for arrival in same)
    ):
        rest = [arrival for arrival in others if arrival.epoch != stored.epoch]
        return Merged(Ring(stored.epoch, stored.top, stored.nonce), True, before, (), rest)
    if any(_contradicts(stored, arrival) for arrival in waiting[asked:]):
        return None  # was it published after what the store had, or before that and is lost?
    start = ring if stored.epoch == ring.epoch else Ring(stored.epoch)
    found = {arrival.offset: arrival for arrival in same if start.top < arrival.offset <= stored.top}
    found |= {arrival.offset: arrival for arrival in _behind(stored, start.top)}
    rest = [arrival for arrival in others if arrival.epoch != stored.epoch or arrival.offset > stored.top]
    return Merged(start, False, before, [found[offset] for offset in sorted(found)], rest)


def has_ended(epoch: str, ring: Ring, ended: Collection[str]) -> bool:
    """Whether an epoch came before that of a ring."""
    return epoch != ring.epoch and (epoch in ended or is_older(epoch, ring.epoch))


def _is_behind(stored: Ring, ring: Ring) -> bool:
    """Whether the newest publication of a ring is not in the store any more."""
    return stored.epoch == ring.epoch and (
        stored.top < ring.top or differ(stored.nonce_at(ring.top), ring.nonce)
    )


def _contradicts(stored: Ring, arrival: Arrival) -> bool:
    """Whether a publication comes next, but behind another one than the newest of the store."""
    is_next = arrival.epoch == stored.epoch and arrival.offset == stored.top + 1
    return is_next and differ(stored.nonce, arrival.previous)


def _behind(stored: Ring, offset: int) -> Iterator[Arrival]:
    """Yield what is kept and came after an offset, as if it had come over the feed."""
    entries = stored.after(offset)
    previous = stored.nonce_at(entries[0].offset - 1) if entries else 0
    for at, nonce, time, payload, exclude in entries:
        yield _new(Arrival, (payload, exclude, stored.epoch, at, nonce, previous, time))
        previous = nonce
