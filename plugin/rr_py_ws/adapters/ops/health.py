"""`/health` and `/ready`, with RoadRunner's rules (roadrunner-server/status plugin.go @v2.15.3)."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from rr_py_ws.core.ports import Probe


class StatusPage:
    """An ASGI application that asks the plugins which the query names, in that order, until one says no.

    Every method is accepted, and whatever follows `/health` and `/ready` in the path.

    Args:
        probes: plugin name -> whom to ask. A plugin that is not there is said to be, and is no failure.
        unavailable: the status code of a no.
    """

    def __init__(self, probes: Mapping[str, Probe], unavailable: int) -> None:
        self._probes = probes
        self._unavailable = unavailable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        query = QueryParams(scope["query_string"])
        plugins = [name for value in query.getlist("plugin") for name in value.split(",")]
        await self._answer(scope["method"], scope["path"], plugins)(scope, receive, send)

    def _answer(self, method: str, path: str, plugins: list[str]) -> PlainTextResponse:
        for question in ("health", "ready"):
            if path.startswith(f"/{question}"):
                return self._ask(question, plugins) if plugins else _nobody_to_ask(question)
        return PlainTextResponse(f"Cannot {method} {path}", 404)

    def _ask(self, question: str, plugins: list[str]) -> PlainTextResponse:
        text = ""
        for name in plugins:
            probe = self._probes.get(name)
            if probe is None:
                text += f"Service: {name} not found"
            elif probe.healthy() if question == "health" else probe.ready():
                text += f"Service: {name}: Status: 200\n"
            else:
                return PlainTextResponse(text, self._unavailable)
        return PlainTextResponse(text)


def _nobody_to_ask(question: str) -> PlainTextResponse:
    text = "No plugins provided in query. Query should be in form of: "
    return PlainTextResponse(f"{text}{question}?plugin=plugin1&plugin=plugin2 \n", 400)
