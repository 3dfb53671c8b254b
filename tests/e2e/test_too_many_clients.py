"""More clients than there are file descriptors for, and than PHP can take at once."""

from __future__ import annotations

import asyncio
import json
import resource
from collections import Counter
from pathlib import Path

import psutil

from e2e.client import Connect, OpenRaw
from support.blocking import BlockingClient
from support.php import StartPHP
from support.process import Server, Servers, configuration
from support.waiting import eventually_sync
from support.ws_peer import Client, push, request


async def _ask(server: Server) -> tuple[int, int]:
    """Ask for a WebSocket; return the status, and Retry-After (0: none)."""
    client = await Client.connect(server.address)
    await client.send(request())
    head = (await client.head()).decode()
    client.reset()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    return int(head.split()[1]), int(fields.get("Retry-After", 0))


async def _ask_at_once(server: Server, count: int) -> list[tuple[int, int]]:
    return await asyncio.gather(*(_ask(server) for _ in range(count)))


def test_a_reconnect_storm_is_answered_and_starves_nobody(servers: Servers, connect: Connect) -> None:
    """500 clients at once, for a PHP that takes 20 ms for each, 2 at a time; then all is as before."""
    server = servers.start(
        "slow.php", websockets={"limits": {"max_handshakes": 8, "handshake_wait": "500ms"}}
    )
    browser = connect(server)
    storm = asyncio.new_event_loop()
    try:
        answers = storm.create_task(_ask_at_once(server, 500))
        storm.run_until_complete(asyncio.sleep(0.2))
        browser.join("during", "the storm")
        results = storm.run_until_complete(answers)
    finally:
        storm.close()
    kinds = Counter(status for status, _ in results)
    assert kinds.keys() == {101, 503}, kinds
    assert all((status == 503) == (2 <= retry <= 6) for status, retry in results)
    assert len({retry for _, retry in results if retry}) > 1, "they would all come back at the same moment"
    for _ in range(3):
        connect(server).join("news")
    server.php("$broadcast->publish('during', 'hello');")
    browser.expect(push("during", "hello"))


def test_more_clients_than_descriptors_are_refused_and_harm_nobody(
    servers: Servers, tmp_path: Path, raw: OpenRaw
) -> None:
    server = servers.add(Server(tmp_path, configuration(), files="300"))
    warning = json.loads(server.log.wait_for("limit of open files"))
    assert "the limit of open files, 300, is below the 1107" in warning["msg"]
    clients: list[BlockingClient] = []
    while (refusal := _open(server, raw, clients)) is None:
        assert len(clients) < 300
    assert (refusal.startswith("HTTP/1.1 503 "), "\r\nRetry-After: " in refusal) == (True, True)
    assert f"only {len(clients)} clients" in warning["msg"]
    for _ in range(50):
        assert _open(server, raw, clients) is not None
    for client in clients:
        client.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    for client in clients:
        client.expect(push("news", "hello"))
    for client in clients[:20]:
        client.reset()
    del clients[:20]
    eventually_sync(lambda: _open(server, raw, clients) is None, "there are places again")


def _open(server: Server, raw: OpenRaw, clients: list[BlockingClient]) -> str | None:
    """Open one more WebSocket; return the head of the response when that is refused."""
    client = raw(server)
    client.send(request())
    head = client.head()
    if head.startswith(b"HTTP/1.1 101 "):
        clients.append(client)
        return None
    client.rest()
    client.close()
    return str(head, "latin-1")


def test_workers_keep_the_limit_of_before_it_was_raised(servers: Servers, tmp_path: Path) -> None:
    """`select` in PHP or in one of its libraries cannot use descriptors from 1024 on."""
    server = servers.add(Server(tmp_path, configuration("ok.php"), files="1024:4096"))
    assert psutil.Process(server.process.pid).rlimit(resource.RLIMIT_NOFILE) == (4096, 4096)
    workers = server.family()
    assert workers
    for worker in workers:
        assert worker.rlimit(resource.RLIMIT_NOFILE) == (1024, 4096)


def test_descriptors_that_others_have_taken_delay_newcomers_only(
    servers: Servers, raw: OpenRaw, php: StartPHP
) -> None:
    """The limit is lowered below what is in use: every accept fails, until it is raised again."""
    server = servers.start()
    server.tolerated += ["cannot accept connections"]
    here = raw(server)
    here.upgrade()
    here.join("news")
    publisher = php(server, "while (fgets(STDIN)) { $broadcast->publish('news', 'hello'); echo PHP_EOL; }")
    publisher.ask("connect")
    here.expect(push("news", "hello"))
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    late = raw(server)
    late.send(request())
    server.log.wait_for("cannot accept connections", count=2)
    publisher.ask("publish")
    here.expect(push("news", "hello"))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    assert late.head().startswith(b"HTTP/1.1 101 ")
    raw(server).upgrade()
