"""The goridge RPC listener, its methods, and a client."""

from __future__ import annotations

from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.adapters.rpc.listener import RPCListener
from rr_py_ws.adapters.rpc.methods import Pools, build_registry
from rr_py_ws.adapters.rpc.registry import Fallback, Registry

__all__ = ["Fallback", "Pools", "RPCClient", "RPCListener", "Registry", "build_registry"]
