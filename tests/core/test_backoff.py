"""The pauses between attempts that fail."""

from __future__ import annotations

from rr_py_ws.core.backoff import Backoff


def pauses(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_pause() for _ in range(count)]


def test_pauses_double_up_to_the_longest_with_jitter_below() -> None:
    steps = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    for _ in range(50):
        for step, pause in zip(steps, pauses(Backoff(0.1, 1.0), 6), strict=True):
            assert step / 2 <= pause <= step


def test_two_nodes_do_not_come_back_in_step() -> None:
    assert pauses(Backoff(0.1, 1.0), 5) != pauses(Backoff(0.1, 1.0), 5)


def test_after_a_reset_it_begins_again() -> None:
    backoff = Backoff(0.1, 1.0)
    pauses(backoff, 5)
    backoff.reset()
    assert backoff.next_pause() <= 0.1


def test_d22_the_first_pause_is_min_retry_backoff() -> None:
    """RoadRunner took max_retry_backoff for both."""
    assert Backoff(0.008, 0.512).next_pause() <= 0.008
    assert Backoff(2.0, 0.5).next_pause() <= 0.5  # never longer than the longest
