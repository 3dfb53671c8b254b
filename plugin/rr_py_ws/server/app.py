"""The composition root: puts the roles of a server together, starts them, and ends them in order.

Parts that few configurations have are imported where they are put in, here, in the two roles and in
`preparation`: all of them take twice as long to load as what a plain server needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rr_py_ws import config, logs
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server import rlimits
from rr_py_ws.server.certificates import CertificateWatch
from rr_py_ws.server.core_role import CoreRole, tls_files
from rr_py_ws.server.listener_role import ListenerRole
from rr_py_ws.server.preparation import Preparation
from rr_py_ws.server.shutdown import shut_down
from rr_py_ws.server.systemd import InheritedSockets

if TYPE_CHECKING:
    from rr_py_ws.adapters.ops import OpsListener

log = logs.get_logger("app")


class App:
    """All parts of a server that is one process.

    Args:
        loaded: the configuration.
        prepared: of this configuration, without problems.
        sockets: used instead of binding the addresses that they listen on; there must be no others.

    Attributes:
        certificates: looks at the files of TLS, when it is run.

    Raises:
        ConfigError: an address cannot be parsed.
    """

    def __init__(
        self, loaded: config.Config, prepared: Preparation, sockets: InheritedSockets | None = None
    ) -> None:
        self._config = loaded
        self._sockets = sockets or InheritedSockets([])
        self._shares = rlimits.share(loaded)
        self._core = core = CoreRole(loaded, prepared.brokers, self._shares.rpc)
        self._listener = ListenerRole(
            loaded,
            prepared.https,
            self._shares,
            core.authorizer,
            core.node,
            core.backpressure,
            core.ready,
            core.pages,
        )
        sources: list[MetricSource] = [*self._listener.metric_sources(), *core.metric_sources(), logs]
        self.certificates = CertificateWatch(
            [*self._listener.tls_files(loaded), *tls_files(loaded, prepared.brokers)]
        )
        self._ops: list[OpsListener] = []
        if loaded.metrics_address or loaded.status_address:
            from rr_py_ws.adapters.ops import build_servers

            self._ops = build_servers(loaded, sources, core.probes)

    async def start(self) -> None:
        """Start everything: pages for operators first, publishers before workers, browsers last.

        Their addresses are tried before: a second start must neither run `on_init` nor start workers.

        Raises:
            RRWSError: something cannot start. Call `stop` even so.
        """
        if self._shares.warning:
            log.warning(self._shares.warning)
        for key, text in config.unmatched_rules(self._config):
            log.warning("a rule of the configuration matches nobody", rule=f"{key}: {text}")
        await self._listener.expect_free_addresses(self._sockets)
        for ops in self._ops:
            await ops.start(self._sockets.take(ops.key.split(".")[-2], ops.address))
        await self._core.start(self._sockets)
        await self._listener.start(self._sockets)
        self._sockets.expect_none_left()
        self._core.serving = True

    @property
    def serves_pages(self) -> bool:
        """Whether anybody answers requests for no path of ours."""
        return self._listener.serves_pages

    @property
    def grace_period(self) -> float:
        """Seconds that a stop may take."""
        return self._config.endure.grace_period

    def reload(self, loaded: config.Config) -> None:
        """Take what can change from a configuration without problems: see `server.reload`."""
        section = loaded.settings
        shares = rlimits.share(loaded)
        self._core.reload(loaded, shares.rpc)
        for ops in self._ops:
            ops.max_connections = section.limits.max_monitoring_connections
        self._listener.reload(loaded, shares.clients)
        for files in self._listener.tls_files(loaded):
            self.certificates.replace(files)
        self._config = loaded
        logs.set_levels(loaded.logs)

    async def stop(self, grace: float) -> bool:
        """Stop publishers, then clients (1001), then workers; see `shut_down`.

        From the first moment `/ready` says no; it can be asked until the end. A server that was not ready yet
        has nobody who would have to learn that first.

        Returns:
            Whether that took no longer than `grace`.
        """
        drain = self._config.settings.drain
        delay = drain.delay if self._core.serving else 0.0
        self._core.serving = False
        self._sockets.close()
        await self._core.stop_watching()
        return await shut_down(
            self._core, self._listener, self._ops, grace=grace, delay=delay, drain=drain.time
        )
