from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.types import Scope

from rr_py_ws import logs
from rr_py_ws.adapters.http import middleware
from rr_py_ws.adapters.http.middleware import RequestMetrics, WithMiddleware, build
from rr_py_ws.config import HTTP
from support.asgi import ask, page

TEXT = b"hello world\n" * 1000


def section(**keys: object) -> HTTP:
    return HTTP.from_file("http", keys)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(TEXT)
    return tmp_path


async def test_without_middleware_pages_are_served(tmp_path: Path) -> None:
    assert (await ask(build(page(b"php"), section(), tmp_path, RequestMetrics()))).body == b"php"


async def test_the_last_of_the_list_sees_a_request_first(public: Path) -> None:
    """As in RoadRunner: it decides whether files get the headers, too."""
    keys = {"static": {"dir": "."}, "headers": {"response": {"x-powered-by": "RR"}}}
    for names, powered in ((["static", "headers"], "RR"), (["headers", "static"], "")):
        app = build(page(b"php"), section(middleware=names, **keys), public, RequestMetrics())
        assert (await ask(app, "/a.txt")).header("x-powered-by") == powered
        assert (await ask(app, "/")).header("x-powered-by") == "RR"


async def test_all_of_them_together(public: Path) -> None:
    metrics, seen = RequestMetrics(), list[Scope]()
    http = section(
        middleware=["sendfile", "static", "gzip", "headers", "websockets", "proxy_ip_parser", "http_metrics"],
        static={"dir": ".", "response": {"x-powered-by": "files"}},
        headers={
            "response": {"x-powered-by": "RR"},
            "request": {"x-in": "1"},
            "cors": {"allowed_origin": "*"},
        },
    )
    app = build(
        page(headers=[("X-Sendfile", "a.txt"), ("X-Powered-By", "PHP")], seen=seen), http, public, metrics
    )
    accepted = [("Accept-Encoding", "gzip")]
    by_name = await ask(app, "/", headers=accepted)
    assert gzip.decompress(by_name.body) == TEXT
    assert by_name.header("x-powered-by") == "RR, PHP"
    by_path = await ask(app, "/a.txt", headers=accepted)
    assert gzip.decompress(by_path.body) == TEXT
    assert by_path.header("x-powered-by") == "files"
    assert by_path.header("vary") == "Origin, Accept-Encoding"
    assert (await ask(app, method="OPTIONS")).status == 200
    assert len(seen) == 1
    assert (b"x-in", b"1") in seen[0]["headers"]
    assert metrics.durations[200].count == 3


async def test_a_name_without_a_class_or_a_section_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(middleware, "log", logs.get_logger("http"))
    names = ["static", "headers", "cache", "my_own", "websockets", "proxy_ip_parser"]
    app = build(page(b"php"), section(middleware=names), tmp_path, RequestMetrics())
    assert (await ask(app)).body == b"php"
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("requested")[-1].strip(' :="}') for line in lines] == [
        "static",
        "headers",
        "cache",
        "my_own",
    ]


async def test_other_middleware_counts_from_the_next_request_on(public: Path) -> None:
    app = WithMiddleware(page(b"php"), section(), public)
    assert (await ask(app, "/a.txt")).body == b"php"
    assert list(app.metrics()) == []
    app.reload(section(middleware=["static", "http_metrics"], static={"dir": "."}))
    assert (await ask(app, "/a.txt")).body == TEXT
    [answers, *_] = app.metrics()
    assert answers.values == {("200",): 1}
    app.reload(section())
    assert (await ask(app, "/a.txt")).body == b"php"
