"""The RPC methods that we serve, and the registry of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.registry import Fallback, Registry
from rr_py_ws.core.hold import Hold
from rr_py_ws.core.ports import Holds, Probe, Publisher, WorkerPool, WorkerState
from rr_py_ws.errors import BrokerError, RPCError
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.publish import Message, decode_broadcast, decode_websockets, encode_ok
from rr_py_ws.wire.values import decode_argument

Pools = Mapping[str, WorkerPool | None]
"""Plugin name -> its workers; None for a plugin that runs without any."""

_Run = Callable[[Awaitable[Any], Callable[[asyncio.Future[Any]], object]], None]
_Part = TypeVar("_Part")

_limited = logs.get_limited("broadcast")

_decode_bool = partial(decode_argument, kind=bool)
_decode_text = partial(decode_argument, kind=str)


def build_registry(
    *,
    publisher: Publisher,
    pools: Pools,
    probes: Mapping[str, Probe],
    version: str,
    config: Callable[[], bytes],
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
        config: returns the configuration as JSON, without secrets.
        fallback: answers the calls of all other services.
        holds: tells to which topics a call has to wait; without it, none does.
    """
    registry = Registry(fallback, () if holds is None else holds.held)
    add = registry.add
    publish = partial(_publish, publisher)
    publish_async = partial(_publish_async, publisher, registry.run)
    find_hold = None if holds is None else partial(_find_hold, holds)
    operation = "broadcast_publish:\n\tbroadcast_plugin_publish"
    add("broadcast.Publish", decode_broadcast, publish, encode_ok, operation, find_hold)
    add("broadcast.PublishAsync", decode_broadcast, publish_async, encode_ok, find_hold=find_hold)
    # The service of RoadRunner 2.3.0, whose messages name a broker.
    add("websockets.Publish", decode_websockets, publish, encode_ok, operation, find_hold)
    add("websockets.PublishAsync", decode_websockets, publish_async, encode_ok, find_hold=find_hold)

    operation = "resetter_rpc_reset:\n\tresetter_plugin_reset_by_name"
    add("informer.List", _decode_bool, lambda _: list(pools))
    add("informer.Workers", _decode_text, partial(_workers, pools))
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
    add("rpc.Config", _decode_bool, lambda _: config())
    return registry


def _publish(publisher: Publisher, messages: list[Message]) -> Awaitable[object] | None:
    """Publish each message to each of its topics, in order; done when the brokers have accepted everything.

    All messages are handed over before the first is waited for, so that pipelined calls keep their order.
    Empty topics are skipped.

    Raises (now, or from the awaitable):
        BrokerError: a broker refused; what was accepted stays published, the rest is not handed over.
    """
    publish = publisher.publish
    later: list[Awaitable[object]] = []
    try:
        for broker, topics, payload in messages:
            for topic in _without_empty(topics) if "" in topics else topics:
                accepted = publish(broker, Publication(topic, payload))
                # Brokers in memory answer at once; only those of a network make the call wait.
                if not (accepted is None or isinstance(accepted, Position)):
                    later.append(accepted)
    except BrokerError as refusal:
        # Nothing is under way, so there is nothing to wait for before the error.
        if not later:
            raise
        return _all(later, refusal)
    if len(later) > 1:
        return _all(later)
    return later[0] if later else None  # the broker's own future: no task for the usual single message


def _publish_async(publisher: Publisher, run: _Run, messages: list[Message]) -> None:
    """Publish without waiting; a topic that a broker refuses is logged and does not stop the rest.

    `run` (`Registry.run`) lets what was begun go on by itself.
    """
    for broker, topics, payload in messages:
        for topic in _without_empty(topics) if "" in topics else topics:
            try:
                accepted = publisher.publish(broker, Publication(topic, payload))
            except BrokerError as error:
                _limited.error("async publish failed", error=str(error))
            else:
                if not (accepted is None or isinstance(accepted, Position)):
                    run(accepted, _log_failure)


def _find_hold(holds: Holds, messages: list[Message]) -> Hold | None:
    """Return what a call waits for: any one of its topics holds all of it, so that it stays one call."""
    for broker, topics, _ in messages:
        hold = holds.find_hold(broker, topics)
        if hold is not None:
            return hold
    return None


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


def _workers(pools: Pools, plugin: str) -> dict[str, Any]:
    """Describe the workers of a plugin; None when there is no such plugin."""
    pool = pools.get(plugin)
    states = [] if pool is None else [_describe(state) for state in pool.states()]
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


async def _all(later: Sequence[Awaitable[object]], refusal: BrokerError | None = None) -> None:
    """Wait for everything that was handed over before it is told what failed, if anything did."""
    for outcome in (*await asyncio.gather(*later, return_exceptions=True), refusal):
        if isinstance(outcome, BaseException):
            raise outcome


def _without_empty(topics: Sequence[str]) -> Sequence[str]:
    _limited.warning("message with empty topic, skipping")
    return [topic for topic in topics if topic]


def _log_failure(done: asyncio.Future[Any]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _limited.error("async publish failed", error=str(error) or type(error).__name__)


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
