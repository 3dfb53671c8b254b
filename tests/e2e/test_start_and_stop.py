"""How a server starts, refuses to start, and ends."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect as ws_connect

from e2e.client import Connect, OpenRaw
from support.ports import free_port
from support.process import PROGRAM, Server, Servers, configuration, start_failure
from support.program import environment
from support.tls import client_context, make_certificate
from support.waiting import DEADLINE, eventually_sync
from support.ws_peer import CLOSE, frame, push


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("websockets: {broker: [}", "expected the node content"),
        ("", "websockets: missing"),
        ("http: {address: nonsense}", 'http.address: found "nonsense"'),
        (
            "websockets: {broker: default, pnig: 1, ping: {interval: soon}}",
            'websockets.ping.interval: found "soon"',
        ),
        ("websockets: {broker: default, limits: {mesage: 1}}", "websockets.limits.mesage: unknown key"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    assert told in start_failure(tmp_path, text)


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ({"command": "no-such-program worker.php"}, "'no-such-program' is not a program"),
        ({"command": "php workers/missing.php"}, "'workers/missing.php' is not a file in "),
        ({"command": "php -r exit(7);"}, "exit code 7"),
        ({"command": "echo hello"}, "hello"),
        ({"command": "php workers/ok.php", "user": "no-such-user"}, "there is no account 'no-such-user'"),
    ],
)
def test_a_worker_that_cannot_be_started_ends_the_start(
    server: dict[str, str], told: str, tmp_path: Path
) -> None:
    error = start_failure(tmp_path, configuration("ok.php", server=server))
    assert error.startswith(f"server.command: cannot start '{server['command']}'")
    assert told in error


def test_a_program_that_is_no_worker_ends_the_start_after_the_allocate_timeout(tmp_path: Path) -> None:
    sections = {
        "server": {"command": "sleep 3600"},
        "websockets": {"pool": {"allocate_timeout": "300ms"}},
    }
    assert "within 0.3 s" in start_failure(tmp_path, configuration("ok.php", **sections))


@pytest.mark.parametrize("key", ["http.address", "rpc.listen"])
def test_a_port_in_use_is_named_and_no_worker_is_left(key: str, tmp_path: Path) -> None:
    config = configuration("ok.php")
    address = config["http"]["address"] if key == "http.address" else config["rpc"]["listen"]
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        error = start_failure(tmp_path, config)
    assert error.startswith(f"{key}: ") and "in use" in error


def test_flags_and_environment_replace_values_of_the_file(servers: Servers, connect: Connect) -> None:
    server = servers.start(None, "-o", "websockets.path=/other", "-o", "logs.level=warn")
    connect(server, "/other").join("news")
    assert server.log.having('"level":"info"') == []


def test_everything_works_on_sockets_of_all_kinds_at_once(servers: Servers, connect: Connect) -> None:
    """RPC of our own beside the one that RoadRunner would own, and an address of our own."""
    rpc, address = f"tcp://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    server = servers.start(
        "ok.php",
        server={"relay": "unix://relay.sock"},
        websockets={"rpc": {"listen": rpc}, "address": address},
    )
    server.config = {"http": {"address": address}, "rpc": {"listen": rpc}}
    browser = connect(server)
    browser.join("news")
    server.php("$broadcast->publish('news', 'hello');")
    browser.expect(push("news", "hello"))


def test_workers_are_told_the_ports_that_the_system_chose(servers: Servers, raw: OpenRaw) -> None:
    server = servers.start(
        "mirror.php", server={"relay": "tcp://127.0.0.1:0"}, rpc={"listen": "tcp://127.0.0.1:0"}
    )
    line = json.loads(server.log.wait_for("rpc server was started"))
    seen = json.loads(raw(server).refused("/ws?env").body)
    assert seen["RR_RPC"] == line["address"]
    assert not line["address"].endswith(":0") and not seen["RR_RELAY"].endswith(":0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(
    number: signal.Signals, servers: Servers, connect: Connect
) -> None:
    server = servers.start("ok.php", "-p", endure={"grace_period": "10s"})
    browser = connect(server)
    assert int((server.directory / ".pid").read_text()) == server.process.pid
    server.signal(number)
    assert browser.close_code() == 1001
    assert server.wait() == 0
    assert str(server.out).splitlines()[1:] == ["stop signal received, grace timeout is: 10 seconds"]
    assert server.family() == []
    assert not (server.directory / ".pid").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_start_ends_the_process_in_order(number: signal.Signals, tmp_path: Path) -> None:
    """The file is a pipe, so the server waits for its configuration."""
    file = tmp_path / ".rr.yaml"
    os.mkfifo(file)
    server = Server(tmp_path, {}, file=file)
    with file.open("w"):  # as soon as the other side reads
        server.signal(number)
        assert server.wait() == 0
    assert not str(server.out) and not str(server.log)


def test_a_signal_during_the_start_ends_it(servers: Servers) -> None:
    server = servers.start("gated.php", wait=False)
    server.log.wait_for("booting", count=2)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.out.having("started") == []
    assert server.family() == []


def test_a_handshake_that_is_undecided_when_the_server_stops_is_refused(
    servers: Servers, raw: OpenRaw
) -> None:
    """Its worker is stopped too, by force when it does not end."""
    server = servers.start("obedient.php", websockets={"pool": {"destroy_timeout": "300ms"}})
    browser = raw(server)
    browser.send(b"GET /ws?do=sleep HTTP/1.1\r\nHost: a\r\n\r\n")
    server.log.wait_for("sleeping: ")
    server.signal(signal.SIGTERM)
    refusal = browser.response()
    assert (refusal.status, refusal.header("Retry-After")) == (503, ["1"])
    assert server.wait() == 0


def test_a_second_signal_ends_the_server_at_once(servers: Servers, raw: OpenRaw) -> None:
    """A client that does not answer the close frame would hold up the stop for some seconds."""
    server = servers.start("ok.php")
    browser = raw(server)
    browser.upgrade()
    server.signal(signal.SIGTERM)
    assert browser.frame().close_code == 1001
    server.signal(signal.SIGTERM)
    assert server.wait() == 1
    assert server.out.having("exit forced")
    eventually_sync(lambda: server.family() == [], "its workers have ended after it")


def test_publishes_that_were_answered_arrive_before_the_close(servers: Servers, raw: OpenRaw) -> None:
    server: Server = servers.start()
    browser = raw(server)
    browser.upgrade()
    browser.join("news")
    server.php("$broadcast->publishAsync('news', array_fill(0, 100, 'x'));")
    server.signal(signal.SIGTERM)
    browser.expect(*[push("news", "x")] * 100)
    close = browser.frame()
    assert close.close_code == 1001
    browser.send(frame(CLOSE, close.payload))
    assert browser.rest() == b""
    browser.close()
    assert server.wait() == 0


def test_outputs_that_nobody_reads_hold_up_neither_clients_nor_the_stop(tmp_path: Path) -> None:
    """Everything stood still in write(2), also the answer to SIGTERM."""
    (tmp_path / ".rr.yaml").write_text(json.dumps(config := configuration()))
    reading, writing = os.pipe()
    # Nearly full: it takes the first lines of the start.
    os.write(writing, b"." * (fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ) - 300))
    server = subprocess.Popen(
        [PROGRAM, "serve"], cwd=tmp_path, env=environment(), stdout=writing, stderr=writing
    )
    os.close(writing)
    host, _, port = config["http"]["address"].partition(":")
    eventually_sync(lambda: socket.create_connection((host, int(port))).close() is None)
    with socket.create_connection((host, int(port)), DEADLINE) as client:
        client.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 404")
    server.send_signal(signal.SIGTERM)
    assert server.wait(DEADLINE) == 0
    os.close(reading)


def test_a_second_start_by_mistake_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    """It ended with "address in use", and had removed the first one's RPC socket and `.pid`."""
    config = configuration(rpc={"listen": "unix://rpc.sock"})
    server = Server(tmp_path, config, "-p")
    try:
        server.wait_until_ready()
        pid = (tmp_path / ".pid").read_text()
        for flags, told in (
            (["-p"], f"--pid: the server with the process id {pid} keeps "),
            ([], "http.address: cannot listen on "),
            (["-o", "http.address=127.0.0.1:0"], "rpc.listen: cannot listen on rpc.sock: it is in use"),
            (["-o", "rpc.listen=unix://other.sock"], "http.address: cannot listen on "),
        ):
            second = server.cli("serve", *flags)
            assert second.returncode == 1 and told in second.stderr.splitlines()[-1]
            assert second.stderr.splitlines()[-1].startswith("error: ")
        assert (tmp_path / ".pid").read_text() == pid and not (tmp_path / "other.sock").exists()
        server.php("$broadcast->publish('news', 'hello');")
        assert server.cli("stop").returncode == 0
        assert server.wait() == 0
        assert not (tmp_path / ".pid").exists() and not (tmp_path / "rpc.sock").exists()
    finally:
        server.end()


