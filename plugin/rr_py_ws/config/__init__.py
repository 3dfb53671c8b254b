"""`.rr.yaml` as RoadRunner 2.11 reads it, into frozen values."""

from __future__ import annotations

from rr_py_ws.config.brokers import (
    IMPLEMENTED_DRIVERS,
    BrokerSection,
    RedisOptions,
    RedisTLS,
    redis_options,
)
from rr_py_ws.config.check import check, finding_of
from rr_py_ws.config.empty_variables import with_cause
from rr_py_ws.config.extensions import (
    AddressExtension,
    Compression,
    Drain,
    HistoryRule,
    HTTPExtension,
    Limits,
    Ping,
    RPCExtension,
)
from rr_py_ws.config.http import HTTP, SSL, Uploads
from rr_py_ws.config.loader import load_config, read_config, resolve_workdir
from rr_py_ws.config.logs import Channel, FileLoggerOptions, Logs
from rr_py_ws.config.masking import masked_json
from rr_py_ws.config.middleware import CORS, Headers, Static, header_fields
from rr_py_ws.config.models import RPC, Config, Endure, Metrics, Status, WebSockets
from rr_py_ws.config.named_files import missing
from rr_py_ws.config.report import Finding, Kind, has_errors, report_json, report_text
from rr_py_ws.config.unmatched import unmatched_rules
from rr_py_ws.config.validate import follows_from, problems
from rr_py_ws.config.watching import Reload, ReloadService, missing_directories
from rr_py_ws.config.workers import OnInit, Pool, Server, Supervisor
from rr_py_ws.config.yaml_file import place_of

__all__ = [
    "CORS",
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
    "HTTPExtension",
    "Headers",
    "HistoryRule",
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
    "Reload",
    "ReloadService",
    "Server",
    "Static",
    "Status",
    "Supervisor",
    "Uploads",
    "WebSockets",
    "check",
    "finding_of",
    "follows_from",
    "has_errors",
    "header_fields",
    "load_config",
    "masked_json",
    "missing",
    "missing_directories",
    "place_of",
    "problems",
    "read_config",
    "redis_options",
    "report_json",
    "report_text",
    "resolve_workdir",
    "unmatched_rules",
    "with_cause",
]
