"""What systemd, or who else starts us in its way, passes on: listening sockets, and where to tell how we are.

Sockets (sd_listen_fds(3)): whoever holds them keeps them open while one server ends and the next one starts.
The kernel lets clients wait meanwhile, so that a restart refuses nobody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from rr_py_ws import logs
from rr_py_ws.errors import ConfigError

LISTENERS = ("http", "https", "rpc", "metrics", "status")
"""Names by which a socket (`FileDescriptorName=`) says what it is for, whatever its address."""
_FIRST = 3
_MOST = 64
_WILDCARDS = {"0.0.0.0", "::"}

log = logs.get_logger("app")


class InheritedSockets:
    """Listening sockets that were there when the process was started; each is for one listener.

    Args:
        sockets: with their names; a name that is not in `LISTENERS` says nothing.
    """

    def __init__(self, sockets: list[tuple[str, socket.socket]]) -> None:
        self._left = sockets

    @classmethod
    def take_over(cls, environ: MutableMapping[str, str] = os.environ) -> InheritedSockets:
        """Take the sockets that the environment names, out of it too: they are not for our own children.

        Raises:
            ConfigError: what is named is no listening socket.
        """
        pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
        environ.pop("LISTEN_PIDFDID", None)
        if not pid and not count:
            return cls([])
        if pid != str(os.getpid()):
            log.warning("inherited sockets are not used, they are another process's", listen_pid=pid)
            return cls([])
        if not (count.isascii() and count.isdigit() and int(count) <= _MOST):
            raise ConfigError("LISTEN_FDS", f"found {count!r}, accepted: the number of inherited sockets")
        named = dict(enumerate(names.split(":")))
        return cls([(named.get(at, ""), _adopt(_FIRST + at)) for at in range(int(count))])

    def take(self, listener: str, address: str) -> list[socket.socket]:
        """Return what a listener is to use instead of binding; nothing when there is nothing for it.

        Args:
            listener: one of `LISTENERS`: sockets of this name.
            address: `host:port`, `tcp://host:port` or `unix://path`: without any of this name, those there.

        Raises:
            ConfigError: it is a unix socket, and the listener takes no such.
        """
        taken = [item for item in self._left if item[0] == listener] or [
            item for item in self._left if item[0] not in LISTENERS and _is_at(item[1], address)
        ]
        for _, sock in taken:
            if sock.family is socket.AF_UNIX and listener != "rpc":
                raise ConfigError(
                    "LISTEN_FDS", f"{_describe(sock)} is a unix socket, {listener} takes TCP only"
                )
        self._left = [item for item in self._left if item not in taken]
        return [sock for _, sock in taken]

    def expect_none_left(self) -> None:
        """Refuse to start with a socket that nobody would ever accept from: its clients would hang.

        Raises:
            ConfigError: there is one.
        """
        if self._left:
            name, sock = self._left[0]
            raise ConfigError(
                "LISTEN_FDS",
                f"the inherited socket {name!r} at {_describe(sock)} is at no address of the configuration;"
                f" correct one of them, or name the socket {', '.join(LISTENERS)} (FileDescriptorName=)",
            )

    def close(self) -> None:
        """Close what was not taken."""
        for _, sock in self._left:
            sock.close()


def notify(state: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell who started us, if it wants to know, how we are (sd_notify(3)): `READY=1`, `STOPPING=1`."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path.startswith(("/", "@")):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)


def _adopt(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError("LISTEN_FDS", f"descriptor {descriptor} is no socket: {error.strerror}") from error
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.type != socket.SOCK_STREAM or not listening:
        sock.close()
        raise ConfigError(
            "LISTEN_FDS", f"descriptor {descriptor} is no listening socket (ListenStream=, Accept=no)"
        )
    return sock


def _is_at(sock: socket.socket, address: str) -> bool:
    scheme, _, place = address.rpartition("://")
    bound = sock.getsockname()
    if sock.family is socket.AF_UNIX:
        named = isinstance(bound, str)  # else it is in Linux' abstract name space
        return scheme == "unix" and named and os.path.realpath(bound) == os.path.realpath(place)
    host, _, port = place.rpartition(":")
    return scheme != "unix" and port == str(bound[1]) and bound[0] in _hosts(host.strip("[]"))


def _hosts(host: str) -> set[str]:
    """The addresses that a host of the configuration stands for; a wildcard of either family is one."""
    if not host or host in _WILDCARDS:
        return _WILDCARDS
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):  # the listener will say it
        return set()


def _describe(sock: socket.socket) -> str:
    name = sock.getsockname()
    return f"{name[0]} port {name[1]}" if isinstance(name, tuple) else f"{name!r}"
