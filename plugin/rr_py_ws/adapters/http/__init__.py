"""The shared port: acceptor, connection limits, request heads, timeouts, trusted proxies, TLS, paths."""

from __future__ import annotations

from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.adapters.http.listener import Handler, HTTPListener
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.adapters.http.refusals import REFUSALS
from rr_py_ws.adapters.http.tls import server_context

__all__ = [
    "REFUSALS",
    "HTTPConnection",
    "HTTPListener",
    "Handler",
    "TrustedProxies",
    "server_context",
]
