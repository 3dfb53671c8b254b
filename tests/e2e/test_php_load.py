"""Workers are replaced in every way while hundreds of joins wait for PHP: nothing is lost or mistaken."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from e2e.client import Connect, OpenRaw
from support.blocking import BlockingClient
from support.process import Server, Servers
from support.waiting import eventually_sync
from support.ws_peer import command, push, reply

CLIENTS = 60
TOPICS = ["even 0", "odd 1", "even 2", "odd 3"]
"""What each client asks to join without waiting for an answer."""
JOINS = b"".join(command("join", [topic]) for topic in TOPICS)


def start(servers: Servers, **pool: Any) -> Server:
    return servers.start("odd_or_even.php", websockets={"pool": pool, "ping": {"interval": 0}})


def crowd(server: Server, raw: OpenRaw) -> list[BlockingClient]:
    """Clients that are connected."""
    clients = [raw(server) for _ in range(CLIENTS)]
    for client in clients:
        client.upgrade()
    return clients


def expect_what_php_decided(clients: list[BlockingClient]) -> None:
    for client in clients:
        client.expect(*[reply("@join" if topic < "odd" else "#join", [topic]) for topic in TOPICS])


def reset(server: Server) -> None:
    assert server.call("resetter.Reset", '"websockets"') == "true"


def test_resets_with_240_joins_in_flight_lose_and_refuse_none(servers: Servers, raw: OpenRaw) -> None:
    server = start(servers)
    clients = crowd(server, raw)
    workers = server.workers()
    for client in clients:
        client.send(JOINS)
    reset(server)
    assert server.cli("reset").returncode == 0
    reset(server)
    expect_what_php_decided(clients)
    eventually_sync(lambda: len(server.family()) == 3, "the old workers are gone")
    assert workers.isdisjoint(server.workers())
    server.php("$broadcast->publish(['odd 1', 'even 2'], 'hello');")
    for client in clients:
        client.expect(push("even 2", "hello"))


@pytest.mark.parametrize(
    "pool",
    [
        {"max_jobs": 25},
        {"supervisor": {"watch_tick": "100ms", "ttl": "600ms"}},
        {"supervisor": {"watch_tick": "600ms", "max_worker_memory": 1}},
    ],
    ids=["max_jobs", "ttl", "memory"],
)
def test_workers_that_are_replaced_under_load_refuse_nobody(
    pool: dict[str, Any], servers: Servers, raw: OpenRaw
) -> None:
    server = start(servers, **pool)
    workers = server.workers()
    clients = crowd(server, raw)
    for client in clients:
        client.send(JOINS)
    expect_what_php_decided(clients)
    eventually_sync(lambda: workers.isdisjoint(server.workers()), "all have been replaced")


def test_a_worker_killed_in_the_middle_of_joins_costs_the_one_that_it_was_asked(
    servers: Servers, raw: OpenRaw
) -> None:
    server = start(servers)
    clients = crowd(server, raw)
    for client in clients:
        client.send(JOINS)
    killed = 0
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
        killed += 1
    wrong = 0
    for client in clients:
        for topic in TOPICS:
            answer = client.frame().payload.decode()
            decided = reply("@join" if topic < "odd" else "#join", [topic])
            assert answer in (decided, reply("#join", [topic])), "in order, and never allowed by a failure"
            wrong += answer != decided
    assert wrong <= killed == 2
    eventually_sync(lambda: len(server.family()) == 3, "they are replaced")


def test_joins_of_clients_that_are_gone_are_not_put_to_php(
    servers: Servers, raw: OpenRaw, connect: Connect
) -> None:
    """A crowd that left does not keep those waiting who came after it."""
    server = servers.start("obedient.php", websockets={"pool": {"num_workers": 1}, "authorize_timeout": "3s"})
    clients, late = crowd(server, raw), connect(server)
    since = len(server.log)
    for client in clients:
        client.command("join", ["do.sleep"])
    server.log.wait_for("sleeping: ", since=since)
    for client in clients:
        client.reset()
    late.join("news")
    assert len(server.log.having("sleeping: ", since)) == 1
