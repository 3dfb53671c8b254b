from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rr_py_ws.adapters.net import deadline
from rr_py_ws.adapters.php import pool as pool_module
from rr_py_ws.adapters.php import slot
from rr_py_ws.adapters.php.factory import WorkerFactory
from rr_py_ws.adapters.php.worker import State, Worker
from rr_py_ws.core.backoff import Backoff
from rr_py_ws.errors import (
    ExecTimeout,
    NoFreeWorkers,
    SoftJobError,
    WorkerDied,
    WorkerError,
    WorkerStartError,
)
from rr_py_ws.wire.access import connect_question
from rr_py_ws.wire.worker import Message
from support.loops import both_loops
from support.php_pool import (
    PHP,
    Gate,
    RecordedLog,
    Start,
    alive,
    ask,
    ask_message,
    children,
    descriptors,
    failure_of,
    grant,
    make_pool,
    misbehaving,
    pid_of,
    pids,
)
from support.standstill import stand_still
from support.waiting import DEADLINE, eventually


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a standstill nobody is given up before the test is: a machine may be busy."""
    monkeypatch.setattr(deadline, "MOMENT", DEADLINE)


class TestStart:
    async def test_starts_all_workers(self, start: Start) -> None:
        pool = await start(workers=3)
        states = pool.states()
        assert len({state.pid for state in states}) == 3
        assert {(state.status, state.status_text, state.execs, state.command) for state in states} == {
            (1, "ready", 0, PHP)
        }
        assert all(state.memory > 1_000_000 and state.created > 1.7e18 for state in states)

    async def test_one_that_cannot_be_started_is_an_error_that_names_the_command(
        self, log: RecordedLog
    ) -> None:
        pool = make_pool("php nowhere.php", workers=2)
        with pytest.raises(
            WorkerStartError, match=r"^server\.command: cannot start 'php nowhere\.php': .*Could not"
        ):
            await pool.start()
        assert children() == []
        await pool.stop()

    async def test_a_start_that_is_cancelled_leaves_nothing(self) -> None:
        starting = asyncio.ensure_future(make_pool(misbehaving("silent"), workers=2).start())
        await eventually(lambda: len(children()) == 2)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert children() == []

    async def test_d30_a_question_before_the_start_waits_for_it(self, start: Start) -> None:
        pool = make_pool()
        early = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(0)
        await pool.start()
        assert (await early).allowed
        await pool.stop()


class TestExec:
    @both_loops
    async def test_counts_what_was_answered(self, start: Start) -> None:
        pool = await start()
        for query in ("", "do=refuse&status=403", "do=error"):
            with suppress(SoftJobError):
                await ask(pool, query)
        await eventually(lambda: pool.states()[0].status_text == "ready")
        assert pool.states()[0].execs == 3

    async def test_a_working_worker_says_so(self, start: Start, gate: Gate) -> None:
        pool = await start()
        asking = asyncio.ensure_future(ask(pool, gate.wait))
        await eventually(lambda: pool.states()[0].status_text == "working")
        gate.open()
        await asking
        await eventually(lambda: pool.states()[0].status_text == "ready")

    async def test_the_first_question_gets_the_first_free_worker(self, start: Start, gate: Gate) -> None:
        pool = await start(workers=2)
        order: list[int] = []

        async def question(number: int) -> None:
            await ask(pool, "do=sleep&ms=2")
            order.append(number)

        # Both workers are busy while the rest line up; with one worker left the order is exact.
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(pool, gate.wait))
            for number in range(20):
                group.create_task(question(number))
            await eventually(lambda: len(order) == 20)
            gate.open()
        assert order == list(range(20))

    async def test_a_soft_error_is_reported_and_keeps_the_worker(self, start: Start) -> None:
        """RoadRunner 2.x kills the worker; since 2023.3 it is kept."""
        pool = await start()
        old = pids(pool)
        error = await failure_of(pool, "do=error")
        assert isinstance(error, SoftJobError)
        assert str(error) == "RuntimeException: no #0 worker.php(1)"
        assert (await ask(pool)).allowed
        assert pids(pool) == old

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("do=die", "closed its relay (exit code 3, its last words: 'PHP Fatal error: it broke')"),
            # Point 16: it was the last line of the stack trace, or an error of an older request.
            ("do=throw", "Uncaught DomainException: the token is void in /"),
            ("do=half", "closed its relay: b'\\x14\\x00\\xff\\x00' (exit code 4)"),
            ("do=noise", "Warning: Undefined variable $x in /app/index.php on line 7"),
            ("do=no-option", "a frame with 0 options"),
            ("do=big-option", "a context of 99 bytes in a payload of 14"),
        ],
    )
    async def test_a_broken_answer_costs_one_question_and_one_worker(
        self, start: Start, log: RecordedLog, query: str, words: str
    ) -> None:
        pool = await start(workers=2)
        old = pids(pool)
        error = await failure_of(pool, query)
        assert isinstance(error, WorkerDied)
        assert words in str(error)
        (victim,) = (pid for pid in old if str(error).startswith(f"worker {pid}: "))
        (other,) = set(old) - {victim}
        await eventually(lambda: victim not in pids(pool) and len(pids(pool)) == 2)
        assert other in pids(pool)
        assert (await ask(pool)).allowed
        await eventually(lambda: words in log.text())
        assert log.events("warning") == ["worker is replaced"]

    @pytest.mark.parametrize("query", ["do=noise-after", "do=twice", "do=twice-slowly"])
    async def test_what_follows_an_answer_is_not_taken_for_the_next_one(
        self, start: Start, log: RecordedLog, query: str
    ) -> None:
        """Or each client would get the verdict about its predecessor, until the worker ends."""
        pool = await start()
        for _ in range(3):
            assert (await ask(pool, query)).allowed
            assert (await ask(pool, "do=refuse&status=403")).status == 403
        await eventually(lambda: log.events("warning") == ["worker is replaced"] * 3)

    async def test_workers_that_end_in_order_after_an_answer_cost_no_question(
        self, start: Start, log: RecordedLog
    ) -> None:
        """PHP applications do so to free memory; nobody is given to a worker that is about to go."""
        pool = await start(workers=2)
        for _ in range(8):
            assert (await ask(pool, "do=answer-and-exit")).allowed
        assert set(log.events("info")) == {"worker is replaced"}
        assert log.events("warning") == []

    async def test_a_worker_is_free_again_when_it_waits_for_questions(self, start: Start, gate: Gate) -> None:
        """What PHP does after its answer does not keep the next client waiting for that one worker."""
        pool = await start(workers=2)
        first = await ask(pool, gate.answer_then_wait)
        assert await pid_of(pool) != int(first.body)
        assert await pid_of(pool) != int(first.body)
        gate.open()

    async def test_exec_ttl_ends_a_worker_that_does_not_come_back(
        self, start: Start, log: RecordedLog
    ) -> None:
        pool = await start(supervisor={"exec_ttl": 0.3})
        old = await ask(pool, "do=answer-then-sleep&ms=600000")
        assert await pid_of(pool) != int(old.body)
        assert "took longer than 0.3 s to be ready again" in log.text()

    async def test_a_worker_may_work_on_after_its_answer(
        self, start: Start, gate: Gate, log: RecordedLog
    ) -> None:
        """Point 15: `kernel.terminate` and queued events were killed when `authorize_timeout` was over.

        That time is for the answer, and far over when the gate opens.
        """
        pool = await start(allocate_timeout=DEADLINE)
        first = await ask(pool, gate.answer_then_wait, limit=0.05)
        asking = asyncio.ensure_future(pid_of(pool))
        await asyncio.wait([asking], timeout=0.5)
        assert not asking.done()
        gate.open()
        assert await asking == int(first.body)
        assert log.text() == ""

    @pytest.mark.parametrize("when", ["before the answer", "after it"])
    async def test_what_a_replaced_worker_does_after_its_answer_has_an_end(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        """Point 15: nothing else would end it, and each reset would leave one more process."""
        monkeypatch.setattr(Worker.stop, "__defaults__", (0.1,))
        pool = await start(max_jobs=1 if when == "before the answer" else 0)
        old = int((await ask(pool, "do=answer-then-sleep&ms=600000")).body)
        if when == "after it":
            await pool.reset()
        await eventually(lambda: not alive(old))
        assert await pid_of(pool) != old

    async def test_a_question_to_an_idle_worker_takes_no_task_of_its_own(
        self, start: Start, gate: Gate
    ) -> None:
        """It was two tasks and five time-outs, more than all that PHP does for its answer."""
        pool = await start()
        before = len(asyncio.all_tasks())
        asking = asyncio.ensure_future(ask(pool, gate.wait, limit=600))
        await eventually(lambda: pool.states()[0].status_text == "working")
        assert len(asyncio.all_tasks()) == before + 1
        gate.open()
        assert (await asking).allowed

    async def test_a_caller_whose_time_is_over_does_not_disturb_the_worker(
        self, start: Start, gate: Gate
    ) -> None:
        pool = await start()
        old = pids(pool)
        with pytest.raises(TimeoutError):
            await ask_message(pool, Message(connect_question(grant(gate.wait))), 600, within=0.05)
        assert pool.states()[0].status_text == "working"
        gate.open()
        assert (await ask(pool, "do=refuse&status=403")).status == 403
        assert pids(pool) == old

    async def test_a_long_question_is_followed_by_others(self, start: Start, relay_dsn: str) -> None:
        """It does not fit into a pipe, and the handshake behind it must not be cut."""
        pool = await start(server={"relay": relay_dsn})
        old = pids(pool)
        for length in (4_000, 4_090, 65_500, 65_536, 200_000):
            assert (await ask(pool, "x" * length)).allowed
        assert pids(pool) == old

    async def test_an_answer_may_come_byte_by_byte(self, start: Start) -> None:
        pool = await start(misbehaving("byte-by-byte"))
        assert (await ask(pool)).allowed

    async def test_a_worker_that_takes_too_long_is_killed_and_replaced(
        self, start: Start, log: RecordedLog
    ) -> None:
        pool = await start()
        (old,) = pids(pool)
        error = await failure_of(pool, "do=sleep&ms=600000", limit=0.1)
        assert isinstance(error, ExecTimeout)
        assert f"worker {old} took longer than 0.1 s" in str(error)
        assert await pid_of(pool) != old
        await eventually(lambda: not alive(old))

    async def test_each_question_to_a_worker_has_its_own_limit(self, start: Start) -> None:
        """A timer may serve several questions: it must neither end a later one early nor leave it alone."""
        pool = await start()
        old = pids(pool)
        assert (await ask(pool, limit=0.1)).allowed
        assert (await ask(pool, "do=sleep&ms=300", limit=60.0)).allowed
        assert pids(pool) == old
        assert isinstance(await failure_of(pool, "do=sleep&ms=600000", limit=0.1), ExecTimeout)
        assert (await ask(pool, limit=60.0)).allowed
        assert isinstance(await failure_of(pool, "do=sleep&ms=600000", limit=0.1), ExecTimeout)

    async def test_an_answer_that_came_while_the_server_stood_still_is_not_too_late(
        self, start: Start, patient: None
    ) -> None:
        pool = await start()
        old = pids(pool)
        asking = asyncio.create_task(ask(pool, limit=0.1))
        await asyncio.sleep(0)
        await stand_still(0.2)
        assert (await asking).allowed
        assert pids(pool) == old

    async def test_a_worker_that_was_free_while_the_server_stood_still_is_asked(
        self, start: Start, patient: None
    ) -> None:
        pool = await start()
        first = asyncio.create_task(ask(pool, "do=sleep&ms=50"))
        await asyncio.sleep(0)
        second = asyncio.create_task(ask_message(pool, Message(connect_question(grant())), 0.0, wait=0.1))
        await asyncio.sleep(0)
        await stand_still(0.2)
        assert (await first).allowed
        await second

    async def test_exec_ttl_is_a_limit_too(self, start: Start) -> None:
        pool = await start(supervisor={"exec_ttl": 0.1})
        assert isinstance(await failure_of(pool, "do=sleep&ms=600000"), ExecTimeout)
        assert isinstance(await failure_of(pool, "do=sleep&ms=600000", limit=60.0), ExecTimeout)

    async def test_without_a_free_worker_the_wait_ends(self, start: Start) -> None:
        pool = await start(allocate_timeout=1.5, destroy_timeout=0.1)
        busy = asyncio.ensure_future(failure_of(pool, "do=sleep&ms=600000"))
        await eventually(lambda: pool.states()[0].status_text == "working")
        error = await failure_of(pool, "")
        assert isinstance(error, NoFreeWorkers)
        assert str(error) == "no worker became free within 1.5 s"
        await pool.stop()
        assert isinstance(await busy, WorkerDied)

    async def test_max_jobs_replaces_the_worker(self, start: Start, log: RecordedLog) -> None:
        pool = await start(max_jobs=3)
        seen = [await pid_of(pool) for _ in range(9)]
        assert [seen.count(pid) for pid in dict.fromkeys(seen)] == [3, 3, 3]
        assert log.events("warning") == []

    async def test_restart_me_is_answered_by_another_worker(self, start: Start, tmp_path: Path) -> None:
        pool = await start(misbehaving(f"restart-once {tmp_path}/asked"), workers=2)
        old = pids(pool)
        assert (await ask(pool)).allowed
        await eventually(lambda: len(set(old) & set(pids(pool))) == 1 and len(pids(pool)) == 2)

    async def test_restart_me_is_not_repeated_for_ever(self, start: Start, log: RecordedLog) -> None:
        """RoadRunner starts new workers without end."""
        pool = await start(workers=2)
        old = pids(pool)
        error = await failure_of(pool, "do=restart")
        assert "3 workers asked to be restarted" in str(error)
        assert (await ask(pool)).allowed
        await eventually(lambda: set(old).isdisjoint(pids(pool)) and len(pids(pool)) == 2)
        assert log.events("warning") == []


class TestCancellation:
    async def test_a_question_in_the_queue_can_be_cancelled(self, start: Start, gate: Gate) -> None:
        pool = await start()
        busy = asyncio.ensure_future(ask(pool, gate.wait))
        waiting = [asyncio.ensure_future(ask(pool)) for _ in range(3)]
        await eventually(lambda: pool.waiting == 3)
        waiting[0].cancel()
        waiting[2].cancel()
        gate.open()
        assert (await busy).allowed
        assert (await waiting[1]).allowed
        assert (await ask(pool)).allowed

    async def test_a_question_in_progress_is_finished_and_its_answer_dropped(
        self, start: Start, gate: Gate
    ) -> None:
        """The worker is not killed, and the next question does not get the answer."""
        pool = await start()
        old = pids(pool)
        asking = asyncio.ensure_future(ask(pool, gate.wait))
        await eventually(lambda: pool.states()[0].status_text == "working")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        gate.open()
        assert (await ask(pool, "do=refuse&status=403")).status == 403
        assert pids(pool) == old
        assert pool.states()[0].execs == 2

    async def test_a_failure_that_nobody_waits_for_is_no_problem(
        self, start: Start, log: RecordedLog
    ) -> None:
        pool = await start()
        asking = asyncio.ensure_future(ask(pool, "do=sleep&ms=600000", limit=0.2))
        await eventually(lambda: pool.states()[0].status_text == "working")
        asking.cancel()
        assert (await ask(pool)).allowed
        assert log.events("error") == []

    async def test_no_worker_is_lost_whenever_questions_are_cancelled(self, start: Start, gate: Gate) -> None:
        """Cancelled before, at and after the moment when a worker becomes free."""
        pool = await start(workers=2)
        questions = [asyncio.ensure_future(ask(pool, "do=sleep&ms=1")) for _ in range(60)]
        for turn, question in enumerate(questions):
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            if turn % 3:
                question.cancel()
        done = await asyncio.gather(*questions, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) or result.allowed for result in done)
        await eventually(lambda: {state.status_text for state in pool.states()} == {"ready"})
        both = asyncio.gather(*(ask(pool, gate.wait) for _ in range(2)))
        await eventually(lambda: {state.status_text for state in pool.states()} == {"working"})
        gate.open()
        assert len({verdict.body for verdict in await both}) == 2


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Let this process open only so many files more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    opened = [os.dup(0)]
    while opened[-1] < highest:
        opened.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1] + 1 + spare, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in opened:
            os.close(fd)


class TestDeath:
    async def test_an_idle_worker_that_is_killed_is_replaced(self, start: Start, log: RecordedLog) -> None:
        pool = await start(workers=2)
        victim, other = pids(pool)
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: victim not in pids(pool) and len(pids(pool)) == 2)
        assert other in pids(pool)
        await eventually(lambda: "ended by signal 9" in log.text())
        for _ in range(4):
            assert (await ask(pool)).allowed

    async def test_all_workers_killed_at_once_are_replaced(self, start: Start) -> None:
        """RoadRunner's pool may shrink for good, and panics when it is empty."""
        pool = await start(workers=3)
        old = pids(pool)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: set(old).isdisjoint(pids(pool)) and len(pids(pool)) == 3)
        assert (await ask(pool)).allowed

    async def test_a_worker_that_speaks_unasked_is_replaced(self, start: Start, log: RecordedLog) -> None:
        await start(misbehaving("talks-idle"))
        await eventually(lambda: "wrote without being asked" in log.text())

    async def test_a_worker_that_reads_no_more_is_replaced(self, start: Start, log: RecordedLog) -> None:
        await start(misbehaving("closes-stdin"))
        await eventually(lambda: "worker is replaced" in log.events("warning"))

    @both_loops
    async def test_the_pool_comes_back_after_it_ran_out_of_file_descriptors(
        self, start: Start, log: RecordedLog, monkeypatch: pytest.MonkeyPatch, relay_dsn: str
    ) -> None:
        """Clients can take them all. Whatever fails for want of one is tried again, and leaves none open."""
        monkeypatch.setattr(slot, "LONGEST_PAUSE", 0.01)
        pool = await start(server={"relay": relay_dsn})
        before = descriptors()
        for spare in range(6):
            old, failures = pids(pool), len(log.events("error"))
            with few_descriptors(spare):
                os.kill(old[0], signal.SIGKILL)
                await eventually(lambda: len(log.events("error")) > failures or set(pids(pool)) - set(old))  # noqa: B023
            await eventually(lambda: set(pids(pool)) - set(old))  # noqa: B023
            assert (await ask(pool)).allowed
        assert log.events("error")
        await eventually(lambda: descriptors() <= before)

    async def test_workers_that_die_unasked_are_replaced_with_growing_pauses(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []

        class NoPause(Backoff):
            def next_pause(self) -> float:
                pauses.append(super().next_pause())
                return 0.0

        monkeypatch.setattr(slot, "Backoff", NoPause)
        await start(misbehaving(f"dies-idle {tmp_path / 'now'}"))
        (tmp_path / "now").touch()
        await eventually(lambda: len(pauses) >= 8)
        steps = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert all(step / 2 <= pause <= step for step, pause in zip(steps, pauses, strict=False))

    async def test_the_pool_comes_back_when_workers_can_be_started_again(
        self, start: Start, log: RecordedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For instance during a deployment."""
        monkeypatch.setattr(slot, "LONGEST_PAUSE", 0.0)
        marker = tmp_path / "deployed"
        marker.touch()
        pool = await start(misbehaving(f"needs {marker}"))
        marker.unlink()
        os.kill(pids(pool)[0], signal.SIGKILL)
        await eventually(lambda: log.events("error").count("cannot replace a worker, will try again") >= 9)
        marker.touch()
        await eventually(lambda: pool.ready)
        assert (await ask(pool)).allowed


class TestReset:
    async def test_replaces_every_worker(self, start: Start) -> None:
        pool = await start(workers=2)
        old = pids(pool)
        await pool.reset()
        await eventually(lambda: set(old).isdisjoint(pids(pool)) and len(pids(pool)) == 2)
        assert await pid_of(pool) not in old

    async def test_under_load_refuses_nobody_and_loses_nothing(self, start: Start, log: RecordedLog) -> None:
        """RoadRunner kills the workers, busy ones too."""
        pool = await start(workers=2)
        done = False

        async def client() -> int:
            count = 0
            while not done:
                assert (await ask(pool, "do=sleep&ms=1")).allowed
                count += 1
            return count

        clients = [asyncio.ensure_future(client()) for _ in range(8)]
        for _ in range(5):
            await pool.reset()
        done = True
        assert all(count > 0 for count in await asyncio.gather(*clients))
        await eventually(lambda: len(pids(pool)) == 2)
        assert log.events("warning") == []

    async def test_lets_a_busy_worker_finish(self, start: Start, gate: Gate) -> None:
        pool = await start()
        (old,) = pids(pool)
        asking = asyncio.ensure_future(ask(pool, gate.wait))
        await eventually(lambda: pool.states()[0].status_text == "working")
        await pool.reset()
        assert await pid_of(pool) != old
        gate.open()
        assert (await asking).body == b"%d" % old
        await eventually(lambda: not alive(old))

    async def test_that_fails_keeps_the_old_workers(self, start: Start, tmp_path: Path) -> None:
        marker = tmp_path / "works"
        marker.touch()
        pool = await start(misbehaving(f"needs {marker}"), workers=2)
        old = pids(pool)
        marker.unlink()
        with pytest.raises(WorkerStartError, match=r"server\.command"):
            await pool.reset()
        assert (await ask(pool)).allowed
        assert pids(pool) == old
        marker.touch()

    async def test_d31_two_at_once_among_questions_do_not_block_each_other(self, start: Start) -> None:
        pool = await start(workers=2)
        questions = [asyncio.ensure_future(ask(pool, "do=sleep&ms=5")) for _ in range(20)]
        async with asyncio.timeout(20):
            await asyncio.gather(pool.reset(), pool.reset(), *questions)
        await eventually(lambda: len(pids(pool)) == 2)

    async def test_calls_that_come_during_one_share_the_next(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not the one that runs: its workers may have been started before what the callers have changed."""
        starts: list[float] = []
        start_one = WorkerFactory.start

        async def counting(factory: WorkerFactory, timeout: float) -> Worker:
            starts.append(timeout)
            return await start_one(factory, timeout)

        monkeypatch.setattr(WorkerFactory, "start", counting)
        pool = await start()
        seen = set(pids(pool))
        first = asyncio.ensure_future(pool.reset())
        await eventually(lambda: len(children()) == 2)
        others = [asyncio.ensure_future(pool.reset()) for _ in range(50)]
        await first
        after_first = await pid_of(pool)
        await asyncio.gather(*others)
        seen |= {after_first, await pid_of(pool)}
        assert len(seen) == 3 == len(starts)

    async def test_rests_after_another(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, longest_rest: float
    ) -> None:
        """Who asked again and again had PHP start all the time, on all cores."""
        pool = await start()
        await pool.reset()
        monkeypatch.setattr(pool_module, "_LONGEST_REST", longest_rest)
        pauses: list[float] = []
        sleep = asyncio.sleep

        async def recording(seconds: float) -> None:
            if seconds > 0:
                pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", recording)
        await pool.reset()
        assert pauses == []
        await pool.reset()
        assert len(pauses) == 1
        assert 0 < pauses[0] <= longest_rest

    async def test_a_call_that_is_cancelled_or_fails_leaves_the_others_to_theirs(
        self, start: Start, tmp_path: Path
    ) -> None:
        marker = tmp_path / "works"
        marker.touch()
        pool = await start(misbehaving(f"needs {marker}"))
        marker.unlink()
        calls = [asyncio.ensure_future(pool.reset()) for _ in range(4)]
        await eventually(lambda: len(children()) == 2)
        calls[1].cancel()
        with pytest.raises(WorkerStartError):
            await calls[0]
        marker.touch()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert done[3] is None
        assert (await ask(pool)).allowed

    async def test_while_a_worker_is_missing_fills_its_place(
        self, start: Start, log: RecordedLog, tmp_path: Path
    ) -> None:
        marker = tmp_path / "works"
        marker.touch()
        pool = await start(misbehaving(f"needs {marker}"), workers=2)
        marker.unlink()
        os.kill(pids(pool)[0], signal.SIGKILL)
        await eventually(lambda: log.events("error"))
        marker.touch()
        await pool.reset()
        await eventually(lambda: len(pids(pool)) == 2)
        assert len(children()) == 2


class TestStop:
    @both_loops
    async def test_leaves_no_process_no_task_and_no_descriptor(self, relay_dsn: str) -> None:
        warm = make_pool(server={"relay": relay_dsn})
        await warm.start()
        await warm.stop()
        before, tasks = descriptors(), len(asyncio.all_tasks())
        for _ in range(2):
            pool = make_pool(workers=2, server={"relay": relay_dsn}, supervisor={"ttl": 60})
            await pool.start()
            await ask(pool)
            await pool.reset()
            await failure_of(pool, "do=die")
            await pool.stop()
            assert children() == []
        await eventually(lambda: descriptors() <= before)
        assert len(asyncio.all_tasks()) == tasks

    async def test_lets_workers_end_by_themselves(self, start: Start, log: RecordedLog) -> None:
        pool = await start(workers=2)
        await pool.stop()
        assert log.lines == []
        assert pool.states() == []

    async def test_d33_a_worker_that_does_not_end_is_killed_in_time(
        self, start: Start, log: RecordedLog
    ) -> None:
        pool = await start(misbehaving("ignores-stop"), workers=2, destroy_timeout=0.2)
        await pool.stop()
        assert log.events("warning") == ["worker does not end on the stop command, killing it"] * 2

    async def test_takes_what_workers_started_with_it_when_it_must_kill(self, start: Start) -> None:
        pool = await start(misbehaving("with-child"), destroy_timeout=0.1)
        assert len(children()) == 2
        await pool.stop()
        await eventually(lambda: not children())

    async def test_lets_a_question_in_progress_finish_and_refuses_the_others(
        self, start: Start, gate: Gate
    ) -> None:
        pool = await start()
        busy = asyncio.ensure_future(ask(pool, gate.wait))
        waiting = asyncio.ensure_future(failure_of(pool, ""))
        await eventually(lambda: pool.waiting == 1)
        stopping = asyncio.ensure_future(pool.stop())
        await eventually(waiting.done)
        gate.open()
        await stopping
        assert (await busy).allowed
        assert isinstance(await waiting, NoFreeWorkers)
        assert isinstance(await failure_of(pool, ""), NoFreeWorkers)

    async def test_fails_a_question_that_takes_too_long(self, start: Start) -> None:
        pool = await start(destroy_timeout=0.1)
        busy = asyncio.ensure_future(failure_of(pool, "do=sleep&ms=600000"))
        await eventually(lambda: pool.states()[0].status_text == "working")
        await pool.stop()
        assert isinstance(await busy, WorkerDied)

    async def test_that_is_cancelled_kills(self, start: Start) -> None:
        pool = await start(misbehaving("ignores-stop"), workers=2)
        stopping = asyncio.ensure_future(pool.stop())
        await eventually(lambda: pool.states()[0].status_text == "stopping")
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await eventually(lambda: not children())

    async def test_ends_workers_that_are_being_started(
        self, start: Start, log: RecordedLog, tmp_path: Path
    ) -> None:
        marker = tmp_path / "works"
        marker.touch()
        pool = await start(misbehaving(f"waits-for {marker}"))
        (old,) = pids(pool)
        marker.unlink()
        os.kill(old, signal.SIGKILL)
        await eventually(lambda: children() and old not in children())
        await pool.stop()
        assert children() == []

    async def test_a_reset_in_the_middle_of_it_leaves_nothing(self, start: Start) -> None:
        pool = await start(workers=2)
        resetting = asyncio.ensure_future(pool.reset())
        await eventually(lambda: len(children()) > 2)
        await pool.stop()
        with pytest.raises(WorkerStartError, match="stopping"):
            await resetting
        await eventually(lambda: not children())

    async def test_a_reset_at_its_very_end_leaves_nothing(self, start: Start) -> None:
        """The new workers are there, and would be put into places that are replaced no more."""
        pool = await start()
        resetting = asyncio.ensure_future(pool.reset())
        while len(pool.states()) < 2:  # noqa: ASYNC110  # a look at each turn of the loop
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE):
            await pool.stop()
        with pytest.raises(WorkerStartError, match="stopping"):
            await resetting
        assert pool.counters.restarts == 0


class TestResetAndStart:
    """Callers of RPC are served before there are workers, which may take a while."""

    async def test_a_reset_before_the_start_is_refused(self) -> None:
        pool = make_pool()
        with pytest.raises(WorkerStartError, match="not started yet"):
            await pool.reset()
        assert children() == []

    async def test_a_reset_during_the_start_replaces_what_has_started(self) -> None:
        pool = make_pool(workers=2)
        starting = asyncio.ensure_future(pool.start())
        await eventually(children)
        try:
            await pool.reset()
            await starting
            await eventually(lambda: len(children()) == 2)
            assert sorted(pids(pool)) == sorted(children())
            assert (await ask(pool)).allowed
        finally:
            await asyncio.wait([starting])
            await pool.stop()


class TestDebug:
    async def test_each_question_gets_a_fresh_worker(self, start: Start) -> None:
        pool = await start(workers=2, debug=True)
        assert pool.states() == []
        seen = [await pid_of(pool) for _ in range(3)]
        assert len(set(seen)) == 3
        await eventually(lambda: not any(alive(pid) for pid in seen))

    async def test_no_more_workers_than_configured_run_at_a_time(self, start: Start, gate: Gate) -> None:
        pool = await start(workers=2, debug=True)
        questions = [asyncio.ensure_future(ask(pool, gate.wait)) for _ in range(4)]
        await eventually(lambda: len(pool.states()) == 2)
        most = len(children())
        gate.open()
        while not all(question.done() for question in questions):
            most = max(most, len(children()))
            await asyncio.sleep(0.01)
        assert most == 2

    async def test_a_worker_that_cannot_be_started_fails_the_question_only(self, start: Start) -> None:
        pool = await start("php nowhere.php", debug=True)
        assert isinstance(await failure_of(pool, ""), WorkerStartError)
        assert isinstance(await failure_of(pool, ""), WorkerStartError)

    async def test_errors_leave_no_worker(self, start: Start) -> None:
        pool = await start(debug=True)
        for query, error in (("do=error", SoftJobError), ("do=die", WorkerDied), ("do=restart", WorkerError)):
            assert isinstance(await failure_of(pool, query), error)
        await eventually(lambda: not children())

    async def test_the_wait_for_a_turn_ends(self, start: Start) -> None:
        pool = await start(debug=True, allocate_timeout=1.5, destroy_timeout=0.1)
        busy = asyncio.ensure_future(failure_of(pool, "do=sleep&ms=600000"))
        await eventually(pool.states)
        assert isinstance(await failure_of(pool, ""), NoFreeWorkers)
        await pool.stop()
        assert isinstance(await busy, WorkerDied)

    async def test_a_callers_time_ends_while_a_worker_starts(self, start: Start, tmp_path: Path) -> None:
        """Nobody else looks at it: there is no worker yet, and no queue that the question waits in."""
        script = tmp_path / "worker.sh"
        script.write_text("#!/bin/sh\nexec sleep 600\n")
        script.chmod(0o755)
        pool = await start(str(script), debug=True, allocate_timeout=600.0, destroy_timeout=0.1)
        with pytest.raises(TimeoutError):
            await ask_message(pool, Message(b"{}", b""), within=0.1)
        await pool.stop()

    async def test_a_turn_that_came_while_the_server_stood_still_is_taken(
        self, start: Start, gate: Gate, patient: None
    ) -> None:
        pool = await start(debug=True)
        first = asyncio.create_task(ask(pool, gate.wait))
        await eventually(pool.states)
        second = asyncio.create_task(ask_message(pool, Message(connect_question(grant())), wait=0.1))
        await asyncio.sleep(0)
        await stand_still(0.2, gate.open)
        assert (await first).allowed
        await second

    async def test_a_worker_that_started_while_the_server_stood_still_answers_in_time(
        self, start: Start, patient: None
    ) -> None:
        pool = await start(debug=True)
        asking = asyncio.create_task(ask_message(pool, Message(connect_question(grant())), within=0.1))
        await asyncio.sleep(0)
        await stand_still(0.2)
        await asking

    async def test_a_cancelled_question_does_not_lose_its_turn(self, start: Start, gate: Gate) -> None:
        pool = await start(debug=True)
        asking = asyncio.ensure_future(ask(pool, gate.wait))
        await eventually(pool.states)
        asking.cancel()
        gate.open()
        assert (await ask(pool)).allowed

    async def test_stop_ends_what_runs(self, start: Start) -> None:
        pool = await start(debug=True, workers=2, destroy_timeout=0.1)
        running = asyncio.ensure_future(failure_of(pool, "do=sleep&ms=600000"))
        await eventually(pool.states)
        await pool.stop()
        assert isinstance(await running, WorkerDied)
        assert isinstance(await failure_of(pool, ""), NoFreeWorkers)

    async def test_stop_starts_no_worker_for_who_waits(self, start: Start, tmp_path: Path) -> None:
        started = tmp_path / "started"
        script = tmp_path / "worker.sh"
        script.write_text(f"#!/bin/sh\necho >> {started}\nexec {PHP}\n")
        script.chmod(0o755)
        pool = await start(str(script), debug=True, destroy_timeout=0.1)
        running = asyncio.ensure_future(failure_of(pool, "do=sleep&ms=600000"))
        await eventually(pool.states)
        waiting = asyncio.ensure_future(failure_of(pool, ""))
        await asyncio.sleep(0)
        await pool.stop()
        assert isinstance(await running, WorkerDied)
        assert "stopping" in str(await waiting)
        assert started.read_text() == "\n"

    async def test_reset_has_nothing_to_do(self, start: Start) -> None:
        pool = await start(debug=True)
        await pool.reset()
        assert (await ask(pool)).allowed


def test_the_states_have_roadrunners_numbers_and_words() -> None:
    words = {state.value: state.text for state in State}
    assert words == {
        0: "inactive",
        1: "ready",
        2: "working",
        3: "invalid",
        4: "stopping",
        5: "killing",
        6: "destroyed",
        7: "maxJobsReached",
        8: "stopped",
        9: "errored",
    }


async def test_a_question_with_a_body_reaches_the_worker_whole(start: Start) -> None:
    pool = await start()
    context = connect_question(grant("do=echo"))
    answer = await ask_message(pool, Message(context, b"\x00body"))
    assert answer.body == context


async def test_a_replaced_worker_needs_no_garbage_collector(start: Start, relay_dsn: str) -> None:
    """Collections are rare in a running server: cycles of thousands of workers would wait for them."""
    pool = await start(server={"relay": relay_dsn})
    await ask(pool)
    (worker,) = pool._factory.workers()
    gone = [weakref.ref(part) for part in (worker, worker.process, worker._connection)]
    del worker
    gc.collect()
    gc.disable()
    try:
        await pool.reset()
        await eventually(lambda: [part() for part in gone] == [None] * 3)
    finally:
        gc.enable()


async def test_an_answer_over_the_limit_costs_no_memory_but_the_worker(start: Start, relay_dsn: str) -> None:
    pool = await start(server={"relay": relay_dsn, "max_answer": 100_000})
    old = pids(pool)
    error = await failure_of(pool, "do=echo&" + "x" * 100_000)
    assert "wrote an answer that is too large (payload of 2" in str(error)
    assert "the limit is 100000, see websockets.limits.worker_answer" in str(error)
    assert await pid_of(pool) not in old
