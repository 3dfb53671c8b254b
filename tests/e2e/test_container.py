"""Point 18: the server as process 1 of a container, and with standard streams that are odd."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from e2e.client import Connect
from support.process import PROGRAM, Server, Servers, configuration
from support.program import environment
from support.waiting import DEADLINE, eventually_sync


def orphans(server: Server) -> list[psutil.Process]:
    """What workers have started and left to the server, with what has ended of it and is not reaped."""
    return [child for child in psutil.Process(server.process.pid).children() if _is_orphan(child)]


def _is_orphan(child: psutil.Process) -> bool:
    try:
        return child.name() == "sleep" or child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # reaped since the children were listed
        return False


def test_orphans_are_reaped(servers: Servers, connect: Connect, tmp_path: Path) -> None:
    """Each that had ended stayed as a zombie, until the container could start no process any more."""
    server = servers.add(Server(tmp_path, configuration("background.php"), init=True))
    for _ in range(3):
        connect(server)
    eventually_sync(lambda: len(orphans(server)) == 3, "the server has the orphans")
    for orphan in orphans(server):
        orphan.kill()
    eventually_sync(lambda: not orphans(server), "they are reaped")
    (victim, *_) = psutil.Process(server.process.pid).children()
    victim.kill()  # what the server has started itself is still looked after, and replaced
    server.log.wait_for("worker is replaced")
    connect(server).join("news")
    eventually_sync(lambda: len(orphans(server)) == 1, "the last one")
    orphans(server)[0].kill()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / ".rr.yaml"
    file.write_text(json.dumps(configuration()))
    return file


@pytest.mark.parametrize("gone", [(1,), (2,), (1, 2)], ids=["stdout", "stderr", "both"])
def test_a_stop_whose_words_nobody_reads_is_a_success(config: Path, gone: Sequence[int]) -> None:
    """`docker logs` or `| head` has gone: Python turned that into exit code 120."""
    with ExitStack() as readers:
        ends = {number: os.pipe() for number in (1, 2)}
        server = subprocess.Popen(
            [PROGRAM, "serve", "-c", config],
            stdin=subprocess.DEVNULL,
            stdout=ends[1][1],
            stderr=ends[2][1],
            env=environment(),
        )
        for number, (reader, writer) in ends.items():
            os.close(writer)
            if number not in gone:
                readers.callback(os.close, reader)
        assert b"server started" in os.read(ends[1][0], 1000)
        for number in gone:
            os.close(ends[number][0])
        server.send_signal(signal.SIGTERM)
        assert server.wait(DEADLINE) == 0


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "<&- 1>&- 2>&-"])
def test_streams_that_are_closed_from_the_start_do_no_harm(config: Path, closed: str) -> None:
    """The first sockets got their numbers: what was written to stderr would have gone to a client."""
    http = json.loads(config.read_text())["http"]["address"].split(":")

    def is_served() -> bool:
        with socket.socket() as client:
            return client.connect_ex((http[0], int(http[1]))) == 0

    command = f'exec "$0" serve -c "$1" {closed}'
    server = subprocess.Popen(
        ["bash", "-c", command, PROGRAM, config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    eventually_sync(is_served, "the port is open")
    server.send_signal(signal.SIGTERM)
    assert server.wait(DEADLINE) == 0


def test_an_error_whose_reader_has_gone_is_still_an_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([PROGRAM, "check"], cwd=tmp_path, stdout=writer, stderr=writer, env=environment())
    os.close(writer)
    assert done.returncode == 1
