"""Feeds step by step: what random failures have found, each told as a story."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from rr_py_ws.config import HistoryRule
from rr_py_ws.core.feed import Feeds
from rr_py_ws.core.feed_rings import Arrival
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import Entry, ReplayLimit, Ring
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import OFF, Recovery
from support.feed_world import Later, World

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


class Ended:
    """Nothing here has to be waited for."""

    def __await__(self) -> Iterator[None]:
        return iter(())


def run(work: Coroutine[Any, Any, None]) -> Ended:
    with suppress(StopIteration):
        work.send(None)
        raise AssertionError("something has to be waited for")
    return Ended()


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


def test_what_was_on_its_way_since_before_a_failover_does_not_come_behind_it() -> None:
    """In a cluster, messages of the old master and of the new one come over the same connection."""
    here = Here()
    here.receive("e1.1.11", "e1.2.12")
    here.begin("e1", 11, 22)
    here.feeds.check(["h"])
    here.begin("e1", 11, 22, 23)
    here.feeds.receive("h", arrival("e1.3.23", 22))
    here.feeds.receive("h", arrival("e1.3.13", 12))
    assert here.got == ["11", "12", "gap in h", "23"]


def test_who_is_there_without_a_position_hears_of_a_gap_before_what_comes_behind_it() -> None:
    """A client with a position comes while the feed is interrupted, and what follows is read for it."""
    here = Here()
    here.feeds.interrupt(["h"])
    here.begin("e1", 11, 12)
    here.recover(True)
    here.begin("e1", 11, 12, 13)
    here.feeds.check(["h"])
    here.feeds.resume(["h"])
    assert here.got == ["gap in h", "13"]


def test_the_store_says_which_of_two_messages_in_one_place_counts() -> None:
    here = Here()
    here.receive("e1.1.11", "e1.2.12")
    here.begin("e1", 11, 22)
    here.feeds.receive("h", arrival("e1.2.22", 11))
    here.begin("e1", 11, 22, 23)
    here.feeds.receive("h", arrival("e1.3.23", 22))
    assert here.got == ["11", "12", "gap in h", "23"]
    assert here.ended == [("h", "e1")]


def test_who_knows_of_a_new_epoch_before_its_first_message_is_recovered() -> None:
    """Another node has told its position, and nothing has been published since."""
    here = Here()
    here.receive("e1.1.11")
    here.begin("e2")
    assert here.recover("e2.0") == Recovery("e2.0")
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


class Slow(Here):
    """A node whose store answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.failing = False
        self.feeds = Feeds(self, RULES, self.take, self.miss, self.end, self.world.spawn)

    def end(self, topic: str, epoch: str) -> None:
        self.ended.append((topic, epoch))

    def read(self, topic: str, after: int, limit: int) -> Later:  # type: ignore[override]
        def happen() -> Ring:
            if self.failing:
                raise BrokerError("the store is away")
            found = Ring(self.stored.epoch, self.stored.top, self.stored.nonce)
            found.extend_left(self.stored.after(after))
            return found

        return self.world.later(happen)

    def settle(self) -> Later:  # type: ignore[override]
        return self.world.later(lambda: None)

    def happens(self) -> None:
        """What is asked reaches the store; the answers are on their way."""
        for later in self.world.pending:
            if not later.happened:
                self.world.step(later)

    def rests(self) -> None:
        """All answers arrive, also to what is asked because of them."""
        for _ in range(100):
            if not self.world.pending:
                return
            self.world.step(self.world.pending[0])
        raise AssertionError("this never ends")

    def joins(self, wish: Wish, answers: list[Recovery]) -> Later:
        found = self.feeds.recover({"h": wish}, ReplayLimit(100, 10_000))

        async def wait() -> None:
            answers.append((await found if isinstance(found, Awaitable) else found)()["h"])

        return self.world.spawn(wait())


