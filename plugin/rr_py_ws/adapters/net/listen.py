"""Sockets that listen: bound to an address of the configuration, with one rule for each kind of address."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv6Address
from pathlib import Path

from rr_py_ws.adapters.net.accounts import find_account
from rr_py_ws.address import Address, TCPAddress, UnixAddress, parse_ip
from rr_py_ws.errors import ConfigError

BACKLOG = 4096
"""Connections that the kernel holds until they are accepted; it may allow fewer (net.core.somaxconn)."""
_LOCK_TIMEOUT = 2.0
"""Seconds that another start in the same directory may take; each holds the lock for about a millisecond."""
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


async def listen(
    address: Address, key: str, *, mode: int | None = None, owner: str = ""
) -> list[socket.socket]:
    """Bind and listen.

    Args:
        address: TCP: every address that the host resolves to, an empty host is every IPv4 address,
            `::` every address of both families. Unix: a socket file that nobody listens on any more is
            replaced.
        key: the configuration key of the address, for the error.
        mode: permissions of a socket file; None leaves them to the umask.
        owner: account that a socket file is given to; empty leaves it to the server's own.

    Raises:
        ConfigError: the address cannot be listened on; the text names key, address and reason.
    """
    try:
        if isinstance(address, UnixAddress):
            # A link stays a link: what it leads to is bound, and removed in the end.
            path = Path(os.path.realpath(address.path))  # noqa: ASYNC240
            async with _alone_in(path.parent):
                return [_listen_unix(path, mode, owner)]
        return await _listen_tcp(address)
    except (OSError, UnicodeError) as error:
        raise ConfigError(key, f"cannot listen on {address}: {describe_bind_error(error)}") from error


async def expect_free(address: Address, key: str) -> None:
    """Raise now what `listen` would raise later, before anything is started that would have to be undone.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    for listening in await listen(address, key):
        if isinstance(address, UnixAddress):
            remove_socket_file(address.path, os.stat(address.path))  # noqa: PTH116
        listening.close()


def bound_address(listening: socket.socket) -> Address:
    """Return where a socket listens."""
    name = listening.getsockname()
    return TCPAddress(name[0], name[1]) if isinstance(name, tuple) else UnixAddress(os.fsdecode(name))


def remove_socket_file(path: str, bound: os.stat_result) -> None:
    """Remove a socket file, unless another process has put its own there meanwhile.

    Call it before the socket is closed: as long as somebody listens, no later server takes the file for left
    over and replaces it, perhaps by one with the same inode.

    Args:
        path: where it is, or a link to it.
        bound: what `os.stat` said of it when it was bound.
    """
    with suppress(OSError):
        # A later server may have replaced the file; its clients must still find it.
        if os.path.samestat(os.stat(path), bound):  # noqa: PTH116
            os.unlink(os.path.realpath(path))  # noqa: PTH108


def describe_os_error(error: BaseException) -> str:
    """Say in a few words what the system said; asyncio's own texts repeat the address."""
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def describe_bind_error(error: BaseException) -> str:
    """Say why an address cannot be listened on, and what to do about it."""
    if isinstance(error, UnicodeError | socket.gaierror):  # UnicodeError: not a host name (70 letters)
        return "it cannot be resolved to an address of this machine"
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return "it is in use by another process (a server still running?), or by a socket of systemd"
        case OSError(errno=errno.EACCES):
            return "this user may not use it (ports below 1024 need a privilege)"
    return describe_os_error(error)


async def _listen_tcp(address: TCPAddress) -> list[socket.socket]:
    host = address.host or "0.0.0.0"
    with suppress(ValueError):  # a name
        ip = parse_ip(host)
        if ip == IPv6Address("::"):
            return [_listen_on_both_families(address.port)]
        host = str(ip)  # `::ffff:127.0.0.1` is an address of IPv4
    found = await asyncio.get_running_loop().getaddrinfo(
        host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, *_, place in dict.fromkeys(found):  # a name may resolve to one address twice
            sockets.append(socket.create_server(place, family=family, backlog=BACKLOG))
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _listen_on_both_families(port: int) -> socket.socket:
    """Listen on every address, IPv4 too, as `[::]` means to every Go server.

    A kernel without IPv6 has only those of IPv4. Python makes sockets of IPv6 that take nothing else.
    """
    try:
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=socket.has_dualstack_ipv6()
        )
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)


def _listen_unix(path: Path, mode: int | None, owner: str) -> socket.socket:
    account = find_account(owner) if owner else None
    if owner and account is None:
        raise OSError(f"there is no account {owner!r}")
    listening = socket.socket(socket.AF_UNIX)
    bound: os.stat_result | None = None
    try:
        _remove_stale_socket(path)
        listening.bind(str(path))
        bound = path.stat()
        # Nobody can connect before `listen`, so the permissions are never wider than asked for.
        if mode is not None:
            path.chmod(mode)
        if account is not None:
            os.chown(path, account.pw_uid, account.pw_gid)
        listening.listen(BACKLOG)
    except BaseException:
        if bound is not None:
            remove_socket_file(str(path), bound)
        listening.close()
        raise
    return listening


@asynccontextmanager
async def _alone_in(directory: Path) -> AsyncIterator[None]:
    """Let one process at a time replace socket files in a directory, by a lock that leaves no file behind.

    Two that start at the same moment would both find the file of a server that is gone, and the second would
    take the first one's: between bind and listen that looks the same.

    Raises:
        OSError: there is no such directory, or another process does not give the lock back.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # one may make files in it without being allowed to read it
        yield
        return
    try:
        ends = asyncio.get_running_loop().time() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if asyncio.get_running_loop().time() > ends:
                    raise OSError(f"another process holds a lock on {directory}") from None
                await asyncio.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket file of a server that is gone.

    The file alone does not tell: only when nobody accepts a connection there is its server gone. A second
    start must not take the socket away from the first.

    Raises:
        OSError: a server listens there or may do so, or the file is not a socket.
    """
    if not path.is_socket():
        if path.exists():
            raise OSError("the file exists and is not a socket")
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # with a full backlog `connect` would block; then there is a server
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except PermissionError:  # Linux asks for the right to write before it looks for a listener
            problem = "a socket file of another account is there; remove it if its server is gone"
            raise OSError(problem) from None
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
