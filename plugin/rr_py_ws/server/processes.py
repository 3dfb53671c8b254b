"""A server of several processes: addresses are reserved, then the parent starts the others.

The sockets of clients are bound in each listener, with SO_REUSEPORT: the kernel spreads connections over them
evenly. One socket that all inherit would be served very unevenly.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable

from rr_py_ws import config, logs
from rr_py_ws.adapters.http.places import SharedPlaces
from rr_py_ws.adapters.link.listeners import Counted
from rr_py_ws.adapters.net.listen import describe_bind_error, listen
from rr_py_ws.address import parse_host_port
from rr_py_ws.errors import ConfigError
from rr_py_ws.server import allocator, rlimits
from rr_py_ws.server.control import Control
from rr_py_ws.server.handed_on import HandedOn
from rr_py_ws.server.listener_role import client_addresses
from rr_py_ws.server.preparation import Preparation
from rr_py_ws.server.run import print_start
from rr_py_ws.server.supervised import CORE
from rr_py_ws.server.supervisor import Supervisor
from rr_py_ws.server.systemd import InheritedSockets

Reserved = list[tuple[str, str, socket.socket]]
"""Name and key of the listener, and a socket that is bound and does not listen."""


def run(
    loaded: config.Config,
    prepared: Preparation,
    read_again: Callable[[], config.Config],
    *,
    silent: bool,
    debug: bool,
) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code; see `server.run`."""
    rlimits.raise_limit()
    allocator.keep_freed_memory()
    sockets = InheritedSockets.take_over()
    count = loaded.settings.processes
    places = SharedPlaces(count)
    last = HandedOn[config.Config]()
    counted = HandedOn[Counted]()
    reserved = asyncio.run(_reserve(loaded, sockets))
    # The parent has neither log nor threads, which a fork would not have.
    logs.shutdown()
    gc.freeze()

    def close_reserved() -> None:
        for _, _, sock in reserved:
            sock.close()

    def run_child(number: int, control: Control, again: bool) -> int:
        section = loaded.logs, loaded.settings.limits.log_queue
        logs.setup(*section, shared=True, rotates=number == CORE)
        own = _bind_reserved(reserved) if number != CORE else []
        close_reserved()  # the parent has them, so that a stop can give the addresses back at once
        if number == CORE:
            from rr_py_ws.server.core_process import CoreProcess

            core = CoreProcess(loaded, prepared, read_again, last, control, sockets, counted, again=again)
            return core.run(debug=debug)
        from rr_py_ws.server.listener_process import ListenerProcess

        sockets.add(own)
        own_places = places.of(number - 1)
        listener = ListenerProcess(
            number, loaded, prepared, read_again, last, control, sockets, own_places, again=again
        )
        return listener.run(debug=debug)

    def tell_ready() -> None:
        if not silent:
            print_start()

    supervisor = Supervisor(
        count,
        run_child,
        lambda number: places.clear(number - 1),
        tell_ready,
        close_reserved,
        loaded.endure.grace_period,
        loaded.settings.process_timeout,
        silent=silent,
    )
    return supervisor.run()


async def _reserve(loaded: config.Config, sockets: InheritedSockets) -> Reserved:
    """Take the addresses of clients, so that nobody else can, and port 0 is one port for all.

    Raises:
        ConfigError: an address cannot be listened on.
    """
    reserved: Reserved = []
    for name, address, key in client_addresses(loaded):
        if sockets.has(name, address):
            continue
        # Without SO_REUSEPORT first: a server that runs already would let another one in.
        for one in await listen(parse_host_port(address), key):
            with one:
                reserved.append((name, key, _reserve_beside(one)))
    return reserved


def _bind_reserved(reserved: Reserved) -> list[tuple[str, socket.socket]]:
    """Bind sockets of a listener's own to the addresses of the reserved ones.

    Raises:
        ConfigError: an address cannot be listened on any more.
    """
    bound = []
    for name, key, sock in reserved:
        try:
            bound.append((name, _bind_beside(sock)))
        except OSError as error:
            raise ConfigError(key, f"cannot listen any more: {describe_bind_error(error)}") from error
    return bound


def _reserve_beside(listening: socket.socket) -> socket.socket:
    """Bind to the address of a socket that has it alone, so that nobody else can when that is closed.

    Without a moment in between, and so that another start finds the address in use although nobody listens
    there yet: of two that begin at once, both would share it otherwise. The kernel asks for what the options
    are when somebody binds, not for what they were.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound = _bind_beside(listening)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return bound


def _bind_beside(reserved: socket.socket) -> socket.socket:
    """Bind another socket to the address of one."""
    bound = socket.socket(reserved.family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            only = int(not _takes_both_families(reserved))
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        bound.bind(reserved.getsockname())
    except OSError:
        bound.close()
        raise
    return bound


def _takes_both_families(bound: socket.socket) -> bool:
    return bound.family == socket.AF_INET6 and not bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
