from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from rr_py_ws.adapters.php import peers
from rr_py_ws.adapters.php.output import OutputBudget
from rr_py_ws.adapters.php.peers import Peer
from rr_py_ws.adapters.php.relay import SocketRelay
from rr_py_ws.address import TCPAddress, UnixAddress, parse_dsn
from rr_py_ws.errors import ConfigError, WorkerDied, WorkerStartError
from rr_py_ws.wire.goridge import encode_frame
from rr_py_ws.wire.worker import encode_pid_reply
from support.loops import both_loops
from support.php_pool import (
    PHP,
    Gate,
    RecordedLog,
    Start,
    ask,
    children,
    descriptors,
    make_pool,
    misbehaving,
    pid_of,
    pids,
)
from support.ports import free_port, needs_ipv6
from support.waiting import DEADLINE, eventually

pytestmark = both_loops

DROPPED = "a connection to server.relay is not one of our workers"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.sock"


@pytest.fixture
def server(path: Path) -> dict[str, str]:
    """The `server` section of a pool that listens on `path`."""
    return {"relay": f"unix://{path}"}


def mode(path: Path) -> int | None:
    """Permissions of a file, None when there is none."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def test_php_answers_over_each_relay(start: Start, relay_dsn: str) -> None:
    pool = await start(workers=2, server={"relay": relay_dsn})
    verdict = await ask(pool, "do=refuse&status=401")
    assert (verdict.status, verdict.body) == (401, b"no entry")
    assert verdict.headers == (("X-Reason", "a"), ("X-Reason", "b"))
    old = pids(pool)
    await pool.reset()
    assert await pid_of(pool) not in old


async def test_a_long_question_and_a_long_answer_pass(start: Start, relay_dsn: str) -> None:
    """PHP reads the header with one call, so it must not come in pieces; 300 KB do not fit into a pipe."""
    pool = await start(server={"relay": relay_dsn})
    verdict = await ask(pool, "do=echo&" + "x" * 300_000)
    assert len(verdict.body) > 600_000


async def test_strangers_hold_up_nobody(
    start: Start, server: dict[str, str], path: Path, log: RecordedLog
) -> None:
    """RoadRunner takes no workers any more after the first of these."""
    pool = await start(server=server)
    _, silent = await asyncio.open_unix_connection(path)
    answers, noisy = await asyncio.open_unix_connection(path)
    noisy.write(b"GET / HTTP/1.1\r\n\r\n")
    await answers.read()
    answers, greedy = await asyncio.open_unix_connection(path)
    greedy.write(encode_frame(0x01, (), b"x" * 2000)[:100])
    await answers.read()
    _, gone = await asyncio.open_unix_connection(path)
    gone.close()
    answers, unknown = await asyncio.open_unix_connection(path)
    unknown.write(encode_pid_reply(1))
    await answers.read()
    old = await pid_of(pool)
    await pool.reset()
    assert await pid_of(pool) != old
    await eventually(lambda: log.events("warning") == [DROPPED] * 4)
    assert "GET / HTTP/1.1" in log.text()
    assert "no worker with the process id 1 is expected" in log.text()
    for writer in (silent, noisy, greedy, unknown):
        writer.close()


async def test_a_silent_stranger_is_dropped_in_the_end(
    start: Start, server: dict[str, str], path: Path, log: RecordedLog
) -> None:
    await start(server=server | {"relay_timeout": 0.05}, debug=True)
    answers, writer = await asyncio.open_unix_connection(path)
    await answers.read()
    assert log.events("warning") == ["a connection to server.relay said nothing"]
    writer.close()


async def test_nobody_can_take_the_place_of_a_connected_worker(
    start: Start, server: dict[str, str], path: Path
) -> None:
    pool = await start(server=server)
    (pid,) = pids(pool)
    answers, writer = await asyncio.open_unix_connection(path)
    writer.write(encode_pid_reply(pid))
    await answers.read()
    assert await pid_of(pool) == pid
    writer.close()


async def test_two_workers_that_start_at_once_are_not_mixed_up(start: Start, relay_dsn: str) -> None:
    """RoadRunner 2.5 to 2.7.1 gave out any waiting connection."""
    pool = await start(workers=4, server={"relay": relay_dsn})
    states = {state.pid for state in pool.states()}
    answered = [
        int(verdict.body) for verdict in await asyncio.gather(*(ask(pool, "do=pid") for _ in range(4)))
    ]
    assert set(answered) == states


async def test_the_socket_file_is_the_workers_only(start: Start, server: dict[str, str], path: Path) -> None:
    pool = await start(server=server)
    assert mode(path) == 0o600
    await pool.stop()
    assert mode(path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another account")
@pytest.mark.skipif(
    not all(directory.stat().st_mode & 0o001 for directory in Path(__file__).parents),
    reason="other accounts cannot read this checkout, so they cannot run its worker",
)
async def test_workers_of_another_account_can_use_the_socket_file(
    start: Start, server: dict[str, str], path: Path
) -> None:
    nobody = pwd.getpwnam("nobody")
    for directory in (path.parent, *path.parent.parents[:3]):
        if directory != Path("/tmp"):
            os.chmod(directory, 0o755)
    pool = await start(server=server | {"user": "nobody"})
    assert (await ask(pool, "do=ids")).body == b"[%d,%d,[]]" % (nobody.pw_uid, nobody.pw_gid)


async def test_a_socket_file_left_behind_is_replaced(
    start: Start, server: dict[str, str], path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert (await ask(await start(server=server))).allowed


async def test_a_socket_file_in_use_is_left_alone(server: dict[str, str], path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        pool = make_pool(server=server)
        with pytest.raises(ConfigError, match=r"^server\.relay: .*in use by another process"):
            await pool.start()
        await pool.stop()
        assert mode(path) is not None


@pytest.mark.parametrize("address", ["/nowhere/relay.sock", "203.0.113.1:7000"])
async def test_an_address_that_cannot_be_used_is_named(address: str) -> None:
    before = descriptors()
    dsn = f"unix://{address}" if address.startswith("/") else f"tcp://{address}"
    with pytest.raises(ConfigError, match=rf"^server\.relay: cannot listen on {address}: "):
        await make_pool(server={"relay": dsn}).start()
    assert descriptors() <= before + 1


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        pool = make_pool(server={"relay": "tcp://{}:{}".format(*other.getsockname())})
        with pytest.raises(ConfigError, match=r"^server\.relay: .*in use by another process"):
            await pool.start()


async def test_a_dsn_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^server\.relay: .*tcp://127\.0\.0\.1:1x"):
        make_pool(server={"relay": "tcp://127.0.0.1:1x"})


async def test_a_shell_script_may_stand_between_pipes_and_php(start: Start, tmp_path: Path) -> None:
    """With pipes the process id in the handshake need not be the child's."""
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/sh\n{PHP}\n")
    script.chmod(0o755)
    pool = await start(str(script))
    assert await pid_of(pool) not in pids(pool)


