"""Which processes are taken for hanging, and which for slow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rr_py_ws.server import heartbeat
from rr_py_ws.server.heartbeat import LOOKS, Heartbeat, processor_time
from support.waiting import eventually_sync


class Process:
    """A process as the kernel shows it."""

    state = "S"
    used = 0.0


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    shown = Process()
    monkeypatch.setattr(heartbeat, "processor_time", lambda _: (shown.state, shown.used))
    return shown


@pytest.fixture
def heart(process: Process) -> Heartbeat:
    """Of a process that has answered before, and is asked again."""
    heart = Heartbeat(1, 5.0)
    heart.answer()
    heart.ask()
    return heart


@pytest.mark.parametrize("state", ["S", "T", "t"])
def test_a_process_that_sleeps_or_is_stopped_has_as_long_as_the_limit(
    state: str, heart: Heartbeat, process: Process
) -> None:
    process.state = state
    assert [heart.miss() for _ in range(LOOKS)] == [False] * (LOOKS - 1) + [True]


def test_an_answer_begins_anew(heart: Heartbeat) -> None:
    for _ in range(LOOKS - 1):
        heart.miss()
    heart.answer()
    assert not heart.asked and heart.silence == 0
    heart.ask()
    assert [heart.miss() for _ in range(LOOKS)] == [False] * (LOOKS - 1) + [True]


def test_a_process_that_gets_no_processor_is_not_given_up(heart: Heartbeat, process: Process) -> None:
    process.state = "R"
    for _ in range(1000):
        process.used += 0.001
        assert not heart.miss()


def test_one_that_has_had_a_processor_for_the_limit_is(heart: Heartbeat, process: Process) -> None:
    process.state = "R"
    for _ in range(9):
        process.used += 0.5
        assert not heart.miss()
    process.used += 0.5
    assert heart.miss()


def test_what_was_used_before_the_question_does_not_count(process: Process) -> None:
    process.state, process.used = "R", 1000.0
    heart = Heartbeat(1, 5.0)
    heart.answer()
    heart.ask()
    assert not heart.miss() and heart.silence == 0


def test_a_process_that_waits_for_a_disk_is_not_given_up(heart: Heartbeat, process: Process) -> None:
    process.state = "D"
    assert not any(heart.miss() for _ in range(1000))


def test_a_process_that_starts_has_longer_for_its_first_answer(process: Process) -> None:
    heart = Heartbeat(1, 5.0)
    heart.ask()
    assert [heart.miss() for _ in range(10 * LOOKS)] == [False] * (10 * LOOKS - 1) + [True]


@pytest.fixture
def looping() -> Iterator[int]:
    """A real process that never sleeps, with a name that reads like fields."""
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b') S 1 (')\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) as started:
        yield started.pid
        started.kill()


def test_the_kernel_shows_state_and_time(looping: int) -> None:
    eventually_sync(lambda: processor_time(looping)[1] > 0.1, "it runs")
    assert processor_time(looping)[0] == "R"
    os.kill(looping, signal.SIGSTOP)
    eventually_sync(lambda: processor_time(looping)[0] == "T", "it is stopped")
    used = processor_time(looping)[1]
    os.kill(looping, signal.SIGCONT)
    eventually_sync(lambda: processor_time(looping)[1] > used, "it runs again")


def test_a_process_that_is_gone_shows_nothing() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert processor_time(gone.pid) == ("", 0.0)
