"""What operators look at: metrics for Prometheus, health and readiness for load balancers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rr_py_ws.adapters.ops.health import StatusPage
from rr_py_ws.adapters.ops.listener import OpsServer
from rr_py_ws.adapters.ops.metrics import MetricsPage
from rr_py_ws.config import Config, Status
from rr_py_ws.core.ports import Probe
from rr_py_ws.metrics import MetricSource

__all__ = ["MetricsPage", "OpsServer", "StatusPage", "build_servers"]


def build_servers(
    config: Config, sources: Sequence[MetricSource], probes: Mapping[str, Probe]
) -> list[OpsServer]:
    """Make what the sections `metrics` and `status`, or their like under `websockets`, ask for.

    Args:
        config: the configuration.
        sources: parts of the program that have metrics to tell.
        probes: plugin name -> whom to ask about it.
    """
    own, servers = config.websockets, []
    if address := config.metrics_address:
        key = "websockets.metrics.address" if own and own.metrics else "metrics.address"
        servers.append(OpsServer(MetricsPage(sources), address, key=key))
    if address := config.status_address:
        key = "websockets.status.address" if own and own.status else "status.address"
        page = StatusPage(probes, (config.status or Status()).unavailable_status_code)
        servers.append(OpsServer(page, address, key=key))
    return servers
