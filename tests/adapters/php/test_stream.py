"""Answers in parts, of real worker processes."""

from __future__ import annotations

import pytest

from rr_py_ws.core.ports import AnswerParts
from rr_py_ws.wire.worker import Message
from support.php_pool import Start, ask_message, misbehaving
from support.waiting import eventually


async def sizes(parts: AnswerParts | None) -> list[int]:
    """How large the parts are that are left."""
    assert parts is not None
    found = []
    while (part := await parts.next_part()) is not None:
        found.append(len(part.body))
    return found


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
