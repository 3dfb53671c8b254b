"""Point 21: what RoadRunner 2023.3 to 2025 may write in a file that both read; files of RoadRunner 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rr_py_ws.config import Config, OnInit, Server, check, problems
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]

OURS = "websockets: {broker: main, authorize: php}\nbroadcast: {main: {driver: memory, config: {}}}\n"


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("php worker.php", ("php", "worker.php")),
        ("[php worker.php]", ("php", "worker.php")),
        ("[php, worker.php]", ("php", "worker.php")),
        ("['php', '-d', 'a b=c', 'my worker.php']", ("php", "-d", "a b=c", "my worker.php")),
        ("[php, 8]", ("php", "8")),
        ("php  x", ("php", "", "x")),
        ("''", ()),
        ("[]", ()),
    ],
)
def test_a_command_may_be_a_list(load: Load, command: str, argv: tuple[str, ...]) -> None:
    server = load(f"server: {{command: {command}, on_init: {{command: {command}}}}}").server
    assert server and server.on_init
    assert (server.command, server.on_init.command) == (argv, argv)


def test_variables_are_expanded_in_lists(load: Load) -> None:
    server = load("server: {command: [php, $SCRIPT]}", environ={"SCRIPT": "a b.php"}).server
    assert server and server.command == ("php", "a b.php")
    assert server.command_line == "php a b.php"


def test_built_by_hand_a_command_may_be_a_text() -> None:
    assert Server.model_validate({"command": "php x"}).command == ("php", "x")
    assert OnInit.model_validate({"command": ["a b", "c"]}).command == ("a b", "c")


@pytest.mark.parametrize("command", ["{a: 1}", "[php, {a: 1}]", "[php, ~]", "['', x]"])
def test_another_command_is_refused(load: Load, command: str) -> None:
    with pytest.raises(ConfigError, match="accepted: a program and its arguments, as one text or as a list"):
        load(f"server: {{command: {command}}}")


def test_included_files_replace_whole_sections(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text('version: "3"\nhttp: {address: ":1"}\nkv: {x: 1}\n')
    (tmp_path / "prod.yaml").write_text('version: "3"\nhttp: {middleware: [websockets]}\n')
    text = f'version: "3"\ninclude: [a.yaml, $STAGE.yaml]\nhttp: {{address: ":2"}}\n{OURS}'
    config = load(text, environ={"STAGE": "prod"})
    assert config.http and (config.http.address, config.http.middleware) == ("", ("websockets",))
    assert config.tree["kv"] == {"x": 1}
    used = [one.section for one in check(config) if one.kind == "used"]
    assert used.count("include") == 1


def test_an_override_wins_over_an_included_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text('http: {address: ":1"}\n')
    config = load(f"include: a.yaml\n{OURS}", overrides=["http.address=:9"])
    assert config.http and config.http.address == ":9"


def test_an_included_file_that_is_not_there_is_named(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("include: [nowhere.yaml]")
    assert str(caught.value) == f"{tmp_path}/nowhere.yaml: cannot be read: No such file or directory"
    with pytest.raises(ConfigError, match=r"^include: accepted: a list of texts"):
        load("include: {a: 1}")


def test_an_envfile_is_read_before_variables_are_expanded(load: Load, tmp_path: Path) -> None:
    (tmp_path / "prod.env").write_text("PORT=81\nHOST=from-file\n")
    text = "envfile: prod.env\nhttp: {address: '$HOST:$PORT'}\n"
    config = load(text, environ={"HOST": "mine"})
    assert config.http and config.http.address == "mine:81"
    with pytest.raises(ConfigError, match="the dotenv file cannot be read: No such file"):
        load("envfile: other.env")


@pytest.mark.parametrize(
    "text",
    [
        "rpc: {listen: [new, form]}\nwebsockets.rpc.listen: 'tcp://127.0.0.1:1'",
        "rpc: new\nwebsockets.rpc.listen: 'tcp://127.0.0.1:1'",
        "http: {address: {new: form}, ssl: {address: 1, client_auth_type: new}}\nwebsockets.address: ':1'",
        "metrics: {address: [a]}\nwebsockets.metrics.address: ':1'",
        "status: {address: [a]}\nwebsockets.status.address: ':1'",
        "server: {command: {new: form}, relay: shm}\nwebsockets.authorize: none",
    ],
)
def test_what_a_key_of_ours_replaces_need_not_be_readable(load: Load, text: str) -> None:
    base = f"{OURS}rpc.listen: 'tcp://127.0.0.1:1'\n" if "rpc:" not in text else OURS
    more = "" if "websockets.address" in text else "websockets.address: ':2'\n"
    server = "" if "server:" in text else "server: {command: php}\n"
    assert list(problems(load(f"{base}{more}{server}{text}\n"))) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (
            'http:\n  address: "0.0.0.0:8080"\n  workers:\n    command: "php psr-worker.php"\n'
            "    pool: {numWorkers: 4}\n",
            "http.workers",
        ),
        ("rpc: {enable: true, listen: 'tcp://127.0.0.1:6001'}\nhttp: {address: ':80'}\n", "rpc.enable"),
        ("env: {A: b}\nrpc: {listen: 'tcp://127.0.0.1:6001'}\nstatic: {dir: public}\n", "env"),
        ("limit: {interval: 1, services: {http: {maxMemory: 100}}}\n", "limit"),
        ("grpc: {listen: 'tcp://:9001', workers: {command: 'php worker.php'}}\n", "grpc.workers"),
        ("jobs: {dispatch: {a.b: {pipeline: c}}, pipelines: {c: {broker: local}}}\n", "jobs.dispatch"),
        ("ws: {path: /ws}\nbroadcast: {redis: {addr: 'localhost:6379'}}\n", "ws"),
    ],
)
def test_a_file_of_roadrunner_1_is_named_as_such(load: Load, tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value) == (
        f"{tmp_path}/.rr.yaml: is a file of RoadRunner 1 ({key}), accepted: one of RoadRunner 2.3 or later"
    )


def test_a_section_that_is_left_over_from_roadrunner_1_makes_no_file_of_it(load: Load) -> None:
    assert load(f"{OURS}limit: {{interval: 1}}\nhttp: {{address: ':80', workers: {{}}}}\n").websockets
