"""`/health` and `/ready`, with RoadRunner's rules (roadrunner-server/status plugin.go @v2.15.3)."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from rr_py_ws.core.ports import Probe


def health_page(probes: Mapping[str, Probe], unavailable: int) -> ASGIApp:
    """Make an ASGI application that asks the plugins named in the query, in order, until one is unavailable.

    Every method is accepted, and every path that begins with `/health` or `/ready`. A query without plugins
    asks all, as from RoadRunner 2023.3 on; before, it was an error.

    Args:
        probes: plugin name -> its probe. An unknown plugin is reported as not found, which is no failure.
        unavailable: the status code when a plugin is unavailable.
    """

    def ask(question: str, plugins: list[str]) -> PlainTextResponse:
        text = ""
        for name in plugins:
            probe = probes.get(name)
            if probe is None:
                text += f"Service: {name} not found"  # without a line feed, as in RoadRunner
            elif probe.healthy() if question == "health" else probe.ready():
                text += f"Service: {name}: Status: 200\n"
            else:
                return PlainTextResponse(text, unavailable)
        return PlainTextResponse(text)

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        query = QueryParams(scope["query_string"])
        # Several parameters or one list with commas: both are in use.
        plugins = [name for value in query.getlist("plugin") for name in value.split(",")]
        path = scope["path"]
        question = next((one for one in ("health", "ready") if path.startswith(f"/{one}")), None)
        if question is None:
            response = PlainTextResponse(f"Cannot {scope['method']} {path}", 404)
        else:
            response = ask(question, plugins or list(probes))
        await response(scope, receive, send)

    return page
