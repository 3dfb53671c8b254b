"""Point 2: a key that protects is obeyed or stops the start; what has nothing to protect here says why.

All keys of RoadRunner's sections that bound who may come in, or what a peer may do, once each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rr_py_ws.config import Config, check
from rr_py_ws.config.validate import problems
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]

BASE = (
    "rpc: {listen: 'tcp://127.0.0.1:6001'}\nserver: {command: php worker.php}\n"
    "http: {address: ':80', middleware: [websockets]}\n"
    "websockets: {broker: main, allowed_origin: 'https://a.test'}\n"
    "broadcast: {main: {driver: memory, config: {}}}\n"
)
PAIR = "http.ssl: {cert: a.pem, key: a.pem}\n"

STOPS = [
    (
        "http.ssl.redirect: true",
        "http.ssl.redirect: needs TLS, accepted: files in http.ssl.cert and http.ssl.key",
    ),
    ("http.ssl.cert: a.pem", "http.ssl.key: missing, TLS needs both cert and key"),
    ("http.ssl.key: a.pem", "http.ssl.cert: missing, TLS needs both cert and key"),
    (
        "http.ssl.acme: {email: a@b.c}",
        "http.ssl.acme: not supported, accepted: files in http.ssl.cert and http.ssl.key",
    ),
    (
        "http.ssl.client_auth_type: require_any_client_cert",
        "http.ssl.client_auth_type: needs TLS, accepted: files in http.ssl.cert and http.ssl.key",
    ),
    (
        PAIR + "http.ssl.client_auth_type: require_and_verify_client_cert",
        "http.ssl.root_ca: missing, client_auth_type require_and_verify_client_cert needs an authority",
    ),
    (
        PAIR + "http.ssl.client_auth_type: require_any_client_cert",
        "http.ssl.root_ca: missing, client_auth_type require_any_client_cert needs an authority",
    ),
    (
        "broadcast.main: {driver: redis, config: {tls: {cert: a.pem}}}",
        "broadcast.main.config.tls.key: missing, TLS takes both cert and key, or neither",
    ),
]


@pytest.mark.parametrize(("text", "problem"), STOPS)
def test_what_cannot_be_obeyed_stops_the_start(load: Load, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.pem").touch()
    assert [str(found) for found in problems(load(f"{BASE}{text}\n"))][:1] == [problem]


@pytest.mark.parametrize("tls", ["{ca: a.pem}", "{}", "true"])
def test_tls_for_redis_is_not_left_out_where_roadrunner_looks_no_further(load: Load, tls: str) -> None:
    """What stands beside `config` does not count, and what is published would go in the clear."""
    with pytest.raises(
        ConfigError, match=r"main\.tls: belongs below broadcast\.main\.config, where the other"
    ):
        load(f"{BASE}broadcast.main: {{driver: redis, tls: {tls}, config: {{}}}}\n")


OBEYED = [
    (PAIR + "http.ssl.redirect: true", "listens on :80, and sends everybody on to TLS (308)"),
    (
        "http.ssl: {cert: a.pem, key: a.pem, root_ca: a.pem,"
        " client_auth_type: require_and_verify_client_cert}",
        "listens on 127.0.0.1:443 with TLS, require_and_verify_client_cert",
    ),
    ("websockets.allowed_origin: https://b.test", "allowed origins: https://b.test"),
]


@pytest.mark.parametrize(("text", "used"), OBEYED)
def test_what_is_obeyed_is_said_to_be(load: Load, tmp_path: Path, text: str, used: str) -> None:
    (tmp_path / "a.pem").touch()
    config = load(f"{BASE}{text}\n")
    assert list(problems(config)) == []
    assert used in [one.text for one in check(config) if one.kind == "used"]


WARNED = [
    (
        "http.trusted_subnets: 10.0.0.0/8",
        "http.trusted_subnets: ignored, http.middleware does not list proxy_ip_parser",
    ),
    (
        "websockets.address: ':81'\nhttp.ssl: {cert: a.pem, key: a.pem, redirect: true}",
        "http.ssl: websockets.address is served without TLS all the same",
    ),
    (
        "http.middleware: [websockets, my_login]",
        "http.middleware: my_login is not run here: if it decides who may connect, do not start this server",
    ),
    (
        "broadcast.main: {driver: redis, password: x, config: {}}",
        "broadcast.main.password: not read, the options of main are those below broadcast.main.config",
    ),
    ("http.uploads.forbid: [.php, exe]", 'http.uploads.forbid: "exe" is no extension: write ".exe"'),
    ("http.uploads.allow: '*.png'", 'http.uploads.allow: "*.png" is no extension: write ".png"'),
    ("server.group: www", "server.group: as in RoadRunner 2.x, workers have the group of server.user"),
]


@pytest.mark.parametrize(("text", "warning"), WARNED)
def test_what_the_file_of_another_program_protects_is_a_warning(
    load: Load, tmp_path: Path, text: str, warning: str
) -> None:
    (tmp_path / "a.pem").touch()
    config = load(f"{BASE}{text}\n")
    assert list(problems(config)) == []
    assert [one.text for one in check(config) if one.kind == "warning"] == [warning]


NOTHING_TO_PROTECT = [
    ("http.static: {dir: public}", "http.static: http.middleware does not list static"),
    ("http.sendfile: {}", "http.sendfile: the middleware sendfile has no keys"),
    ("http.fcgi: {address: 'tcp://:1'}", "http.fcgi: FastCGI is not served"),
    ("http.http2: {max_concurrent_streams: 1}", "http.http2: HTTP/2 is not served"),
    (
        "http.headers: {cors: {allowed_origin: 'https://a.test'}}",
        "http.headers: http.middleware does not list headers",
    ),
    (
        "websockets.pool.command: x",
        "websockets.pool.command: RoadRunner's websockets ignores it too; server.command is used",
    ),
]


@pytest.mark.parametrize(("text", "ignored"), NOTHING_TO_PROTECT)
def test_what_has_nothing_to_protect_here_says_why(load: Load, text: str, ignored: str) -> None:
    assert [one.text for one in check(load(f"{BASE}{text}\n")) if one.kind == "ignored"] == [ignored]
