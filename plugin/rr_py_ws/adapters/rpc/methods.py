"""The RPC methods that we serve, and the registry of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from rr_py_ws.adapters.rpc.publishing import OPERATION, Publishing
from rr_py_ws.adapters.rpc.registry import Fallback, InPieces, Registry
from rr_py_ws.adapters.rpc.turns import BUDGET, Turns
from rr_py_ws.config import Limits
from rr_py_ws.core.ports import Holds, Probe, Publisher, WorkerPool, WorkerState
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.publish import decode_broadcast, decode_websockets, encode_ok
from rr_py_ws.wire.values import decode_argument

Pools = Mapping[str, WorkerPool | None]
"""Plugin name -> its workers; None for a plugin that runs without any."""

_WORKER = BUDGET // 16
"""What it costs to ask the system about one process: an eighth of a millisecond."""

_Part = TypeVar("_Part")

_decode_bool = partial(decode_argument, kind=bool)
_decode_text = partial(decode_argument, kind=str)


def build_registry(
    *,
    publisher: Publisher,
    pools: Pools,
    probes: Mapping[str, Probe],
    version: str,
    config: Callable[[], bytes],
    limits: Limits,
    fallback: Fallback | None = None,
    holds: Holds | None = None,
) -> Registry:
    """Make the registry of all methods that we serve.

    What stands before the texts of errors are the names of the operations that RoadRunner's plugins nest into
    one another (for `status`: roadrunner-server/status rpc.go @v2.15.3).

    Args:
        publisher: takes what is published.
        pools: plugin name -> its worker pool, or None for a plugin that runs without workers. The plugin is
            listed either way: PHP's `isAvailable()` looks for `websockets` in the list.
        probes: plugin name -> what answers the service `status` about it.
        version: what `rpc.Version` answers.
        config: returns the configuration as JSON, without secrets; it does not change.
        limits: here it is `rpc_elements`.
        fallback: answers the calls of all other services.
        holds: tells to which topics a call has to wait; without it, none does.
    """
    registry = Registry(fallback, () if holds is None else holds.held)
    add = registry.add
    publishing = Publishing(
        publisher, registry.run, registry.turns, limits.rpc_elements, registry.counters, holds
    )
    find_hold = publishing.find_hold
    # The service of RoadRunner 2.3.0, whose messages name a broker, is `websockets`.
    for service, decode in (("broadcast", decode_broadcast), ("websockets", decode_websockets)):
        has_broker = service == "websockets"
        carry_out = partial(publishing.publish_in_pieces, has_broker=has_broker)
        in_pieces = InPieces(publishing.is_dear, carry_out)
        add(f"{service}.Publish", decode, publishing.publish, encode_ok, OPERATION, find_hold, in_pieces)
        in_pieces = InPieces(publishing.is_dear, partial(carry_out, wait=False))
        add(f"{service}.PublishAsync", decode, publishing.publish_async, encode_ok, "", find_hold, in_pieces)

    operation = "resetter_rpc_reset:\n\tresetter_plugin_reset_by_name"
    add("informer.List", _decode_bool, lambda _: list(pools))
    add("informer.Workers", _decode_text, partial(_workers, pools, registry.turns))
    add("informer.Jobs", _decode_text, lambda plugin: None)  # pipelines of jobs: no plugin of ours has any
    add("resetter.List", _decode_bool, lambda _: list(pools))
    add("resetter.Reset", _decode_text, partial(_reset, pools), operation=operation)
    operation = "checker_rpc_{0}:\n\tchecker_plugin_{0}"
    add(
        "status.Status",
        _decode_text,
        lambda plugin: _code(_find(probes, plugin).healthy()),
        operation=operation.format("status"),
    )
    add(
        "status.Ready",
        _decode_text,
        lambda plugin: _code(_find(probes, plugin).ready()),
        operation=operation.format("ready"),
    )

    # Methods of RoadRunner's RPC plugin itself.
    add("rpc.Version", _decode_bool, lambda _: version)
    config = cache(config)  # to mask it takes half a millisecond
    add("rpc.Config", _decode_bool, lambda _: config())
    return registry


def _find(parts: Mapping[str, _Part], plugin: str) -> _Part:
    """Return the part of a plugin.

    Raises:
        RPCError: there is no such plugin.
    """
    if plugin not in parts:
        raise RPCError(f"no such plugin: {plugin}")
    return parts[plugin]


def _code(works: bool) -> dict[str, int]:
    return {"Code": 200 if works else 503}


def _workers(pools: Pools, turns: Turns, plugin: str) -> dict[str, Any]:
    """Describe the workers of a plugin; None when there is no such plugin."""
    pool = pools.get(plugin)
    states = [] if pool is None else [_describe(state) for state in pool.states()]
    turns.left -= _WORKER * len(states)
    return {"workers": states if plugin in pools else None}


def _reset(pools: Pools, plugin: str) -> bool | Awaitable[bool]:
    """Replace the workers of a plugin; done when the new ones are ready.

    Raises (now, or from the awaitable):
        RPCError: there is no such plugin.
        WorkerError: its new workers do not start.
    """
    pool = _find(pools, plugin)

    async def reset(pool: WorkerPool) -> bool:
        await pool.reset()
        return True

    return True if pool is None else reset(pool)


def _describe(state: WorkerState) -> dict[str, Any]:
    """The keys of RoadRunner 2.11.2 and newer, in their order."""
    return {
        "pid": state.pid,
        "status": state.status,
        "numExecs": state.execs,
        "created": state.created,
        "memoryUsage": state.memory,
        "CPUPercent": state.cpu_percent,
        "command": state.command,
        "statusStr": state.status_text,
    }
