"""The RPC methods that we serve, and the registry of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.registry import Fallback, Registry
from rr_py_ws.core.ports import Probe, Publisher, WorkerPool, WorkerState
from rr_py_ws.errors import BrokerError, RPCError
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.publish import Message, decode_broadcast, decode_websockets, encode_ok
from rr_py_ws.wire.values import decode_argument

Pools = Mapping[str, WorkerPool | None]
"""Plugin name -> its workers; None for a plugin that runs without any."""

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
    """
    registry = Registry(fallback)
    add = registry.add
    publishing = Publishing(publisher, registry.run)
    operation = "broadcast_publish:\n\tbroadcast_plugin_publish"
    add("broadcast.Publish", decode_broadcast, publishing.publish, encode_ok, operation)
    add("broadcast.PublishAsync", decode_broadcast, publishing.publish_async, encode_ok)
    add("websockets.Publish", decode_websockets, publishing.publish, encode_ok, operation)
    add("websockets.PublishAsync", decode_websockets, publishing.publish_async, encode_ok)

    plugins = Plugins(pools, probes)
    operation = "resetter_rpc_reset:\n\tresetter_plugin_reset_by_name"
    add("informer.List", _decode_bool, plugins.names)
    add("informer.Workers", _decode_text, plugins.workers)
    add("informer.Jobs", _decode_text, lambda plugin: None)  # pipelines of jobs: no plugin of ours has any
    add("resetter.List", _decode_bool, plugins.names)
    add("resetter.Reset", _decode_text, plugins.reset, operation=operation)
    operation = "checker_rpc_{0}:\n\tchecker_plugin_{0}"
    add("status.Status", _decode_text, plugins.status, operation=operation.format("status"))
    add("status.Ready", _decode_text, plugins.ready, operation=operation.format("ready"))

    add("rpc.Version", _decode_bool, lambda _: version)
    add("rpc.Config", _decode_bool, lambda _: config())
    return registry


class Publishing:
    """`Publish` and `PublishAsync` of the services `broadcast` and `websockets`.

    Each message goes to each of its topics once, in order; empty topics are skipped.

    Args:
        publisher: takes the messages.
        run: lets what PublishAsync began go on by itself (`Registry.run`).
    """

    def __init__(
        self,
        publisher: Publisher,
        run: Callable[[Awaitable[Any], Callable[[asyncio.Future[Any]], object]], None],
    ) -> None:
        self._publisher = publisher
        self._run = run

    def publish(self, messages: list[Message]) -> Awaitable[object] | None:
        """Publish; done when the brokers have accepted everything.

        All messages are handed over before the first is waited for, so that pipelined calls keep their order.

        Raises (now, or from the awaitable):
            BrokerError: a broker refused; what was accepted stays published, the rest is not handed over.
        """
        publish = self._publisher.publish
        later: list[Awaitable[object]] = []
        try:
            for broker, topics, payload in messages:
                for topic in _without_empty(topics) if "" in topics else topics:
                    accepted = publish(broker, Publication(topic, payload))
                    if not (accepted is None or isinstance(accepted, Position)):
                        later.append(accepted)
        except BrokerError as refusal:
            if not later:
                raise
            return _all(later, refusal)
        if len(later) > 1:
            return _all(later)
        return later[0] if later else None

    def publish_async(self, messages: list[Message]) -> None:
        """Publish without waiting; a topic that a broker refuses is logged and does not stop the rest."""
        for broker, topics, payload in messages:
            for topic in _without_empty(topics) if "" in topics else topics:
                try:
                    accepted = self._publisher.publish(broker, Publication(topic, payload))
                except BrokerError as error:
                    _limited.error("async publish failed", error=str(error))
                else:
                    if not (accepted is None or isinstance(accepted, Position)):
                        self._run(accepted, _log_failure)


class Plugins:
    """What `rr workers` and `rr reset` ask, and PHP's `isAvailable()`: `informer`, `resetter`, `status`.

    Args:
        pools: plugin name -> its workers.
        probes: plugin name -> its health.
    """

    def __init__(self, pools: Pools, probes: Mapping[str, Probe]) -> None:
        self._pools = pools
        self._probes = probes

    def names(self, _argument: bool) -> list[str]:
        """Name the plugins, also those that run without workers."""
        return list(self._pools)

    def workers(self, plugin: str) -> dict[str, Any]:
        """Describe the workers of a plugin; None when there is no such plugin."""
        pool = self._pools.get(plugin)
        states = [] if pool is None else [_describe(state) for state in pool.states()]
        return {"workers": states if plugin in self._pools else None}

    def reset(self, plugin: str) -> bool | Awaitable[bool]:
        """Replace the workers of a plugin; done when the new ones are ready.

        Raises (now, or from the awaitable):
            RPCError: there is no such plugin.
            WorkerError: its new workers do not start.
        """
        if plugin not in self._pools:
            raise RPCError(f"no such plugin: {plugin}")
        pool = self._pools[plugin]
        return True if pool is None else _reset(pool)

    def status(self, plugin: str) -> dict[str, int]:
        """Tell whether a plugin works.

        Raises:
            RPCError: there is no such plugin.
        """
        return {"Code": 200 if self._probe(plugin).healthy() else 503}

    def ready(self, plugin: str) -> dict[str, int]:
        """Tell whether a plugin can be used now.

        Raises:
            RPCError: there is no such plugin.
        """
        return {"Code": 200 if self._probe(plugin).ready() else 503}

    def _probe(self, plugin: str) -> Probe:
        if plugin not in self._probes:
            raise RPCError(f"no such plugin: {plugin}")
        return self._probes[plugin]


async def _all(later: Sequence[Awaitable[object]], refusal: BrokerError | None = None) -> None:
    """Wait for everything that was handed over before it is told what failed, if anything did."""
    for outcome in (*await asyncio.gather(*later, return_exceptions=True), refusal):
        if isinstance(outcome, BaseException):
            raise outcome


def _without_empty(topics: Sequence[str]) -> Sequence[str]:
    _limited.warning("message with empty topic, skipping")
    return [topic for topic in topics if topic]


async def _reset(pool: WorkerPool) -> bool:
    await pool.reset()
    return True


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
