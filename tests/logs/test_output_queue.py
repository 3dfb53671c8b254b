"""Outputs that stand still, and what becomes of the lines meanwhile."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from logs.conftest import setup
from rr_py_ws import logs
from rr_py_ws.config import Logs
from rr_py_ws.logs.output_queue import OutputQueue
from rr_py_ws.logs.outputs import StreamOutput
from support.waiting import DEADLINE, eventually_sync


class Gate:
    """An output that takes nothing until it is opened."""

    terminal = False

    def __init__(self) -> None:
        self.written: list[str] = []
        self.reached, self.opened, self.closed = threading.Event(), threading.Event(), threading.Event()

    def write(self, lines: Iterable[str]) -> None:
        self.reached.set()
        self.opened.wait(DEADLINE)
        self.written += lines

    def close(self) -> None:
        self.closed.set()


def line(number: int) -> str:
    return f"{number:03d}\n"


SIZE = sys.getsizeof(line(0))


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def fill(gate: Gate) -> Callable[[int], OutputQueue]:
    """Write to a queue of ten lines that stands still."""

    def fill(count: int) -> OutputQueue:
        queue = OutputQueue(gate, 10 * SIZE, lambda lost: f"{lost} lost\n")
        queue.write([line(0)])
        assert gate.reached.wait(DEADLINE)
        queue.write(map(line, range(1, count)))
        return queue

    return fill


def test_lines_that_do_not_fit_are_dropped_counted_and_told_of(
    gate: Gate, fill: Callable[[int], OutputQueue]
) -> None:
    queue = fill(15)
    assert queue.dropped == 5 and gate.written == []
    gate.opened.set()
    eventually_sync(lambda: gate.written[10:] == ["5 lost\n"])
    queue.write([line(15)])
    queue.close(DEADLINE)
    assert gate.written == [*map(line, range(10)), "5 lost\n", line(15)]
    assert gate.closed.is_set()


def test_after_a_loss_a_line_waits_for_more_room_than_its_own(
    gate: Gate, fill: Callable[[int], OutputQueue]
) -> None:
    """Otherwise every second line would say that one was lost."""
    queue = fill(11)
    queue._waiting -= 4 * SIZE  # as if four were written
    queue.write([line(11)])
    assert queue.dropped == 2
    queue._waiting -= 2 * SIZE
    queue.write([line(12)])
    assert queue.dropped == 2
    gate.opened.set()
    queue.close(DEADLINE)
    assert gate.written == [*map(line, range(10)), "2 lost\n", line(12)]


def test_a_line_larger_than_the_queue_is_taken_when_nothing_waits(gate: Gate) -> None:
    gate.opened.set()
    queue = OutputQueue(gate, 10, lambda lost: f"{lost} lost\n")
    queue.write(["x" * 1000])
    queue.close(DEADLINE)
    assert gate.written == ["x" * 1000] and queue.dropped == 0


def test_the_end_does_not_wait_for_an_output_that_stands_still(
    gate: Gate, fill: Callable[[int], OutputQueue]
) -> None:
    queue = fill(3)
    queue.close(timeout=0.01)
    assert not gate.closed.is_set()  # the thread may still be writing to it
    gate.opened.set()
    eventually_sync(lambda: gate.written == [*map(line, range(3))])


def test_a_destructor_that_logs_while_a_line_is_queued_stops_nothing(gate: Gate) -> None:
    """The garbage collector may run at any place, and asyncio's tasks and futures log when they are lost."""
    gate.opened.set()

    class Lost:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            queue.write(["from a destructor\n"])

    class Collecting(str):
        __slots__ = ()

        def __sizeof__(self) -> int:
            gc.collect()
            return super().__sizeof__()

    queue = OutputQueue(gate, 10_000, lambda lost: f"{lost} lost\n")
    Lost()
    queue.write([Collecting("line\n")])
    queue.close(DEADLINE)
    assert sorted(gate.written) == ["from a destructor\n", "line\n"]


# The streams of a process


def test_a_stderr_that_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything used to stand still in write(2), also the answer to SIGTERM. A file goes on meanwhile."""
    reading, writing = os.pipe()
    os.write(writing, b"." * fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ))
    monkeypatch.setattr(sys, "stderr", os.fdopen(writing, "w"))
    path = tmp_path / "log"
    setup(Logs(mode="raw", level="info", output=("stderr", str(path))), max_queue=50_000)
    for rounds in range(1, 7):
        for _ in range(100):
            logs.get_logger("app").info("x" * 100)
        eventually_sync(lambda rounds=rounds: path.read_text().count("\n") == 100 * rounds)
    [sample] = logs.metrics()
    assert 200 < sample.values[()] < 600
    logs.shutdown(0.01)
    os.close(reading)  # ends the write that stands still
    # Its thread has more to write, and would write that to the stderr of the test that follows.
    eventually_sync(lambda: all(thread.name != "log output" for thread in threading.enumerate()))
    sys.stderr.close()


def test_a_pipe_that_another_process_has_made_non_blocking_gets_every_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    monkeypatch.setattr(sys, "stderr", os.fdopen(writing, "w"))
    output = OutputQueue(StreamOutput("stderr"), 1_000_000, str)
    output.write("x" * 99 + "\n" for _ in range(2000))
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read(200_000) == 2000 * (b"x" * 99 + b"\n")
    output.close()
    sys.stderr.close()


def test_a_line_for_a_person_keeps_its_place_among_the_lines_of_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    setup(Logs(mode="raw", output=("stdout",)))
    logs.get_logger("app").info("before")
    logs.print_line("for you")
    logs.get_logger("app").info("after")
    logs.shutdown()
    logs.print_line("without a server")
    assert capfd.readouterr().out == "before\nfor you\nafter\nwithout a server\n"
