"""`.rr.yaml` as RoadRunner 2.11 reads it, into frozen values."""

from __future__ import annotations

from rr_py_ws.config.models import (
    HTTP,
    RPC,
    SSL,
    BrokerSection,
    Channel,
    Config,
    Endure,
    FileLoggerOptions,
    Limits,
    Logs,
    OnInit,
    OwnRPC,
    Ping,
    Pool,
    Server,
    Supervisor,
    WebSockets,
)

__all__ = [
    "HTTP",
    "RPC",
    "SSL",
    "BrokerSection",
    "Channel",
    "Config",
    "Endure",
    "FileLoggerOptions",
    "Limits",
    "Logs",
    "OnInit",
    "OwnRPC",
    "Ping",
    "Pool",
    "Server",
    "Supervisor",
    "WebSockets",
]
