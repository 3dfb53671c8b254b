"""The goridge RPC server, its services, and a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.adapters.rpc.limits import RPCLimits
from rr_py_ws.adapters.rpc.listener import RPCServer
from rr_py_ws.adapters.rpc.methods.about import About
from rr_py_ws.adapters.rpc.methods.publish import Publishing
from rr_py_ws.adapters.rpc.methods.status import Status
from rr_py_ws.adapters.rpc.methods.workers import Informer, Pools, Resetter
from rr_py_ws.adapters.rpc.registry import Services
from rr_py_ws.core.ports import Probe, Publisher
from rr_py_ws.wire.publish import decode_broadcast, decode_websockets

__all__ = ["Pools", "RPCClient", "RPCLimits", "RPCServer", "Services", "build_services"]


def build_services(
    *,
    publisher: Publisher,
    pools: Pools,
    probes: Mapping[str, Probe],
    version: str,
    config: Callable[[], bytes],
) -> Services:
    """Make the table of all methods that we serve.

    Args:
        publisher: takes what is published.
        pools: plugin name -> its worker pool, or None for a plugin that runs without workers. The plugin is
            listed either way: PHP's `isAvailable()` looks for `websockets` in the list.
        probes: plugin name -> whom the service `status` asks about it.
        version: what `rpc.Version` answers.
        config: returns the configuration as JSON, without secrets.
    """
    services = Services()
    services.add("broadcast", Publishing(publisher, decode_broadcast, services.run).methods())
    services.add("websockets", Publishing(publisher, decode_websockets, services.run).methods())
    services.add("informer", Informer(pools).methods())
    services.add("resetter", Resetter(pools).methods())
    services.add("status", Status(probes).methods())
    services.add("rpc", About(version, config).methods())
    return services
