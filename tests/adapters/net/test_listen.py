"""Binding addresses: what is replaced, what is left alone, and what is said when it fails."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pwd
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.adapters.net.listen import (
    bound_address,
    describe_bind_error,
    describe_os_error,
    expect_free,
    listen,
    remove_socket_file,
)
from rr_py_ws.address import TCPAddress, UnixAddress
from rr_py_ws.errors import ConfigError
from support.ports import free_port, needs_ipv6


async def listen_unix(path: Path, *, mode: int | None = None, owner: str = "") -> socket.socket:
    [listening] = await listen(UnixAddress(str(path)), "rpc.listen", mode=mode, owner=owner)
    return listening


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


# TCP


@pytest.mark.parametrize(
    ("host", "bound"),
    [("127.0.0.1", "127.0.0.1"), ("", "0.0.0.0"), pytest.param("::1", "::1", marks=needs_ipv6)],
)
async def test_a_tcp_address_is_bound(host: str, bound: str) -> None:
    [listening] = await listen(TCPAddress(host, 0), "http.address")
    with listening:
        address = bound_address(listening)
        assert isinstance(address, TCPAddress)
        assert address.host == bound
        assert address.port > 0
        socket.create_connection((host or "127.0.0.2", address.port)).close()


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "::0", "0:0:0:0:0:0:0:0"])
async def test_every_address_of_ipv6_is_every_address_of_ipv4_too(host: str) -> None:
    """Point 8: `[::]:port` refused connections over IPv4, which RoadRunner and every Go server take."""
    [listening] = await listen(TCPAddress(host, 0), "http.address")
    with listening:
        port = listening.getsockname()[1]
        assert bound_address(listening) == TCPAddress("::", port)
        for client in ("127.0.0.1", "::1"):
            socket.create_connection((client, port)).close()


@pytest.mark.parametrize("problem", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_without_ipv6_in_the_kernel_every_address_is_every_one_of_ipv4(
    monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    """Point 8: a file with `[::]` starts on a machine that was booted without IPv6."""
    made = socket.create_server

    def create_server(place: tuple[str, int], **options: Any) -> socket.socket:
        if options.get("family") == socket.AF_INET6:
            raise OSError(problem, os.strerror(problem))
        return made(place, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    [listening] = await listen(TCPAddress("::", 0), "http.address")
    with listening:
        assert listening.getsockname()[0] == "0.0.0.0"


async def test_both_families_are_free_or_the_address_is_in_use() -> None:
    """Point 8: IPv6 alone would leave half of the clients with another server."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigError, match="in use"):
        await listen(TCPAddress("::", other.getsockname()[1]), "http.address")


async def test_ipv4_that_is_written_as_ipv6_is_ipv4() -> None:
    for host, bound in (("::ffff:127.0.0.1", "127.0.0.1"), ("::ffff:0.0.0.0", "0.0.0.0")):
        [listening] = await listen(TCPAddress(host, 0), "http.address")
        with listening:
            assert listening.getsockname()[0] == bound


async def test_every_address_of_a_name_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.1")
    sockets = await listen(TCPAddress("app.test", 0), "http.address")
    assert [listening.getsockname()[0] for listening in sockets] == ["127.0.0.1", "127.0.0.2"]
    for listening in sockets:
        listening.close()


