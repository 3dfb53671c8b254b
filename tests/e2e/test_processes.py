"""One server of several processes: `websockets.processes`."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2e.client import Client, Connect, OpenRaw
from support.php import REPOSITORY, StartPHP
from support.ports import free_port
from support.process import Server, Servers, configuration, start_failure
from support.waiting import eventually_sync
from support.ws_peer import push

CLIENTS = 40
"""So many that no process of three is without any, but once in ten million runs."""


def start(servers: Servers, worker: str | None = None, processes: int = 3, **sections: Any) -> Server:
    """A server of several processes, with metrics and status."""
    websockets = {"processes": processes, **sections.pop("websockets", {})}
    metrics, status = ({"address": f"127.0.0.1:{free_port()}"} for _ in range(2))
    return servers.start(worker, websockets=websockets, metrics=metrics, status=status, **sections)


def get(server: Server, section: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{server.config[section]['address']}{path}") as answer:
        return answer.read().decode()  # type: ignore[no-any-return]


def metrics(server: Server) -> dict[str, float]:
    """Name with labels -> number."""
    lines = [line.rpartition(" ") for line in get(server, "metrics", "/metrics").splitlines()]
    return {name.removeprefix("rr_ws_"): float(number) for name, _, number in lines if name[:1] != "#"}


def children(server: Server) -> dict[str, psutil.Process]:
    """The processes by what they are: the core was started first."""
    core, *listeners = sorted(psutil.Process(server.process.pid).children(), key=lambda one: one.pid)
    return {"core": core} | {f"listener {number}": one for number, one in enumerate(listeners, 1)}


def serving(server: Server, clients: list[Client]) -> list[psutil.Process]:
    """The process that serves each of the clients."""
    found = {
        connection.raddr.port: process
        for process in children(server).values()
        for connection in process.net_connections("tcp")
        if connection.raddr
    }
    return [found[client.websocket.socket.getsockname()[1]] for client in clients]


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return start(servers, "questions.php")


def test_clients_of_all_processes_get_everything_in_order(server: Server, connect: Connect) -> None:
    clients = [connect(server) for _ in range(CLIENTS)]
    for client in clients:
        client.join("all", "a", "b")
    assert len(set(serving(server, clients))) == 3
    server.php(
        "for ($n = 0; $n < 300; $n++) { $broadcast->publish($n % 3 ? 'all' : 'ab'[$n % 2], (string) $n); }"
    )
    messages = [push("all" if number % 3 else "ab"[number % 2], str(number)) for number in range(300)]
    for client in clients:
        client.expect(*messages)


def test_what_is_published_after_a_join_is_answered_arrives(server: Server, connect: Connect) -> None:
    """The subscription has passed through two processes."""
    clients = [connect(server) for _ in range(6)]
    for number in range(5):
        for client in clients:
            client.join(f"topic {number}")
        server.php(f"$broadcast->publish('topic {number}', 'hello');")
        for client in clients:
            client.expect(push(f"topic {number}", "hello"))


def test_metrics_are_those_of_the_whole_server(server: Server, connect: Connect) -> None:
    before = metrics(server)
    clients = [connect(server) for _ in range(10)]
    for client in clients:
        client.join("counted")
    server.php("$broadcast->publish('counted', 'hello');")
    for client in clients:
        client.expect(push("counted", "hello"))
    now = metrics(server)

    def more(name: str) -> float:
        return now[name] - before[name]

    assert more('published_messages_total{broker="default"}') == 1
    assert more('delivered_messages_total{broker="default"}') == 10
    assert more('commands_total{command="join"}') == 10
    assert now['topics{broker="default"}'] - before['topics{broker="default"}'] == 1
    assert now["listeners"] == 3
    page = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    documented = re.findall(r"^\| `rr_ws_(listener\w*)` \|", page, re.MULTILINE)
    served = {name.partition("{")[0] for name in now if name.startswith("listener")}
    assert served == set(documented)


def test_readiness_is_that_of_the_whole_server(server: Server) -> None:
    assert "websockets: Status: 200" in get(server, "status", "/ready")


def test_php_decides_for_all_processes(server: Server, connect: Connect) -> None:
    for _ in range(6):
        client = connect(server)
        client.join("a")
    assert len(server.workers()) == 2
    before = server.workers()
    assert server.cli("reset").returncode == 0
    eventually_sync(lambda: not before & server.workers(), "the old workers to have ended")
    client.join("b")


def test_a_reload_is_told_once_and_counts_for_all(servers: Servers, raw: OpenRaw, connect: Connect) -> None:
    server = start(servers, websockets={"limits": {"max_connections": 100}})
    config = json.loads((server.directory / ".rr.yaml").read_text())
    config["websockets"]["limits"]["max_connections"] = 2
    (server.directory / ".rr.yaml").write_text(json.dumps(config))
    seen = len(server.log)
    server.signal(signal.SIGHUP)
    server.log.wait_for("changed, counts from now on", since=seen)
    for _ in range(2):
        raw(server).upgrade()
    eventually_sync(lambda: metrics(server)["places"] == 2, "the limit counts in all processes")
    for _ in range(6):
        assert raw(server).refused().status == 503
    assert len(server.log.having("changed, counts from now on", seen)) == 1


def test_processes_that_start_later_have_the_last_reload_though_the_file_is_broken_now(
    servers: Servers, raw: OpenRaw
) -> None:
    server = start(servers, websockets={"limits": {"max_connections": 100}})
    server.tolerated += ["process ended", "the core process is back", "configuration not read again"]
    path = server.directory / ".rr.yaml"
    good = path.read_text()
    path.write_text(good.replace('"max_connections": 100', '"max_connections": 2'))
    server.signal(signal.SIGHUP)
    server.log.wait_for("changed, counts from now on")
    path.write_text("websockets: [")
    for child in psutil.Process(server.process.pid).children():
        child.kill()
    server.log.wait_for("the core process is back")
    eventually_sync(lambda: metrics(server)["listeners"] == 3, "all are back")
    for _ in range(2):
        raw(server).upgrade()
    eventually_sync(lambda: metrics(server)["places"] == 2, "the limit counts in all processes")
    for _ in range(6):
        assert raw(server).refused().status == 503


def test_the_number_of_connections_is_limited_over_all_processes(
    servers: Servers, connect: Connect, raw: OpenRaw
) -> None:
    server = start(servers, websockets={"limits": {"max_connections": 8}})
    clients = [connect(server) for _ in range(8)]
    assert len(set(serving(server, clients))) > 1
    for _ in range(10):
        assert raw(server).refused().status == 503
    clients.pop().websocket.close()
    eventually_sync(lambda: metrics(server)["places_taken"] == 7, "there is a place again")
    connect(server)
    assert metrics(server)["places"] == 8


def test_connections_of_an_address_are_limited_over_all_processes(
    servers: Servers, connect: Connect, raw: OpenRaw
) -> None:
    server = start(servers, websockets={"limits": {"max_connections_per_address": 8}})
    clients = [connect(server) for _ in range(8)]
    assert len(set(serving(server, clients))) > 1
    for _ in range(10):
        assert raw(server).refused().status == 429


def test_pages_come_from_the_workers_of_the_core(servers: Servers) -> None:
    """Small and large bodies, and answers in parts."""
    server = start(servers, "pages.php")
    for size in (10, 3_000_000):
        body = bytes(range(256)) * (size // 256 + 1)
        request = urllib.request.Request(f"http://{server.config['http']['address']}/length", body)
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request) as answer:
            assert json.loads(answer.read()) == {"length": len(body), "md5": hashlib.md5(body).hexdigest()}
    with urllib.request.urlopen(f"http://{server.config['http']['address']}/hello") as answer:
        assert answer.read() == b"hello"


def test_what_was_missed_is_recovered_at_another_process_without_a_hole(
    servers: Servers, connect: Connect, php: StartPHP
) -> None:
    """While somebody publishes without a pause, clients come back again and again, to whatever process."""
    rule = {"topics": "news", "size": 100_000, "ttl": "60s"}
    server = start(servers, websockets={"history": [rule], "limits": {"recovery_messages": 100_000}})
    publisher = php(
        server,
        "$n = 0; while (fgets(STDIN)) {"
        " for ($i = 0; $i < 300; $i++) { $broadcast->publish('news', (string) $n++); } echo $n, PHP_EOL; }",
    )
    came: list[int] = []
    position: Any = True
    for number in range(20):
        client = connect(server)
        client.command("join", ["news"], id="1", history={"news": position})
        if number % 2:  # while the join is on its way
            publisher.ask("publish")
        answer = json.loads(client.receive())["history"]["news"]
        assert answer["recovered"]
        if not number % 2:
            publisher.ask("publish")
        for _ in range(300):
            message = json.loads(client.receive())
            came.append(int(message["payload"]))
            position = message["pos"]
        client.websocket.close()
    assert came == list(range(20 * 300))


# Ends of processes


def test_a_listener_that_dies_is_started_again_and_nobody_else_notices(
    servers: Servers, connect: Connect
) -> None:
    server = start(servers)
    server.tolerated.append("a listener process ended")
    clients = [connect(server) for _ in range(CLIENTS)]
    for client in clients:
        client.join("news")
    before = metrics(server)
    processes = serving(server, clients)
    victim = processes[0]
    theirs = [client for client, process in zip(clients, processes, strict=True) if process == victim]
    others = [client for client in clients if client not in theirs]
    victim.kill()
    for client in theirs:
        assert client.close_code() is None
    server.log.wait_for("a listener process ended, it is started again")
    server.php("$broadcast->publish('news', 'meanwhile');")
    for client in others:
        client.expect(push("news", "meanwhile"))
    eventually_sync(lambda: metrics(server)["listeners"] == 3, "it is back")
    now = metrics(server)
    assert now["handshakes_accepted_total"] == before["handshakes_accepted_total"] == CLIENTS
    assert (now["connections"], now["listeners_lost_total"]) == (len(others), 1)
    back = [connect(server) for _ in range(CLIENTS)]
    assert len(set(serving(server, back))) == 3
    for client in back:
        client.join("news")
    server.php("$broadcast->publish('news', 'afterwards');")
    for client in (*others, *back):
        client.expect(push("news", "afterwards"))


def test_when_the_core_dies_clients_stay_and_are_told_of_the_gap(servers: Servers, connect: Connect) -> None:
    server = start(servers, "ok.php")
    server.tolerated.append("the core process ended")
    clients = [connect(server) for _ in range(9)]
    for client in clients:
        client.command("join", ["news"], id="1")
        client.expect('{"topic":"@join","payload":["news"],"id":"1"}')
    before = metrics(server)
    children(server)["core"].kill()
    for client in clients:
        client.expect('{"topic":"#gap","payload":["news"],"id":""}')
    server.log.wait_for("the core process is back")
    server.php("$broadcast->publish('news', 'it is back');")
    for client in clients:
        client.expect(push("news", "it is back"))
        client.command("join", ["other"], id="2")
        client.expect('{"topic":"@join","payload":["other"],"id":"2"}')
    now = metrics(server)
    assert now["handshakes_accepted_total"] == before["handshakes_accepted_total"] == 9
    assert now["connections"] == 9
    assert len(server.log.having("the core process ended, it is started again")) == 1


def test_no_counter_falls_when_a_listener_has_died_and_then_the_core(
    servers: Servers, connect: Connect
) -> None:
    server = start(servers, "ok.php")
    server.tolerated.append("process ended")
    clients = [connect(server) for _ in range(CLIENTS)]
    for client in clients:
        client.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    seen = [metrics(server)]
    for victim in (serving(server, clients)[0], children(server)["core"]):
        victim.kill()
        server.log.wait_for("the core process is back" if len(seen) > 1 else "a listener process ended")
        eventually_sync(lambda: metrics(server)["listeners"] == 3, "it is back")
        seen.append(metrics(server))
    assert seen[0]['published_messages_total{broker="default"}'] == 1
    for name, number in seen[1].items():
        # The time of a process is its own: it begins anew, from nothing, with the next one.
        if name.endswith("_total") and name != "process_cpu_seconds_total":
            assert seen[0].get(name, 0) <= number <= seen[2][name], name


def test_positions_of_before_are_of_another_history_when_the_core_has_died(
    servers: Servers, connect: Connect
) -> None:
    """A new core went on with the name of the old history, which it had from the parent, and counted anew.

    So a client that came back was told that nothing is missing, when as much had been published as before.
    """
    server = start(servers, websockets={"history": [{"topics": "news", "size": 10, "ttl": "60s"}]})
    server.tolerated.append("the core process ended")
    client = connect(server)
    client.command("join", ["news"], id=1, history=True)
    begun = json.loads(client.receive())["history"]["news"]["pos"]
    server.php("$broadcast->publish('news', ['1', '2']);")
    positions = [begun, *(json.loads(client.receive())["pos"] for _ in range(2))]
    children(server)["core"].kill()
    server.log.wait_for("the core process is back")
    server.php("$broadcast->publish('news', ['3', '4', '5']);")
    for position in positions:
        back = connect(server)
        back.command("join", ["news"], id=1, history={"news": position})
        answer = json.loads(back.receive())["history"]["news"]
        assert (answer["recovered"], answer["reason"]) == (False, "epoch")


def test_a_core_that_cannot_be_started_again_for_a_while_costs_no_client_its_connection(
    servers: Servers, connect: Connect
) -> None:
    """Somebody has taken its address in the moment in which it was gone."""
    server = start(servers)
    server.tolerated.append("the core process ended")
    clients = [connect(server) for _ in range(6)]
    for client in clients:
        client.command("join", ["news"], id="1")
        client.expect('{"topic":"@join","payload":["news"],"id":"1"}')
    host, _, port = server.rpc.removeprefix("tcp://").rpartition(":")
    taken: list[socket.socket] = []
    children(server)["core"].kill()
    eventually_sync(lambda: taken.append(socket.create_server((host, int(port)))) or taken, "it is free")
    with taken[0]:
        server.log.wait_for('"reason":"rpc.listen: cannot listen on')
    server.log.wait_for("the core process is back")
    server.php("$broadcast->publish('news', 'it is back');")
    for client in clients:
        found = [client.receive()]
        while found[-1] != push("news", "it is back"):
            found.append(client.receive())
        assert {*found[:-1]} == {'{"topic":"#gap","payload":["news"],"id":""}'}  # of each core that was there
    assert not server.log.having("a listener process ended")


@pytest.mark.parametrize("victim", ["core", "listener 2"])
def test_a_server_stops_in_order_while_a_process_is_gone(
    victim: str, servers: Servers, connect: Connect
) -> None:
    server = start(servers)
    server.tolerated.append("process ended")
    clients = [connect(server) for _ in range(10)]
    killed = children(server)[victim]
    processes = serving(server, clients)
    left = [client for client, process in zip(clients, processes, strict=True) if process != killed]
    killed.kill()
    server.signal(signal.SIGTERM)
    for client in left:
        assert client.close_code() == 1001
    assert server.wait() == 0
    assert server.family() == []


# Processes that hang


def test_a_core_that_hangs_is_ended_and_started_again(servers: Servers, connect: Connect) -> None:
    """It lived, so nobody noticed: joins waited for ever, and so did publishers."""
    server = start(servers, websockets={"process_timeout": "300ms"})
    server.tolerated.append("the core process ended")
    clients = [connect(server) for _ in range(9)]
    for client in clients:
        client.command("join", ["news"], id="1")
        client.expect('{"topic":"@join","payload":["news"],"id":"1"}')
    children(server)["core"].suspend()
    clients[0].command("join", ["other"], id="2")
    clients[0].expect(
        '{"topic":"#join","payload":["other"],"id":"2",'
        '"reason":"the core process is not there, try again later"}',
        '{"topic":"#gap","payload":["news"],"id":""}',
    )
    for client in clients[1:]:
        client.expect('{"topic":"#gap","payload":["news"],"id":""}')
    server.log.wait_for("the core process is back")
    [line] = map(json.loads, server.log.having("the core process ended"))
    assert (line["process"], line["end"]) == ("core", "killed: it has answered nothing for 0.3 s")
    server.php("$broadcast->publish('news', 'it is back');")
    for client in clients:
        client.expect(push("news", "it is back"))


def test_a_listener_that_hangs_is_ended_and_started_again(servers: Servers, connect: Connect) -> None:
    server = start(servers, websockets={"process_timeout": "1s"})
    server.tolerated.append("a listener process ended")
    clients = [connect(server) for _ in range(CLIENTS)]
    processes = serving(server, clients)
    theirs = [client for client, process in zip(clients, processes, strict=True) if process == processes[0]]
    others = [client for client in clients if client not in theirs]
    for client in others:
        client.join("news")
    processes[0].suspend()
    for client in theirs:
        assert client.close_code() is None
    server.log.wait_for("killed: it has answered nothing for 1 s")
    server.php("$broadcast->publish('news', 'meanwhile');")
    for client in others:
        client.expect(push("news", "meanwhile"))
    eventually_sync(lambda: metrics(server)["listeners"] == 3, "it is back")


def test_who_is_suspended_for_less_than_the_limit_is_not_ended(servers: Servers, connect: Connect) -> None:
    server = start(servers, websockets={"process_timeout": "60s"})
    client = connect(server)
    for process in children(server).values():
        process.suspend()
        client.command("join", [f"while {process.pid} stands still"])
        process.resume()
        client.expect(f'{{"topic":"@join","payload":["while {process.pid} stands still"]}}')
    assert len(server.log.having("process ended")) == 0


def test_a_machine_that_sleeps_longer_than_the_limit_wakes_up_as_it_was(
    servers: Servers, connect: Connect
) -> None:
    """The parent wakes up first, and its clock says that nobody has answered for longer than the limit."""
    server = start(servers, websockets={"process_timeout": "500ms"})
    clients = [connect(server) for _ in range(9)]
    for client in clients:
        client.join("news")
    family = [psutil.Process(server.process.pid), *children(server).values()]
    for process in family:
        process.suspend()
    morning = time.monotonic() + 1.5
    eventually_sync(lambda: time.monotonic() > morning, "it sleeps")
    for process in family:
        process.resume()
    server.php("$broadcast->publish('news', 'good morning');")
    for client in clients:
        client.expect(push("news", "good morning"))


def test_a_core_that_hangs_does_not_hold_up_a_stop(servers: Servers, connect: Connect) -> None:
    server = start(servers, websockets={"process_timeout": "300ms"}, endure={"grace_period": "60s"})
    clients = [connect(server) for _ in range(9)]
    children(server)["core"].suspend()
    server.signal(signal.SIGTERM)
    for client in clients:
        assert client.close_code() == 1001
    assert server.wait() == 1
    assert "a process was killed, it has answered nothing for 0.3 s: core" in str(server.log)
    assert server.family() == []


def test_without_its_parent_no_process_stays_behind(servers: Servers, connect: Connect) -> None:
    server = start(servers, "ok.php", wait=True)
    server.tolerated += ["the parent process ended"]
    client = connect(server)
    client.join("news")
    family = server.family()
    assert len(family) >= 6
    server.process.kill()
    assert client.close_code() == 1001
    assert server.wait() == -signal.SIGKILL
    eventually_sync(lambda: server.family() == [], "all have ended")


def test_a_second_signal_ends_all_processes_at_once(servers: Servers, raw: OpenRaw) -> None:
    server = start(servers)
    peer = raw(server)
    peer.upgrade()  # and does not answer the close frame
    server.signal(signal.SIGTERM)
    server.out.wait_for("stop signal received")
    server.signal(signal.SIGTERM)
    assert server.wait() == 1
    eventually_sync(lambda: server.family() == [], "all have ended")


def test_signals_to_the_whole_group_are_one_stop(servers: Servers, connect: Connect) -> None:
    """As systemd and a terminal send them."""
    server = start(servers)
    clients = [connect(server) for _ in range(5)]
    for process in children(server).values():
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
    clients[0].join("still there")
    server.signal(signal.SIGTERM)
    for client in clients:
        assert client.close_code() == 1001
    assert server.wait() == 0


# The start


def test_an_address_in_use_is_one_error(server: Server, tmp_path: Path) -> None:
    for section, key in (("http", "http.address"), ("rpc", "rpc.listen"), ("status", "status.address")):
        wrong = configuration(websockets={"processes": 2}, **{section: server.config[section]})
        assert start_failure(tmp_path, wrong).startswith(f"{key}: cannot listen on")


def test_one_process_is_one_process(servers: Servers) -> None:
    server = start(servers, processes=1)
    assert psutil.Process(server.process.pid).children() == []
