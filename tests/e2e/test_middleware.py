"""Files beside WebSockets on one port, and SIGHUP, with the installed program."""

from __future__ import annotations

import http.client
import json
import os
import signal
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from e2e.client import Connect, OpenRaw
from support.process import Server, Servers
from support.waiting import DEADLINE

HTTP = {
    "middleware": ["static", "headers", "gzip", "http_metrics", "websockets"],
    "static": {"dir": "examples", "forbid": [".php"]},
    "headers": {"response": {"X-Powered-By": "RR"}},
}


def get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*server.address, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def reload(server: Server, text: str, told: str, count: int = 1) -> list[str]:
    """Write another file, send SIGHUP, and wait for lines with a text; returns all lines since then."""
    since = len(server.log)
    (server.directory / ".rr.yaml").write_text(text)
    server.signal(signal.SIGHUP)
    server.log.wait_for(told, count=count, since=since)
    return server.log.having("", since)


def test_files_and_websockets_share_a_port(servers: Servers, connect: Connect) -> None:
    server = servers.start(http=HTTP)
    status, headers, body = get(server, "/browser.html")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (headers["x-powered-by"], headers["vary"]) == ("RR", "Accept-Encoding")
    assert body == (server.directory / "examples" / "browser.html").read_bytes()
    status, headers, _ = get(server, "/browser.html", **{"Accept-Encoding": "gzip"})
    assert headers["content-encoding"] == "gzip"
    status, _, body = get(server, "/worker.php")
    assert (status, body) == (404, b"nothing is served at /worker.php; WebSockets are at /ws\n")
    connect(server).join("news")


def test_sighup_changes_rules_and_disconnects_nobody(servers: Servers, connect: Connect) -> None:
    server = servers.start(http=HTTP)
    client = connect(server)
    config: dict[str, Any] = json.loads(json.dumps(server.config))
    config["http"]["static"]["forbid"] = [".html"]
    config["http"]["address"] = "127.0.0.1:1"
    config["websockets"]["allowed_origin"] = "https://a.test"
    lines = reload(server, json.dumps(config), "counts from now on", count=2)
    server.log.wait_for("counts after a restart")
    assert [line for line in server.log.having("counts after a restart") if "http.address" not in line] == []
    assert len([line for line in lines if "counts from now on" in line]) == 2
    assert get(server, "/browser.html")[0] == 404
    with pytest.raises(InvalidStatus):
        connect(server, origin="https://b.test")
    client.join("news")

    server.tolerated.append("configuration not read again")
    reload(server, "http: [", "configuration not read again, the old one counts")
    assert get(server, "/browser.html")[0] == 404
    client.join("more")


def test_sighup_changes_log_levels(servers: Servers) -> None:
    server = servers.start()
    config: dict[str, Any] = json.loads(json.dumps(server.config))
    config["logs"]["level"] = "info"
    reload(server, json.dumps(config), "counts from now on")
    config["logs"]["level"] = "error"
    reload(server, json.dumps(config), "counts from now on")
    since = len(server.log)
    server.tolerated.append("configuration not read again")
    reload(server, "http: [", "configuration not read again")
    assert len(server.log.having("", since)) == 1  # an error, and nothing below


def test_sighup_changes_limits_and_times(servers: Servers, connect: Connect, raw: OpenRaw) -> None:
    """Of clients that are there, and of those that come."""
    server = servers.start(
        "ok.php", websockets={"limits": {"head_timeout": "1h"}, "ping": {"interval": "1h"}}
    )
    silent, late = raw(server), connect(server)
    silent.send(b"GET /ws HTTP/1.1\r\n")
    config: dict[str, Any] = json.loads(json.dumps(server.config))
    config["websockets"] |= {
        "limits": {"head_timeout": "100ms", "max_topics": 1, "max_form": 100, "rpc_elements": 5},
        "ping": {"interval": "200ms"},
        "compression": {"enabled": True},
        "authorize_timeout": "7s",
        "drain": {"time": "1s"},
    }
    config["http"]["max_request_size"] = 1
    config["endure"] = {"grace_period": "29s"}
    lines = reload(server, json.dumps(config), "counts from now on", count=9)
    assert [json.loads(line)["key"] for line in lines if "counts after a restart" in line] == [
        "websockets.limits.rpc_elements"
    ]
    assert b" 408 " in silent.head()
    late.join("a", "b")
    new = connect(server)
    new.is_refused("a", "b")
    server.signal(signal.SIGTERM)
    server.out.wait_for("grace timeout is: 29 seconds")


def test_sighup_during_a_stop_does_nothing(servers: Servers) -> None:
    server = servers.start(None, websockets={"drain": {"delay": "1s"}})
    (server.directory / ".rr.yaml").write_text("http: [")
    server.signal(signal.SIGTERM)
    server.log.wait_for("not ready any more, still serving")
    for _ in range(3):
        server.signal(signal.SIGHUP)
    assert server.wait() == 0
    assert server.log.having("configuration") == []


def test_php_names_a_file_and_the_server_sends_it_in_ranges(servers: Servers) -> None:
    http = {
        "middleware": ["sendfile", "headers", "gzip", "websockets"],
        "headers": {"request": {"X-In": "1"}},
    }
    server = servers.start("sending_files.php", http={**http, "pool": {"num_workers": 1}})
    data = os.urandom(3_000_000)
    (server.directory / "large.bin").write_bytes(data)
    status, headers, body = get(server, "/film", Range="bytes=1000000-")
    assert (status, headers["content-type"], "x-sendfile" in headers) == (206, "video/mp4", False)
    assert headers["content-range"] == "bytes 1000000-2999999/3000000"
    assert body == data[1_000_000:]
    status, _, body = get(server, "/headers", **{"X-Sendfile": "/etc/passwd", "Accept-Encoding": "gzip"})
    assert json.loads(body)["X-In"] == ["1"]
    assert b"root:" not in body
