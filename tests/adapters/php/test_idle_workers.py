from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import cast

import pytest

from rr_py_ws.adapters.php.idle_workers import IdleWorkers
from rr_py_ws.adapters.php.question import Question
from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.core.ports import Answer, Lane
from rr_py_ws.errors import NoFreeWorkers, WorkersDown
from rr_py_ws.wire.worker import Message


class IdleWorker:
    """What `IdleWorkers` looks at in a worker, and what it was asked."""

    def __init__(self) -> None:
        self.retired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_ready: Callable[[Worker], None]
        self.asked: list[Question] = []

    def ask(self, question: Question) -> None:
        self.asked.append(question)


Make = Callable[[], Worker]


@pytest.fixture
async def make() -> Make:
    return lambda: cast(Worker, IdleWorker())


@pytest.fixture
def dismissed() -> list[Worker]:
    return []


@pytest.fixture
async def idle(dismissed: list[Worker]) -> IdleWorkers:
    return IdleWorkers(dismissed.append)


class Asked(Question):
    """A question, and its answer."""

    def __init__(self, ends: float) -> None:
        self.answer_given: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        super().__init__((), 0.0, 0.0, ends, self.answer_given.set_result, lambda *_: None)


def ask(idle: IdleWorkers, lane: Lane = Lane.JOINS, wait: float = 60.0, ends: float = math.inf) -> Asked:
    """Put a question, to a worker or into the queue."""
    question = Asked(ends)
    idle.ask(question, lane, wait)
    return question


def asked(worker: Worker) -> list[Question]:
    """What a worker was asked."""
    return cast(IdleWorker, worker).asked


async def test_workers_are_used_in_turn(idle: IdleWorkers, make: Make) -> None:
    workers = [make() for _ in range(3)]
    for worker in workers:
        idle.add(worker)
    questions = [ask(idle) for _ in workers]
    assert [asked(worker) for worker in workers] == [[question] for question in questions]


async def test_the_question_that_waits_longest_is_first(idle: IdleWorkers, make: Make) -> None:
    waiting = [ask(idle) for _ in range(3)]
    workers = [make() for _ in range(3)]
    for worker in workers:
        idle.add(worker)
    assert [asked(worker) for worker in workers] == [[question] for question in waiting]
    assert idle.waiting == 0


async def test_a_worker_that_is_ready_again_gets_the_next_question(idle: IdleWorkers, make: Make) -> None:
    idle.add(worker := make())
    first, second = ask(idle), ask(idle)
    assert (asked(worker), idle.waiting) == ([first], 1)
    worker.on_ready(worker)
    assert (asked(worker), idle.waiting) == ([first, second], 0)


async def test_a_wait_ends_and_loses_no_worker(idle: IdleWorkers, make: Make) -> None:
    answer = await ask(idle, wait=0.01).answer_given
    assert isinstance(answer, NoFreeWorkers)
    assert str(answer) == "no worker became free within 0.01 s"
    assert idle.waiting == 0
    idle.add(worker := make())
    question = ask(idle)
    assert asked(worker) == [question]


async def test_a_wait_ends_with_the_time_of_the_caller(idle: IdleWorkers) -> None:
    """At every fraction of a millisecond: the timers of uvloop have whole ones and fire early."""
    now = asyncio.get_running_loop().time()
    asked = [ask(idle, ends=now + 0.01 + step / 100_000) for step in range(200)]
    assert {type(await question.answer_given) for question in asked} == {TimeoutError}
    assert idle.waiting == 0


async def test_a_worker_that_comes_after_the_cancellation_goes_to_the_next(
    idle: IdleWorkers, make: Make
) -> None:
    """Also in the same turn of the loop, in which the caller could not yet say that it is gone."""
    first, second = ask(idle), ask(idle)
    first.answered = True
    idle.add(worker := make())
    assert asked(worker) == [second]


async def test_a_withdrawn_question_gets_no_worker(idle: IdleWorkers, make: Make) -> None:
    first, second = ask(idle), ask(idle)
    idle.withdraw(first)
    idle.withdraw(first)
    assert idle.waiting == 1
    idle.add(worker := make())
    assert asked(worker) == [second]


async def test_a_retired_worker_is_dismissed_and_serves_nobody(
    idle: IdleWorkers, make: Make, dismissed: list[Worker]
) -> None:
    waiting = ask(idle)
    retired = make()
    retired.retired.set_result(None)
    idle.add(retired)
    assert dismissed == [retired]
    idle.add(worker := make())
    assert (asked(retired), asked(worker)) == ([], [waiting])


async def test_a_worker_that_retires_while_it_is_idle_serves_nobody(
    idle: IdleWorkers, make: Make, dismissed: list[Worker]
) -> None:
    idle.add(retired := make())
    idle.add(worker := make())
    retired.retired.set_result(None)
    question = ask(idle)
    assert (asked(retired), asked(worker), dismissed) == ([], [question], [retired])


async def test_removing_says_whether_the_worker_was_idle(idle: IdleWorkers, make: Make) -> None:
    idle.add(worker := make())
    assert idle.remove(worker)
    assert not idle.remove(worker)


async def test_closing_refuses_who_waits_and_who_comes(idle: IdleWorkers) -> None:
    waiting = ask(idle)
    idle.close("no more")
    for refused in (waiting, ask(idle)):
        answer = await refused.answer_given
        assert isinstance(answer, NoFreeWorkers)
        assert str(answer) == "no more"


async def test_handshakes_and_joins_get_workers_in_turn(idle: IdleWorkers, make: Make) -> None:
    """However many joins came before them, handshakes get every other worker; and the other way round."""
    kinds = {}
    for lane in [Lane.JOINS] * 6 + [Lane.HANDSHAKES] * 2:
        kinds[ask(idle, lane)] = lane.name
    workers = [make() for _ in range(8)]
    for worker in workers:
        idle.add(worker)
    served = [kinds[question] for worker in workers for question in asked(worker)]
    assert sorted(served[:2]) == sorted(served[2:4]) == ["HANDSHAKES", "JOINS"]
    assert served[4:] == ["JOINS"] * 4


async def test_who_waits_can_be_refused_and_who_comes_later_waits(idle: IdleWorkers, make: Make) -> None:
    refused = [ask(idle, lane) for lane in (*Lane, *Lane)]
    cancelled = ask(idle)
    cancelled.answered = True
    idle.refuse(WorkersDown, "no hope")
    for question in refused:
        answer = await question.answer_given
        assert isinstance(answer, WorkersDown)
        assert str(answer) == "no hope"
    later = ask(idle)
    idle.add(worker := make())
    assert asked(worker) == [later]


async def test_a_question_that_was_answered_meanwhile_keeps_its_answer(idle: IdleWorkers) -> None:
    question = ask(idle)
    question.answer(Message(b"{}"))
    idle.close("no more")
    assert await question.answer_given == Message(b"{}")
