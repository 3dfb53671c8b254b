"""Workers that were taken over: whatever one writes costs the question it was asked, and then itself."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import pytest

from rr_py_ws.errors import WorkerError
from support.php_pool import WORKERS, Start, alive, ask, pids
from support.waiting import eventually

REFUSED = [
    "wrong-checksum",
    "header-of-15-words",
    "4-gib",
    "no-option",
    "two-options",
    "long-context",
    "control",
    "a-stream",
    "pid-first",
    "half-a-frame",
    "half-a-header",
]
"""Answers that let nobody in."""
LATE = ["answers-twice", "stop-as-pid", "more-behind-the-pid"]
"""Lies behind an answer, which counts: they must not become the answer to the next question."""


def over_relays(lies: list[str]) -> list[tuple[str, str]]:
    """Each lie over pipes and over a socket; some over TCP, where only who connects is found otherwise."""
    return [*product(lies, ("pipes", "unix")), *product(lies[::4], ("tcp",))]


def lying(lie: str, path: Path) -> str:
    return f"{sys.executable} {WORKERS / 'lying.py'} {lie} {path / 'lied'}"


@pytest.mark.parametrize(("lie", "relay_dsn"), over_relays(REFUSED), indirect=["relay_dsn"])
async def test_a_lie_is_no_answer_and_the_worker_is_replaced(
    start: Start, relay_dsn: str, tmp_path: Path, lie: str
) -> None:
    pool = await start(lying(lie, tmp_path), server={"relay": relay_dsn}, destroy_timeout=0.1)
    (liar,) = pids(pool)
    with pytest.raises(WorkerError):
        await ask(pool, limit=0.3 if lie.startswith("half") else 5.0)
    assert (await ask(pool)).body == b"honest"
    await eventually(lambda: not alive(liar))


@pytest.mark.parametrize("lie", ["every-flag", "no-json"])
async def test_a_whole_answer_that_is_wrong_costs_only_its_question(
    start: Start, relay_dsn: str, tmp_path: Path, lie: str
) -> None:
    pool = await start(lying(lie, tmp_path), server={"relay": relay_dsn}, destroy_timeout=0.1)
    (liar,) = pids(pool)
    with pytest.raises(WorkerError):
        await ask(pool)
    assert (await ask(pool)).body == b"honest"
    assert pids(pool) == [liar]


@pytest.mark.parametrize(("lie", "relay_dsn"), over_relays(LATE), indirect=["relay_dsn"])
async def test_a_lie_behind_an_answer_is_not_the_next_one(
    start: Start, relay_dsn: str, tmp_path: Path, lie: str
) -> None:
    pool = await start(lying(lie, tmp_path), server={"relay": relay_dsn}, destroy_timeout=0.1)
    (liar,) = pids(pool)
    assert (await ask(pool)).body == b"lie"
    assert (await ask(pool)).body == b"honest"
    await eventually(lambda: not alive(liar))


@pytest.mark.parametrize("lie", ["pid-of-another", "another-version"])
async def test_a_number_that_a_worker_says_later_means_nothing(
    start: Start, relay_dsn: str, tmp_path: Path, lie: str
) -> None:
    """Which process is killed, measured and shown is the one that was started."""
    pool = await start(lying(lie, tmp_path), server={"relay": relay_dsn}, destroy_timeout=0.1)
    (liar,) = pids(pool)
    assert (await ask(pool)).body == b"lie"
    assert pids(pool) == [liar]
    assert [state.pid for state in pool.states()] == [liar]
