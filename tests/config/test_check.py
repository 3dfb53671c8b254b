from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rr_py_ws.config import Config, Finding, Kind, check, has_errors, read_config, report_text
from rr_py_ws.errors import ConfigError, Place

Load = Callable[..., Config]

GOOD = """\
version: "2.7"
rpc: {listen: "tcp://127.0.0.1:6001"}
server: {command: php worker.php}
http: {address: ":80", middleware: [websockets], pool: {num_workers: 2}}
websockets: {broker: main}
broadcast: {main: {driver: memory, config: {}}}
"""


def found(config: Config, kind: Kind) -> list[str]:
    return [f"{one.section}: {one.text}" for one in check(config) if one.kind == kind]


def test_a_good_file_is_explained_section_by_section(load: Load) -> None:
    config = load(GOOD)
    assert report_text(config.path, check(config)) == (
        f"{config.path}\n"
        "\nrpc\n"
        "  used     listens on tcp://127.0.0.1:6001\n"
        "\nserver\n"
        "  used     workers run `php worker.php`, relay pipes\n"
        "\nhttp\n"
        "  used     listens on :80\n"
        "  used     PHP workers answer all requests outside /ws: 2\n"
        "\nwebsockets\n"
        "  used     path /ws, broker main\n"
        "  used     allowed origins: *\n"
        "  used     PHP workers decide who may connect and join: 2\n"
        "\nbroadcast\n"
        "  used     broker main: memory\n"
        "\nlogs\n"
        "  used     development, level debug, to stderr\n"
        "\nendure\n"
        "  used     a stop may take 30 s\n"
        "\ncan be served\n"
        "errors: 0, warnings: 0, differences from RoadRunner: 0"
    )
    assert not has_errors(check(config))


def test_what_cannot_be_served_is_an_error_in_its_section(load: Load) -> None:
    config = load(GOOD + "http.ssl: {cert: missing.pem, key: missing.pem}\n")
    findings = check(config)
    assert [one.section for one in findings if one.kind == "error"] == ["http", "http"]
    assert has_errors(findings)
    assert "cannot be served\nerrors: 2, warnings: 0" in report_text(config.path, findings)


def test_the_default_broker_needs_a_driver_that_is_there(load: Load) -> None:
    config = load(GOOD.replace("driver: memory", "driver: nats"))
    findings = check(config)
    assert [one for one in findings if one.kind == "error"] == [
        Finding(
            "broadcast",
            "error",
            'broadcast.main.driver: found "nats", accepted by this version: memory, redis',
            "broadcast.main.driver",
            Place(str(config.path), 6),
        )
    ]


def test_another_broker_without_its_driver_is_left_out_with_a_warning(load: Load) -> None:
    findings = check(load(GOOD + "broadcast.b: {driver: nats}\n"))
    assert not has_errors(findings)
    assert [one.text for one in findings if one.kind == "warning"] == [
        "broadcast.b.driver: nats is not served by this version; what is meant for b goes to main"
    ]


def test_a_section_that_is_not_in_the_file_can_have_an_error(load: Load) -> None:
    assert found(load(""), "error") == [
        "websockets: websockets: missing, so there is nothing to serve; see docs/configuration.md"
    ]


