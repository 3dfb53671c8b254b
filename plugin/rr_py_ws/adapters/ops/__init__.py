"""What operators look at: metrics for Prometheus, health and readiness for load balancers."""

from rr_py_ws.adapters.ops.metrics import MetricsPage
from rr_py_ws.adapters.ops.server import OpsServer
from rr_py_ws.adapters.ops.status import StatusPage

__all__ = ["MetricsPage", "OpsServer", "StatusPage"]
