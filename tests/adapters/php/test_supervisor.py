from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from rr_py_ws.adapters.php.slot import broken_rule
from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.config import Supervisor
from support.php_pool import Gate, RecordedLog, Start, ask, pid_of, pids
from support.waiting import eventually


@dataclass
class Figures:
    """What the rules look at in a worker."""

    state: State = State.READY
    started: float = 0.0
    asked: float | None = None
    resident: int = 0

    def memory(self) -> int:
        return self.resident


def rule(worker: Figures, now: float, **limits: Any) -> str | None:
    return broken_rule(Supervisor(**limits), cast(Worker, worker), now)


def test_without_limits_nothing_is_too_old() -> None:
    assert rule(Figures(asked=0.0, resident=2**40), now=1e9) is None


@pytest.mark.parametrize(("now", "broken"), [(9.9, None), (10.0, "ttl"), (99.0, "ttl")])
def test_ttl_counts_from_the_start(now: float, broken: str | None) -> None:
    assert rule(Figures(asked=9.0), now, ttl=10) == broken


@pytest.mark.parametrize(("resident", "broken"), [(2**20 - 1, None), (2**20, "max_worker_memory")])
def test_memory_is_in_mebibytes(resident: int, broken: str | None) -> None:
    assert rule(Figures(resident=resident), 0.0, max_worker_memory=1) == broken


@pytest.mark.parametrize(("now", "broken"), [(14.9, None), (15.0, "idle_ttl")])
def test_idle_counts_from_the_start_of_the_last_question(now: float, broken: str | None) -> None:
    assert rule(Figures(asked=5.0), now, idle_ttl=10) == broken


def test_a_worker_that_was_never_asked_is_not_idle() -> None:
    assert rule(Figures(asked=None), 1e9, idle_ttl=1) is None


def test_a_working_worker_is_not_idle_but_can_be_too_old() -> None:
    working = Figures(State.WORKING, asked=0.0)
    assert rule(working, 1e9, idle_ttl=1) is None
    assert rule(working, 1e9, idle_ttl=1, ttl=1) == "ttl"


def test_the_first_rule_counts() -> None:
    metrics = Figures(asked=0.0, resident=2**30)
    assert rule(metrics, 99.0, ttl=1, max_worker_memory=1, idle_ttl=1) == "ttl"
    assert rule(metrics, 99.0, max_worker_memory=1, idle_ttl=1) == "max_worker_memory"


@pytest.mark.parametrize("state", set(State) - {State.READY, State.WORKING})
def test_a_worker_that_goes_anyway_is_left_alone(state: State) -> None:
    assert rule(Figures(state, asked=0.0, resident=2**30), 99.0, ttl=1, max_worker_memory=1) is None


async def test_an_old_worker_is_replaced_again_and_again(start: Start, log: RecordedLog) -> None:
    pool = await start(supervisor={"watch_tick": 0.01, "ttl": 0.1})
    seen = set(pids(pool))
    while len(seen) < 4:
        seen.add(await pid_of(pool))
        await asyncio.sleep(0.01)
    assert log.events("warning") == []
    assert set(log.events("info")) == {"worker is replaced"}
    assert "reason=ttl" in log.text()


async def test_an_old_worker_finishes_its_question(start: Start, gate: Gate) -> None:
    pool = await start(supervisor={"watch_tick": 0.01, "ttl": 0.3})
    (old,) = pids(pool)
    asking = asyncio.ensure_future(ask(pool, gate.wait))
    await eventually(lambda: len(pids(pool)) == 2)
    assert {state.status_text for state in pool.states() if state.pid == old} <= {"invalid"}
    gate.open()
    answered = (await asking).body
    assert int(answered) > 0


async def test_an_idle_worker_is_replaced(start: Start, log: RecordedLog) -> None:
    pool = await start(workers=2, supervisor={"watch_tick": 0.01, "idle_ttl": 0.1})
    used = await pid_of(pool)
    (unused,) = set(pids(pool)) - {used}
    await eventually(lambda: used not in pids(pool) and len(pids(pool)) == 2)
    assert unused in pids(pool)
    assert "reason=idle_ttl" in log.text()


async def test_a_worker_that_grew_is_replaced(start: Start, log: RecordedLog) -> None:
    pool = await start(supervisor={"watch_tick": 0.01, "max_worker_memory": 64})
    old = await pid_of(pool)
    await ask(pool, "do=memory&mib=80")
    await eventually(lambda: old not in pids(pool) and pids(pool))
    assert "reason=max_worker_memory" in log.text()
    assert (await ask(pool)).allowed
