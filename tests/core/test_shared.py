"""What clients share that come back together: each still gets what is its own, and memory is bounded."""

from __future__ import annotations

from dataclasses import replace

from rr_py_ws.core.replay import Replay
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring, SharedAnswers
from rr_py_ws.core.shared import Shared
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import STRING
from rr_py_ws.wire.recovery import Missed

LIMIT = ReplayLimit(10, 1000)


def test_when_it_is_full_everything_is_forgotten() -> None:
    shared = Shared[str](most=100, largest=60)
    shared.add("a", "of 60", 60)
    shared.add("b", "of 40", 40)
    assert (shared.get("a"), shared.get("b")) == ("of 60", "of 40")
    shared.add("c", "of 1", 1)
    assert (shared.get("a"), shared.get("b"), shared.get("c")) == (None, None, "of 1")
    shared.add("d", "too large", 61)
    assert (shared.get("c"), shared.get("d")) == ("of 1", None)


def ring_of(*payloads: bytes) -> Ring:
    ring = Ring("epoch")
    for offset, payload in enumerate(payloads, 1):
        ring.append(Entry(offset, 0, 1.0, payload, ()))
    return ring


def test_answers_follow_what_becomes_of_a_ring() -> None:
    answers, ring = SharedAnswers(), ring_of(b"1", b"2", b"3")

    def replayed(wish: str | int, limit: ReplayLimit = LIMIT) -> list[bytes]:
        found = answers.recover(ring, "news", wish, limit)
        assert found == ring.recover("news", wish, limit)
        return [publication.payload for publication in found.replay]

    assert replayed("epoch.1") == replayed("epoch.1") == [b"2", b"3"]
    assert replayed(2) == [b"2", b"3"]
    assert replayed("epoch.0", ReplayLimit(2, 1000)) == []
    ring.append(Entry(4, 0, 2.0, b"4", ()))
    assert replayed("epoch.1") == [b"2", b"3", b"4"]
    ring.pop()
    assert replayed("epoch.1") == [b"2", b"3", b"4"]
    assert replayed("epoch.0") == []
    ring.clear()
    assert replayed("epoch.1") == []
    assert answers.recover(ring, "news", "epoch.1", LIMIT).reason == "trimmed"


def test_who_gets_the_same_is_sent_the_same_and_it_is_encoded_once() -> None:
    pushed: list[bytes] = []

    def push(publication: Publication) -> bytes:
        pushed.append(publication.payload)
        return b"<" + publication.payload + b">"

    encoding = replace(STRING, push=push)
    both = [Publication("news", b"1", "e.1", 1.0), Publication("news", b"2", "e.2", 1.0)]
    for publications, frames in ((both, b"<1><2>"), (list(both), b"<1><2>"), (both[1:], b"<2>")):
        replay = Replay(encoding, Missed(publications))
        assert replay.next_frames(1000) == frames
        assert not replay and replay.next_frames(1000) == b""
    assert pushed == [b"1", b"2", b"2"]
    # Whoever takes little gets it in pieces all the same.
    slow = Replay(encoding, Missed(both))
    assert [slow.next_frames(1), slow.next_frames(1), slow.next_frames(1)] == [b"<1>", b"<2>", b""]


def test_what_is_missed_knows_what_all_clients_ask_of_it() -> None:
    one, other = (
        Publication("news", payload, "e.1", 1.0, names) for payload, names in ((b"12", ()), (b"3", ("a",)))
    )
    missed = Missed([one, other])
    assert (missed.size, missed.excludes, missed) == (3, True, (one, other))
    assert (Missed([one]).size, Missed([one]).excludes) == (2, False)
    assert hash(missed) == hash((one, other)) == hash(Missed(iter([one, other])))
