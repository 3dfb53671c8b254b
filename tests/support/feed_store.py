"""The histories of all nodes, as the scripts of Redis keep them, for the model of the feeds."""

from __future__ import annotations

from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.ring import Entry, Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.position import StreamPosition, is_older

TOPICS = ("a", "b")
PLAIN = "c"
"""A topic that no rule fits; everybody is in it."""
KEPT = 6


class SharedStore:
    """The histories of all nodes, as the scripts of Redis keep them, and every message ever published."""

    def __init__(self) -> None:
        self.rings: dict[str, Ring] = {}
        self.replica: dict[str, Ring] = {}
        self.published: dict[str, list[str]] = {topic: [] for topic in (*TOPICS, PLAIN)}  # payloads, in order
        self.index: dict[str, int] = {}  # payload -> place in `published`
        self.positions: dict[tuple[str, str], int] = {}  # topic and position -> the same
        self.begun: dict[tuple[str, str], int] = {}  # topic and epoch -> place of its first message
        self.copied: dict[str, int] = dict.fromkeys(TOPICS, 0)  # how many were published before the copy
        self.excluded: dict[str, tuple[str, ...]] = {}  # payload -> who does not get it
        self.erased: set[str] = set()
        self.unkept: set[str] = set()
        self.owed: set[str] = set()  # of these, those whose publisher sees to it that everybody is told
        self.clients: dict[int, tuple[dict[str, str], set[str], set[str]]] = {}
        self.has_fallen_back = False
        self.incomparable: set[str] = set()  # topics of which something was dropped since
        self.count = 0
        self.broken = False

    def ring(self, topic: str, suffix: str = "") -> Ring:
        if topic not in self.rings:
            self.count += 1
            epoch = f"e{self.count}_{self.count:011x}{suffix}"
            self.rings[topic] = Ring(epoch)
            self.begun[topic, epoch] = len(self.published[topic])
        return self.rings[topic]

    def open(self, topic: str, known: StreamPosition | None = None, owed: str = "") -> Ring:
        """Begin another epoch when the caller knows of something that is not there any more."""
        ring = self.rings.get(topic)
        if ring is not None and (owed in ("*", ring.epoch) or has_lost(ring, known)):
            del self.rings[topic]
        return self.ring(topic, "-" if owed == "*" or (ring is not None and topic not in self.rings) else "")

    def append(
        self,
        topic: str,
        known: StreamPosition | None = None,
        owed: str = "",
        exclude: tuple[str, ...] = (),
    ) -> Arrival:
        ring = self.open(topic, known, owed)
        previous = ring.nonce
        payload = self.publish(topic)
        self.excluded[payload.decode()] = exclude
        ring.append(Entry(ring.top + 1, self.count, 0.0, payload, exclude))
        self.drop(topic, len(ring.entries) - KEPT)
        self.positions[topic, ring.position] = self.index[payload.decode()]
        return Arrival(payload, exclude, ring.epoch, ring.top, ring.nonce, previous)

    def drop(self, topic: str, count: int) -> None:
        """Drop the oldest. After a failover nobody can compare what he knows with what is dropped."""
        for _ in range(count):
            self.rings[topic].pop()
            if self.has_fallen_back:
                self.incomparable.add(topic)

    def publish(self, topic: str) -> bytes:
        """Make a message that is not kept."""
        self.count += 1
        payload = f"{topic}{self.count}"
        self.index[payload] = len(self.published[topic])
        self.published[topic].append(payload)
        return payload.encode()

    def foreign(self, topic: str) -> bytes:
        """Make a message that the store never hears of."""
        self.count += 1
        return f"{topic}~{self.count}".encode()

    def read(
        self, topic: str, after: int, limit: int, known: StreamPosition | None = None, owed: str = ""
    ) -> Ring:
        if self.broken:
            raise BrokerError("the store is away")
        ring = self.open(topic, known, owed)
        if known is None or known.epoch != ring.epoch:
            after = 0
        return copy(ring, after, limit)

    def had_by(self, memory: dict[str, str]) -> tuple[set[str], set[str]]:
        """What a client has got, over all its connections; and what was left out without a word."""
        _, had, skipped = self.clients.setdefault(id(memory), (memory, set(), set()))
        return had, skipped

    def copy_all(self) -> None:
        self.replica = {topic: copy(ring) for topic, ring in self.rings.items()}
        self.copied = {topic: len(self.published[topic]) for topic in TOPICS}

    def fall_back(self) -> None:
        """All that was published since the copy is gone."""
        self.has_fallen_back = True
        self.rings = {topic: copy(ring) for topic, ring in self.replica.items()}
        for topic in TOPICS:
            self.erased.update(self.published[topic][self.copied[topic] :])


def has_lost(ring: Ring, known: StreamPosition | None) -> bool:
    if known is None:
        return False
    if known.epoch != ring.epoch:
        return is_older(ring.epoch, known.epoch)
    nonce = ring.nonce if known.offset == ring.top else 0
    nonce = nonce or next((entry.nonce for entry in ring.entries if entry.offset == known.offset), 0)
    return known.offset > ring.top or (nonce != 0 and nonce != known.nonce)


def copy(ring: Ring, after: int = 0, limit: int = 1000) -> Ring:
    found = Ring(ring.epoch, ring.top, ring.nonce)
    entries = ring.after(after)[-limit:]
    found.extend_left(entries, ring.nonce_at(entries[0].offset - 1) if entries else ring.nonce)
    return found