def test_of_starts_at_the_same_moment_one_is_the_server(tmp_path: Path) -> None:
    """The files are those of a crash: a socket that nobody listens at, and the number of another process."""
    config = configuration(rpc={"listen": "unix://rpc.sock"}, websockets={"processes": 2})
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "rpc.sock"))
    (tmp_path / ".pid").write_text("1")
    servers = [Server(tmp_path, config, "-p") for _ in range(3)]
    try:
        for server in servers:
            eventually_sync(
                lambda server=server: server.out.having("server started") or server.process.poll()
            )
        (first,) = [server for server in servers if server.process.poll() is None]
        assert [server.wait() for server in servers if server is not first] == [1, 1]
        assert (tmp_path / ".pid").read_text() == str(first.process.pid)
        first.php("$broadcast->publish('news', 'hello');")
        assert first.cli("stop").returncode == 0
        assert first.wait() == 0
        assert not (tmp_path / ".pid").exists() and not (tmp_path / "rpc.sock").exists()
    finally:
        for server in servers:
            server.end()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rpc.sock", "directory"), ("relay.sock", "link to itself"), (".pid", "fifo"), (".pid", "link to /")],
)
def test_what_is_no_file_of_a_server_is_left_as_it_is(tmp_path: Path, kind: str, name: str) -> None:
    """Neither replaced nor removed nor waited for; `stop` is told as well."""
    path = tmp_path / name
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to("/" if kind.endswith("/") else path)
    before = path.lstat()
    relay = {"relay": "unix://relay.sock"}
    config = configuration("ok.php", server=relay, rpc={"listen": "unix://rpc.sock"})
    told = {"rpc.sock": "rpc.listen: ", "relay.sock": "server.relay: ", ".pid": "--pid: "}[name]
    assert told in start_failure(tmp_path, config, "-p")
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert {file.name for file in tmp_path.iterdir()} <= {".rr.yaml", "workers", "examples", name}
    if name == ".pid":
        stopped = subprocess.run([PROGRAM, "stop"], cwd=tmp_path, env=environment(), check=False)
        assert stopped.returncode == 1


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("http.address", "http.address: cannot listen on "),
        ("http.ssl.address", "http.ssl.address: cannot listen on "),
        ("metrics.address", "metrics.address: cannot listen on "),
        ("status.address", "status.address: cannot listen on "),
        ("rpc.listen", "rpc.listen: cannot listen on "),
        ("server.relay", "server.relay: cannot listen on "),
        ("server.command", "server.command: cannot start "),
    ],
)
def test_a_start_that_fails_at_any_step_leaves_the_world_as_it_was(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, step: str, told: str
) -> None:
    """Point 4: no socket file, `.pid`, port or process is left; `on_init` has run for a worker alone."""
    relay = {"relay": "unix://relay.sock", "relay_timeout": "30s", "on_init": {"command": "touch ran"}}
    certificate = str(make_certificate(tmp_path_factory.mktemp("tls")))
    tls = {"address": f"127.0.0.1:{free_port()}", "cert": certificate, "key": certificate}
    config = configuration(
        "ok.php",
        server=relay,
        rpc={"listen": "unix://rpc.sock"},
        http={"ssl": tls},
        metrics={"address": f"127.0.0.1:{free_port()}"},
        status={"address": f"127.0.0.1:{free_port()}"},
    )
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "taken.sock"))
        unix.listen()
        value = "false" if step.endswith("command") else f"127.0.0.1:{taken.getsockname()[1]}"
        if step in ("rpc.listen", "server.relay"):
            value = "unix://taken.sock"
        assert told in start_failure(tmp_path, config, "-p", "-o", f"{step}={value}")
        left = {path.name for path in tmp_path.iterdir()}
        assert left - {".rr.yaml", "workers", "examples", "ran"} == {"taken.sock"}
        assert (tmp_path / "ran").exists() == (step == "server.command")
        # Whoever listened before still does.
        for listening in (taken, unix):
            with socket.socket(listening.family) as client:
                client.connect(listening.getsockname())
    assert [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(tmp_path)] == []
    for section, key in (("metrics", "address"), ("status", "address"), ("http", "address")):
        host, _, port = config[section][key].partition(":")
        socket.create_server((host, int(port))).close()


