"""The RPC methods that we serve, and the registry of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from rr_py_ws.adapters.rpc.merging import Merging, not_gob
from rr_py_ws.adapters.rpc.neighbour import Neighbour, NotOurs
from rr_py_ws.adapters.rpc.publishing import OPERATION, Publishing
from rr_py_ws.adapters.rpc.push import PushService
from rr_py_ws.adapters.rpc.registry import InPieces, Registry
from rr_py_ws.adapters.rpc.turns import BUDGET, CallTurns
from rr_py_ws.config import Limits
from rr_py_ws.core.ports import Holds, Probe, Publisher, WorkerPool, WorkerState
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.publish import decode_broadcast, decode_websockets, encode_ok
from rr_py_ws.wire.publish_call import PUBLISH, PUBLISH_ASYNC
from rr_py_ws.wire.values import decode_argument

Pools = Mapping[str, WorkerPool | None]
"""Plugin name -> its workers; None for a plugin that runs without any."""

_WORKER = BUDGET // 16
"""What it costs to ask the system about one process: an eighth of a millisecond."""

_RESET = BUDGET // 16
"""What it costs to ask for a reset. Resets themselves rest between one another."""

_Part = TypeVar("_Part")


def build_registry(
    *,
    publisher: Publisher,
    pools: Pools,
    probes: Mapping[str, Probe],
    version: str,
    config: Callable[[], bytes],
    limits: Limits,
    neighbour: Neighbour | None = None,
    holds: Holds | None = None,
    turns: CallTurns | None = None,
) -> Registry:
    """Make the registry of all methods that we serve.

    What stands before the texts of errors are the names of the operations that RoadRunner's plugins nest into
    one another (for `status`: roadrunner-server/status rpc.go @v2.15.3).

    Args:
        publisher: takes what is published.
        pools: plugin name -> its worker pool, or None for a plugin that runs without workers. The plugin is
            listed either way: PHP's `isAvailable()` looks for `websockets` in the list.
        probes: plugin name -> what answers the service `status` about it.
        version: the release of RoadRunner that `rpc.Version` answers.
        config: returns the configuration as JSON, without secrets; it does not change.
        limits: here it is `rpc_elements`.
        neighbour: answers the calls of all other services, and has a part of `informer`, `resetter` and
            `status`.
        holds: tells to which topics a call has to wait; without it, none does.
        turns: what calls may do in one turn of the loop, when others are charged to it, too.
    """
    registry = Registry(neighbour, () if holds is None else holds.held, turns)
    add = registry.add
    publishing = Publishing(
        publisher, registry.run, registry.turns, limits.rpc_elements, registry.counters, holds
    )
    find_hold = publishing.find_hold
    on_slow = registry.turns.charge_slow
    # The service of RoadRunner 2.3.0, whose messages name a broker, is `websockets`.
    for service, decode_request in (("broadcast", decode_broadcast), ("websockets", decode_websockets)):
        decode = partial(decode_request, on_slow=on_slow)
        has_broker = service == "websockets"
        carry_out = partial(publishing.publish_in_pieces, has_broker=has_broker)
        in_pieces = InPieces(publishing.is_dear, carry_out)
        add(f"{service}.Publish", decode, publishing.publish, encode_ok, OPERATION, find_hold, in_pieces)
        in_pieces = InPieces(publishing.is_dear, partial(carry_out, wait=False))
        add(f"{service}.PublishAsync", decode, publishing.publish_async, encode_ok, "", find_hold, in_pieces)

    registry.add_publisher(PUBLISH, publisher.publisher(""))
    registry.add_publisher(PUBLISH_ASYNC, publishing.publish_one_async)

    most = ReplayLimit(limits.recovery_messages, limits.recovery_topic_size)
    PushService(publisher, registry, most, holds)
    _add_plugins(registry, pools, neighbour)
    _add_status(registry, probes, neighbour)
    # Methods of RoadRunner's RPC plugin itself.
    decode_bool = _decoder(registry, bool)
    add("rpc.Version", decode_bool, lambda _: version)
    config = cache(config)  # to mask it takes half a millisecond
    add("rpc.Config", decode_bool, lambda _: config())
    return registry


def _decoder(registry: Registry, kind: type) -> Callable[[Flag, bytes], Any]:
    """Return what decodes an argument that is one value; to do so slowly is charged to the caller."""
    return partial(decode_argument, kind=kind, on_slow=registry.turns.charge_slow)


def _add_plugins(registry: Registry, pools: Pools, neighbour: Neighbour | None) -> None:
    """Register `informer` and `resetter`; a neighbour has a part of both."""
    add, plugins, turns = registry.add, list(pools), registry.turns
    decode_bool, decode_text = _decoder(registry, bool), _decoder(registry, str)
    if neighbour is None:
        operation = "resetter_rpc_reset:\n\tresetter_plugin_reset_by_name"
        add("informer.List", decode_bool, lambda _: plugins)
        add("informer.Workers", decode_text, partial(_workers, pools, turns))
        # Pipelines of jobs: no plugin of ours has any.
        add("informer.Jobs", decode_text, lambda plugin: None)
        add("resetter.List", decode_bool, lambda _: plugins)
        add(
            "resetter.Reset",
            decode_text,
            lambda plugin: _reset(_find(pools, plugin), turns),
            operation=operation,
        )
        return
    merging = Merging(neighbour, plugins)
    decode_bool, decode_text = not_gob(decode_bool), not_gob(decode_text)

    def workers(plugin: str) -> Awaitable[dict[str, Any]]:
        _find_ours(pools, plugin)
        return merging.workers(plugin, _workers(pools, turns, plugin))

    add("informer.List", decode_bool, lambda _: merging.list("informer.List"))
    add("informer.Workers", decode_text, workers)
    add("resetter.List", decode_bool, lambda _: merging.list("resetter.List"))
    add(
        "resetter.Reset",
        decode_text,
        lambda plugin: merging.reset(plugin, _reset(_find_ours(pools, plugin), turns)),
    )
    registry.share("informer")
    registry.share("resetter")


def _add_status(registry: Registry, probes: Mapping[str, Probe], neighbour: Neighbour | None) -> None:
    """Register `status`; a neighbour answers for plugins that are not ours."""
    decode = _decoder(registry, str)
    if neighbour is not None:
        decode = not_gob(decode)
    find = _find if neighbour is None else _find_ours
    operation = "checker_rpc_{0}:\n\tchecker_plugin_{0}"
    registry.add(
        "status.Status",
        decode,
        lambda plugin: _code(find(probes, plugin).healthy()),
        operation=operation.format("status"),
    )
    registry.add(
        "status.Ready",
        decode,
        lambda plugin: _code(find(probes, plugin).ready()),
        operation=operation.format("ready"),
    )
    if neighbour is not None:
        registry.share("status")


def _find(parts: Mapping[str, _Part], plugin: str) -> _Part:
    """Return the part of a plugin.

    Raises:
        RPCError: there is no such plugin.
    """
    if plugin not in parts:
        raise RPCError(f"no such plugin: {plugin}")
    return parts[plugin]


def _find_ours(parts: Mapping[str, _Part], plugin: str) -> _Part:
    """Return the part of a plugin.

    Raises:
        NotOurs: there is no such plugin here; the neighbour may have it.
    """
    if plugin not in parts:
        raise NotOurs
    return parts[plugin]


def _code(works: bool) -> dict[str, int]:
    return {"Code": 200 if works else 503}


def _workers(pools: Pools, turns: CallTurns, plugin: str) -> dict[str, Any]:
    """Describe the workers of a plugin; None when there is no such plugin."""
    pool = pools.get(plugin)
    states = [] if pool is None else [_describe(state) for state in pool.states()]
    turns.left -= _WORKER * len(states)
    return {"workers": states if plugin in pools else None}


def _reset(pool: WorkerPool | None, turns: CallTurns) -> bool | Awaitable[bool]:
    """Replace the workers of a plugin; done when the new ones are ready.

    Raises (from the awaitable):
        WorkerError: the new workers do not start.
    """

    async def reset(pool: WorkerPool) -> bool:
        await pool.reset()
        return True

    turns.left -= _RESET
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
