"""`check`: the report itself is tested with the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rr_py_ws.cli.entry import run
from support.program import Cli, one_error_line
from support.redis_servers import redis_server

GOOD = """
rpc: {listen: "tcp://127.0.0.1:6001"}
http: {address: "127.0.0.1:8080", middleware: [websockets]}
websockets: {broker: default, authorize: none}
broadcast: {default: {driver: memory, config: {}}}
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_good_file_is_reported_with_exit_code_0(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(GOOD)
    assert run(["check"]) == 0
    out, err = capfd.readouterr()
    assert "broker default" in out and err == ""


def test_a_file_the_server_would_not_start_with_is_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text(GOOD)
    assert run(["check", "-c", "my.yaml", "-o", "http.address="]) == 1
    capfd.readouterr()
    assert run(["check", "-c", "my.yaml", "-o", "websockets.authorize=php"]) == 1
    out, err = capfd.readouterr()
    assert "error" in out and err == ""


def test_a_file_that_cannot_be_read_is_one_error_line(capfd: pytest.CaptureFixture[str]) -> None:
    for content, text in ((None, "cannot be read"), ("\na: [", ".rr.yaml:2: ")):
        if content is not None:
            Path(".rr.yaml").write_text(content)
        assert run(["check"]) == 1
        out, err = capfd.readouterr()
        assert out == "" and text in one_error_line(err)
        assert run(["check", "--json"]) == 1
        out, err = capfd.readouterr()
        [finding] = json.loads(out)["findings"]
        assert err == "" and finding["kind"] == "error" and text in finding["text"]
        assert finding["section"] is finding["key"] is None


def test_what_redis_lacks_for_histories_is_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = ", history: [{topics: '*', size: 10, ttl: 5m}]"
    with redis_server(tmp_path, "--maxmemory-policy", "allkeys-lru") as redis:
        section = f'{{default: {{driver: redis, config: {{addrs: ["{redis.address}"]}}}}}}'
        content = GOOD.replace("{default: {driver: memory, config: {}}}", section)
        for history in (rule, ""):
            Path(".rr.yaml").write_text(content.replace("broker: default", f"broker: default{history}"))
            assert run(["check"]) == 0
            out, err = capfd.readouterr()
            assert err == ""
            assert ("CONFIG SET maxmemory-policy noeviction" in out) == bool(history)
        Path(".rr.yaml").write_text(content.replace("broker: default", f"broker: default{rule}"))
    assert run(["check"]) == 0  # Redis need not be there, but what it lacks is not known then
    assert "not available now" in capfd.readouterr().out


WRONG = """\
version: "9"
rpc:
  listen: nowhere
server:
  command: no-such-program worker.php
http:
  address: 127.0.0.1
  middleware: [websockets]
  ssl: {cert: lost.pem, key: lost.pem}
websockets:
  broker: mian
  authorize: phpp
  limits:
    max_mesage_size: 5
    max_topics: -1
    head_timeout: never
broadcast:
  main:
    driver: redis
    config:
      addrs: ["127.0.0.1:6379", "::::"]
      tls: {ca: lost.pem, cart: x}
  other: {}
logs:
  output: lost/rr.log
  encoding: xml
endure: {grace_period: soon}
colour: red
"""


def test_everything_that_is_wrong_is_said_at_once_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Models, values, brokers, programs and files, in one run; `serve` says the same."""
    Path(".rr.yaml").write_text(WRONG)
    assert run(["check"]) == 1
    out, err = capfd.readouterr()
    assert err == ""
    _, errors, *sections = out.split("\n\n")
    told = [line.strip() for line in errors.splitlines()[1:]]
    wanted = [
        ("line 1: version: ", "accepted"),
        ("line 3: rpc.listen: ", "accepted"),
        ("line 7: http.address: ", "accepted"),
        ("line 9: http.ssl.cert: ", "not a file"),
        ("line 9: http.ssl.key: ", "not a file"),
        ("line 11: websockets.broker: ", "did you mean main?"),
        ("line 12: websockets.authorize: ", "did you mean php?"),
        ("line 14: websockets.limits.max_mesage_size: ", "did you mean max_message_size?"),
        ("line 15: websockets.limits.max_topics: ", "accepted"),
        ("line 16: websockets.limits.head_timeout: ", "accepted"),
        ("line 21: broadcast.main.config.addrs[1]: ", "accepted"),
        ("line 22: broadcast.main.config.tls.cart: ", "did you mean cert?"),
        ("line 22: broadcast.main.config.tls.ca: ", "not a file"),
        ("line 23: broadcast.other.driver: ", "missing"),
        ("line 26: logs.encoding: ", "accepted"),
        ("line 24: logs: ", "cannot open the log file"),
        ("line 27: endure.grace_period: ", "accepted"),
    ]
    for start, text in wanted:
        assert [line for line in told if line.startswith(start) and text in line], (start, told)
    assert len(told) == len(wanted), told
    assert any("line 28: " in section and "unknown section" in section for section in sections)
    assert f"errors: {len(wanted)}, " in sections[-1]
    assert run(["serve"]) == 1
    out, err = capfd.readouterr()
    path = Path(".rr.yaml").absolute()
    assert out == ""
    served = [line.removeprefix(f"error: {path}:") for line in err.splitlines()]
    assert sorted(served) == sorted(line.removeprefix("line ") for line in told)


def test_the_report_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    """The form that docs/operations.md promises."""
    Path(".rr.yaml").write_text(WRONG)
    assert run(["check", "--json", "-o", "websockets.path=no-path"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert list(report) == [
        "schema",
        "file",
        "can_be_served",
        "errors",
        "warnings",
        "differences",
        "findings",
    ]
    assert (report["schema"], report["can_be_served"]) == (1, False)
    assert report["file"] == str(Path(".rr.yaml").absolute())
    kinds = [finding["kind"] for finding in report["findings"]]
    assert report["errors"] == kinds.count("error") and report["warnings"] == kinds.count("warning")
    assert all(list(f) == ["section", "kind", "key", "text", "source", "line"] for f in report["findings"])
    by_key = {finding["key"]: finding for finding in report["findings"] if finding["kind"] == "error"}
    broker, path = by_key["websockets.broker"], by_key["websockets.path"]
    assert (broker["section"], broker["source"], broker["line"]) == ("websockets", report["file"], 11)
    assert (path["source"], path["line"]) == ("-o", None)
    Path(".rr.yaml").write_text(GOOD)
    assert run(["check", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["can_be_served"], report["errors"]) == (True, 0)


def test_the_place_of_a_value_is_where_it_was_written(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an included file, in a variable, behind an alias."""
    Path("more.yaml").write_text("\n\nrpc:\n  listen: nowhere\n")
    Path(".rr.yaml").write_text(
        "include: more.yaml\nx: &x\n  interval: 1s\n  tiemout: 5s\nwebsockets:\n  authorize: none\n"
        "  path: /ws\n  ping: *x\nhttp.address: ':1'\n"
    )
    monkeypatch.setenv("RR_WEBSOCKETS_PATH", "no-path")
    assert run(["serve"]) == 1
    here = Path.cwd()
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(": found")[0].partition(": unknown")[0] for line in lines] == [
        f"error: {here}/.rr.yaml:4: websockets.ping.tiemout",
        f"error: {here}/more.yaml:4: rpc.listen",
        "error: RR_WEBSOCKETS_PATH: websockets.path",
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("websockets: {authorize: none, address: nowhere}", "websockets.address"),
        ("http: 5\nwebsockets: {authorize: none}", "http"),
        ("http: {address: 5}\nwebsockets: {authorize: none}", "http.address"),
        ("http.address: ':1'\nwebsockets: {authorize: nobody}", "websockets.authorize"),
        ("http.address: ':1'\nserver: 5\nwebsockets: {}", "server"),
        ("http.address: ':1'\nbroadcast: 5\nwebsockets: {authorize: none, broker: a}", "broadcast"),
        (
            "http.address: ':1'\nbroadcast: {a: 5}\nwebsockets: {authorize: none, broker: a}",
            "broadcast.a",
        ),
        ("http.address: ':1'\nwebsockets: [a]", "websockets"),
        ("http.address: ':1'\nwebsockets: {authorize: none, health_path: 5}", "websockets.health_path"),
        ("http.address: ':1'\nwebsockets: {authorize: none, metrics: {}}", "websockets.metrics.address"),
    ],
)
def test_what_follows_from_an_error_is_not_another_one(
    capfd: pytest.CaptureFixture[str], text: str, key: str
) -> None:
    Path(".rr.yaml").write_text(text)
    assert run(["check", "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert [finding["key"] for finding in report["findings"] if finding["kind"] == "error"] == [key]


def test_what_is_right_beside_an_error_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(
        "http: {address: ':1', middleware: [websockets]}\nbroadcast: {main: {driver: memory, config: {}}}\n"
        "websockets:\n  broker: mian\n  path: 5\n  colour: red\n  authorize: none\n"
        "  limits: {max_topics: -1, max_message_size: 1MiB}\n  pool: {wokers: $NONE, num_workers: $NONE}\n"
        "  allowed_origin: ['$NONE']\n"
    )
    assert run(["check", "--json"]) == 1
    findings = json.loads(capfd.readouterr().out)["findings"]
    errors = [finding["key"] for finding in findings if finding["kind"] == "error"]
    assert sorted(errors) == [
        "websockets.allowed_origin",
        "websockets.broker",
        "websockets.limits.max_topics",
        "websockets.path",
    ]
    others = {finding["key"] for finding in findings if finding["kind"] in ("warning", "ignored")}
    assert {
        "websockets.colour",
        "websockets.pool.wokers",
        "websockets.pool.num_workers",
    } <= others and not others & set(errors)
    [limits] = [finding["text"] for finding in findings if "RoadRunner ignores these keys" in finding["text"]]
    assert limits.endswith(": authorize, limits")
    assert not [finding for finding in findings if "2.3.0" in finding["text"]]


def test_a_section_that_cannot_be_read_is_not_missing(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text("rpc: x\nwebsockets: [1]\nbroadcast: {a: {driver: memory}}\n")
    assert run(["check"]) == 1
    out = capfd.readouterr().out
    assert "missing" not in out and "errors: 2, warnings: 0" in out


def test_lines_of_json_are_known_too(capfd: pytest.CaptureFixture[str]) -> None:
    Path("rr.json").write_text('{\n\t"http": {"address": ":1"},\n\t"websockets": {\n\t\t"path": 5\n\t}\n}')
    assert run(["serve", "-c", "rr.json", "-o", "websockets.authorize=none"]) == 1
    assert "rr.json:4: websockets.path: found 5" in one_error_line(capfd.readouterr().err)


def test_a_file_of_nothing_but_mistakes_is_told_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    keys = "".join(f"    key{number}: 1\n" for number in range(5000))
    Path(".rr.yaml").write_text(f"http.address: ':1'\nwebsockets:\n  authorize: none\n  limits:\n{keys}")
    assert run(["check", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["errors"] == 5000


async def test_the_environment_counts(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "prod.env").write_text("RR_WEBSOCKETS_PATH=/from-dotenv\n")
    (tmp_path / ".rr.yaml").write_text(GOOD.replace("broker: default", "broker: default, path: /ws"))
    assert "/from-process" in (await cli("check", RR_WEBSOCKETS_PATH="/from-process")).out
    assert "/from-dotenv" in (await cli("check", "--dotenv", "prod.env")).out


def lines_of(capfd: pytest.CaptureFixture[str], kind: str) -> dict[str, tuple[int | None, str]]:
    run(["check", "--json"])
    findings = json.loads(capfd.readouterr().out)["findings"]
    return {one["key"]: (one["line"], one["text"]) for one in findings if one["kind"] == kind}


MERGED = """\
a: &a
  max_topics: -1
b: &b {head_timeout: never,
       ping: 5, keep_alive: no}
http.address: ':1'
websockets:
  authorize: none
  limits:
    <<: [*a, *b]
    keep_alive: maybe
  compression: {<<: &c {level: 99}, min_size: -5}
  drain: *c
"""


def test_lines_are_those_where_a_value_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    """Behind aliases and merges, in braces, and of keys that a merge would have brought, too."""
    Path(".rr.yaml").write_text(MERGED)
    assert {key: line for key, (line, _) in lines_of(capfd, "error").items()} == {
        "websockets.limits.max_topics": 2,
        "websockets.limits.head_timeout": 3,
        "websockets.limits.ping": 4,
        "websockets.limits.keep_alive": 10,
        "websockets.compression.level": 11,
        "websockets.compression.min_size": 11,
        "websockets.drain.level": 11,
    }


PARTS = """\
websockets: {authorize: none}
broadcast: {main: {driver: memory}}
http:
  address: ':1'
  trusted_subnets:
    - 10.0.0.0/8
    - x
    - y
  headers:
    request:
      X-A: [1]
      "x y": b
    response:
      - X-B: ok
      - X-C: {}
server:
  env:
    - A: 1
    - B=2
    - C: [3]
"""


def test_every_wrong_part_of_a_value_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(PARTS)
    assert {key: line for key, (line, _) in lines_of(capfd, "error").items()} == {
        "websockets.broker": 1,
        "http.trusted_subnets[1]": 7,
        "http.trusted_subnets[2]": 8,
        "http.headers.request.x-a": 11,
        "http.headers.request.x y": 12,
        "http.headers.response[1].X-C": 15,
        "server.env[1]": 19,
        "server.env[2].C": 20,
    }


WARNED = """\
version: 2.7
rpc: {}
http:
  address: ':1'
  middleware:
    - websockets
    - gzipp
    - static
  trusted_subnets: [10.0.0.0/8]
  pool: {num_worker: 2}
websockets:
  broker: main
  authorize: none
  allowed_origin:
    - https://example.com
    - example.com
broadcast:
  main: {driver: memory, config: {}}
  other: {driver: nats}
logs:
  level: inf
  channels:
    htpp: {level: warn}
reload:
  services:
    htttp: {dirs: [.]}
endure:
  grace_period: 30
"""


def test_warnings_have_keys_and_lines_too(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(WARNED)
    found = lines_of(capfd, "warning")
    assert {key: line for key, (line, _) in found.items() if key} == {
        "http.middleware[1]": 7,
        "http.trusted_subnets": 9,
        "http.pool.num_worker": 10,
        "websockets.allowed_origin[1]": 16,
        "broadcast.other.driver": 19,
        "logs.level": 21,
        "logs.channels.htpp": 23,
        "reload.services.htttp": 26,
        "endure.grace_period": 28,
    }
    assert "did you mean gzip?" in found["http.middleware[1]"][1]
    assert "did you mean info?" in found["logs.level"][1]
    assert "did you mean num_workers?" in found["http.pool.num_worker"][1]


def test_a_variable_in_braces_without_quotes_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text("a: 1\nhttp: {address: ${ADDRESS}}\n")
    assert run(["check"]) == 1
    assert one_error_line(capfd.readouterr().err).endswith(
        ".rr.yaml:2: expected ',' or '}', but got '{'; inside of braces and brackets, ${NAME} needs quotes"
    )


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a:\n\tb: 1\n", 2, "cannot start any token; indent with spaces"),
        ("a:\n  b: 1\n   c: 2\n", 3, "check the indentation"),
        ("a:\n  b: 'x\n\nc: 1\n", 2, "a quote that begins here has no end"),
        ("a:\n  b: [x\n\n", 2, "a bracket or brace has no end"),
        ("a:\n  b: [x,\n\n", 4, "a bracket or brace has no end"),
        ("a:\n- b\n c: 1\n", 3, ""),
    ],
)
def test_the_line_of_a_wrong_syntax_is_where_it_can_be_mended(
    capfd: pytest.CaptureFixture[str], text: str, line: int, told: str
) -> None:
    Path(".rr.yaml").write_text(text)
    assert run(["check"]) == 1
    error = one_error_line(capfd.readouterr().err)
    assert f".rr.yaml:{line}: " in error and told in error


def test_every_wrong_flag_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(GOOD)
    assert run(["check", "-o", "a", "-o", "=b", "-o", "c.password=''", "-o", "http.address=:1"]) == 1
    assert capfd.readouterr().err.splitlines() == [
        "error: -o: invalid flag `a`",
        "error: -o: key should not be empty, found `=b`",
        "error: -o: value should not be empty, found `c.password=***`",
    ]


def test_a_section_that_a_flag_makes_has_a_place(capfd: pytest.CaptureFixture[str]) -> None:
    Path(".rr.yaml").write_text(GOOD)
    assert run(["check", "-o", "websocket.path=/x", "-o", "endure.grace=5s"]) == 0
    out, _ = capfd.readouterr()
    assert "-o: unknown section, ignored, did you mean websockets?" in out
    assert "-o: endure.grace: unknown key, ignored, did you mean grace_period?" in out