class TestWhileTheStoreIsRead:
    def test_what_is_missing_since_is_looked_for_again(self) -> None:
        """The first answer is from before the feed was there again."""
        here = Slow()
        here.receive("e1.1.11")
        here.begin("e1", 11)
        here.feeds.check(["h"])
        here.happens()
        here.feeds.interrupt(["h"])
        here.begin("e1", 11, 12)
        here.feeds.resume(["h"])
        here.rests()
        assert here.got == ["11", "12"]

    def test_an_epoch_that_has_come_and_gone_is_handed_over_in_its_place(self) -> None:
        here = Slow()
        here.receive("e1.1.11", "e1.3.13")
        here.begin("e3", 31, 32)
        here.receive("e2.1.21")
        here.feeds.receive("h", arrival("e3.2.32", 31))
        here.rests()
        assert here.got == ["11", "gap in h", "13", "21", "31", "32"]

    def test_of_two_other_epochs_the_store_says_which_is_newer(self) -> None:
        """Its answer was on its way when the last one has begun, of which nothing was read."""
        here = Slow()
        here.receive("e1.1.11")
        here.begin("e2")
        here.feeds.check(["h"])
        here.happens()
        here.world.step(here.world.pending[0])
        here.happens()
        here.world.step(here.world.pending[0])
        here.happens()
        here.receive("e3.1.31")
        here.begin("e3", 31)
        here.rests()
        assert here.got == ["11", "31"]

    def test_what_came_before_a_failover_does_not_come_behind_it(self) -> None:
        """Another publication has its place in the store: which of the two is the older one, is known."""
        here = Slow()
        here.receive("e1.1.11", "e1.3.13")
        here.begin("e1", 11, 22, 23, 24)
        here.rests()
        assert here.got == ["11", "gap in h"]
        assert here.ended == [("h", "e1")]

    def test_an_answer_to_a_question_that_was_given_up_is_not_one_to_the_next(self) -> None:
        here = Slow()
        here.receive("e1.1.11", "e1.3.13")
        here.begin("e1", 11, 12, 13)
        here.happens()
        for offset in range(4, 1006):  # more than may wait
            here.feeds.receive("h", arrival(f"e1.{offset}.{offset}", offset - 1 if offset > 4 else 13))
        assert here.got[:3] == ["11", "gap in h", "13"]
        here.feeds.receive("h", arrival("e1.1008.1008", 1007))
        here.begin("e1", 11, 12, 13, *range(4, 1009))
        here.rests()
        assert here.got[-3:] == ["1006", "1007", "1008"]
        assert len(here.got) == 1 + 1007  # of the first three messages, two and a gap

    def test_who_leaves_takes_the_answer_of_nobody(self) -> None:
        here = Slow()
        here.begin("e1", 11)
        answers: list[Recovery] = []
        leaving, staying = here.joins("e1.0", answers), here.joins("e1.0", answers)
        here.world.cancel(leaving)
        here.rests()
        assert staying.done
        assert [recovery.reason for recovery in answers] == [""]

    def test_what_was_read_before_an_interruption_is_not_told_to_who_comes_behind_it(self) -> None:
        here = Slow()
        here.begin("e1", 11)
        early: list[Recovery] = []
        late: list[Recovery] = []
        here.joins(5, early)
        here.happens()
        here.feeds.interrupt(["h"])
        here.begin("e1", 11, 12)
        here.feeds.resume(["h"])
        here.joins(5, late)
        here.rests()
        assert [found.position for found in late[0].replay] == ["e1.1.11", "e1.2.12"]

    @pytest.mark.parametrize("answered_before", [True, False])
    def test_what_is_asked_while_the_feed_is_away_is_no_beginning_of_what_comes_when_it_is_back(
        self, answered_before: bool
    ) -> None:
        """What was published meanwhile is lost, and so is the epoch that would tell of it."""
        here = Slow()
        here.begin("e1", 11)
        answers: list[Recovery] = []
        here.feeds.interrupt(["h"])
        here.joins("e1.1.11", answers)
        here.happens()
        if answered_before:
            here.rests()
        here.begin("e2", 21)
        here.feeds.resume(["h"])
        here.rests()
        assert here.got[-2:] == ["gap in h", "21"]


