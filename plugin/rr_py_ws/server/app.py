"""The composition root: puts the roles of a server together, starts them, and ends them in order."""

from __future__ import annotations

from rr_py_ws import config, logs
from rr_py_ws.adapters.ops import build_servers
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server import rlimits
from rr_py_ws.server.roles import CoreRole, ListenerRole
from rr_py_ws.server.shutdown import shut_down
from rr_py_ws.server.systemd import InheritedSockets

log = logs.get_logger("app")


class App:
    """All parts of a server that is one process.

    Args:
        loaded: a configuration that `config.validate_for_serve` accepts.
        sockets: used instead of binding the addresses that they listen on; there must be no others.

    Raises:
        ConfigError: an address cannot be parsed, or a certificate cannot be used.
    """

    def __init__(self, loaded: config.Config, sockets: InheritedSockets | None = None) -> None:
        assert loaded.websockets is not None
        self._sockets = sockets or InheritedSockets([])
        self._drain = loaded.websockets.drain.time
        self._shares = rlimits.share(loaded.websockets)
        self._core = core = CoreRole(loaded, self._shares.rpc)
        self._listener = ListenerRole(loaded, self._shares, core.authorizer, core.node, core.backpressure)
        sources: list[MetricSource] = [*self._listener.metric_sources(), *core.metric_sources(), logs]
        self._ops = build_servers(loaded, sources, core.probes)

    async def start(self) -> None:
        """Start everything: pages for operators first, publishers before workers, browsers last.

        Raises:
            RRWSError: something cannot start. Call `stop` even so.
        """
        if self._shares.warning:
            log.warning(self._shares.warning)
        for ops in self._ops:
            await ops.start(self._sockets.take(ops.key.split(".")[-2], ops.address))
        await self._core.start(self._sockets)
        await self._listener.start(self._sockets)
        self._sockets.expect_none_left()
        self._core.serving = True

    async def stop(self, grace: float) -> bool:
        """Stop publishers, then clients (1001), then workers; see `shut_down`.

        From the first moment `/ready` says no; it can be asked until the end.

        Returns:
            Whether that took no longer than `grace`.
        """
        self._core.serving = False
        self._sockets.close()
        return await shut_down(self._core, self._listener, self._ops, grace=grace, drain=self._drain)
