"""Point 22: the report of `check` is true, and says the cause."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rr_py_ws.config import Config, check, problems
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]

BASE = (
    "rpc: {listen: 'tcp://127.0.0.1:6001'}\nserver: {command: php worker.php}\n"
    "http: {address: ':80', middleware: [websockets]}\nwebsockets: {broker: main}\n"
)
MEMORY = "broadcast: {main: {driver: memory, config: {}}}\n"


def found(config: Config, kind: str) -> list[str]:
    return [f"{one.section}: {one.text}" for one in check(config) if one.kind == kind]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Equal by chance, and not used.
        ("broadcast: {main: {driver: redis, config: {db: 1}}}\nredis: {db: 1}", "redis: no broker uses it"),
        ("broadcast: {main: {driver: redis, db: 1}}\nredis: {db: 1}", "redis: no broker uses it"),
        ("broadcast: {main: {driver: redis, config: {}}}\nredis: {}", "redis: no broker uses it"),
        (MEMORY + "redis: {addrs: ['a:1']}", "redis: no broker uses it"),
    ],
)
def test_a_global_section_is_used_only_when_it_is(load: Load, text: str, told: str) -> None:
    assert told in found(load(BASE + text), "ignored")


@pytest.mark.parametrize("name", ["redis", "main"])
def test_a_global_section_that_is_used_is_said_to_be(load: Load, name: str) -> None:
    config = load(f"{BASE}broadcast: {{main: {{driver: redis}}}}\n{name}: {{db: 1}}\n")
    assert f"{name}: options of broker main" in found(config, "used")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http.trusted_subnets: [10.0.0.0/8, 10.0.0.0/33]", 'http.trusted_subnets[1]: found "10.0.0.0/33", '),
        ("http.trusted_subnets: [{a: 1}]", "http.trusted_subnets[0]: found a map, "),
        ("http.trusted_subnets: '10.0.0.0/8,x'", 'http.trusted_subnets: found "10.0.0.0/8,x", '),
        ("websockets.allowed_origin: ['https://a.b', ' ']", 'websockets.allowed_origin[1]: found " ", '),
        ("server.command: [php, {a: 1}]", "server.command[1]: found a map, "),
        ("server.env: [{A: b}, C=d]", 'server.env[1]: found "C=d", '),
        ("http.middleware: [websockets, [a]]", "http.middleware[1]: found a list, "),
        (
            "broadcast: {main: {driver: redis, config: {addrs: ['a:1', 'redis://u:secret@b:1']}}}",
            'broadcast.main.config.addrs[1]: found "redis://***@b:1", ',
        ),
    ],
)
def test_the_item_of_a_list_that_is_wrong_is_named(load: Load, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        for error in problems(load(f"{BASE}{text}\n" + (MEMORY if "broadcast" not in text else ""))):
            raise error
    assert str(caught.value).startswith(problem)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "http.address: ':${PORT}'",
            'http.address: found ":", accepted: host:port or :port; ${PORT} is not set',
        ),
        (
            "websockets.pool.num_workers: '${N}x'",
            'websockets.pool.num_workers: found "x", accepted: a whole number, 0 or more; ${N} is not set',
        ),
        (
            "websockets.broker: $BROKER",
            "websockets.broker: missing, accepted: main; $BROKER is not set",
        ),
        (
            "server.command: $EMPTY",
            "server.command: missing, accepted: the command of a PHP worker,"
            " or `authorize: none` under websockets; $EMPTY is empty",
        ),
    ],
)
def test_the_variable_that_is_not_set_is_named(load: Load, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        for error in problems(load(f"{MEMORY}{BASE}{text}\n", environ={"EMPTY": ""})):
            raise error
    assert str(caught.value) == problem


def test_a_variable_that_is_not_set_where_nothing_is_legal_is_a_warning(load: Load) -> None:
    config = load(f"{MEMORY}{BASE}logs.output: ['$FILE', stderr]\nkv.a: $OTHER\n")
    assert found(config, "warning") == ["logs: logs.output: $FILE is not set, so nothing is in its place"]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("websocket: {path: /ws}", "websocket: unknown section, ignored, did you mean websockets?"),
        ("brodcast: {}", "brodcast: unknown section, ignored, did you mean broadcast?"),
        ("temproal: {}", "temproal: unknown section, ignored, did you mean temporal?"),
        (
            "websockets.allowed_origins: '*'",
            "websockets: websockets.allowed_origins: unknown key, ignored, did you mean allowed_origin?",
        ),
        ("http.adress: x", "http: http.adress: unknown key, ignored, did you mean address?"),
        ("websockets.colour: red", "websockets: websockets.colour: unknown key, ignored"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(load: Load, text: str, warning: str) -> None:
    assert found(load(f"{MEMORY}{BASE}{text}\n"), "warning") == [warning]


def test_a_misspelt_key_of_ours_gets_one_too(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"ping\.intervall: unknown key, did you mean interval\?"):
        load(f"{MEMORY}{BASE}websockets.ping: {{intervall: 5s}}\n")
