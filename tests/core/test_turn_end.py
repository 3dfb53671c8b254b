"""What is gathered in a turn is written at its end, or as soon as who alone brings something has done so."""

from __future__ import annotations

from rr_py_ws.core.turn_end import TurnEnd
from support.turns import Turns


def test_the_loop_calls_what_is_scheduled() -> None:
    turns, called = Turns(), []
    end = TurnEnd(turns.schedule)
    end.schedule(lambda: called.append(1))
    assert not called
    turns.end()
    assert called == [1]


def test_while_it_is_held_the_loop_is_not_asked() -> None:
    turns, called = Turns(), []
    end = TurnEnd(turns.schedule)
    end.held = True
    end.schedule(lambda: called.append(1))
    assert not (called or turns.scheduled)
    end.release()
    assert called == [1]
    end.release()
    assert called == [1]


def test_what_is_scheduled_by_what_was_released_waits_for_the_loop() -> None:
    turns, called = Turns(), []
    end = TurnEnd(turns.schedule)
    end.held = True
    end.schedule(lambda: end.schedule(lambda: called.append(1)))
    end.release()
    assert not called
    turns.end()
    assert called == [1]


def test_a_failure_is_not_that_of_who_releases() -> None:
    end, called = TurnEnd(Turns().schedule), []
    end.held = True
    end.schedule(lambda: called[1])
    end.schedule(lambda: called.append(1))
    end.release()
    assert called == [1]
