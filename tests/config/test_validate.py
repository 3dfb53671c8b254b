from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rr_py_ws.config import Config, problems

Load = Callable[..., Config]

BASE = "broadcast: {a: {driver: memory}}\nserver: {command: php}\nwebsockets: {broker: a}\n"

SERVED = BASE + "http: {address: ':80'}\n"

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
        BASE + "http: {address: ':80'}\nwebsockets.drain.delay: 30s\nendure.grace_period: 1m",
        BASE + "http: {address: ':80'}\nrpc.listen: 'tcp://:1'\nwebsockets.rpc.forward: 'tcp://:2'",
        BASE + "http: {address: ':80'}\nrpc.listen: 'tcp://:1'\nwebsockets.rpc.forward: 'tcp://10.0.0.1:1'",
        BASE + "http: {address: ':80'}\nrpc.listen: 'tcp://:1'\nwebsockets.rpc.forward: 'unix:///rr.sock'",
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
    assert said(load(text)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rpc: {}", "websockets: missing, so there is nothing to serve; see docs/configuration.md"),
        (BASE, "http.address: missing, accepted: host:port here or in websockets.address"),
        (BASE + "http: {}", "http.address: missing, accepted: host:port here or in websockets.address"),
        (
            BASE + "http: {address: ':80'}\nwebsockets.health_path: /ws",
            'websockets.health_path: found "/ws", accepted: another path than websockets.path',
        ),
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
            'broadcast.b.config.addrs[0]: found "a", accepted: host:port or the path of a unix socket, '
            "or a list of them",
        ),
        (
            BASE + "http: {address: ':80'}\nwebsockets.limits: {max_refusal_size: 32MiB}",
            "websockets.limits.max_refusal_size: found 33554432 bytes,"
            " accepted: at most `refusal_memory`, 16777216",
        ),
        *(
            (
                f"{SERVED}rpc.listen: '{listen}'\nwebsockets.rpc.forward: '{forward}'",
                f'websockets.rpc.forward: found "{forward}", where this program listens itself, accepted: the'
                " address of RoadRunner; give this program another one in websockets.rpc.listen",
            )
            for listen, forward in (
                ("tcp://127.0.0.1:6001", "tcp://127.0.0.1:6001"),
                ("tcp://:6001", "tcp://localhost:6001"),
                ("tcp://[::]:6001", "tcp://[::1]:6001"),
                ("unix:///run/rr.sock", "unix:///run/rr.sock"),
            )
        ),
        (
            BASE + "http: {address: ':80'}\nwebsockets.rpc.forward: 'tcp://127.0.0.1:6001'",
            "websockets.rpc.forward: needs an RPC listener,"
            " accepted: with rpc.listen or websockets.rpc.listen",
        ),
        *(
            (
                BASE + f"http: {{address: '{address}'}}\nwebsockets.http.forward: {forward}",
                f'websockets.http.forward: found "{forward}", which is this server\'s own address {address},'
                " accepted: that of another server",
            )
            for address, forward in (
                (":80", "http://localhost"),
                ("127.0.0.1:8080", "http://[::1]:8080"),
                ("app.test:8080", "http://app.test:8080/"),
            )
        ),
        (  # point 9: nothing would be left for the stop
            BASE + "http: {address: ':80'}\nwebsockets.drain.delay: 30s",
            "websockets.drain.delay: found 30 s, accepted: less than endure.grace_period, 30 s,"
            " of which it is a part",
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


def test_all_problems_are_found(load: Load) -> None:
    assert len(said(load("websockets: {broker: a}\nbroadcast: {a: {driver: nats}}"))) == 3