# Who says that it is a worker


@pytest.fixture(params=["tcp", "unix"])
def socket_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of socket."""
    return f"unix://{tmp_path}/relay.sock" if request.param == "unix" else f"tcp://127.0.0.1:{free_port()}"


def late(tmp_path: Path, how: str = "exec") -> str:
    """The command of a worker that connects when a test opens the gate."""
    script = tmp_path / "late"
    script.write_text(f"#!/bin/sh\nwhile ! test -e {tmp_path}/open; do sleep 0.02; done\n{how} {PHP}\n")
    script.chmod(0o755)
    return str(script)


async def connect(dsn: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    match parse_dsn(dsn):
        case UnixAddress(path):
            return await asyncio.open_unix_connection(path)
        case TCPAddress(host, port):
            return await asyncio.open_connection(host, port)


async def test_nobody_else_becomes_a_worker_that_starts(
    start: Start, socket_dsn: str, tmp_path: Path, gate: Gate, log: RecordedLog
) -> None:
    """Any user of the machine could name its process id, allow everything and read cookies."""
    pool = make_pool(late(tmp_path), server={"relay": socket_dsn})
    starting = asyncio.ensure_future(pool.start())
    await eventually(lambda: children() and Path(f"/proc/{children()[0]}/comm").read_text() == "late\n")
    pid = children()[0]
    for _ in range(3):
        answers, writer = await connect(socket_dsn)
        writer.write(encode_pid_reply(pid))
        await answers.read()
        writer.close()
    assert log.events("warning") == [DROPPED] * 3
    assert f"process {pid}, which does not hold the connection" in log.text()
    gate.open()
    await starting
    assert await pid_of(pool) == pid
    await pool.stop()


async def test_a_shell_script_may_stand_between_a_socket_and_php(
    start: Start, socket_dsn: str, tmp_path: Path, gate: Gate
) -> None:
    gate.open()
    pool = await start(late(tmp_path, how=""), workers=2, server={"relay": socket_dsn})
    assert await pid_of(pool) not in pids(pool)


async def test_a_worker_that_connects_twice_is_taken_once(
    start: Start, socket_dsn: str, log: RecordedLog
) -> None:
    """Both connections are its own; whichever is looked up first is the worker's."""
    pool = await start(misbehaving("connects-twice"), server={"relay": socket_dsn})
    await eventually(lambda: log.events("warning") == [DROPPED])
    assert "is expected" in log.text()
    assert (await ask(pool)).allowed


async def test_a_relay_where_the_peer_cannot_be_looked_up_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, log: RecordedLog
) -> None:
    """As without /proc: the start fails at once, and says what to use."""

    def hidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied", "/proc/net/tcp")

    monkeypatch.setattr(Peer, "_inode", hidden)
    pool = make_pool(server={"relay": f"tcp://127.0.0.1:{free_port()}"})
    with pytest.raises(WorkerStartError, match=r"cannot be told from others at server\.relay: /proc/net/tcp"):
        await pool.start()
    assert log.events("error") == ["cannot find out who connected to server.relay, use pipes or unix://"]
    await pool.stop()


