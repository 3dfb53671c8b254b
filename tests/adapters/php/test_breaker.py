"""When nobody would answer, everybody is told so at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Hashable
from pathlib import Path

import pytest

from rr_py_ws.adapters.auth import PHPAuthorizer
from rr_py_ws.adapters.php import breaker, slot
from rr_py_ws.adapters.php.breaker import DOWN_AFTER, LONGEST_PAUSE, Breaker
from rr_py_ws.adapters.php.pool import WorkerPool
from rr_py_ws.core.backoff import Backoff
from rr_py_ws.errors import ExecTimeout, NoFreeWorkers, WorkersDown
from rr_py_ws.metrics import Sample
from support.php_pool import (
    PHP,
    RecordedLog,
    Start,
    ask,
    children,
    failure_of,
    grant,
    misbehaving,
    pids,
    request,
)
from support.waiting import eventually

HANGS = "do=sleep&ms=600000"


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refused() -> list[str]:
    """With what questions that waited were refused."""
    return []


@pytest.fixture
def two_places(clock: Clock, refused: list[str], log: RecordedLog) -> Breaker:
    """The breaker of a pool of two workers."""
    return Breaker(2, 2, lambda _, reason: refused.append(reason), clock)


def open_by_timeouts(breaker: Breaker) -> None:
    for _ in range(4):
        breaker.admit()
        breaker.timed_out()


class TestTimeouts:
    def test_each_worker_twice_in_a_row_opens_it(
        self, two_places: Breaker, refused: list[str], log: RecordedLog
    ) -> None:
        for _ in range(3):
            two_places.timed_out()
        two_places.admit()
        assert not two_places.refuses and not refused
        two_places.timed_out()
        with pytest.raises(WorkersDown, match="do not answer in time"):
            two_places.admit()
        assert two_places.refuses
        assert refused == ["PHP workers do not answer in time"]
        assert log.events("error") == ["PHP workers do not answer, clients are refused until one does"]

    def test_one_answer_among_them_starts_the_count_again(self, two_places: Breaker) -> None:
        for _ in range(5):
            for _ in range(3):
                two_places.timed_out()
            two_places.answered()
        two_places.admit()

    def test_one_question_is_let_through_after_pauses_that_grow_to_a_limit(
        self, two_places: Breaker, clock: Clock
    ) -> None:
        open_by_timeouts(two_places)
        pauses = []
        last = clock.now
        while len(pauses) < 6:
            clock.now += 0.5
            try:
                two_places.admit()
            except WorkersDown:
                continue
            pauses.append(clock.now - last)
            last = clock.now
            two_places.timed_out()
        assert pauses == [1, 2, 4, 8, 8, 8]
        assert LONGEST_PAUSE == 8

    def test_it_is_ready_for_a_trial_so_that_somebody_comes_who_is_one(
        self, two_places: Breaker, clock: Clock
    ) -> None:
        """A load balancer that sends nobody while `/ready` is red would otherwise keep it open for ever."""
        open_by_timeouts(two_places)
        assert two_places.refuses
        clock.now += 1
        assert not two_places.refuses
        two_places.admit()
        assert two_places.refuses

    def test_the_first_answer_closes_it(self, two_places: Breaker, clock: Clock, log: RecordedLog) -> None:
        open_by_timeouts(two_places)
        clock.now += 1
        two_places.admit()
        two_places.answered()
        for _ in range(10):
            two_places.admit()
            two_places.answered()
        assert len(log.events("warning")) == 1
        open_by_timeouts(two_places)
        clock.now += 1
        two_places.admit()


class TestDown:
    def test_no_place_has_a_worker_and_each_has_failed_often(
        self, two_places: Breaker, refused: list[str], log: RecordedLog
    ) -> None:
        two_places.emptied("a", DOWN_AFTER)
        two_places.emptied("b", DOWN_AFTER - 1)
        two_places.admit()
        two_places.emptied("b", DOWN_AFTER)
        with pytest.raises(WorkersDown, match="PHP workers are down"):
            two_places.admit()
        two_places.emptied("a", DOWN_AFTER + 1)
        assert refused == ["PHP workers are down"]
        assert log.events("error") == ["PHP workers are down, clients are refused until one starts"]

    def test_one_worker_closes_it(self, two_places: Breaker, log: RecordedLog) -> None:
        for name in "ab":
            two_places.emptied(name, DOWN_AFTER)
        two_places.filled("b")
        two_places.admit()
        assert log.events("warning") == ["a PHP worker has started, clients are no longer refused"]
        two_places.emptied("a", DOWN_AFTER + 5)
        two_places.admit()

    def test_places_that_are_empty_in_the_course_of_things_do_not_open_it(self, two_places: Breaker) -> None:
        """All workers may have reached `max_jobs` at the same time."""
        for name in "ab":
            two_places.emptied(name, 0)
        two_places.admit()


def value(pool: WorkerPool, name: str, *labels: str) -> float:
    """One of the pool's metrics."""
    found: dict[str, Sample] = {sample.name: sample for sample in pool.metrics()}
    return found[name].values[labels]


