from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rr_py_ws.config import (
    SSL,
    BrokerSection,
    Config,
    Limits,
    Logs,
    OnInit,
    Ping,
    Supervisor,
    check,
    has_errors,
    load_config,
    masked_json,
    problems,
    read_config,
    report_json,
    report_text,
    resolve_workdir,
)
from rr_py_ws.errors import ConfigError
from support.drop_in import DROP_IN

Load = Callable[..., Config]


def test_the_file_of_a_typical_application_loads_as_it_is(load: Load) -> None:
    config = load(DROP_IN, environ={"REDIS_ADDR": "redis:6379", "REDIS_PASSWORD": "secret"})
    assert config.rpc and config.rpc.listen == "tcp://127.0.0.1:6001"
    assert config.server and config.server.command_line == "php app.php"
    assert config.server.env == {"APP_ENV": "prod"}
    assert config.http and config.http.address == "0.0.0.0:8080"
    assert config.http.middleware == ("gzip", "websockets")
    assert config.http.ssl == SSL(address=":8443", cert="server.crt", key="server.key")
    assert config.websockets and config.websockets.broker == "default"
    assert config.websockets.allowed_origin == ("https://*.example.com",)
    assert config.websockets.pool.num_workers == 2
    assert config.broadcast == {
        "default": BrokerSection(
            driver="redis",
            options={"addrs": ["redis:6379"], "password": "secret", "dial_timeout": "5s"},
            key="broadcast.default.config",
        )
    }
    assert (config.logs.mode, config.logs.level, config.logs.encoding) == ("production", "info", "json")
    assert config.logs.channels["websockets"].level == "debug"
    assert config.endure.grace_period == 30.0
    assert (config.metrics_address, config.status_address) == ("127.0.0.1:2112", "127.0.0.1:2114")
    assert config.status and config.status.unavailable_status_code == 503
    assert config.tree["jobs"] == {"consume": []}


def test_the_repository_has_a_file_that_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    config = load_config(Path(".rr.yaml"), environ={})
    assert not has_errors(check(config))
    assert config.websockets and config.websockets.path == "/ws"


def test_an_empty_file_has_no_sections_and_default_logs(load: Load, tmp_path: Path) -> None:
    assert load("") == Config(path=tmp_path / ".rr.yaml", directory=tmp_path, tree={}, logs=Logs())


@pytest.mark.parametrize("nothing", ["", "rpc:", "rpc: null"])
def test_a_section_without_a_value_is_absent(load: Load, nothing: str) -> None:
    assert load(nothing).rpc is None


def test_an_empty_map_is_a_section(load: Load) -> None:
    config = load("rpc: {}\nhttp: {}\n")
    assert config.rpc and config.rpc.listen == "tcp://127.0.0.1:6001"
    assert config.http and config.http.address == ""


def test_zero_is_zero_where_it_is_documented(load: Load) -> None:
    config = load("websockets: {broker: a, process_timeout: 0}\nbroadcast.a.driver: memory")
    assert config.settings.process_timeout == 0


def test_a_zero_value_is_the_default(load: Load) -> None:
    """In RoadRunner 0 and empty are what a key has that is not in the file."""
    config = load(
        "rpc: {listen: ''}\nserver: {relay_timeout: 0, relay: ''}\nendure: {grace_period: 0s}\n"
        "websockets: {path: '', allowed_origin: '',"
        " pool: {allocate_timeout: 0, supervisor: {watch_tick: 0}}}\n"
    )
    assert config.rpc and config.rpc.listen == "tcp://127.0.0.1:6001"
    assert config.server and (config.server.relay, config.server.relay_timeout) == ("pipes", 60.0)
    assert config.endure.grace_period == 30.0
    assert config.websockets and config.websockets.path == "/ws"
    assert config.websockets.allowed_origin == ("*",)
    assert config.websockets.pool.allocate_timeout == 60.0
    assert config.websockets.pool.supervisor == Supervisor(watch_tick=1.0)


