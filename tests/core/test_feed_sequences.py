"""The shortest sequences that `make feed-model` has found, each told as a story."""

from __future__ import annotations

from support.feed_machine import Recovery, RecoveryInCluster, RecoveryOfThree, RecoveryOfThreeInCluster
from support.steps import Taken


def unkept(topic: str, by: int, *, ends_at_once: bool = False) -> Taken:
    given = {"topic": topic, "by": by, "ends_at_once": ends_at_once, "now": True}
    return Taken("publish_what_cannot_be_kept", given)


def at_rest(topic: str, *lost: int) -> Taken:
    return Taken("publish_at_rest", {"topic": topic, "lost": lost})


class TestWhatIsOwed:
    """Who has published what cannot be kept ends the epoch that there is, whichever he knows of himself."""

    def test_an_old_message_that_arrives_leaves_what_is_owed_for_a_newer_one(self) -> None:
        """Another node has ended the epoch of the first one; the second is missing in the next epoch."""
        RecoveryOfThree.run(
            [
                Taken("the_feed_is_interrupted", {"number": 0, "now": True}),
                unkept("a", 1),
                Taken("a_client_comes_back", {"number": 0}, [723, 982, 741]),
                Taken("deliver", {"number": 1, "count": 1}),
                unkept("a", 1),
            ]
        )

    def test_nor_does_its_own_message_that_arrives_in_an_old_epoch(self) -> None:
        missed = {"number": 0, "missed": ["b", "a", "a", "b", "a", "b"], "delivered": 2, "awaited": 3}
        Recovery.run(
            [
                unkept("b", 2),
                Taken("a_client_wants_the_newest", {"number": 2, "topic": "b", "last": 2}),
                Taken("a_client_is_away_for_a_while", missed, [789]),
                unkept("b", 2),
            ]
        )

    def test_nor_when_the_epoch_has_ended_at_once_before(self) -> None:
        RecoveryOfThreeInCluster.run(
            [
                at_rest("b", 0, 1),
                unkept("b", 1, ends_at_once=True),
                at_rest("b", 0),
                Taken("a_client_comes_back", {"number": 0}, [836, 678, 552]),
                unkept("b", 0),
            ]
        )


class TestReadBefore:
    """What is not kept arrives while a client waits for what was read from the store before."""

    def test_a_client_is_not_told_that_it_is_recovered(self) -> None:
        missed = {"number": 0, "missed": [], "delivered": 0, "awaited": 3}
        RecoveryOfThree.run(
            [
                Taken("a_client_is_away_for_a_while", missed, [802]),
                unkept("a", 2, ends_at_once=True),
                Taken("a_client_comes_back", {"number": 1}, [902, 7, 897]),
                Taken("the_store_loses_topics", {"topics": ["a"], "now": True}),
            ]
        )

    def test_nor_behind_what_was_kept(self) -> None:
        missed = {"number": 1, "missed": ["a", "a", "b"], "delivered": 3, "awaited": 6}
        hole = {"number": 2, "topic": "a", "count": 4}
        Recovery.run(
            [
                Taken("a_client_goes", {}, [600]),
                Taken("a_client_is_away_for_a_while", missed, [730]),
                unkept("b", 2),
                Taken("a_hole_is_filled_before_the_rest_has_arrived", hole),
                Taken("the_store_loses_topics", {"topics": ["b", "b"], "now": True}),
            ]
        )


class TestPlaceThatIsGivenAgain:
    """After a failover an offset belongs to another message than the one before what is on its way."""

    def test_what_was_on_its_way_does_not_come_behind_it(self) -> None:
        missed = {"number": 1, "missed": ["a", "b"], "delivered": 7, "awaited": 4}
        Recovery.run(
            [
                at_rest("a", 0, 1),
                Taken("the_store_is_copied", {}),
                at_rest("a", 0, 1),
                Taken("the_store_falls_back_to_the_copy", {"now": True, "notice": []}),
                Taken("a_client_is_away_for_a_while", missed, [298]),
            ]
        )


class TestEpochThatIsGone:
    """What waits behind a hole came in an epoch that a failover takes back: what is stored is newer."""

    def test_it_does_not_come_behind_what_was_published_since(self) -> None:
        RecoveryInCluster.run(
            [
                at_rest("a", 0),
                Taken("the_store_is_copied", {}),
                unkept("a", 2, ends_at_once=True),
                Taken("publish", {"topic": "a", "count": 2, "by": 1}),
                Taken("the_store_falls_back_to_the_copy", {"now": True, "notice": [2, 1]}),
                at_rest("a"),
            ]
        )

    def test_nor_with_more_holes(self) -> None:
        RecoveryOfThreeInCluster.run(
            [
                at_rest("b", 0, 1),
                Taken("the_store_is_copied", {}),
                unkept("b", 0, ends_at_once=True),
                Taken("publish", {"topic": "b", "count": 3, "by": 2, "exclude": ("me 3",)}),
                Taken("the_store_falls_back_to_the_copy", {"now": True, "notice": [1]}),
                Taken(
                    "a_hole_is_filled_before_the_rest_has_arrived", {"number": 2, "topic": "b", "count": 2}
                ),
                at_rest("a", 1),
            ]
        )
