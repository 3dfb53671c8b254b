from __future__ import annotations

from starlette.types import ASGIApp, Scope

from rr_py_ws.adapters.http.middleware.headers import Headers
from rr_py_ws.adapters.http.middleware.response import PresetHeaders
from rr_py_ws.config import Headers as Section
from support.asgi import ask, page


def site(app: ASGIApp, section: object) -> ASGIApp:
    return Headers(PresetHeaders(app), Section.from_file("http.headers", section))


CORS = {
    "allowed_origin": "*",
    "allowed_headers": "X-Token",
    "allowed_methods": "GET, PUT",
    "allow_credentials": True,
    "exposed_headers": "X-Total",
    "max_age": 600,
}


async def test_requests_and_answers_get_headers() -> None:
    seen: list[Scope] = []
    app = site(page(b"x", seen=seen), {"request": {"X-In": 1}, "response": {"X-Out": "2", "X-Empty": None}})
    answer = await ask(app, headers=[("X-In", "own")])
    assert answer.fields == [("x-out", "2"), ("x-empty", "")]
    assert seen[0]["headers"] == [(b"x-in", b"own"), (b"x-in", b"1")]


async def test_what_php_sends_is_added_as_in_roadrunner() -> None:
    answer = await ask(site(page(headers=[("X-Out", "php")]), {"response": {"X-Out": "file"}}))
    assert answer.fields == [("x-out", "file"), ("x-out", "php")]


async def test_the_scope_of_the_server_is_not_changed_for_others() -> None:
    """A header that is added for PHP is none that the client sent."""
    seen: list[Scope] = []

    async def outer(scope: Scope, receive: object, send: object) -> None:
        await inner(scope, receive, send)  # type: ignore[arg-type]
        seen.append(scope)

    inner = site(page(), {"request": {"X-In": "1"}})
    await ask(outer, headers=[("A", "b")])  # type: ignore[arg-type]
    assert seen[0]["headers"] == [(b"a", b"b")]


async def test_a_preflight_does_not_reach_php() -> None:
    seen: list[Scope] = []
    app = site(page(seen=seen), {"cors": CORS, "response": {"X-Out": "1"}})
    answer = await ask(app, method="OPTIONS")
    assert (answer.status, answer.body, seen) == (200, b"", [])
    assert answer.fields == [
        ("x-out", "1"),
        ("vary", "Origin"),
        ("vary", "Access-Control-Request-Method"),
        ("vary", "Access-Control-Request-Headers"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "X-Token"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
        ("content-length", "0"),
    ]


async def test_other_answers_get_the_other_headers() -> None:
    answer = await ask(site(page(b"x"), {"cors": CORS}))
    assert answer.fields == [
        ("vary", "Origin"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "X-Token"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "X-Total"),
    ]


async def test_without_cors_options_is_for_php() -> None:
    assert (await ask(site(page(b"php"), {}), method="OPTIONS")).body == b"php"


async def test_an_empty_cors_section_answers_preflights() -> None:
    answer = await ask(site(page(b"php"), {"cors": {}}), method="OPTIONS")
    assert (answer.status, answer.body, answer.header("access-control-allow-origin")) == (200, b"", "")


async def test_credentials_false_is_a_header_and_nothing_is_none() -> None:
    answer = await ask(site(page(), {"cors": {"allow_credentials": False}}))
    assert answer.header("access-control-allow-credentials") == "false"
    assert (await ask(site(page(), {"cors": {}}))).header("access-control-allow-credentials") == ""
