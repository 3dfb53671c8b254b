"""`.rr.yaml` as RoadRunner 2.11 reads it, into frozen values."""

from __future__ import annotations

from rr_py_ws.config.brokers import (
    IMPLEMENTED_DRIVERS,
    BrokerSection,
    RedisOptions,
    RedisTLS,
    redis_options,
)
from rr_py_ws.config.check import check
from rr_py_ws.config.extensions import AddressExtension, Compression, Drain, Limits, Ping, RPCExtension
from rr_py_ws.config.loader import load_config, resolve_workdir
from rr_py_ws.config.masking import masked_json
from rr_py_ws.config.models import (
    HTTP,
    RPC,
    SSL,
    Channel,
    Config,
    Endure,
    FileLoggerOptions,
    Logs,
    Metrics,
    OnInit,
    Pool,
    Server,
    Status,
    Supervisor,
    WebSockets,
)
from rr_py_ws.config.report import Finding, Kind, has_errors, report_text
from rr_py_ws.config.validate import validate_for_serve

__all__ = [
    "HTTP",
    "IMPLEMENTED_DRIVERS",
    "RPC",
    "SSL",
    "AddressExtension",
    "BrokerSection",
    "Channel",
    "Compression",
    "Config",
    "Drain",
    "Endure",
    "FileLoggerOptions",
    "Finding",
    "Kind",
    "Limits",
    "Logs",
    "Metrics",
    "OnInit",
    "Ping",
    "Pool",
    "RPCExtension",
    "RedisOptions",
    "RedisTLS",
    "Server",
    "Status",
    "Supervisor",
    "WebSockets",
    "check",
    "has_errors",
    "load_config",
    "masked_json",
    "redis_options",
    "report_text",
    "resolve_workdir",
    "validate_for_serve",
]
