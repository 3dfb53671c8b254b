"""What a flood of output costs, byte by byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from rr_py_ws.adapters.php import output
from rr_py_ws.adapters.php.output import MAX_LINE, Output, OutputBudget
from support.php_pool import RecordedLog


class Clock:
    """Monotonic time that stands still until a test moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> RecordedLog:
    recorded = RecordedLog()
    monkeypatch.setattr(output, "log", recorded)
    return recorded


class Printing:
    """A process that prints into a pipe."""

    def __init__(self, budget: OutputBudget) -> None:
        reading, self._writing = os.pipe()
        self.ended = asyncio.get_running_loop().create_future()
        self.output = Output(7, reading, budget, lambda: self.ended.set_result(None))

    def print(self, data: bytes) -> None:
        self.output._receive(data)

    async def end(self) -> None:
        os.close(self._writing)
        await self.ended


@pytest.fixture
def clock() -> Iterator[Clock]:
    yield Clock()


async def test_what_is_over_the_budget_is_skipped_and_told_with_the_next_line(
    clock: Clock, log: RecordedLog
) -> None:
    budget = OutputBudget(2, clock)
    php = Printing(budget)
    php.print(b"one\n\n \ntw")
    php.print(b"o\nthree\nfo")
    php.print(b"ur\n" + b"\n" * 60_000 + b"unfinished")
    assert log.events("info") == ["one", "two"]
    assert php.output.last_words == "four"
    clock.now += 10
    php.print(b" line\nnext\n")
    assert log.lines[2:] == [
        ("info", "unfinished line", {"pid": 7, "skipped_bytes": budget.skipped}),
        ("info", "next", {"pid": 7}),
    ]
    assert 60_000 < budget.skipped < 60_020
    await php.end()


async def test_workers_share_one_budget(clock: Clock, log: RecordedLog) -> None:
    budget = OutputBudget(10, clock)
    all_of_them = [Printing(budget) for _ in range(20)]
    for php in all_of_them:
        php.print(b"line\n" * 5)
    assert log.events("info") == ["line"] * 10 and budget.skipped > 400
    for php in all_of_them:
        await php.end()


@pytest.mark.parametrize("data", [b"\0", b"\xff", b"x"])
async def test_a_line_without_an_end_is_bounded_in_memory_and_in_the_log(
    data: bytes, clock: Clock, log: RecordedLog
) -> None:
    """A long line counts as many: control characters are dear to escape."""
    php = Printing(OutputBudget(100, clock))
    for _ in range(100):
        php.print(data * 10_000)
        assert len(php.output._unfinished) <= MAX_LINE
    assert len(log.events("info")) == 6  # of 17 lines each
    await php.end()


async def test_little_is_read_in_a_turn_as_long_as_it_becomes_lines(clock: Clock, log: RecordedLog) -> None:
    """64 KiB of line feeds and letters were 32,768 lines in one turn: 0.4 s in which nobody else had one."""
    php = Printing(OutputBudget(600, clock))
    os.write(php._writing, b"x\n" * 30_000)
    reader = php.output._reader
    lines = []
    for _ in range(3):  # turns
        reader._read()
        lines.append(len(log.lines))
    assert lines == [512, 600, 600]
    with pytest.raises(BlockingIOError):  # once the budget was used up, the rest was thrown away at once
        os.read(reader._fd, 1)
    await php.end()


UNCAUGHT = (
    b"PHP Fatal error:  Uncaught App\\TokenException: the token is void in /app/auth.php:7\n"
    b"Stack trace:\n#0 /app/worker.php(9): App\\Auth->check(Object(App\\TokenException))\n#1 {main}\n"
    b"  thrown in /app/auth.php on line 7\n"
)
MESSAGE = "PHP Fatal error:  Uncaught App\\TokenException: the token is void in /app/auth.php:7"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (UNCAUGHT, MESSAGE),
        (UNCAUGHT.replace(b"PHP ", b"\n"), MESSAGE.removeprefix("PHP ")),
        (b"warming up\n" + UNCAUGHT + b"bye\n", MESSAGE),
        (b"[RuntimeException] no such user\n#0 /app/a.php(3): fail(LogicException)\n", None),
        (b'{"level":"critical","exception":"RuntimeException: no"}\nlater\n', '{"level":"critical",'),
        (b"PHP Parse error:  syntax error in a.php on line 3\nmore\n", "PHP Parse error:  syntax error"),
        (b"PHP Fatal error:  Allowed memory size of 134217728 bytes exhausted\nx\n", "PHP Fatal error:  All"),
        (b"TypeError: first\nnothing special\nValueError: second\nthe end\n", "ValueError: second"),
        (b"one\ntwo\n", "two"),
        (b"one\n\n  \n", "one"),
        (b"", ""),
    ],
)
@pytest.mark.parametrize("lines", [500, 1], ids=["logged", "over the budget"])
async def test_the_last_words_are_the_message_of_an_exception(
    clock: Clock, log: RecordedLog, printed: bytes, words: str | None, lines: int
) -> None:
    """Point 16: they were the last line, for an exception "thrown in /app/auth.php on line 7"."""
    php = Printing(OutputBudget(lines, clock))
    php.print(printed)
    assert php.output.last_words.startswith("[RuntimeException] no such user" if words is None else words)
    assert bool(php.output.last_words) == bool(printed)
    await php.end()


async def test_the_last_words_are_about_this_request(clock: Clock, log: RecordedLog) -> None:
    """Point 16: an exception that an older request had logged was told as why the worker died.

    What is still in the pipe when the next request begins belongs to the older one, too.
    """
    php = Printing(OutputBudget(500, clock))
    php.print(b"RuntimeException: of the first\n")
    os.write(php._writing, UNCAUGHT)
    php.output.begin_request()
    os.write(php._writing, b"of this request\n")
    php.output._reader._read()
    assert php.output.last_words == "of this request"
    php.output.begin_request()
    assert php.output.last_words == ""
    await php.end()
