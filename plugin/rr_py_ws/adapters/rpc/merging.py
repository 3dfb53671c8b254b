"""`informer` and `resetter` when RoadRunner has a part of both: its plugins beside ours.

A caller that speaks gob (`rr workers`, `rr reset`) is passed on as it is, because nothing here speaks gob: it
sees RoadRunner's plugins. Everybody else sees those of both. While RoadRunner is away they see ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from rr_py_ws import logs
from rr_py_ws.adapters.rpc.neighbour import Neighbour, NotOurs
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.goridge import Flag

_Argument = TypeVar("_Argument")

_limited = logs.get_limited("rpc")


def not_gob(decode: Callable[[Flag, bytes], _Argument]) -> Callable[[Flag, bytes], _Argument]:
    """Make a decoder for a method that RoadRunner has, too: gob is for RoadRunner."""

    def decode_or_pass_on(codec: Flag, body: bytes) -> _Argument:
        if codec is Flag.GOB:
            raise NotOurs
        return decode(codec, body)

    return decode_or_pass_on


class Merging:
    """Answers for the plugins of both.

    Args:
        neighbour: RoadRunner.
        plugins: the names of ours.
    """

    def __init__(self, neighbour: Neighbour, plugins: Sequence[str]) -> None:
        self._neighbour = neighbour
        self._plugins = plugins

    async def list(self, method: str) -> list[str]:
        """List the plugins of both, ours first; `method` is that of RoadRunner."""
        return [*self._plugins, *(name for name in await self._theirs(method) if name not in self._plugins)]

    async def workers(self, plugin: str, ours: dict[str, Any]) -> dict[str, Any]:
        """Add RoadRunner's workers of a plugin that both have to ours."""
        if plugin not in await self._theirs("informer.List"):
            return ours
        answer = await self._try("informer.Workers", plugin)
        theirs = answer.get("workers") if isinstance(answer, dict) else None
        return {"workers": [*ours["workers"], *(theirs if isinstance(theirs, list) else ())]}

    async def reset(self, plugin: str, ours: Awaitable[bool] | bool) -> bool:
        """Reset ours, then RoadRunner's plugin of the same name.

        Raises:
            RPCError: RoadRunner could not.
            WorkerError: we could not.
        """
        if not isinstance(ours, bool):
            await ours
        if plugin in await self._theirs("resetter.List"):
            await self._neighbour.ask("resetter.Reset", plugin, timely=False)
        return True

    async def _theirs(self, method: str) -> Sequence[str]:
        names = await self._try(method, True)
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else ()

    async def _try(self, method: str, argument: object) -> Any:
        """Ask RoadRunner; None while it is away."""
        try:
            return await self._neighbour.ask(method, argument)
        except RPCError as error:
            _limited.warning("answered without roadrunner", method=method, reason=str(error))
            return None
