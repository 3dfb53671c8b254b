"""The parent of several processes, with children that do as they are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

from support.program import environment
from support.waiting import DEADLINE

_PROGRAM = """
import errno, os, signal, socket, sys
from rr_py_ws.errors import RRWSError
from rr_py_ws.server import supervisor as room
from rr_py_ws.server.control import Control
from rr_py_ws.server.supervised import CORE

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # a line of one process never mixes with others

def serve(control):
    control.socket.setblocking(True)
    while (found := control.receive()) is not None and found[0][0] != "stop":
        say(*found[0])
    return 0

def run(number, control, again):
    say("started", number, again)
    if number == CORE:
        control.send("ready", 1.0)
    return serve(control)

SETUP

server = room.Supervisor(
    1, run, lambda number: say("ended", number), READY, lambda: say("stops"), 1.0, 0.0, silent=True
)
try:
    say("code", server.run())
except RRWSError as error:
    say("failed:", error)
"""


def run(
    setup: str,
    ready: str = "lambda: os.kill(os.getpid(), signal.SIGTERM)",
    stderr: int = subprocess.STDOUT,
) -> list[str]:
    """Run a parent with one listener, which is stopped when it is ready; return what was printed.

    Args:
        setup: what is to be different, before the parent is made.
        ready: what is called when everything is started.
        stderr: of all processes.
    """
    program = _PROGRAM.replace("SETUP", textwrap.dedent(setup)).replace("READY", ready)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout.splitlines()


def test_children_are_started_linked_and_stopped() -> None:
    said = run("")
    assert {"started 0 False", "started 1 False", "link 1", "link 0", "stops", "ended 1"} <= {*said}
    assert said[-1] == "code 0"


def test_a_signal_that_a_child_gets_at_its_birth_is_not_the_parents() -> None:
    """A terminal and systemd send signals to all processes of a server, those being started too."""
    said = run(
        """
        fork = os.fork
        def fork_and_signal():
            pid = fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGHUP)
            return pid
        os.fork = fork_and_signal
        """
    )
    assert said[-1] == "code 0"
    assert "reload" not in said


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (40, "signal 40")])
def test_a_start_that_fails_names_the_process_and_its_end(number: int, name: str) -> None:
    said = run(
        f"""
        def run(number, control, again):
            if number == CORE:
                return serve(control)
            os.kill(os.getpid(), {number})
        """
    )
    assert said[-1] == f"failed: the listener 1 process ended while the server started: {name}"


def test_a_listener_that_has_lost_its_socket_to_the_core_is_started_again() -> None:
    """The kernel drops a descriptor that is handed over when there is no place for it."""
    said = run(
        """
        def run(number, control, again):
            if number == CORE:
                control.send("ready", 1.0)
            elif again:
                os.kill(os.getppid(), signal.SIGTERM)
            else:
                control.socket.setblocking(True)
                while control.receive()[0][0] != "go":
                    pass
                control.send("unlinked", number)
            return serve(control)
        """,
        "lambda: server._children[1].send('go')",
    )
    assert said[-1] == "code 0"
    assert any("killed: it cannot be connected to the core, too many open files" in line for line in said)


def test_a_start_without_descriptors_is_an_error() -> None:
    said = run(
        """
        def pair(*args):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        Control.pair = pair
        """
    )
    assert said == ["failed: cannot start a process: Too many open files"]


@pytest.mark.parametrize(
    ("needed_for", "problem"),
    [("control", "could not be started again"), ("link", "cannot be connected to the core")],
)
def test_a_parent_without_descriptors_for_a_while_tries_again(needed_for: str, problem: str) -> None:
    said = run(
        f"""
        NEEDED_FOR = {needed_for!r}

        def begin():
            def fail_once(*kind):
                if ("control" if kind else "link") != NEEDED_FOR:
                    return pair(*kind)
                socket.socketpair = pair
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            pair, socket.socketpair = socket.socketpair, fail_once
            os.kill(server._children[1].pid, signal.SIGKILL)

        def run(number, control, again):
            if number == CORE:
                control.send("ready", 1.0)
            elif again:
                control.socket.setblocking(True)
                assert control.receive()[0][0] == "link"
                os.kill(os.getppid(), signal.SIGTERM)
            return serve(control)
        """,
        "begin",
    )
    assert said.count("ended 1") == {"control": 2, "link": 3}[needed_for]
    assert any(problem in line and "Too many open files" in line for line in said), said
    assert said[-1] == "code 0"


def test_a_full_log_does_not_hold_up_the_parent() -> None:
    """When no child is left that could write a line, and nobody takes it, it is lost."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    try:
        said = run(
            """
            def end_all():
                for child in server._children:
                    os.kill(child.pid, signal.SIGKILL)

            def run(number, control, again):
                if number == CORE:
                    control.send("ready", 1.0)
                    if again:
                        os.kill(os.getppid(), signal.SIGTERM)
                return serve(control)
            """,
            "end_all",
            stderr=writing,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert said[-1] == "code 0"