def test_keys_may_have_any_case_and_dots(load: Load) -> None:
    config = load("HTTP.Address: ':1'\nWebSockets: {PATH: /live, Pool.Max_Jobs: 5}\n")
    assert config.http and config.http.address == ":1"
    assert config.websockets and config.websockets.path == "/live"
    assert config.websockets.pool.max_jobs == 5


def test_values_may_have_another_type(load: Load) -> None:
    config = load(
        "server: {command: php, env: {DEBUG: true, N: 1}, relay_timeout: 1500000000}\n"
        "http: {middleware: 'websockets,gzip', trusted_subnets: '10.0.0.0/8'}\n"
        "websockets: {pool: {num_workers: '3', debug: 'true'}, limits: {send_queue: '2MiB'},"
        " authorize: PHP}\n"
    )
    assert config.server and config.server.env == {"DEBUG": "1", "N": "1"}
    assert config.server.relay_timeout == 1.5
    assert config.http and config.http.middleware == ("websockets", "gzip")
    assert config.http.trusted_subnets == ("10.0.0.0/8",)
    assert config.websockets and config.websockets.pool.num_workers == 3
    assert config.websockets.pool.debug is True
    assert config.websockets.limits.send_queue == 2 * 1024 * 1024
    assert config.websockets.authorize == "php"


def test_our_own_keys_are_read(load: Load) -> None:
    config = load(
        "websockets:\n  address: 127.0.0.1:8081\n  authorize_timeout: 2s\n"
        "  rpc: {listen: 'unix://rr.sock', mode: '0660'}\n"
        "  allowed_origin: ['https://a.com', 'https://b.com']\n"
        "  limits: {max_message_size: 1KiB, send_queue: 1MB, rpc_payload: 1048576, max_head_size: 4096,"
        " max_commands_waiting: 5, send_queue_policy: drop}\n  ping: {interval: 0, timeout: 5s}\n"
        "  drain: {time: 0}\n  allow_commas: true\n"
    )
    websockets = config.websockets
    assert websockets and websockets.address == "127.0.0.1:8081"
    assert websockets.authorize_timeout == 2.0
    assert websockets.allowed_origin == ("https://a.com", "https://b.com")
    assert websockets.limits == Limits(
        max_message_size=1024,
        send_queue=1_000_000,
        rpc_payload=1_048_576,
        max_head_size=4096,
        max_commands_waiting=5,
        send_queue_policy="drop",
    )
    assert websockets.rpc and websockets.rpc.mode == 0o660
    assert (websockets.drain.time, websockets.allow_commas) == (0.0, True)
    assert websockets.ping == Ping(interval=0.0, timeout=5.0)
    assert config.rpc_listen == "unix://rr.sock"


def test_log_keys_have_the_names_that_roadrunner_reads(load: Load) -> None:
    """`errorOutput` is read by RoadRunner, the documented `err_output` is not."""
    logs = load(
        'logs: {errorOutput: a.log, err_output: b.log, output: [stdout, c.log], line_ending: "\\r\\n",'
        " file_logger_options: {log_output: d.log, max_size: 2, compress: true}}"
    ).logs
    assert logs.error_output == ("a.log",)
    assert logs.output == ("stdout", "c.log")
    assert logs.line_ending == "\r\n"
    assert logs.file_logger_options and logs.file_logger_options.max_size == 2 * 1024 * 1024
    assert logs.file_logger_options.compress is True
    assert (logs.file_logger_options.max_age, logs.file_logger_options.max_backups) == (24, 10)


def test_variables_of_workers_are_expanded_once_more(load: Load) -> None:
    """Lists of maps are not expanded by the loader, but the values of `server.env` are when they are used."""
    config = load(
        "server: {command: php, env: [{token: '$TOKEN'}, {b: 2}],"
        " on_init: {command: ls, env: [{a: '$TOKEN'}]}}",
        environ={"TOKEN": "t"},
    )
    assert config.server and config.server.env == {"TOKEN": "t", "B": "2"}
    assert config.server.on_init == OnInit(command="ls", env={"A": "$TOKEN"})