def test_what_is_passed_on_is_said(load: Load) -> None:
    config = load(GOOD + "websockets.http.forward: 'http://127.0.0.1:8081'\n")
    assert "websockets: every other path is passed on to http://127.0.0.1:8081" in found(config, "used")
    assert "http: only /ws is served, other requests do not reach PHP" not in found(config, "differs")
    assert not has_errors(check(config))


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ("websockets.colour: red", "websockets: websockets.colour: unknown key, ignored"),
        (
            "websockets.pool.workers: 1",
            "websockets: websockets.pool.workers: unknown key, ignored, did you mean num_workers?",
        ),
        ("logs.channels.rpc.colour: 1", "logs: logs.channels.rpc.colour: unknown key, ignored"),
        ("http.adress: ':1'", "http: http.adress: unknown key, ignored, did you mean address?"),
        ("colour: red", "colour: unknown section, ignored"),
        (
            "http.trusted_subnets: 10.0.0.0/8",
            "http: http.trusted_subnets: ignored, http.middleware does not list proxy_ip_parser",
        ),
        (
            "http.middleware: proxy_ip_parser",
            "http: proxy_ip_parser: trusts no proxy, http.trusted_subnets is empty",
        ),
        (
            "websockets.client_address_header: forwarded",
            "websockets: client_address_header: no header is read, no proxy is trusted",
        ),
        (
            "server.relay_timeout: 60",
            "server: server.relay_timeout: a bare number is nanoseconds; did you mean 60s?",
        ),
        (
            "logs.level: loud",
            'logs: logs.level: "loud" is unknown and ignored; '
            "known: debug, info, warn, error, dpanic, panic, fatal",
        ),
        (
            "logs.channels.rpc.mode: loud",
            'logs: logs.channels.rpc.mode: "loud" is unknown and ignored; '
            "known: development, production, raw, none, off",
        ),
        (
            "websockets.authorize: none",
            "websockets: authorize is none: everybody may connect and join every topic",
        ),
        (
            "status: {}",
            "status: status.address: missing, so health and readiness are told by RPC only",
        ),
        (
            "websockets.authorize_timeout: 10s",
            "websockets: authorize_timeout: clients may give up after 10 s without an answer",
        ),
        (
            "websockets.allow_commas: true",
            "websockets: allow_commas: who may join a and b may also join the topic a,b",
        ),
    ],
)
def test_a_likely_mistake_is_a_warning(load: Load, more: str, warning: str) -> None:
    report = load(f"{GOOD}{more}\n")
    assert found(report, "warning") == [warning]
    assert not has_errors(check(report))


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "10.0.0.1", "[2001:db8::1]", "db.internal"])
def test_rpc_that_others_may_reach_is_warned_of(load: Load, host: str) -> None:
    config = load(GOOD.replace("tcp://127.0.0.1:6001", f"tcp://{host}:6001"))
    assert config.rpc_is_open
    assert found(config, "warning") == [
        f"rpc: RPC has no password: whoever reaches tcp://{host}:6001 can publish to every topic"
    ]


@pytest.mark.parametrize(
    "listen", ["tcp://127.0.0.1:1", "tcp://127.8.0.1:1", "tcp://[::1]:1", "tcp://localhost:1", "unix:///rpc"]
)
def test_rpc_on_this_machine_only_is_not(load: Load, listen: str) -> None:
    config = load(GOOD.replace("tcp://127.0.0.1:6001", listen))
    assert not config.rpc_is_open
    assert found(config, "warning") == []


def test_without_websockets_the_brokers_are_told(load: Load) -> None:
    """Point 23: RoadRunner starts, too."""
    config = load(GOOD.replace("websockets:", "other:"))
    assert not has_errors(check(config))
    assert found(config, "warning") == [
        "websockets: missing: nobody can listen, messages only go to other nodes",
        "other: unknown section, ignored",
    ]
    assert "broadcast: broker main: memory" in found(config, "used")


def test_without_broadcast_the_broker_is_in_memory(load: Load) -> None:
    """Point 23: RoadRunner starts, without its websockets plugin."""
    config = load(GOOD.replace("broadcast:", "other:"))
    assert not has_errors(check(config))
    assert found(config, "warning") == [
        "broadcast: missing: main is in memory; RoadRunner starts without websockets",
        "other: unknown section, ignored",
    ]


def test_without_an_rpc_section_nobody_can_publish(load: Load) -> None:
    assert found(load(GOOD.replace("rpc:", "old:")), "warning") == [
        "rpc: missing: nobody can publish",
        "old: unknown section, ignored",
    ]


