"""What a pool counts of itself, with real workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rr_py_ws.adapters.php.pool import WorkerPool
from support.php_pool import Gate, RecordedLog, Start, ask, failure_of, misbehaving
from support.waiting import eventually


def sample(pool: WorkerPool, name: str, *labels: str) -> float:
    """The value of a sample."""
    [sample] = [sample for sample in pool.metrics() if sample.name == name]
    return sample.values[labels]


async def test_questions_are_counted_with_the_time_they_took(start: Start) -> None:
    pool = await start()
    for query in ("", "do=sleep&ms=20"):
        await ask(pool, query)
    assert sample(pool, "worker_execs") == 2
    assert 0.02 <= sample(pool, "worker_exec_seconds") < 60


@pytest.mark.parametrize(
    ("query", "limit", "kind"),
    [("do=error", 0.0, "error"), ("do=sleep&ms=600000", 0.05, "timeout"), ("do=die", 0.0, "died")],
)
async def test_failures_are_counted_by_kind(
    start: Start, log: RecordedLog, query: str, limit: float, kind: str
) -> None:
    pool = await start()
    await failure_of(pool, query, limit)
    assert {key: count for key, count in pool.counters.failures.items() if count} == {kind: 1}
    assert sample(pool, "worker_failures", kind) == 1
    assert (await ask(pool)).allowed
    assert sample(pool, "worker_restarts") == (0 if kind == "error" else 1)


async def test_a_question_without_a_worker_is_a_failure_that_no_worker_was_asked(
    start: Start, gate: Gate
) -> None:
    pool = await start()
    busy = asyncio.create_task(ask(pool, gate.wait))
    await eventually(lambda: sample(pool, "workers", "working") == 1)
    waiting = asyncio.create_task(failure_of(pool, ""))
    await eventually(lambda: sample(pool, "workers_waiting") == 1)
    stopping = asyncio.create_task(pool.stop())
    await waiting
    gate.open()
    await asyncio.gather(stopping, busy)
    assert (sample(pool, "worker_failures", "no_free_worker"), sample(pool, "worker_execs")) == (1, 1)


async def test_a_question_that_no_worker_answers_is_one_failure(start: Start) -> None:
    pool = await start(workers=2)
    await failure_of(pool, "do=restart")
    assert {key: count for key, count in pool.counters.failures.items() if count} == {"given_up": 1}
    assert sample(pool, "worker_execs") == 3


async def test_a_question_whose_asker_has_left_is_counted(start: Start) -> None:
    pool = await start()
    asking = asyncio.create_task(ask(pool, "do=sleep&ms=600000", limit=0.1))
    await eventually(lambda: sample(pool, "workers", "working") == 1)
    asking.cancel()
    await eventually(lambda: sample(pool, "worker_failures", "timeout") == 1)


async def test_workers_replaced_by_a_reset_are_no_restarts(start: Start) -> None:
    pool = await start(workers=2)
    await pool.reset()
    await eventually(lambda: sample(pool, "workers", "ready") == 2)
    assert sample(pool, "worker_restarts") == 0
    assert sample(pool, "workers_memory_bytes") > 2_000_000


async def test_starts_that_fail_are_counted(start: Start, tmp_path: Path, log: RecordedLog) -> None:
    script = tmp_path / "worker"
    script.write_text(f"#!/bin/sh\nexec {misbehaving('byte-by-byte')}\n")
    script.chmod(0o755)
    pool = await start(str(script), max_jobs=1)
    assert pool.ready
    script.unlink()
    await ask(pool)
    await eventually(lambda: sample(pool, "worker_failures", "start") >= 2)
    assert not pool.ready
    assert sample(pool, "workers", "ready") == 0


async def test_with_debug_a_pool_is_ready_without_workers(start: Start) -> None:
    pool = await start(debug=True)
    assert pool.ready
    assert sample(pool, "workers", "ready") == 0
    await ask(pool)
    assert sample(pool, "worker_execs") == 1
    await pool.stop()
    assert not pool.ready
