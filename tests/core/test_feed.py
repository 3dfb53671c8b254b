"""Feeds step by step: what random failures have found, each told as a story."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import pytest

from rr_py_ws.config import HistoryRule
from rr_py_ws.core.feed import Feeds
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import OFF, Recovery

RULES = HistoryRules([HistoryRule(topics=("h",), size=100, ttl=60.0)])


def arrival(position: str, previous: int = 0) -> Arrival:
    """Make the message of a position; its nonce is the number of its payload."""
    epoch, offset, nonce = position.split(".")
    return Arrival(nonce.encode(), (), epoch, int(offset), int(nonce), previous)


class Here:
    """A node whose store answers at once."""

    def __init__(self, *, is_lossy: bool = False) -> None:
        self.stored = Ring("e1")
        self.got: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.feeds = Feeds(
            self,
            RULES,
            self.take,
            self.miss,
            lambda topic, epoch: self.ended.append((topic, epoch)),
            run,
            is_lossy=is_lossy,
        )

    def take(self, publication: Publication) -> None:
        self.got.append(publication.payload.decode())

    def miss(self, topics: Sequence[str]) -> None:
        self.got += [f"gap in {topic}" for topic in topics]

    def begin(self, epoch: str, *nonces: int) -> None:
        """The store has another history from now on."""
        self.stored = Ring(epoch)
        for nonce in nonces:
            self.stored.append(Entry(self.stored.top + 1, nonce, 0.0, str(nonce).encode(), ()))

    def receive(self, *positions: str) -> None:
        previous = 0
        for position in positions:
            self.feeds.receive("h", arrival(position, previous))
            previous = int(position.rpartition(".")[2])

    def recover(self, wish: Wish) -> Recovery:
        found = self.feeds.recover({"h": wish}, ReplayLimit(100, 10_000))
        if callable(found):
            return found()["h"]
        answer: list[Recovery] = []

        async def wait() -> None:
            answer.append((await found)()["h"])

        run(wait())
        return answer[0]

    # The store

    async def read(self, topic: str, after: int, limit: int) -> Ring:
        found = Ring(self.stored.epoch, self.stored.top, self.stored.nonce)
        found.extend_left(self.stored.after(after))
        return found

    async def settle(self) -> None: ...

    def now(self) -> float:
        return 1.0


def run(work: Coroutine[Any, Any, None]) -> None:
    with suppress(StopIteration):
        work.send(None)
        raise AssertionError("nothing here has to be waited for")


class TestEndedEpochs:
    """A failover to a server that has missed the end of an epoch brings the epoch back."""

    def test_what_was_handed_over_does_not_come_again_from_the_store(self) -> None:
        here = Here()
        here.receive("e1.1.11", "e1.2.12")
        here.receive("e2.1.21")
        here.begin("e1", 11, 12)
        here.feeds.check(["h"])
        assert here.got == ["11", "12", "21", "gap in h"]

    def test_nor_with_the_next_message(self) -> None:
        here = Here()
        here.receive("e1.1.11", "e1.2.12")
        here.receive("e2.1.21")
        here.begin("e1", 11, 12, 13)
        here.receive("e1.3.13")
        assert here.got == ["11", "12", "21", "gap in h", "13"]

    def test_it_ends_again_and_is_not_told_of_before(self) -> None:
        """Who has left in it has missed what came in the epochs behind it, and must not be recovered."""
        here = Here()
        here.receive("e1.1.11")
        here.receive("e2.1.21")
        here.begin("e1", 11)
        here.feeds.check(["h"])
        assert here.ended == [("h", "e1")]
        assert here.recover("e1.1.11") == OFF
        here.begin("e3", 31)
        assert here.recover("e1.1.11").reason == "epoch"
        here.receive("e3.1.31", "e3.2.32")
        assert here.got == ["11", "21", "gap in h", "31", "32"]

    def test_another_one_is_handed_over_from_its_beginning(self) -> None:
        here = Here()
        here.receive("e1.1.11")
        here.begin("e2", 21, 22)
        here.receive("e2.2.22")
        assert here.got == ["11", "21", "22"]
        assert here.ended == []


def test_who_knows_of_a_new_epoch_before_its_first_message_is_recovered() -> None:
    """Another node has told its position, and nothing has been published since."""
    here = Here()
    here.receive("e1.1.11")
    here.begin("e2")
    assert here.recover("e2.0") == Recovery("e2.0", [], "")
    assert here.got == ["11"]


@pytest.mark.parametrize(("is_lossy", "told"), [(False, []), (True, ["gap in h"])])
class TestEpochsThatEnd:
    """Whether all of them had arrived nobody knows when the feed may lose something without a trace."""

    def test_by_a_message(self, is_lossy: bool, told: list[str]) -> None:
        here = Here(is_lossy=is_lossy)
        here.receive("e1.1.11")
        here.receive("e2.1.21")
        assert here.got == ["11", *told, "21"]

    def test_when_it_is_looked_for(self, is_lossy: bool, told: list[str]) -> None:
        here = Here(is_lossy=is_lossy)
        here.receive("e1.1.11")
        here.begin("e2", 21)
        here.feeds.check(["h"])
        assert here.got == ["11", *told, "21"]

    def test_nothing_is_told_while_it_goes_on(self, is_lossy: bool, told: list[str]) -> None:
        here = Here(is_lossy=is_lossy)
        here.begin("e1", 11, 12, 13)
        here.receive("e1.1.11")
        here.receive("e1.3.13")
        here.feeds.check(["h"])
        assert here.got == ["11", "12", "13"]
