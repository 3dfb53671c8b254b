"""What the README tells a newcomer to try, with the files of the repository as they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.client import Connect
from support.php import REPOSITORY
from support.process import PROGRAM, Lines, Server, Servers
from support.program import environment
from support.waiting import DEADLINE
from support.ws_peer import push


@pytest.fixture(scope="module")
def server(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return servers.start_the_repository(tmp_path_factory.mktemp("server"))


def test_the_repository_is_served_with_a_php_worker(server: Server, connect: Connect) -> None:
    assert {process.name() for process in server.family()} == {"php"}
    browser = connect(server)
    browser.join("news", "chat.lobby")
    browser.is_refused("news", "chat.staff")
    browser.is_refused("news", "anything-else")


def test_without_php_the_repository_is_served_with_the_python_worker(
    servers: Servers, tmp_path: Path, path_without_php: str, connect: Connect
) -> None:
    server = servers.start_the_repository(tmp_path, PATH=path_without_php)
    workers = server.family()
    assert len(workers) == 4  # two of them for pages
    assert all("rr_py_ws.devtools.worker" in worker.cmdline() for worker in workers)
    browser = connect(server)
    browser.join("news", "user.5")
    browser.is_refused("news", "private-orders")
    server.php("$broadcast->publish('news', 'hello');")
    browser.expect(push("news", "hello"))


def test_the_php_example_publishes(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.join("news")
    command = ["php", "examples/publish.php", "news", "hello", "world"]
    subprocess.run(command, cwd=REPOSITORY, env=environment(RR_RPC=server.rpc), check=True, timeout=DEADLINE)
    browser.expect(push("news", "hello"), push("news", "world"))


def test_the_commands_listen_and_publish_work_together(servers: Servers) -> None:
    server = servers.start("ok.php")
    listener = subprocess.Popen(
        [PROGRAM, "listen", "news"],
        cwd=server.directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listener.stdout and listener.stderr
    out, err = Lines(listener.stdout), Lines(listener.stderr)
    try:
        err.wait_for("news")
        assert server.cli("publish", "news", "hello").returncode == 0
        assert out.wait_for("hello") == "news\thello"
    finally:
        listener.kill()
        listener.wait()
        out.close()
        err.close()