def test_what_is_forced_onto_tls_is_not_served_in_the_clear(servers: Servers, tmp_path: Path) -> None:
    """Point 2: after a migration, `http.ssl.redirect: true` was served without TLS, and nobody was told."""
    pem = str(make_certificate(tmp_path))
    port = free_port()
    tls = {"address": f"127.0.0.1:{port}", "cert": pem, "key": pem, "redirect": True}
    server = servers.start(None, http={"ssl": tls}, websockets={"health_path": "/up"})
    connection = http.client.HTTPConnection(*server.address, timeout=DEADLINE)
    connection.request("GET", "/up")
    assert connection.getresponse().status == 200, "what asks there follows no redirect"
    connection.close()
    for method in ("GET", "POST"):
        connection = http.client.HTTPConnection(*server.address, timeout=DEADLINE)
        connection.request(method, "/ws?a=1", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        answer = connection.getresponse()
        assert answer.status == 308
        assert answer.headers["Location"] == f"https://127.0.0.1:{port}/ws?a=1"
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000;")
        answer.read()
        connection.close()
    options = {"ssl": client_context(Path(pem)), "server_hostname": "localhost"}
    with ws_connect(f"wss://127.0.0.1:{port}/ws", **options) as websocket:
        websocket.send('{"command":"join","topics":["a"]}')
        assert websocket.recv(timeout=DEADLINE) == '{"topic":"@join","payload":["a"]}'


def test_a_rule_that_matches_nobody_is_told_at_the_start(servers: Servers) -> None:
    """Point 12: `allowed_origin: example.com` refused every browser, and nothing said why."""
    server = servers.start(None, websockets={"allowed_origin": "example.com"})
    line = json.loads(server.log.wait_for("matches nobody"))
    assert line["level"] == "warn"
    assert line["rule"].endswith("did you mean https://example.com?")