def test_the_order_is_file_then_environment_then_overrides(load: Load) -> None:
    text = "http: {address: ':1'}\nwebsockets: {path: /a}\nrpc: {listen: 'tcp://:1'}\n"
    environ = {"RR_HTTP_ADDRESS": ":2", "RR_WEBSOCKETS_PATH": "/$X", "X": "x"}
    config = load(text, environ=environ, overrides=["http.address=:3", "endure.grace_period=1s"])
    assert config.http and config.http.address == ":3"
    assert config.websockets and config.websockets.path == "/x"
    assert config.rpc and config.rpc.listen == "tcp://:1"


def test_an_override_makes_sections_and_is_not_expanded(load: Load) -> None:
    config = load("", overrides=["server.command=$X", "http.middleware=a,b"], environ={"X": "x"})
    assert config.server and config.server.command == ("$X",)
    assert config.http and config.http.middleware == ("a", "b")


def test_endure_is_read_straight_from_the_file(load: Load) -> None:
    environ = {"RR_ENDURE_GRACE_PERIOD": "1s"}
    config = load("endure: {grace_period: 5s}", environ=environ, overrides=["endure.grace_period=2s"])
    assert config.endure.grace_period == 5.0
    with pytest.raises(ConfigError, match=r'endure\.grace_period: found "\$GRACE", accepted: a duration'):
        load("endure: {grace_period: $GRACE}", environ={"GRACE": "5s"})


def test_the_dotenv_variable_wins_over_the_flag_and_both_are_relative_to_the_directory(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "a.env").write_text("X=a\n")
    (tmp_path / "b.env").write_text("X=b\n")
    text = "server: {command: $X}"
    flag = load(text, dotenv="a.env").server
    variable = load(text, dotenv="a.env", environ={"DOTENV_PATH": "b.env"}).server
    assert flag and flag.command == ("a",)
    assert variable and variable.command == ("b",)


