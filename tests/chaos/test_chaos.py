"""A short storm, and that its checker would see what it looks for; `make chaos` goes on longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.ledger import Ledger, Receipts, topic_of
from chaos.storm import Storm, start_server

SECONDS = 5.0
SEED = 20211129


@pytest.mark.timeout(120)
async def test_in_a_storm_the_healthy_get_everything_once_and_in_order(tmp_path: Path) -> None:
    server = start_server(tmp_path)
    try:
        storm = Storm(server, SEED)
        await storm.rage(SECONDS)
        assert storm.wrong == [], f"seed {SEED}, {storm.counts}"
        for what in (
            "workers killed",
            "visitors",
            "publishers killed in a call",
            "publishers reset in a call",
        ):
            assert storm.counts[what] >= 2, what
        assert storm.counts["delivered to the healthy"] >= 10 * storm.counts["accepted"] > 0
    finally:
        server.end()


def receipts_after(*numbers: int, begun_before_join: int = 0, accepted: int = 3) -> Receipts:
    """What a subscriber has that got these messages of one publisher."""
    ledger = Ledger()
    for _ in range(begun_before_join):
        ledger.begin("one")
    receipts = Receipts(ledger)
    receipts.joined()
    for number in range(accepted):
        if number >= begun_before_join:
            ledger.begin("one")
        ledger.accept("one", number)
    for number in numbers:
        receipts.take(topic_of(number), f"one:{number}:")
    return receipts


def test_the_checker_is_content_with_everything_in_order() -> None:
    for receipts in (
        receipts_after(0, 1, 2),
        receipts_after(1, 2, begun_before_join=2),
        receipts_after(2, begun_before_join=2),
    ):
        assert (receipts.wrong, receipts.missing()) == ([], {})


@pytest.mark.parametrize("numbers", [(1, 2), (0, 2), (0, 1, 1, 2), (1, 0, 2), (0, 2, 1)])
def test_the_checker_sees_holes_doubles_and_wrong_order(numbers: tuple[int, ...]) -> None:
    assert receipts_after(*numbers).wrong


def test_the_checker_sees_what_is_missing_at_the_end() -> None:
    assert receipts_after(0, 1).missing() == {"one": 1}
    assert receipts_after().missing() == {"one": 3}
    assert receipts_after(begun_before_join=1).missing() == {"one": 2}


def test_the_checker_sees_a_wrong_topic() -> None:
    receipts = receipts_after()
    receipts.take(topic_of(1), "one:0:")
    assert receipts.wrong