async def test_all_addresses_of_a_name_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2", port=port)
        with pytest.raises(ConfigError, match="in use"):
            await listen(TCPAddress("app.test", port), "http.address")
        socket.create_server(("127.0.0.1", port)).close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *hosts: str, port: int = 0) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(*arguments: object, **options: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..b", "::zz", "no-such-host.invalid"])
async def test_a_host_that_is_not_one_is_one_line_that_names_the_key(host: str) -> None:
    with pytest.raises(ConfigError) as raised:
        await listen(TCPAddress(host, 0), "http.address")
    assert str(raised.value) == (
        f"http.address: cannot listen on {TCPAddress(host, 0)}: "
        "it cannot be resolved to an address of this machine"
    )


async def test_an_address_in_use_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = TCPAddress(*other.getsockname())
        with pytest.raises(ConfigError, match=f"^http.address: cannot listen on {address}: it is in use by"):
            await listen(address, "http.address")


# Unix


async def test_a_socket_file_is_bound(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with await listen_unix(path) as listening:
        assert bound_address(listening) == UnixAddress(str(path))
        assert connects(path)


async def test_the_socket_of_a_living_server_is_not_taken(tmp_path: Path) -> None:
    """A second start by mistake once made the first server unreachable."""
    path = tmp_path / "s"
    with await listen_unix(path):
        with pytest.raises(
            ConfigError, match=r"^rpc\.listen: cannot listen on /.*/s: it is in use by another"
        ):
            await listen_unix(path)
        assert connects(path)


async def test_the_socket_of_a_server_whose_backlog_is_full_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        with pytest.raises(ConfigError, match="in use"):
            await listen_unix(path)
        for client in clients:
            client.close()


async def test_the_socket_of_a_server_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (await listen_unix(path)).close()
    assert path.is_socket()
    with await listen_unix(path):
        assert connects(path)


@pytest.mark.parametrize("target", ["gone", "nothing"])
async def test_a_link_stays_a_link(tmp_path: Path, target: str) -> None:
    """Point 4: a link was replaced by a socket file, and one to nothing was 'in use by another process'."""
    (tmp_path / "run").mkdir()
    path, link = tmp_path / "run" / "s", tmp_path / "link"
    link.symlink_to(path)
    if target == "gone":
        (await listen_unix(path)).close()
    with await listen_unix(link):
        bound = link.stat()
        assert link.is_symlink() and path.is_socket() and connects(link)
        with pytest.raises(ConfigError, match="in use"):
            await listen_unix(path)
        remove_socket_file(str(link), bound)
    assert link.is_symlink() and not path.exists()


async def test_trying_an_address_leaves_nothing(tmp_path: Path) -> None:
    """Point 4: what is tried before anything is started can be listened on afterwards."""
    await expect_free(UnixAddress(str(tmp_path / "s")), "rpc.listen")
    assert os.listdir(tmp_path) == []
    port = free_port()
    for _ in range(2):
        await expect_free(TCPAddress("127.0.0.1", port), "http.address")
    [listening] = await listen(TCPAddress("127.0.0.1", port), "http.address")
    with listening, pytest.raises(ConfigError, match=r"^http\.address: cannot listen on .*: it is in use by"):
        await expect_free(TCPAddress("127.0.0.1", port), "http.address")
    with await listen_unix(tmp_path / "s"):
        with pytest.raises(ConfigError, match="in use"):
            await expect_free(UnixAddress(str(tmp_path / "s")), "rpc.listen")
        assert connects(tmp_path / "s")


async def test_the_socket_file_of_another_account_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not write to a socket cannot find out whether anybody listens there."""

    class Forbidden(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "s"
    (await listen_unix(path)).close()
    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(ConfigError, match="socket file of another account is there; remove it"):
        await listen_unix(path)
    assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_another_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
    with pytest.raises(ConfigError, match="the file exists and is not a socket"):
        await listen_unix(path)
    assert path.is_dir() or path.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_mode_is_that_of_the_configuration(tmp_path: Path, mode: int) -> None:
    with await listen_unix(tmp_path / "s", mode=mode):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode


async def test_nobody_can_connect_before_the_mode_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    before: list[bool] = []
    chmod = Path.chmod

    def spy(self: Path, mode: int) -> None:
        before.append(connects(path))
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", spy)
    with await listen_unix(path, mode=0o600):
        assert before == [False]


async def test_without_a_mode_the_umask_decides(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with await listen_unix(tmp_path / "s"):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o750
    finally:
        os.umask(umask)


async def test_the_owner_is_that_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, user, group: given.append((str(path), user, group)))
    account = pwd.getpwall()[-1]
    with await listen_unix(tmp_path / "s", owner=account.pw_name):
        assert given == [(str(tmp_path / "s"), account.pw_uid, account.pw_gid)]


async def test_an_owner_that_there_is_not_says_so(tmp_path: Path) -> None:
    """And leaves no socket file behind; the text was once the one of Python's `pwd`."""
    with pytest.raises(ConfigError) as raised:
        await listen_unix(tmp_path / "s", owner="nobody-at-all")
    assert str(raised.value).endswith("/s: there is no account 'nobody-at-all'")
    assert os.listdir(tmp_path) == []


async def test_only_the_own_socket_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with await listen_unix(path):
        bound = path.stat()
    # Held by a second name, so that the number of the file cannot be given to the next one.
    os.link(path, tmp_path / "old")
    with await listen_unix(path):
        remove_socket_file(str(path), bound)
        assert connects(path)
        remove_socket_file(str(path), path.stat())
    assert not path.exists()
    remove_socket_file(str(path), bound)


async def test_a_start_that_fails_after_the_bind_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ConfigError, match="Operation not permitted"):
        await listen_unix(tmp_path / "s", owner=pwd.getpwall()[-1].pw_name)
    assert os.listdir(tmp_path) == []


async def test_of_servers_that_start_at_once_one_gets_the_socket(tmp_path: Path) -> None:
    """Between bind and listen a socket looks like one that was left behind."""
    racing = """
import asyncio, sys
from rr_py_ws.adapters.net.listen import listen, remove_socket_file
from rr_py_ws.address import UnixAddress
from rr_py_ws.errors import ConfigError
import os, socket
path = sys.argv[1]
async def race():
    for _ in range(200):
        try:
            [listening] = await listen(UnixAddress(path), "rpc.listen")
        except ConfigError as error:
            assert "in use" in str(error), error
            continue
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)  # nobody has taken it away
            assert listening.accept()[0].close() is None
        if _ % 2:  # the others are as after a crash
            remove_socket_file(path, os.stat(path))
        listening.close()
asyncio.run(race())
"""
    path = str(tmp_path / "s")
    racers = [await asyncio.create_subprocess_exec(sys.executable, "-c", racing, path) for _ in range(3)]
    assert [await racer.wait() for racer in racers] == [0, 0, 0]


async def test_a_lock_on_the_directory_that_is_not_given_back_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rr_py_ws.adapters.net.listen._LOCK_TIMEOUT", 0.02)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match=f"another process holds a lock on {tmp_path}"):
        await listen_unix(tmp_path / "s")
    os.close(descriptor)
    (await listen_unix(tmp_path / "s")).close()


# What is said


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (OSError("the file exists"), "the file exists"),
        (TimeoutError(), "TimeoutError"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
    ],
)
def test_what_the_system_said_is_said_in_a_few_words(error: OSError, text: str) -> None:
    assert describe_os_error(error) == text


def test_a_port_that_needs_a_privilege_says_so() -> None:
    assert "ports below 1024 need a privilege" in describe_bind_error(OSError(errno.EACCES, ""))
