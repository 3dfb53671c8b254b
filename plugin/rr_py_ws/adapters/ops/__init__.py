"""Pages for operators: metrics for Prometheus, health and readiness for load balancers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from rr_py_ws.adapters.ops.health import health_page
from rr_py_ws.adapters.ops.listener import OpsListener
from rr_py_ws.adapters.ops.metrics import MetricsPage
from rr_py_ws.config import Config, Limits, Status
from rr_py_ws.core.ports import Probe
from rr_py_ws.metrics import MetricSource

__all__ = ["MetricsPage", "OpsListener", "build_servers", "health_page"]


def build_servers(
    config: Config,
    sources: Sequence[MetricSource],
    probes: Mapping[str, Probe],
    refresh: Callable[[], Awaitable[None]] | None = None,
) -> list[OpsListener]:
    """Make the listeners of the sections `metrics` and `status`, or of those under `websockets`.

    Args:
        config: the configuration.
        sources: parts of the program that have metrics.
        probes: plugin name -> its probe.
        refresh: see `MetricsPage`.

    Raises:
        ConfigError: an address cannot be read.
    """
    own, servers = config.websockets, list[OpsListener]()
    limit = (own.limits if own else Limits()).max_monitoring_connections
    sources = [*sources]
    if address := config.metrics_address:
        key = "websockets.metrics.address" if own and own.metrics else "metrics.address"
        servers.append(OpsListener(MetricsPage(sources, refresh), address, key=key, max_connections=limit))
    if address := config.status_address:
        key = "websockets.status.address" if own and own.status else "status.address"
        page = health_page(probes, (config.status or Status()).unavailable_status_code)
        servers.append(OpsListener(page, address, key=key, max_connections=limit))
    sources.extend(servers)
    return servers
