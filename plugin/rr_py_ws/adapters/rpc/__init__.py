"""The goridge RPC listener and its methods; beside them a client, and what is sent on to RoadRunner."""

from __future__ import annotations

from rr_py_ws.adapters.rpc.listener import RPCListener
from rr_py_ws.adapters.rpc.methods import Pools, build_registry
from rr_py_ws.adapters.rpc.neighbour import Neighbour
from rr_py_ws.adapters.rpc.registry import Registry
from rr_py_ws.adapters.rpc.turns import CallTurns

__all__ = [
    "CallTurns",
    "Neighbour",
    "Pools",
    "RPCListener",
    "Registry",
    "build_registry",
]