@pytest.mark.parametrize(
    ("more", "ignored"),
    [
        (
            "http.middleware: [websockets, gzip, cache]",
            "http: http.middleware: cache does nothing here: RoadRunner's HTTP cache (Souin)",
        ),
        (
            "websockets.pool.command: x",
            "websockets: websockets.pool.command: "
            "RoadRunner's websockets ignores it too; server.command is used",
        ),
        (
            "logs.err_output: x",
            "logs: logs.err_output: RoadRunner 2.x does not read it either; errorOutput is the key",
        ),
        ("endure.log_level: error", "endure: endure.log_level: for RoadRunner's plugin container"),
        ("jobs: {consume: []}", "jobs: a section of another RoadRunner plugin"),
        ("redis: {db: 1}", "redis: no broker uses it"),
        ("status: ", "status: no value, so it is the same as absent"),
        (
            "metrics.collect: {app: {type: counter}}",
            "metrics: metrics.collect: metrics of applications are not collected by this program",
        ),
        (
            "metrics.address: ':1'\nwebsockets.metrics.address: ':2'",
            "metrics: metrics.address: websockets.metrics.address is used instead",
        ),
        (
            "status.address: ':1'\nwebsockets.status.address: ''",
            "status: status.address: websockets.status.address is empty, so nothing is served",
        ),
        ("websockets.address: ':81'", "http: http.address and http.ssl: websockets.address is used instead"),
        ("websockets.rpc.listen: 'tcp://:1'", "rpc: rpc.listen: websockets.rpc.listen is used instead"),
    ],
)
def test_what_is_ignored_has_a_reason(load: Load, more: str, ignored: str) -> None:
    assert found(load(f"{GOOD}{more}\n"), "ignored") == [ignored]


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        (
            "http.middleware: [gzip]",
            "http: http.middleware does not list websockets: RoadRunner would not serve it",
        ),
        (
            "websockets.allowed_origin: [a, b]",
            "websockets: allowed_origin has several values: RoadRunner takes one",
        ),
        ("websockets.broker: Main", "websockets: broker Main is in upper case: RoadRunner would not find it"),
        ("websockets.ping.interval: 5s", "websockets: RoadRunner ignores these keys: ping"),
        ("websockets.compression: on", "websockets: RoadRunner ignores these keys: compression"),
        ("broadcast.b: {driver: memory, config: {}}", "broadcast: also started, RoadRunner would not: b"),
        (
            "broadcast.main: {driver: redis, config: {tls: {}, sharded: false}}",
            "broadcast: main: RoadRunner ignores these options: tls, sharded",
        ),
    ],
)
def test_what_differs_from_roadrunner_is_said(load: Load, more: str, difference: str) -> None:
    usual = found(load(GOOD), "differs")
    assert [text for text in found(load(f"{GOOD}{more}\n"), "differs") if text not in usual] == [difference]


def test_a_version_that_is_a_number_differs(load: Load) -> None:
    text = GOOD.replace('"2.7"', "2.7")
    assert "version: version: RoadRunner 2.7 and later want it in quotes" in found(load(text), "differs")


def test_a_broker_without_config_differs(load: Load) -> None:
    """The file of spiral/roadrunner-broadcast's first README, which RoadRunner 2.5 and later refuse."""
    text = GOOD.replace(", config: {}", "")
    difference = "broadcast: main has no config: RoadRunner 2.5 and later refuse that"
    assert difference in found(load(text), "differs")
    assert difference not in found(load(f"{text}main: {{}}\n"), "differs")


def test_a_file_of_roadrunner_2_3_0_differs(load: Load) -> None:
    config = load("websockets: {pubsubs: [memory]}\nhttp: {address: ':80', middleware: [websockets]}")
    assert "websockets: no broker, as in RoadRunner 2.3.0: memory is used; later versions refuse" in found(
        config, "differs"
    )
    assert "websockets: websockets.pubsubs: RoadRunner 2.x reads it and never uses it" in found(
        config, "ignored"
    )


def test_what_becomes_of_the_broker_that_clients_name_is_said_where_it_can_matter(load: Load) -> None:
    """Point 9.5: only with several brokers."""
    assert not any(
        "broker of a join" in line for kind in ("ignored", "differs") for line in found(load(GOOD), kind)
    )
    two = GOOD.replace("config: {}}", "config: {}}, memory: {driver: memory}")
    assert (
        "broadcast: the broker of a join or leave: all topics are those of main, as in RoadRunner 2.3.1 and"
        " later; see websockets.select_broker" in found(load(two), "ignored")
    )
    assert "broadcast: the broker of a join or leave counts, RoadRunner 2.3.1 and later ignore it" in found(
        load(two.replace("broker: main", "broker: main, select_broker: true")), "differs"
    )


