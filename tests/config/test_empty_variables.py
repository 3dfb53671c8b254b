"""What an unset variable must not mean: that everybody may come in, or that there is no protection."""

from __future__ import annotations

import re

import pytest

from config.conftest import Load
from rr_py_ws.errors import ConfigError

REDIS = "broadcast: {main: {driver: redis, config: {%s}}}\n"
BESIDE = "broadcast: {main: {driver: redis}}\nmain: {%s}\n"


@pytest.mark.parametrize("environ", [{}, {"NAME": ""}], ids=["unset", "empty"])
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("websockets: {allowed_origin: '$NAME'}", "websockets.allowed_origin"),
        ("websockets: {allowed_origin: ['https://a.b', '${NAME}']}", "websockets.allowed_origin"),
        ("websockets: {allowed_origin: 'https://*.${NAME}'}", "websockets.allowed_origin"),
        ("websockets: {limits: {commands_per_second: '${NAME}'}}", "websockets.limits.commands_per_second"),
        ("websockets: {ping: {interval: '${NAME}'}}", "websockets.ping.interval"),
        ("websockets: {authorize: '${NAME}'}", "websockets.authorize"),
        ("websockets: {rpc: {mode: '${NAME}'}}", "websockets.rpc.mode"),
        (
            "websockets: {pool: {supervisor: {exec_ttl: '${NAME}'}}}",
            "websockets.pool.supervisor.exec_ttl",
        ),
        ("http: {trusted_subnets: ['${NAME}']}", "http.trusted_subnets"),
        ("http: {ssl: {cert: '${NAME}', key: key.pem}}", "http.ssl.cert"),
        ("http: {ssl: {client_auth_type: '${NAME}'}}", "http.ssl.client_auth_type"),
        ("server: {user: '${NAME}'}", "server.user"),
        ("server: {on_init: {user: '${NAME}'}}", "server.on_init.user"),
        (REDIS % "prefix: 'app-${NAME}-'", "broadcast.main.config.prefix"),
        (REDIS % "tls: {ca: '${NAME}'}", "broadcast.main.config.tls.ca"),
        (BESIDE % "tls: {server_name: '${NAME}'}", "main.tls.server_name"),
        ("http: {address: '${NAME}:8080'}", "http.address"),
        ("rpc: {listen: 'tcp://${NAME}:6001'}", "rpc.listen"),
        ("server: {relay: 'tcp://${NAME}:7000'}", "server.relay"),
        ("websockets: {metrics: {address: '${NAME}:2112'}}", "websockets.metrics.address"),
        # However an address is written without which it is every one.
        ("http: {address: '[${NAME}]:8080'}", "http.address"),
        ("http: {address: ' ${NAME}:8080'}", "http.address"),
        ("http: {address: '[${NAME} ]:8080'}", "http.address"),
        ("http: {address: '[${NAME}::]:8080'}", "http.address"),
        ("http: {address: '${NAME}0:8080'}", "http.address"),
        ("http: {address: '${NAME}0.0.0.0:8080'}", "http.address"),
        ("rpc: {listen: 'tcp://[${NAME}]:6001'}", "rpc.listen"),
        ("server: {relay: 'tcp://[${NAME}]:7000'}", "server.relay"),
        ("websockets: {address: '[${NAME}]:8081'}", "websockets.address"),
        ("metrics: {address: '[${NAME}]:2112'}", "metrics.address"),
        ("status: {address: '[::ffff:0.0.0.0${NAME}]:2114'}", "status.address"),
        # A default that is empty protects nobody.
        ("websockets: {allowed_origin: '${NAME:-}'}", "websockets.allowed_origin"),
        ("server: {user: '${NAME:-}'}", "server.user"),
        ("http: {address: '${NAME:-}:8080'}", "http.address"),
        # Names of sections that are patterns to others.
        (
            "broadcast: {'my[1]': {driver: redis, config: {prefix: '${NAME}'}}}",
            r"broadcast.my[1].config.prefix",
        ),
        (
            "broadcast: {'a*?': {driver: redis, config: {tls: {ca: '${NAME}'}}}}",
            "broadcast.a*?.config.tls.ca",
        ),
    ],
)
def test_a_variable_without_a_value_is_an_error_where_nothing_would_mean_everything(
    load: Load, text: str, key: str, environ: dict[str, str]
) -> None:
    said = "empty" if environ else "not set"
    with pytest.raises(
        ConfigError, match=rf"^{re.escape(key)}: \$\{{?NAME(:-)?\}}? is {said}, which would be no rule"
    ) as raised:
        load(text, environ=environ)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        # What the file says plainly.
        "websockets: {broker: memory, allowed_origin: ''}\npubsubs: 1",
        "http: {address: ':8080'}",
        "server: {user: ''}",
        "http: {address: '0.0.0.0:8080'}",
        # A default.
        "server: {user: '${NAME:-nobody}'}",
        "http: {address: '[${NAME:-::1}]:8080'}",
        # No rule stands here: these begin like one, or their names would match one as a pattern.
        "broadcast: {'a*': {driver: memory, config: {prefix: '${NAME}'}}, ab: {driver: redis}}",
        "http: {pool: {command: '${NAME}'}}",
        # Without a password it is Redis that refuses.
        REDIS % "username: '${NAME}', password: '${NAME}'",
        # Nothing protects anybody here.
        "server: {command: 'php ${NAME} worker.php', env: {TOKEN: '${NAME}'}}",
        "rpc: {listen: '${NAME}'}",
        "rpc: {listen: 'tcp://127.0.0.1:600${NAME}1'}",
        "rpc: {listen: 'unix:///run/${NAME}rr.sock'}",
        # Not read by this program.
        "kv: {redis: {password: '${NAME}'}}",
    ],
)
def test_elsewhere_a_variable_without_a_value_is_empty_as_in_roadrunner(load: Load, text: str) -> None:
    load(text.replace("\npubsubs: 1", "\nbroadcast: {memory: {driver: memory}}"))


def test_a_flag_replaces_the_variable(load: Load) -> None:
    text = "broadcast: {memory: {driver: memory}}\nwebsockets: {broker: memory, allowed_origin: '${NAME}'}"
    config = load(text, overrides=["websockets.allowed_origin=https://a.b"])
    assert config.websockets is not None
    assert config.websockets.allowed_origin == ("https://a.b",)
    with pytest.raises(ConfigError, match=r"websockets\.allowed_origin: \$OTHER is not set"):
        load(text, environ={"RR_WEBSOCKETS_ALLOWED_ORIGIN": "$OTHER"})


def test_an_unfinished_variable_is_one_without_a_value(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"websockets\.allowed_origin: \$\{ is not set"):
        load("websockets: {allowed_origin: '${'}")
