"""Answers in parts, of real worker processes."""

from __future__ import annotations

import asyncio

import pytest

from rr_py_ws.core.ports import AnswerParts
from rr_py_ws.wire.access import connect_question
from rr_py_ws.wire.worker import Message
from support.php_pool import Gate, Start, ask_message, grant, misbehaving
from support.waiting import eventually


async def sizes(parts: AnswerParts | None) -> list[int]:
    """How large the parts are that are left."""
    assert parts is not None
    found = []
    while (part := await parts.next_part()) is not None:
        found.append(len(part.body))
    return found


def question(query: str) -> Message:
    return Message(connect_question(grant(query)))


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_worker_is_free_when_its_last_part_is_here(start: Start, leaves: bool) -> None:
    """More waited for the caller than may wait: nobody read that the worker was ready, until all was taken.

    A caller that left took nothing any more, so the pool had lost a worker for good.
    """
    pool = await start(misbehaving("large-parts"))
    _, parts = await pool.exec_streamed(Message(b"{}"))
    assert parts is not None
    await eventually(lambda: pool.counters.execs == 1)
    if leaves:
        parts.stop()
    _, others = await pool.exec_streamed(Message(b"{}"))
    assert await sizes(others) == [300_000]
    if not leaves:
        assert await sizes(parts) == [300_000]
    assert await ask_message(pool, Message(b"{}")) == Message(b'{"status":200}')


async def test_who_leaves_a_worker_is_told_when_it_is_done(start: Start, gate: Gate) -> None:
    """What the question speaks of, such as the files of a form, may be removed then, and not before."""
    pool = await start()
    asking = asyncio.create_task(pool.exec_streamed(question(gate.wait)))
    waiting = asyncio.create_task(pool.exec_streamed(question("do=ok")))
    await asyncio.sleep(0)
    for task in (asking, waiting):
        task.cancel()
    done, _ = await asyncio.wait([waiting])
    assert done == {waiting} and not asking.done()
    gate.open()
    await asyncio.wait([asking])
    assert asking.cancelled() and waiting.cancelled()


async def test_who_leaves_and_has_no_time_is_not_kept(start: Start, gate: Gate) -> None:
    pool = await start()
    asking = asyncio.create_task(pool.exec_streamed(question(gate.wait)))
    await asyncio.sleep(0)
    for _ in range(2):
        asking.cancel()
        await asyncio.sleep(0)
    assert asking.cancelled()
    gate.open()
    assert (await ask_message(pool, question("do=ok"))).context
