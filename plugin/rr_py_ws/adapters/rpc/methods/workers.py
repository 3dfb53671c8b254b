"""RPC services `informer` and `resetter`: what `rr workers` and `rr reset` ask, and PHP's `isAvailable()`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from rr_py_ws.adapters.rpc.registry import Handler
from rr_py_ws.core.ports import WorkerPool, WorkerState
from rr_py_ws.errors import RPCError, WorkerError
from rr_py_ws.wire.goridge import Flag
from rr_py_ws.wire.values import decode_argument, encode_result

Pools = Mapping[str, WorkerPool | None]
"""Plugin name -> its workers; None for a plugin that runs without any."""


class Informer:
    """Service `informer`: names of plugins and states of their workers."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"List": self.list, "Workers": self.workers, "Jobs": self.jobs}

    def list(self, codec: Flag, body: bytes) -> bytes:
        """Name the plugins; the argument, a bool, is not used."""
        decode_argument(codec, body, bool)
        return encode_result(codec, list(self._pools))

    def workers(self, codec: Flag, body: bytes) -> bytes:
        """Describe the workers of the plugin that the argument names; `null` when there is no such plugin."""
        name = decode_argument(codec, body, str)
        pool = self._pools.get(name)
        states = [] if pool is None else [_describe(state) for state in pool.states()]
        return encode_result(codec, {"workers": states if name in self._pools else None})

    def jobs(self, codec: Flag, body: bytes) -> bytes:
        """Describe the job pipelines of a plugin: none of ours has any."""
        decode_argument(codec, body, str)
        return encode_result(codec, None)


class Resetter:
    """Service `resetter`: replaces workers."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"List": self.list, "Reset": self.reset}

    def list(self, codec: Flag, body: bytes) -> bytes:
        """Name the plugins; the argument, a bool, is not used."""
        decode_argument(codec, body, bool)
        return encode_result(codec, list(self._pools))

    def reset(self, codec: Flag, body: bytes) -> bytes | Awaitable[bytes]:
        """Replace the workers of the plugin that the argument names; answer `true` when that is done.

        Raises (now, or from the awaitable):
            RPCError: there is no such plugin, or its new workers do not start.
        """
        name = decode_argument(codec, body, str)
        if name not in self._pools:
            raise _not_reset(f"no such plugin: {name}")
        pool = self._pools[name]
        return encode_result(codec, True) if pool is None else _reset(pool, codec)


async def _reset(pool: WorkerPool, codec: Flag) -> bytes:
    try:
        await pool.reset()
    except WorkerError as error:
        raise _not_reset(str(error)) from error
    return encode_result(codec, True)


def _not_reset(reason: str) -> RPCError:
    return RPCError(f"resetter_rpc_reset:\n\tresetter_plugin_reset_by_name: {reason}")


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
