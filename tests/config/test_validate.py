from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rr_py_ws.config import Config, validate_for_serve
from rr_py_ws.config.validate import problems
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]

BASE = "broadcast: {a: {driver: memory}}\nserver: {command: php}\nwebsockets: {broker: a}\n"


NO_COMMAND = (
    "server.command: missing, accepted: the command of a PHP worker, or `authorize: none` under websockets"
)


def said(config: Config) -> list[str]:
    return [str(problem) for problem in problems(config)]


@pytest.mark.parametrize(
    "text",
    [
        BASE + "http: {address: ':80'}",
        BASE + "websockets.address: ':80'",
        BASE + "websockets.address: ':80'\nwebsockets.limits: {max_refusal_size: 1, refusal_memory: 1}",
        "websockets: {authorize: none}\nhttp: {address: ':80'}",
        BASE + "http: {ssl: {cert: a.pem, key: a.pem, root_ca: a.pem}}",
        BASE + "http: {ssl: {cert: a.pem, key: a.pem, acme: {}}}",
        BASE + "websockets.address: ':80'\nhttp: {ssl: {cert: missing.pem}}",
        BASE + "http: {address: ':80', ssl: {address: ':81'}}",
        BASE
        + "http: {address: ':80'}\n"
        + "broadcast.b: {driver: redis, config: {tls: {ca: a.pem, cert: a.pem, key: a.pem, server_name: b}}}",
    ],
)
def test_what_can_be_served(load: Load, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.pem").touch()
    validate_for_serve(load(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rpc: {}", "websockets: missing, so there is nothing to serve; see docs/configuration.md"),
        (BASE, "http.address: missing, accepted: host:port here or in websockets.address"),
        (BASE + "http: {}", "http.address: missing, accepted: host:port here or in websockets.address"),
        (
            "websockets: {}\nhttp: {address: ':80'}",
            NO_COMMAND,
        ),
        (
            "websockets: {}\nhttp: {address: ':80'}\nserver: {}",
            NO_COMMAND,
        ),
        (
            BASE + "http: {address: ':80'}\nserver.on_init: {exec_timeout: 1s}",
            "server.on_init.command: missing, accepted: a command",
        ),
        (
            BASE + "http: {address: ':80', ssl: {acme: {email: a}}}",
            "http.ssl.acme: not supported, accepted: files in http.ssl.cert and http.ssl.key",
        ),
        (BASE + "http: {ssl: {cert: a.pem}}", "http.ssl.key: missing, TLS needs both cert and key"),
        (BASE + "http: {ssl: {key: a.pem}}", "http.ssl.cert: missing, TLS needs both cert and key"),
        (
            BASE + "http: {ssl: {cert: b.pem, key: a.pem}}",
            'http.ssl.cert: found "b.pem", which is not a file in {directory}',
        ),
        (
            BASE + "http: {ssl: {cert: a.pem, key: a.pem, root_ca: b.pem}}",
            'http.ssl.root_ca: found "b.pem", which is not a file in {directory}',
        ),
        (
            "http: {address: ':80'}\nserver: {command: php}\nwebsockets: {broker: b}\n"
            "broadcast.b: {driver: nats}",
            'broadcast.b.driver: found "nats", accepted by this version: memory, redis',
        ),
        (
            BASE + "http: {address: ':80'}\nbroadcast.b: {driver: redis, config: {addrs: [a]}}",
            "broadcast.b.config.addrs: found a list, accepted: host:port or the path of a unix socket, "
            "or a list of them",
        ),
        (
            BASE + "http: {address: ':80'}\nwebsockets.limits: {max_refusal_size: 32MiB}",
            "websockets.limits.max_refusal_size: found 33554432 bytes,"
            " accepted: at most `refusal_memory`, 16777216",
        ),
        (
            BASE + "http: {address: ':80'}\nredis: {tls: {ca: b.pem}}\nbroadcast.b: {driver: redis}",
            'redis.tls.ca: found "b.pem", which is not a file in {directory}',
        ),
    ],
)
def test_what_cannot_be_served_and_why(load: Load, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.pem").touch()
    config = load(text)
    assert said(config) == [problem.format(directory=tmp_path)]
    with pytest.raises(ConfigError) as caught:
        validate_for_serve(config)
    assert str(caught.value) == problem.format(directory=tmp_path)


def test_all_problems_are_found(load: Load) -> None:
    assert len(said(load("websockets: {broker: a}\nbroadcast: {a: {driver: nats}}"))) == 3