async def test_the_number_of_a_worker_that_has_ended_is_expected_no_more(socket_dsn: str) -> None:
    """The kernel may give it to anybody."""
    relay = SocketRelay(socket_dsn, 60.0, "", OutputBudget(500))
    await relay.open()
    process, connection = relay.start(["true"], dict(os.environ), "", 1 << 20)
    assert process.pid in relay._expected
    await process.wait()
    await asyncio.sleep(0)
    assert relay._expected == {} and not connection.lost.done()
    process.close()
    connection.close()
    await relay.close()


async def test_strangers_take_no_descriptors_without_end(
    start: Start, socket_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rr_py_ws.adapters.php.relay._MOST_UNKNOWN", 3)
    pool = await start(server={"relay": socket_dsn})
    strangers = [await connect(socket_dsn) for _ in range(10)]
    for answers, _ in strangers[:7]:
        await answers.read()  # until the end
    await pool.reset()
    for _, writer in strangers:
        writer.close()


async def test_strangers_that_are_being_looked_up_take_no_descriptors_without_end(
    start: Start, socket_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sockets stayed open while they waited for a thread, and they were not counted."""
    monkeypatch.setattr("rr_py_ws.adapters.php.relay._MOST_UNKNOWN", 3)
    looked_up = threading.Event()

    def look_up(*_: object) -> int:
        looked_up.wait(DEADLINE)
        raise WorkerDied("not one of ours")

    pool = await start(server={"relay": socket_dsn})
    monkeypatch.setattr("rr_py_ws.adapters.php.relay.find_worker", look_up)
    strangers = [await connect(socket_dsn) for _ in range(10)]
    try:
        for _, writer in strangers:
            writer.write(encode_pid_reply(os.getpid()))
        for answers, _ in strangers[:7]:
            with contextlib.suppress(ConnectionResetError):
                await answers.read()  # until the end
        relay = pool._factory._relay._relay
        assert isinstance(relay, SocketRelay) and len(relay._unknown) == 3
        await eventually(lambda: len(relay._handshakes._tasks) == 3)
    finally:
        looked_up.set()
        for _, writer in strangers:
            writer.close()


async def test_a_stranger_that_is_dropped_before_its_transport_is_made_is_closed(
    start: Start, server: dict[str, str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several are accepted in one turn of the event loop."""
    monkeypatch.setattr("rr_py_ws.adapters.php.relay._MOST_UNKNOWN", 1)
    await start(server=server)
    with contextlib.ExitStack() as strangers:
        sockets = [strangers.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(8)]
        for stranger in sockets:
            stranger.connect(str(path))
        for stranger in sockets[:6]:
            stranger.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                while await asyncio.get_running_loop().sock_recv(stranger, 100):
                    pass


@pytest.mark.parametrize(
    ("listen", "to"),
    [
        pytest.param((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.1"), id="ipv4"),
        pytest.param((socket.AF_INET6, "::1"), (socket.AF_INET6, "::1"), id="ipv6", marks=needs_ipv6),
        pytest.param(
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET6, "::ffff:127.0.0.1"),
            id="ipv4 from a socket for both",
            marks=needs_ipv6,
        ),
    ],
)
def test_a_peer_is_found_by_its_socket(
    listen: tuple[socket.AddressFamily, str], to: tuple[socket.AddressFamily, str]
) -> None:
    with (
        socket.create_server((listen[1], 0), family=listen[0]) as listening,
        socket.socket(to[0]) as client,
        subprocess.Popen(["sleep", "600"]) as stranger,
    ):
        client.connect((to[1], listening.getsockname()[1]))
        accepted, _ = listening.accept()
        with accepted:
            peer = Peer.of(accepted)
            assert peer.is_process(os.getpid())
            assert not peer.is_process(stranger.pid)
            elsewhere = Peer(address=("192.0.2.1", 7), own=peer.own)
            assert not elsewhere.is_process(os.getpid())
        stranger.kill()


def test_a_process_is_known_by_its_ancestors() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        assert list(peers._ancestry(child)) == [child, shell.pid]
        assert list(peers._ancestry(os.getpid())) == []
        os.kill(child, 9)


async def test_what_php_prints_at_its_start_is_logged_with_a_socket_too(
    socket_dsn: str, tmp_path: Path, log: RecordedLog
) -> None:
    """Point 16: PHP prints errors to stdout, which went nowhere; the log said "exit code 255" only."""
    script = tmp_path / "broken.php"
    script.write_text("<?php\nthrow new RuntimeException('no such service');\n")
    command = f"php -d display_errors=1 -d log_errors=0 {script}"
    with pytest.raises(WorkerStartError, match=r"last words: .*RuntimeException: no such service"):
        await make_pool(command, server={"relay": socket_dsn}).start()
    assert any("no such service" in line for line in log.events("info"))
