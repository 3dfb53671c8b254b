"""The core process of a server with several: RPC, brokers, histories, PHP workers, pages for operators."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rr_py_ws import config, logs
from rr_py_ws.adapters.link.listeners import Counted, Listeners
from rr_py_ws.adapters.php.reaper import reap_orphans
from rr_py_ws.core.forwarder import Forwarder
from rr_py_ws.errors import RRWSError
from rr_py_ws.metrics import Metric, MetricSource, merge
from rr_py_ws.server import rlimits
from rr_py_ws.server.certificates import CertificateWatch
from rr_py_ws.server.changes import Changes
from rr_py_ws.server.child import ChildProcess
from rr_py_ws.server.control import Control
from rr_py_ws.server.core_role import CoreRole, tls_files
from rr_py_ws.server.handed_on import HandedOn
from rr_py_ws.server.listener_role import client_addresses
from rr_py_ws.server.preparation import Preparation
from rr_py_ws.server.shutdown import shut_down
from rr_py_ws.server.systemd import InheritedSockets

if TYPE_CHECKING:
    from rr_py_ws.adapters.ops import OpsListener

_END_TIMEOUT = 2.0
"""Seconds that listeners have to end when all their clients are gone."""

log = logs.get_logger("app")


class CoreProcess(ChildProcess):
    """See `ChildProcess`.

    Args:
        loaded: the configuration.
        prepared: of this configuration, without problems.
        read_again: reads it at a reload.
        last: what a reload has brought last.
        control: to the parent.
        sockets: that systemd has handed over.
        counted: what the cores before have left of what was counted.
        again: whether the process takes the place of one that has ended.
    """

    tells = True

    def __init__(
        self,
        loaded: config.Config,
        prepared: Preparation,
        read_again: Callable[[], config.Config],
        last: HandedOn[config.Config],
        control: Control,
        sockets: InheritedSockets,
        counted: HandedOn[Counted],
        *,
        again: bool,
    ) -> None:
        super().__init__(0, loaded, read_again, last, control, again=again)
        self._prepared = prepared
        self._sockets = sockets
        self._counted = counted
        self._ops: list[OpsListener] = []

    def prepare(self) -> None:
        """Make the parts."""
        loaded = self.loaded
        reap_orphans()
        for name, address, _ in client_addresses(loaded):
            for inherited in self._sockets.take(name, address):
                inherited.close()
        self._shares = rlimits.share(loaded, clients=False)
        self._core = core = CoreRole(loaded, self._prepared.brokers, self._shares.rpc, Forwarder)
        pauses = _Pauses(core.backpressure.publishers)
        core.backpressure.publishers = [pauses.of("turn")]
        pools = {name: pool for name, pool in (("websockets", core.pool), ("http", core.pages)) if pool}
        self._listeners = listeners = Listeners(
            loaded.settings.processes,
            core.node,
            pools,
            core.backpressure,
            core.ready,
            pauses.of("links"),
            lambda number: self.control.send("stuck", number),
            has_pages=loaded.serves_pages,
            counted=self._counted.find(),
        )
        clients = core.probes["websockets"]
        core.probes["websockets"] = replace(
            clients, ready=lambda: clients.ready() and listeners.any_listening
        )
        self._certificates = CertificateWatch(tls_files(loaded, self._prepared.brokers), fresh=not self.again)
        if loaded.metrics_address or loaded.status_address:
            from rr_py_ws.adapters.ops import build_servers

            sources = [*core.metric_sources(), logs]
            self._ops = build_servers(
                loaded, [_Whole(sources, listeners, self._counted)], core.probes, listeners.refresh
            )

    async def link(self, number: int, accepted: socket.socket) -> None:
        """Serve a listener."""
        await self._listeners.connect(number, accepted)

    async def serve(self) -> int:
        """Start everything, then let listeners accept clients; until the server stops."""
        background: asyncio.Future[None] | None = None
        try:
            starting = asyncio.ensure_future(self._start())
            stop = asyncio.ensure_future(self.stopping.wait())
            await asyncio.wait((starting, stop), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,))
            if not starting.cancelled():
                starting.result()
            if not self.stopping.is_set():
                if self.again:
                    log.warning("the core process is back")
                self.started(self._certificates.look, Changes(self.loaded, serves_pages=True))
                self.control.send("ready", self.loaded.endure.grace_period)
                background = asyncio.ensure_future(self.run_beside(self._certificates.run()))
                await stop
        except BaseException:
            if self.again:  # the parent tries again, and the clients of the server stay meanwhile
                self._listeners.release()
            raise
        finally:
            if background is not None:
                background.cancel()
                await asyncio.wait((background,))
            in_time = await self._stop(self.loaded.endure.grace_period)
        if not in_time:
            raise RRWSError("grace timeout exceeded, some parts were not stopped in order")
        return 0

    def take(self, loaded: config.Config) -> None:
        """Take what can change."""
        section = loaded.settings
        self._core.reload(loaded, rlimits.share(loaded, clients=False).rpc)
        for ops in self._ops:
            ops.max_connections = section.limits.max_monitoring_connections
        self.loaded = loaded
        self.control.send("grace", loaded.endure.grace_period)
        logs.set_levels(loaded.logs)

    async def _start(self) -> None:
        if self._shares.warning:
            log.warning(self._shares.warning)
        for key, text in config.unmatched_rules(self.loaded):
            log.warning("a rule of the configuration matches nobody", rule=f"{key}: {text}")
        if self.again:
            await self._certificates.look()
        for ops in self._ops:
            await ops.start(self._sockets.take(ops.key.split(".")[-2], ops.address))
        await self._core.start(self._sockets)
        self._sockets.expect_none_left()
        self._core.serving = True
        self._listeners.open()
        await self._listeners.all_listening.wait()
        self._listeners.look()

    async def _stop(self, grace: float) -> bool:
        drain = self.loaded.settings.drain
        delay = drain.delay if self._core.serving else 0.0
        self._core.serving = False
        self._listeners.look()
        self._sockets.close()
        await self._core.stop_watching()
        await self._listeners.refresh()
        in_time = await shut_down(
            self._core, self._listeners, self._ops, grace=grace, delay=delay, drain=drain.time
        )
        await self._listeners.end(_END_TIMEOUT)
        return in_time


class _Whole:
    """The metrics of all processes as those of one server."""

    def __init__(self, core: list[MetricSource], listeners: Listeners, counted: HandedOn[Counted]) -> None:
        self._core = core
        self._listeners = listeners
        self._counted = counted

    def metrics(self) -> Iterator[Metric]:
        """Yield them."""
        own = [metric for source in self._core for metric in source.metrics()]
        # Nobody may ever see a counter that is less than it was.
        self._counted.keep(self._listeners.counted(own))
        yield from merge([*own, *self._listeners.metrics()])


class _Pauses:
    """Pauses publishers as long as there is any reason to.

    Args:
        publishers: called with True when they are paused, with False when they may go on.
    """

    def __init__(self, publishers: list[Callable[[bool], None]]) -> None:
        self._publishers = publishers
        self._reasons: set[str] = set()

    def of(self, reason: str) -> Callable[[bool], None]:
        """Return what is called when there is this reason, and when there is not."""

        def pause(paused: bool) -> None:
            before = bool(self._reasons)
            if paused:
                self._reasons.add(reason)
            else:
                self._reasons.discard(reason)
            if before != bool(self._reasons):
                for publisher in self._publishers:
                    publisher(not before)

        return pause
