from __future__ import annotations

import asyncio
import os
import pwd
import socket
import stat
from pathlib import Path

import pytest

from rr_py_ws.errors import ConfigError
from rr_py_ws.wire.goridge import encode_frame
from rr_py_ws.wire.worker import encode_pid_reply
from support.loops import both_loops
from support.php_pool import PHP, RecordedLog, Start, ask, descriptors, make_pool, pid_of, pids
from support.waiting import eventually

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