class TestAStoreThatIsAway:
    def test_what_could_not_be_looked_for_stays_in_doubt(self) -> None:
        here = Slow()
        here.receive("e1.1.11")
        here.feeds.interrupt(["h"])
        here.begin("e1", 11, 12)
        here.failing = True
        here.feeds.resume(["h"])
        here.rests()
        assert here.feeds.is_doubtful("h")
        here.failing = False
        answers: list[Recovery] = []
        here.joins("e1.1.11", answers)
        here.rests()
        assert here.got == ["11", "12"]
        assert answers[0].reason == ""
        assert not here.feeds.is_doubtful("h")

    def test_what_came_meanwhile_is_handed_over_with_a_gap(self) -> None:
        here = Slow()
        here.failing = True
        here.receive("e1.1.11", "e1.3.13", "e1.4.14")
        here.rests()
        assert here.got == ["11", "gap in h", "13", "14"]


class TestWitnesses:
    """A failover has lost what some node knows of: its epoch ends with a word to everybody."""

    def test_an_epoch_that_tells_of_a_loss_is_a_gap_also_where_nothing_was_noticed(self) -> None:
        """This node has begun behind the failover: what it has read follows, and something was in between."""
        here = Here()
        here.begin("e1", 11)
        here.recover("e1.1.11")
        here.receive("e2-.1.21")
        assert here.got == ["gap in h", "21"]

    def test_who_finds_a_rollback_by_a_message_ends_the_epoch(self) -> None:
        here = Here()
        here.receive("e1.1.11", "e1.2.12")
        here.feeds.receive("h", arrival("e1.3.33", 32))
        assert here.got == ["11", "12", "gap in h", "33"]
        assert here.ended == [("h", "e1")]
        here.begin("e1", 11, 32, 33)
        assert here.recover("e1.1.11") == OFF

    def test_an_older_epoch_is_none_that_begins(self) -> None:
        """This node has never heard of it."""
        here = Here()
        here.receive("x_00000000002.1.21")
        here.begin("x_00000000001", 11, 12)
        here.feeds.interrupt(["h"])
        here.feeds.resume(["h"])
        assert here.got == ["21", "gap in h"]
        assert here.ended == [("h", "x_00000000001")]

    def test_epochs_are_remembered_of_topics_that_nobody_is_in(self) -> None:
        here = Here()
        here.receive("e1.1.11", "e2.1.21")
        here.feeds.forget(["h"])
        here.begin("e1", 11)
        assert here.recover("e1.1.11") == OFF
        assert here.ended == [("h", "e1")]

    def test_an_interruption_counts_until_the_feed_has_brought_another_epoch(self) -> None:
        """What is read meanwhile is no sign that anything arrives."""
        here = Here()
        here.receive("e1.1.11")
        here.feeds.interrupt(["h"])
        here.begin("e2")
        here.feeds.check(["h"])
        here.begin("e3", 31)  # of the second nothing has arrived
        here.feeds.resume(["h"])
        assert here.got == ["11", "gap in h", "gap in h", "31"]

    def test_another_server_is_as_good_as_an_interruption(self) -> None:
        here = Here()
        here.receive("e1.1.11")
        here.feeds.doubt()
        here.begin("e2", 21)
        here.feeds.check(["h"])
        assert here.got == ["11", "gap in h", "21"]

    def test_an_epoch_that_was_only_read_is_told_when_the_feed_turns_out_to_be_dead(self) -> None:
        here = Here()
        here.receive("e1.1.11")
        here.begin("e2", 21)
        here.feeds.check(["h"])
        assert here.got == ["11", "21"]
        here.feeds.interrupt(["h"])
        here.feeds.resume(["h"])
        assert here.got == ["11", "21", "gap in h"]
