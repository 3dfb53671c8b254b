"""Starts workers as the `server` section says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from rr_py_ws.adapters.php.process import Command
from rr_py_ws.adapters.php.relay import make_relay
from rr_py_ws.adapters.php.worker import Worker
from rr_py_ws.config import Server
from rr_py_ws.errors import WorkerDied, WorkerStartError

RR_VERSION = "2.11.4"
"""The RoadRunner release whose workers these are."""


def worker_environment(server: Server, relay: str, rpc: str, plugin: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker; of two values the later counts.

    Args:
        server: the `server` section.
        relay: how the worker reaches the server: `pipes` or a DSN.
        rpc: DSN of the RPC server; without one PHP takes its own default.
        plugin: what a plugin sets for its workers, such as RR_MODE.
    """
    return {
        **os.environ,
        "RR_RELAY": relay,
        **({"RR_RPC": rpc} if rpc else {}),
        **{name.upper(): value for name, value in server.env.items()},
        "RR_VERSION": RR_VERSION,
        **plugin,
    }


class WorkerFactory:
    """Starts workers of one command; owns what they share, the listener of a socket relay.

    Args:
        server: the `server` section.
        rpc_address: returns the DSN of the RPC server, or nothing; asked when the factory is opened, because
            the port may be known only then.
        broadcast_path: path of the WebSocket listener.
    """

    def __init__(self, server: Server, *, rpc_address: Callable[[], str], broadcast_path: str) -> None:
        self._server = server
        self._rpc_address = rpc_address
        self._plugin = {"RR_MODE": "http", "RR_BROADCAST_PATH": broadcast_path}
        self._relay = make_relay(server.relay, server.relay_timeout, server.user)
        self._starting: set[Worker] = set()

    async def open(self) -> None:
        """Open the relay.

        Raises:
            WorkerStartError: the address of `server.relay` cannot be used.
        """
        await self._relay.open()
        server = self._server
        env = worker_environment(server, self._relay.address, self._rpc_address(), self._plugin)
        self._command = Command(server.command, env, server.user)

    async def close(self) -> None:
        """Close the relay, and end the workers that are being started."""
        for worker in self._starting:
            worker.kill("the server is stopping")
        await self._relay.close()

    async def start(self, timeout: float) -> Worker:
        """Start a worker, and do the handshake with it.

        Cancelling this leaves no process.

        Args:
            timeout: seconds for both.

        Raises:
            WorkerStartError: it cannot be started; the text names `server.command` and the reason.
        """
        line = self._command.line
        try:
            process, link = self._relay.start(self._command)
        except WorkerStartError as error:
            raise WorkerStartError(f"server.command: cannot start {line!r}: {error}") from error
        process.exited.add_done_callback(lambda _: link.expect_eof())
        worker = Worker(process, link, line)
        self._starting.add(worker)
        greeted = False
        try:
            async with asyncio.timeout(timeout):
                await self._relay.greet(link)
            if link.lost.done():
                raise WorkerDied(link.problem)
            greeted = True
            return worker
        except (TimeoutError, WorkerDied) as error:
            worker.kill(str(error) or f"no answer to the handshake within {timeout:g} s")
            reason = await worker.obituary()
            raise WorkerStartError(f"server.command: cannot start {line!r}: {reason}") from None
        finally:
            self._starting.discard(worker)
            if not greeted:
                worker.kill("was not wanted any more")
                await worker.buried()