class Deployment:
    """A file without which workers do not start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.command = misbehaving(f"needs {path}")
        self.repair()

    def repair(self) -> None:
        self._path.touch()

    def take_down(self, pool: WorkerPool) -> None:
        """No worker is left, and none starts."""
        self._path.unlink()
        for pid in pids(pool):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """What can be broken; new attempts follow each other quickly."""
    monkeypatch.setattr(slot, "LONGEST_PAUSE", 0.01)
    return Deployment(tmp_path / "deployed")


async def test_a_pool_without_workers_refuses_who_waits_and_who_comes_until_a_worker_is_up(
    start: Start, log: RecordedLog, deployment: Deployment
) -> None:
    pool = await start(deployment.command, workers=2)
    authorizer = PHPAuthorizer(pool, 8.0)
    deployment.take_down(pool)
    await eventually(lambda: not pids(pool))
    waiting = asyncio.ensure_future(authorizer.join(grant(), ["chat"]))
    verdict = await waiting
    assert (verdict.status, verdict.reason) == (400, "PHP workers are down")
    assert not pool.alive and not pool.ready
    assert value(pool, "workers_breaker_open", "down") == 1
    for _ in range(20):
        assert (await authorizer.connect(request())).reason == "PHP workers are down"
        assert (await authorizer.join(grant(), ["chat"])).reason == "PHP workers are down"
    assert pool.waiting == 0
    assert value(pool, "worker_failures", "breaker") == 41
    deployment.repair()
    await eventually(lambda: pool.ready)
    assert value(pool, "workers_breaker_open", "down") == 0
    assert (await authorizer.connect(request())).allowed
    assert (await authorizer.join(grant(), ["chat"])).allowed
    assert log.events("error").count("PHP workers are down, clients are refused until one starts") == 1


async def test_workers_that_cannot_be_started_at_first_refuse_nobody(
    start: Start, log: RecordedLog, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than `DOWN_AFTER` failures are the moment of a deployment; who waits goes on waiting."""
    pool = await start(deployment.command)
    second = asyncio.Event()

    class Pauses(Backoff):
        taken = 0

        def next_pause(self) -> float:
            self.taken += 1
            if self.taken == 2:
                second.set()
                deployment.repair()
            return 0.0

    monkeypatch.setattr(slot, "Backoff", Pauses)
    await pool.reset()  # new slots' keepers, which take these pauses
    deployment.take_down(pool)
    await eventually(lambda: not pids(pool))
    waiting = asyncio.ensure_future(ask(pool))
    assert (await waiting).allowed
    assert second.is_set()


async def test_a_reset_brings_a_pool_back_that_is_down(
    start: Start, log: RecordedLog, deployment: Deployment
) -> None:
    pool = await start(deployment.command, workers=2)
    deployment.take_down(pool)
    await eventually(lambda: value(pool, "workers_breaker_open", "down"))
    deployment.repair()
    await pool.reset()
    assert (await ask(pool)).allowed
    await eventually(lambda: len(pids(pool)) == 2 == len(children()))