def test_by_default_the_environment_is_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So workers inherit what a dotenv file adds."""
    monkeypatch.setenv("RR_PY_WS_FROM_DOTENV", "")
    monkeypatch.delenv("RR_PY_WS_FROM_DOTENV")
    monkeypatch.delenv("DOTENV_PATH", raising=False)
    (tmp_path / ".env").write_text("RR_PY_WS_FROM_DOTENV=yes\n")
    (tmp_path / ".rr.yaml").write_text("")
    load_config(".rr.yaml", workdir=tmp_path, dotenv=".env")
    assert os.environ["RR_PY_WS_FROM_DOTENV"] == "yes"


@pytest.mark.parametrize("version", ["", "2", "2.6", '"2.7"', '"2.11.4"', "3", '"3"', '"3.0.0"', "3.0", "~"])
def test_a_version_may_be_quoted_unquoted_or_missing(load: Load, version: str) -> None:
    assert load(f"version: {version}").tree.keys() == {"version"}


@pytest.mark.parametrize(
    ("version", "found"), [("1.0", "1.0"), ('"4"', '"4"'), ("new", '"new"'), ("[2]", "a list")]
)
def test_another_version_is_refused(load: Load, version: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"version: {version}")
    assert str(caught.value) == f"version: found {found}, accepted: 2.x or 3"


ERRORS = [
    ("http: text", 'http: found "text", accepted: a map of keys; check the indentation'),
    ("http: {ssl: []}", "http.ssl: found a list, accepted: a map of keys; check the indentation"),
    ("rpc: {listen: ':6001'}", 'rpc.listen: found ":6001", accepted: tcp://host:port or unix://path'),
    (
        "server: {command: {php: x}}",
        "server.command: found a map, accepted: "
        "a program and its arguments, as one text or as a list of texts",
    ),
    ("server: {relay: x}", 'server.relay: found "x", accepted: pipes, tcp://host:port or unix://path'),
    ("server: {env: A=1}", 'server.env: found "A=1", accepted: a map of variables, or a list of such maps'),
    (
        "server: {relay_timeout: '5'}",
        'server.relay_timeout: found "5", accepted: a duration such as 30s, 1m30s or 500ms '
        '(a bare number is nanoseconds); time: missing unit in duration "5"',
    ),
    ("http: {address: 8080}", "http.address: found 8080, accepted: host:port or :port"),
    (
        "http: {middleware: {a: 1}}",
        "http.middleware: found a map, accepted: a list of texts, or one text with commas",
    ),
    ("http: {ssl: {address: x}}", 'http.ssl.address: found "x", accepted: host:port or :port'),
    (
        "http: {ssl: {client_auth_type: all}}",
        'http.ssl.client_auth_type: found "all", accepted: no_client_cert, request_client_cert, '
        "require_any_client_cert, verify_client_cert_if_given, require_and_verify_client_cert",
    ),
    (
        "http: {trusted_subnets: [x]}",
        'http.trusted_subnets[0]: found "x", accepted: a list of networks such as 10.0.0.0/8',
    ),
    ("websockets: {path: ws}", 'websockets.path: found "ws", accepted: a path that starts with /'),
    (
        "websockets: {allowed_origin: []}",
        'websockets.allowed_origin: found a list, accepted: an origin or a list of origins, "*" for any',
    ),
    ("websockets: {authorize: maybe}", 'websockets.authorize: found "maybe", accepted: php, none'),
    (
        "websockets: {pool: {num_workers: two}}",
        'websockets.pool.num_workers: found "two", accepted: a whole number, 0 or more',
    ),
    ("websockets: {pool: {debug: maybe}}", 'websockets.pool.debug: found "maybe", accepted: true or false'),
    ("websockets: {metrics: {}}", "websockets.metrics.address: missing, but required here"),
    ("websockets: {rpc: {relay: x}}", "websockets.rpc.relay: unknown key, accepted: listen, forward, mode"),
    (
        "websockets: {rpc: {forward: x}}",
        'websockets.rpc.forward: found "x", accepted: tcp://host:port or unix://path',
    ),
    ("websockets: {ping: {every: 1s}}", "websockets.ping.every: unknown key, accepted: interval, timeout"),
    (
        "websockets: {ping: {timeout: 0}}",
        "websockets.ping.timeout: found 0, accepted: a duration of 100ms or more; "
        "a bare number is nanoseconds",
    ),
    (
        "websockets: {limits: {max_message: 1}}",
        "websockets.limits.max_message: unknown key, did you mean max_message_size?",
    ),
    (
        "websockets: {rpc: {mode: 0660}}",
        'websockets.rpc.mode: found 432, accepted: permissions in octal and in quotes, such as "0660"',
    ),
    (
        "websockets: {limits: {send_queue: 0}}",
        "websockets.limits.send_queue: found 0, "
        "accepted: a size such as 64KiB, 1MiB, 1MB, or a number of bytes, 1 or more",
    ),
    (
        "websockets: {limits: {max_commands_waiting: 0}}",
        "websockets.limits.max_commands_waiting: found 0, accepted: a whole number, 1 or more",
    ),
    ("logs: {encoding: xml}", 'logs.encoding: found "xml", accepted: console, json'),
    ("logs: {channels: 5}", "logs.channels: found 5, accepted: a map of sections; check the indentation"),
    (
        "logs: {channels: {rpc: {encoding: xml}}}",
        'logs.channels.rpc.encoding: found "xml", accepted: console, json',
    ),
]


@pytest.mark.parametrize(("text", "problem"), ERRORS, ids=[problem.split(":")[0] for _, problem in ERRORS])
def test_an_error_names_the_key_what_was_found_and_what_is_accepted(
    load: Load, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value) == problem
    assert caught.value.key == problem.split(": ")[0]


def test_a_json_file_is_loaded_like_yaml(load: Load) -> None:
    config = load(json.dumps({"HTTP": {"address": ":$PORT"}}), name="rr.json", environ={"PORT": "80"})
    assert config.http and config.http.address == ":80"


class TestWorkdir:
    """RoadRunner 2.10 and later: `-w` and the file relative to it; without `-w`, the file's directory."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "app" / "config").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_without_a_flag_it_is_the_directory_of_the_file(self, place: Path) -> None:
        assert resolve_workdir("app/.rr.yaml", None) == (place / "app/.rr.yaml", place / "app")
        assert Path.cwd() == place / "app"

    def test_with_the_flag_it_is_that_directory_and_the_file_is_relative_to_it(self, place: Path) -> None:
        assert resolve_workdir("config/rr.yaml", "app") == (place / "app/config/rr.yaml", place / "app")
        assert Path.cwd() == place / "app"

    def test_an_absolute_file_stays(self, place: Path) -> None:
        assert resolve_workdir(place / "rr.yaml", "app") == (place / "rr.yaml", place / "app")

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (("rr.yaml", "nowhere"), "-w: cannot change to nowhere: No such file or directory"),
            (("nowhere/rr.yaml", None), "-c: cannot change to nowhere: No such file or directory"),
        ],
    )
    def test_a_directory_that_does_not_exist_is_an_error(
        self, place: Path, arguments: tuple[str, str | None], problem: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            resolve_workdir(*arguments)
        assert str(caught.value) == problem


SECTIONS = ["version", "rpc", "server", "http", "websockets", "broadcast", "logs", "endure", "redis"]
KEYS = [
    *(
        "listen",
        "command",
        "env",
        "relay",
        "relay_timeout",
        "on_init",
        "address",
        "middleware",
        "ssl",
        "cert",
    ),
    *("broker", "path", "allowed_origin", "pool", "num_workers", "supervisor", "authorize", "limits", "ping"),
    *(
        "interval",
        "pubsubs",
        "driver",
        "config",
        "default",
        "my.broker",
        "channels",
        "mode",
        "level",
        "output",
    ),
]
NAMES = st.sampled_from(SECTIONS + KEYS)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["memory", "default", "5s", "$X", "/ws", "none", ":1", "tcp://:1", "${"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=25,
)
FILES = st.dictionaries(NAMES, TREES, max_size=6) | st.dictionaries(
    st.sampled_from(SECTIONS[1:]), st.dictionaries(NAMES, TREES, max_size=4), max_size=6
)


def load_or_refuse(text: str, name: str) -> None:
    """Whatever the text is: a configuration that can be checked and shown, or a ConfigError in one line."""
    with TemporaryDirectory() as directory:
        path = Path(directory, name)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            config, errors = read_config(path, workdir=directory, environ={"X": "\udcff"})
        except ConfigError as error:
            assert "\n" not in str(error)
            return
        assert len({error.key for error in errors}) == len(errors)
        assert not any("\n" in error.located for error in errors)
        # What is left of a file with errors can be looked at like any other.
        findings = check(config, [*errors, *problems(config)])
        assert report_text(path, findings)
        assert json.loads(report_json(path, findings))["can_be_served"] == (not has_errors(findings))
        json.loads(masked_json(config))


@settings(deadline=None)
@given(tree=FILES)
def test_the_loader_refuses_any_json_tree_with_config_error_and_nothing_else(tree: dict[str, Any]) -> None:
    load_or_refuse(json.dumps(tree), "rr.json")


@settings(deadline=None)
@given(tree=FILES)
def test_the_loader_refuses_any_yaml_tree_with_config_error_and_nothing_else(tree: dict[str, Any]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "rr.yaml")
        try:
            YAML(typ="safe").dump(tree, path)
        except UnicodeEncodeError:
            return
        load_or_refuse(path.read_text("utf-8"), "rr.yaml")


@settings(deadline=None)
@given(text=st.text(max_size=60) | st.text("-:[]{}&*!|>'\"%@`#,? \nab01.~<=\t", max_size=60))
def test_the_loader_refuses_any_text_with_config_error_and_nothing_else(text: str) -> None:
    load_or_refuse(text, "rr.yaml")