def test_a_global_section_that_a_broker_uses_is_used(load: Load) -> None:
    config = load("broadcast: {a: {driver: redis}, b: {driver: redis}}\nredis: {db: 1}\n")
    assert "redis: options of broker a, b" in found(config, "used")


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("websockets.address: ':81'", "websockets: listens on :81"),
        ("http.ssl: {address: ':443', cert: a, key: b}", "http: listens on :443 with TLS"),
        (
            "websockets.pool.debug: true",
            "websockets: PHP workers decide who may connect and join: one for each request",
        ),
        ("logs.mode: none", "logs: nothing is logged"),
        (
            "logs: {output: a.log, channels: {rpc: {}}}",
            "logs: development, level debug, to a.log, own rules for rpc",
        ),
        ("logs.file_logger_options.log_output: b.log", "logs: development, level debug, to b.log"),
        ("metrics: {}", "metrics: metrics for Prometheus on 127.0.0.1:2112"),
        ("websockets.metrics.address: ':2113'", "metrics: metrics for Prometheus on :2113"),
        (
            "websockets.rpc: {listen: 'tcp://:6002', forward: 'tcp://:6001'}",
            "rpc: calls of other services go to RoadRunner at tcp://:6001",
        ),
        ("status.address: ':2114'", "status: health and readiness on :2114"),
        ("endure.grace_period: 1m30s", "endure: a stop may take 90 s"),
    ],
)
def test_what_is_used_is_said(load: Load, text: str, used: str) -> None:
    assert used in found(load(f"{GOOD}{text}\n"), "used")


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ("{}", "redis at 127.0.0.1:6379"),
        ("{addrs: /run/redis.sock}", "redis at /run/redis.sock"),
        ("{addrs: ['a:1', 'b:2'], password: x}", "redis, the cluster at a:1, b:2"),
        ("{addrs: ['a:1'], sharded: true}", "redis, sharded over the cluster at a:1"),
        ("{addrs: 'a:1,b:2', master_name: m}", "redis, master m by the sentinels at a:1, b:2"),
        ("{addrs: [a]}", "redis"),
    ],
)
def test_it_is_said_which_redis_is_meant(load: Load, options: str, used: str) -> None:
    config = load(GOOD.replace("driver: memory, config: {}", f"driver: redis, config: {options}"))
    assert f"broadcast: broker main: {used}" in found(config, "used")


def test_options_of_redis_that_make_no_sense_here_are_named(load: Load) -> None:
    options = (
        "{route_by_latency: true, route_randomly: true, read_only: true, pool_size: 5, "
        "min_idle_conns: 1, idle_timeout: 1m, idle_check_freq: 1s, max_conn_age: 1h, max_retries: 2, "
        "db: 1, addrs: ['a:1', 'b:1']}"
    )
    config = load(GOOD.replace("driver: memory, config: {}", f"driver: redis, config: {options}"))
    pool = "there is no pool: one connection publishes, one is subscribed"
    routes = "there is nothing to route: histories are read where they are written"
    assert found(config, "ignored") == [
        f"broadcast: broadcast.main.config.{text}"
        for text in (
            f"route_by_latency: {routes}",
            f"route_randomly: {routes}",
            f"read_only: {routes}",
            f"pool_size: {pool}",
            f"min_idle_conns: {pool}",
            f"idle_timeout: {pool}",
            f"idle_check_freq: {pool}",
            f"max_conn_age: {pool}",
            "max_retries: a message is never published twice; connecting again never ends",
            "db: a cluster has one database",
        )
    ]
    assert not has_errors(check(config))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (  # as in a sample of RoadRunner itself: each request would end its worker
            "http.pool.supervisor.exec_ttl: 10",
            "http: http.pool.supervisor.exec_ttl: a bare number is nanoseconds; did you mean 10s?",
        ),
    ],
)
def test_seconds_without_their_unit_are_a_likely_mistake(load: Load, text: str, warning: str) -> None:
    """Point 22."""
    assert warning in found(load(f"{GOOD}{text}\n"), "warning")


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ("{adrs: a}", "broadcast: broadcast.main.config.adrs: unknown key, ignored, did you mean addrs?"),
        (
            "{dial_timeout: 5}",
            "broadcast: broadcast.main.config.dial_timeout: a bare number is nanoseconds; did you mean 5s?",
        ),
    ],
)
def test_a_likely_mistake_in_the_options_of_redis_is_a_warning(
    load: Load, options: str, warning: str
) -> None:
    config = load(GOOD.replace("driver: memory, config: {}", f"driver: redis, config: {options}"))
    assert found(config, "warning") == [warning]