async def test_workers_that_all_hang_are_asked_one_question_at_a_time(
    start: Start, log: RecordedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand clients would otherwise wait in vain for as long as they can."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE", 0.2)
    pool = await start(workers=2)
    questions = [asyncio.ensure_future(failure_of(pool, HANGS, limit=0.3)) for _ in range(300)]
    errors = await asyncio.gather(*questions)
    assert [isinstance(error, ExecTimeout) for error in errors].count(True) <= 5
    assert {type(error) for error in errors} == {ExecTimeout, WorkersDown}
    assert value(pool, "workers_breaker_open", "timeouts") == 1
    assert pool.waiting == 0
    await eventually(lambda: pool.ready)
    assert (await ask(pool)).allowed
    assert value(pool, "workers_breaker_open", "timeouts") == 0
    assert "clients are no longer refused" in log.text()


async def test_new_workers_get_a_new_chance(start: Start, log: RecordedLog) -> None:
    """Who has mended PHP and resets the pool need not wait for a trial."""
    pool = await start()
    for _ in range(2):
        assert isinstance(await failure_of(pool, HANGS, limit=0.1), ExecTimeout)
    assert isinstance(await failure_of(pool, ""), WorkersDown)
    await pool.reset()
    assert (await ask(pool)).allowed


@pytest.mark.parametrize("query", ["do=die", "do=error"])
async def test_questions_that_crash_php_keep_out_nobody_else(
    start: Start, log: RecordedLog, query: str
) -> None:
    """A client that knows how to crash PHP would be given the means to keep out all others."""
    pool = await start(workers=2)
    for _ in range(8):
        assert not isinstance(await failure_of(pool, query), WorkersDown)
    assert (await ask(pool)).allowed


async def test_php_that_is_only_slow_opens_nothing(start: Start) -> None:
    """Who waits too long is refused, but workers answer."""
    pool = await start()
    authorizer = PHPAuthorizer(pool, 0.2)
    verdicts = await asyncio.gather(*(authorizer.connect(request("do=sleep&ms=50")) for _ in range(20)))
    assert any(verdict.allowed for verdict in verdicts) and not all(verdict.allowed for verdict in verdicts)
    assert value(pool, "workers_breaker_open", "timeouts") == 0
    assert pool.ready


async def test_with_fresh_workers_for_each_question_time_outs_open_it_too(
    start: Start, log: RecordedLog
) -> None:
    pool = await start(debug=True)
    for _ in range(2):
        assert isinstance(await failure_of(pool, HANGS, limit=0.3), ExecTimeout)
    assert isinstance(await failure_of(pool, ""), WorkersDown)


async def test_orderly_ends_are_no_failures(
    start: Start, log: RecordedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that the supervisor replaces before anybody has asked them anything, again and again."""
    failed: list[int] = []
    emptied = Breaker.emptied

    def record(self: Breaker, slot: Hashable, failures: int) -> None:
        failed.append(failures)
        emptied(self, slot, failures)

    monkeypatch.setattr(Breaker, "emptied", record)
    await start(f"{sys.executable} -m rr_py_ws.devtools.worker", supervisor={"watch_tick": 0.01, "ttl": 0.01})
    await eventually(lambda: len(failed) > 5)
    assert set(failed) == {0}


async def test_without_a_free_worker_in_time_it_is_not_the_breaker(start: Start) -> None:
    pool = await start(PHP, destroy_timeout=0.1)
    busy = asyncio.ensure_future(failure_of(pool, HANGS))
    await eventually(lambda: pool.states()[0].status_text == "working")
    assert (await PHPAuthorizer(pool, 1.0).connect(request())).reason == "PHP gave no answer"
    assert value(pool, "worker_failures", "no_free_worker") == 1
    await pool.stop()
    assert not isinstance(await busy, NoFreeWorkers)
