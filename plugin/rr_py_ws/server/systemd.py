"""What a service manager such as systemd hands over: listening sockets, and a socket for notifications.

Sockets (sd_listen_fds(3)): the service manager keeps them open while one server ends and the next one starts.
Meanwhile the kernel queues new connections, so that a restart refuses no client.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from rr_py_ws import logs
from rr_py_ws.address import UnixAddress, parse_dsn, parse_host_port
from rr_py_ws.errors import ConfigError

LISTENERS = ("http", "https", "rpc", "metrics", "status")
"""Names (`FileDescriptorName=`) that assign a socket to a listener, whatever its address."""
_FIRST = 3
"""The first inherited descriptor (SD_LISTEN_FDS_START)."""
_MOST = 64
_WILDCARDS = {"0.0.0.0", "::"}

log = logs.get_logger("app")


class InheritedSockets:
    """Listening sockets that the process was started with; each is for one listener.

    Args:
        sockets: names and sockets; a name that is not in `LISTENERS` does not matter.
    """

    def __init__(self, sockets: list[tuple[str, socket.socket]]) -> None:
        self._left = sockets

    @classmethod
    def take_over(cls, environ: MutableMapping[str, str] = os.environ) -> InheritedSockets:
        """Take the sockets that the environment names, and remove the variables.

        Raises:
            ConfigError: a descriptor is not a listening socket, or their number is wrong.
        """
        # The PHP workers inherit the environment, and must not take these sockets for theirs.
        pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
        environ.pop("LISTEN_PIDFDID", None)
        if not pid and not count:
            return cls([])
        if pid != str(os.getpid()):
            # The variables were inherited by way of another process (a shell script without `exec`).
            log.warning("inherited sockets are not used, they are another process's", listen_pid=pid)
            return cls([])
        if not (count.isascii() and count.isdigit() and int(count) <= _MOST):
            raise ConfigError("LISTEN_FDS", f"found {count!r}, accepted: the number of inherited sockets")
        # The names may be missing; a socket without one goes by its address.
        named = dict(enumerate(names.split(":")))
        return cls([(named.get(at, ""), _adopt(_FIRST + at)) for at in range(int(count))])

    def take(self, listener: str, address: str) -> list[socket.socket]:
        """Return the sockets that a listener is to use instead of binding; an empty list when it has to bind.

        Args:
            listener: one of `LISTENERS`; the sockets with this name are returned.
            address: `host:port`, `tcp://host:port` or `unix://path`. When no socket has the listener's name,
                the sockets at this address are returned.

        Raises:
            ConfigError: a unix socket for a listener that takes TCP only.
        """
        taken = self._find(listener, address)
        for _, sock in taken:
            if sock.family is socket.AF_UNIX and listener != "rpc":
                raise ConfigError(
                    "LISTEN_FDS", f"{_describe(sock)} is a unix socket, {listener} takes TCP only"
                )
        self._left = [item for item in self._left if item not in taken]
        return [sock for _, sock in taken]

    def add(self, sockets: list[tuple[str, socket.socket]]) -> None:
        """Have more sockets for listeners, by name."""
        self._left += sockets

    def has(self, listener: str, address: str) -> bool:
        """Whether `take` would return any."""
        return bool(self._find(listener, address))

    def _find(self, listener: str, address: str) -> list[tuple[str, socket.socket]]:
        return [item for item in self._left if item[0] == listener] or [
            item for item in self._left if item[0] not in LISTENERS and _is_at(item[1], address)
        ]

    def expect_none_left(self) -> None:
        """Refuse to start while a socket is not taken: nothing would accept its clients, which would hang.

        Raises:
            ConfigError: a socket is left.
        """
        if self._left:
            name, sock = self._left[0]
            raise ConfigError(
                "LISTEN_FDS",
                f"the inherited socket {name!r} at {_describe(sock)} is at no address of the configuration;"
                f" correct one of them, or name the socket {', '.join(LISTENERS)} (FileDescriptorName=)",
            )

    def close(self) -> None:
        """Close the sockets that were not taken."""
        for _, sock in self._left:
            sock.close()


def notify(state: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Send `READY=1` or `STOPPING=1` to the service manager, if it asks for that (sd_notify(3)).

    Errors are ignored: a server does not fail because its service manager does not listen.
    """
    path = environ.get("NOTIFY_SOCKET", "")
    if path.startswith(("/", "@")):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # An @ stands for the NUL of Linux' abstract name space.
            sock.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)


def _adopt(descriptor: int) -> socket.socket:
    try:
        # systemd passes them across exec; the PHP workers must not have them.
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(
            "LISTEN_FDS", f"descriptor {descriptor} is not a socket: {error.strerror}"
        ) from error
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.type != socket.SOCK_STREAM or not listening:
        sock.close()
        raise ConfigError(
            "LISTEN_FDS", f"descriptor {descriptor} is not a listening socket (ListenStream=, Accept=no)"
        )
    return sock


def _is_at(sock: socket.socket, address: str) -> bool:
    try:
        wanted = parse_dsn(address) if "://" in address else parse_host_port(address)
    except ValueError:  # the listener reports it
        return False
    bound = sock.getsockname()
    if isinstance(wanted, UnixAddress):
        named = sock.family is socket.AF_UNIX and isinstance(bound, str)  # bytes: Linux' abstract name space
        # Either path may go through a link, as /var/run does.
        return named and os.path.realpath(bound) == os.path.realpath(wanted.path)
    return sock.family is not socket.AF_UNIX and bound[1] == wanted.port and bound[0] in _hosts(wanted.host)


def _hosts(host: str) -> set[str]:
    """Return the IP addresses of a host of the configuration."""
    if not host or host in _WILDCARDS:
        # systemd binds `ListenStream=8080` to [::], for both families: the same as 0.0.0.0 and an empty host.
        return _WILDCARDS
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):  # the listener reports it
        return set()


def _describe(sock: socket.socket) -> str:
    name = sock.getsockname()
    return f"{name[0]} port {name[1]}" if isinstance(name, tuple) else f"{name!r}"
