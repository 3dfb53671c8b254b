"""What a worker's bytes are taken for, without a process."""

from __future__ import annotations

import asyncio
import os

import pytest

from rr_py_ws.adapters.php.connection import WorkerConnection
from rr_py_ws.adapters.php.pipes import PipeWriter
from rr_py_ws.adapters.php.stream import StreamedAnswer
from rr_py_ws.wire.goridge import STREAM, STREAM_PING, Flag, Frame, encode_frame
from rr_py_ws.wire.worker import Message, decode_message
from support.waiting import eventually

REASON = "its answer is streamed, which cannot be used; answer with a whole response"
PART = encode_frame(Flag(0), (2,), b"{}<html>", stream=STREAM)


@pytest.mark.parametrize("reads", [[PART + PART], [PART, PART], [PART + PART[:9], PART[9:] * 3]])
async def test_a_streamed_answer_is_refused_with_one_reason(reads: list[bytes]) -> None:
    """Point 25: the frames behind the first were shown behind the reason, as if they had been the trouble."""
    worker = WorkerConnection(1 << 20)
    worker.attach(lambda frame: None, lambda: None, lambda: None, lambda: None, lambda: 0)
    answers: list[object] = []
    worker.ask([b""], lambda frame: bool(answers.append(decode_message(frame))), lambda pid: None)
    for read in reads:
        worker.data_received(read)
    assert worker.lost.done()
    assert worker.problem == REASON
    assert answers == []


async def test_parts_of_an_answer_that_come_together_are_taken_in_turns() -> None:
    """Empty parts are 12 bytes each: what one read brings would take a tenth of a second."""
    worker = WorkerConnection(1 << 20)
    reading: list[bool] = []
    worker.attach(
        lambda frame: None,
        lambda: None,
        lambda: reading.append(False),
        lambda: reading.append(True),
        lambda: 0,
    )
    taken = 0

    def take(frame: object) -> bool:
        nonlocal taken
        taken += 1
        return taken < 1000

    ready: list[int] = []
    worker.ask([b""], take, ready.append)
    worker.data_received(encode_frame(Flag(0), (0,), b"", stream=STREAM) * 1000)
    counts = [taken]
    while taken < 1000:
        before = taken
        await asyncio.sleep(0)
        counts.append(taken - before)
    assert max(counts) == 128
    await asyncio.sleep(0)
    worker.data_received(encode_frame(Flag.CONTROL, (), b'{"pid":7}'))
    assert ready == [7]
    assert reading[0] is False and reading[-1] is True


async def test_a_worker_that_sends_pings_and_does_not_read_is_lost() -> None:
    """What waited to be written to it had no bound, and neither had the stream a limit of time."""
    worker = WorkerConnection(1 << 20)
    unread = bytearray()
    worker.attach(unread.extend, lambda: None, lambda: None, lambda: None, lambda: len(unread))
    ping = encode_frame(Flag(0), (0,), b"", stream=STREAM | STREAM_PING)

    def take(frame: Frame) -> bool:
        worker.answer_ping()
        return True

    worker.ask([b""], take, lambda pid: None)
    for _ in range(100):  # one that reads them goes on
        worker.data_received(ping)
        unread.clear()
    for _ in range(100):
        worker.data_received(ping * 100)
        await asyncio.sleep(0)
    assert worker.problem == "sent pings and did not read the answers"
    assert 0 < len(unread) <= 64 * 1024 + 12


async def test_what_a_pipe_has_not_taken_is_counted() -> None:
    read_end, write_end = os.pipe()
    writer = PipeWriter(write_end, lambda: None)
    for _ in range(20):
        writer.write(bytes(10_000))
    unsent = writer.unsent
    assert 0 < unsent < 200_000
    taken = len(os.read(read_end, 1 << 20))
    assert taken == 200_000 - unsent
    await eventually(lambda: writer.unsent < unsent)
    writer.close()
    os.close(read_end)


async def test_empty_parts_that_are_not_taken_pause_the_worker() -> None:
    paused: list[bool] = []
    answer = StreamedAnswer(
        lambda: paused.append(True), lambda: paused.append(False), lambda: paused.append(False)
    )
    for _ in range(1100):
        answer.add(Message(b""))
    assert paused == [True]
    while paused[-1]:
        assert await answer.next_part() == Message(b"")