def test_options_of_redis_in_a_global_section_are_judged_there(load: Load) -> None:
    config = load(GOOD.replace(", config: {}", "").replace("memory", "redis") + "redis: {adrs: a, db: x}\n")
    assert found(config, "warning") == ["redis: redis.adrs: unknown key, ignored, did you mean addrs?"]
    assert found(config, "error") == ['redis: redis.db: found "x", accepted: a whole number, 0 or more']


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ("prefix: p", "with a prefix, nothing is exchanged with RoadRunner nodes"),
        ("sharded: true", "what is published to shards does not reach RoadRunner nodes"),
    ],
)
def test_what_keeps_roadrunner_nodes_apart_is_said(load: Load, options: str, difference: str) -> None:
    config = load(GOOD.replace("driver: memory, config: {}", f"driver: redis, config: {{{options}}}"))
    assert f"broadcast: main: {difference}" in found(config, "differs")


def test_no_value_splits_a_line_of_the_report_or_controls_the_terminal(load: Load) -> None:
    r"""Found by the fuzzer: `mode: "a\nb"` was two lines."""
    config = load(GOOD.replace("php worker.php", r'"php\e[2J"') + r'logs: {mode: "produc\ntion"}')
    report = report_text(config.path, check(config))
    assert all(line.isprintable() for line in report.split("\n"))
    assert r"`php\x1b[2J`" in report
    assert r'logs.mode: "produc\ntion" is unknown' in report


@pytest.mark.parametrize(
    ("services", "kind", "text"),
    [
        (
            "{websockets: {dirs: [/usr, /bin]}}",
            "used",
            "reload: workers of websockets are replaced when files change in /usr, /bin",
        ),
        ("{}", "warning", "reload: reload.services: missing, so nothing is watched"),
        ("{http: {recursive: yes}}", "warning", "reload: reload.services.http.dirs: missing, so nothing"),
        (
            "{http: {dirs: [gone]}}",
            "warning",
            'reload: reload.services.http.dirs: found "gone", which is not',
        ),
        ("{jobs: {dirs: [.]}}", "ignored", "reload: reload.services.jobs: a plugin of RoadRunner that is"),
        ("{websocket: {dirs: [.]}}", "warning", "no such plugin, did you mean websockets?"),
    ],
)
def test_it_is_said_whose_workers_are_replaced_when_files_change(
    load: Load, services: str, kind: Kind, text: str
) -> None:
    assert any(text in line for line in found(load(GOOD + f"reload: {{services: {services}}}\n"), kind))


def test_workers_that_this_file_does_not_have_cannot_be_replaced(load: Load) -> None:
    own = GOOD + "websockets.address: ':81'\nreload: {services: {http: {dirs: [.]}}}\n"
    assert "reload: reload.services.http: this file has no workers for http" in found(load(own), "ignored")


def test_files_cannot_be_looked_at_more_often_than_in_roadrunner(load: Load) -> None:
    told = r"reload\.interval: found \"500ms\", accepted: a duration of at least 1s"
    with pytest.raises(ConfigError, match=told):
        load(GOOD + "reload: {interval: 500ms}\n")


@pytest.mark.parametrize(
    ("wrong", "section", "kept"),
    [
        ("rpc: {listen: 'tcp://x:y:z'}", "rpc", []),
        ("server: {relay: foo}", "server", []),
        ("http: {address: abc}", "http", ["PHP workers answer all requests outside /ws: 2"]),
        ("http: {pool: {num_workers: many}}", "http", ["listens on :80"]),
        (
            "websockets: {path: ws, authorize: perhaps, compression: {level: 99}, processes: 2}",
            "websockets",
            ["2 processes serve clients, and one has brokers and workers", "allowed origins: *"],
        ),
        ("websockets: {broker: nope, pool: {num_workers: -3}}", "websockets", ["allowed origins: *"]),
        ("metrics: {address: zzz}", "metrics", []),
        ("status: {address: zzz}", "status", []),
        ("endure: {grace_period: forever}", "endure", []),
        ("websockets: {drain: {delay: x}}", "endure", []),
    ],
)
def test_a_default_in_the_place_of_what_is_wrong_is_not_said_to_be_used(
    tmp_path: Path, wrong: str, section: str, kept: list[str]
) -> None:
    path = tmp_path / ".rr.yaml"
    good, more = YAML(typ="safe").load(GOOD), YAML(typ="safe").load(wrong)
    for name, keys in more.items():
        good[name] = good.get(name, {}) | keys
    path.write_text(json.dumps(good))
    config, errors = read_config(path, workdir=tmp_path, environ={})
    findings = [one for one in check(config, errors) if one.section == section]
    assert errors and [one.text for one in findings if one.kind == "used"] == kept
    assert not [one for one in findings if one.kind == "warning"]
