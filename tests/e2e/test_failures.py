"""PHP that fails in every way, and a server that dies: nobody else notices, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from e2e.client import Connect, OpenRaw
from support.process import Server, Servers
from support.waiting import eventually_sync
from support.ws_peer import command, push, reply


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.start("obedient.php", websockets={"authorize_timeout": "2s"})


def pid_of_sleeper(server: Server, since: int) -> int:
    message = json.loads(server.log.wait_for("sleeping: ", since=since))["msg"]
    return int(message.removeprefix("sleeping: "))


def test_a_worker_killed_during_a_join_refuses_that_join_only(servers: Servers, connect: Connect) -> None:
    server = servers.start("obedient.php")
    browser, other = connect(server), connect(server)
    since = len(server.log)
    browser.command("join", ["do.sleep"])
    browser.command("join", ["news"])
    os.kill(pid_of_sleeper(server, since), signal.SIGKILL)
    browser.expect(reply("#join", ["do.sleep"]), reply("@join", ["news"]))
    assert "ended by signal 9" in server.log.wait_for("join refused", since=since)
    other.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    for client in (browser, other):
        client.expect(push("news", "hello"))
    eventually_sync(lambda: len(server.family()) == 3, "the worker is replaced")


def test_all_workers_killed_while_they_are_idle_are_replaced(server: Server, connect: Connect) -> None:
    browser = connect(server)
    workers = server.family()
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers, timeout=10)
    browser.join("news")
    connect(server).join("news")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ("noise", "Warning: a library writes to stdout"),
        ("fatal", "Allowed memory size of"),
        ("exit", "exit code 3"),
        ("throw", "RuntimeException: the database is away"),
    ],
)
def test_the_log_tells_what_php_did_wrong(failure: str, told: str, server: Server, connect: Connect) -> None:
    since = len(server.log)
    connect(server).is_refused(f"do.{failure}")
    assert told in server.log.wait_for("join refused", since=since)


def test_what_php_prints_is_logged_and_does_no_harm(server: Server, connect: Connect) -> None:
    since = len(server.log)
    connect(server).join("do.echo")
    server.log.wait_for("harmless output", since=since)


def test_php_that_sleeps_for_ever_holds_up_no_handshake_for_longer_than_the_timeout(
    server: Server, raw: OpenRaw
) -> None:
    """More of them than workers; the sleepers are killed and replaced."""
    waiting = [raw(server) for _ in range(5)]
    for browser in waiting:
        browser.send(b"GET /ws?do=sleep HTTP/1.1\r\nHost: a\r\n\r\n")
    for browser in waiting:
        refusal = browser.response()
        assert (refusal.status, refusal.body) == (400, b"")
    raw(server).upgrade()


def test_php_that_sleeps_for_ever_refuses_a_join(server: Server, connect: Connect) -> None:
    browser = connect(server)
    browser.is_refused("do.sleep")
    browser.join("news")


def test_a_client_that_leaves_while_php_is_asked_leaves_nothing(server: Server, raw: OpenRaw) -> None:
    before, since = server.descriptors(), len(server.log)
    browser = raw(server)
    browser.upgrade()
    browser.send(command("join", ["do.sleep"]) + command("join", ["a"]))
    pid_of_sleeper(server, since)
    browser.reset()
    eventually_sync(lambda: server.descriptors() <= before, "it is gone")
    raw(server).upgrade()
    eventually_sync(lambda: server.descriptors() <= before + 1, "only the last client is left")


def test_a_deployment_that_breaks_php_and_repairs_it_takes_the_server_with_it_at_no_time(
    servers: Servers, tmp_path: Path, raw: OpenRaw, connect: Connect
) -> None:
    """While no worker can be started, connected clients go on receiving, and new ones are refused."""
    script = tmp_path / "worker.php"
    script.write_text("<?php require getenv('SCRIPT');")
    server = servers.start(
        server={
            "command": f"php {script}",
            "env": {"SCRIPT": str(Path(__file__).parent / "workers" / "ok.php")},
        },
        websockets={"authorize": "php", "authorize_timeout": "1s"},
    )
    server.tolerated += ["cannot replace a worker", "PHP workers are down"]
    browser = connect(server)
    browser.join("news")
    broken = script.rename(tmp_path / "away.php")
    for worker in server.family():
        worker.kill()
    assert "Could not open input file" in server.log.wait_for("cannot replace a worker")
    assert raw(server).refused().status == 400
    server.php("$broadcast->publish('news', 'business as usual');")
    browser.expect(push("news", "business as usual"))
    broken.rename(script)
    eventually_sync(lambda: server.cli("workers").stdout.count("ready") == 3, "the workers are back")
    connect(server).join("news")


def test_a_killed_server_leaves_no_worker(servers: Servers, connect: Connect) -> None:
    """Neither an idle one nor one that sleeps."""
    server = servers.start("obedient.php")
    connect(server).command("join", ["do.sleep"])
    pid_of_sleeper(server, 0)
    assert len(server.family()) == 3
    server.signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    eventually_sync(lambda: server.family() == [], "the workers die with their server")
