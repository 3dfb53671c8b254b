"""`http.middleware`, `http.static`, `http.headers`: decoding, findings, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rr_py_ws.config import Config, check, header_fields, problems
from rr_py_ws.errors import ConfigError

Load = Callable[..., Config]

GOOD = """\
rpc: {listen: "tcp://127.0.0.1:6001"}
server: {command: php worker.php}
http: {address: ":80", middleware: [websockets]}
websockets: {broker: main, allowed_origin: "https://a.test"}
broadcast: {main: {driver: memory, config: {}}}
"""


def found(config: Config, kind: str) -> list[str]:
    return [one.text for one in check(config) if one.kind == kind]


def test_the_sample_of_roadrunner_is_read(load: Load) -> None:
    """The sections of RoadRunner's own .rr.yaml of 2.11."""
    http = load("""\
http:
  middleware: ["headers", "gzip", "static"]
  headers:
    cors:
      allowed_origin: "*"
      allowed_headers: "*"
      allowed_methods: "GET,POST,PUT,DELETE"
      allow_credentials: true
      exposed_headers: "Cache-Control,Content-Language"
      max_age: 600
    request: {input: "custom-header"}
    response: {X-Powered-By: "RoadRunner"}
  static:
    dir: "."
    forbid: [""]
    allow: [".txt", ".php"]
    calculate_etag: false
    weak: false
    request: {input: "custom-header"}
    response: {output: "output-header"}
""").http
    assert http is not None and http.static is not None and http.headers is not None
    assert http.static.extensions == (frozenset(), frozenset({".txt", ".php"}))
    assert header_fields(http.static.response) == [(b"output", b"output-header")]
    assert header_fields(http.headers.response) == [(b"x-powered-by", b"RoadRunner")]
    cors = http.headers.cors
    assert cors is not None
    assert (cors.allowed_origin, cors.allow_credentials, cors.max_age) == ("*", "true", 600)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", "1"),
        ("true", "1"),
        ("1.50", "1.5"),
        ("", ""),
        ('"a\\r\\nb\\n"', "a  b"),
        (">\n        default-src 'self';\n        img-src *\n", "default-src 'self'; img-src *"),
        ('"ü"', "ü"),
    ],
)
def test_values_of_headers_are_what_go_would_send(load: Load, written: str, value: str) -> None:
    http = load(f"http:\n  headers:\n    response:\n      x-a: {written}\n").http
    assert http is not None and http.headers is not None
    assert http.headers.response == {"x-a": value}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "http.headers.response: 1",
            "http.headers.response: found 1, accepted: a map of header names and their values",
        ),
        (
            "http.headers.response: {a: [1]}",
            "http.headers.response.a: found a list, accepted: one text",
        ),
        (
            "http.static.request: {'a b': x}",
            'http.static.request.a b: "a b" is no name of a header, accepted: letters, digits and dashes',
        ),
        (
            'http.static.response: {a: "x\\0"}',
            "http.static.response.a: has a control character, accepted: a text without",
        ),
        ("http.static.forbid: {a: 1}", "http.static.forbid: found a map, accepted: a list of texts, or one"),
        ("http.static.calculate_etag: often", "accepted: true or false"),
        ("http.headers.cors.allow_credentials: often", "accepted: true or false"),
        ("http.headers.cors.max_age: -1", "http.headers.cors.max_age: found -1, accepted: a whole number, 0"),
        ("http.headers.cors: true", "http.headers.cors: found true, accepted: a map of keys"),
    ],
)
def test_what_cannot_be_read_is_one_line(load: Load, text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"{text}\n")
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_line_ends_in_cors_are_spaces(load: Load) -> None:
    http = load('http.headers.cors: {allowed_headers: "A,\\n B\\n"}\n').http
    assert http is not None and http.headers is not None and http.headers.cors is not None
    assert http.headers.cors.allowed_headers == "A, B"


def test_each_name_is_said_to_be_used_or_what_it_was(load: Load, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    config = load(
        f"{GOOD}http.middleware: [websockets, static, headers, gzip, sendfile, http_metrics, "
        "proxy_ip_parser, new_relic, otel, http3, prometheus]\n"
        "http.static: {dir: public, forbid: [.php]}\nhttp.headers: {response: {a: b}}\n"
    )
    assert [text for text in found(config, "used") if "middleware" in text] == [
        f"http.middleware: {name}" for name in ("static", "headers", "gzip", "sendfile", "http_metrics")
    ]
    assert [text for text in found(config, "ignored") if "middleware" in text] == [
        "http.middleware: new_relic does nothing here: RoadRunner's agent of New Relic",
        "http.middleware: otel does nothing here: RoadRunner's OpenTelemetry traces",
        "http.middleware: http3 does nothing here: HTTP/3, which is no middleware and not served",
        "http.middleware: prometheus does nothing here: the old name of http_metrics",
    ]
    assert list(problems(config)) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("http.middleware: [websockets, static]", "static does nothing: there is no section http.static"),
        ("http.middleware: [websockets, headers]", "headers does nothing: there is no section http.headers"),
        ("http.middleware: [websockets, mine]", "mine is not run here: if it decides who may connect"),
        (
            "http.middleware: [websockets, static]\nhttp.static: {dir: public}",
            "http.static.forbid: .php is missing, so sources of PHP in http.static.dir can be read",
        ),
        (
            "http.middleware: [websockets, static]\nhttp.static: {dir: public, forbid: [.php, htaccess]}",
            'http.static.forbid: "htaccess" is no extension: write ".htaccess"',
        ),
        (
            "http.middleware: [websockets, static]\nhttp.static: {dir: public, allow: [css]}",
            'http.static.allow: "css" is no extension: write ".css"',
        ),
        (
            "http.middleware: [websockets, static]\nhttp.static: {dir: public/.., forbid: [.php]}",
            "http.static.dir: this is the directory of the program, "
            "so its configuration can be read, .env too",
        ),
    ],
)
def test_a_likely_mistake_is_a_warning(load: Load, tmp_path: Path, text: str, warning: str) -> None:
    (tmp_path / "public").mkdir()
    [only] = found(load(f"{GOOD}{text}\n"), "warning")
    assert warning in only


@pytest.mark.parametrize(
    ("static", "error"),
    [
        ("{}", "http.static.dir: missing, accepted: a directory"),
        ("{dir: gone}", 'http.static.dir: found "gone", which is not a directory in '),
        ("{dir: file}", 'http.static.dir: found "file", which is not a directory in '),
    ],
)
def test_a_directory_that_is_not_there_stops_the_start(
    load: Load, tmp_path: Path, static: str, error: str
) -> None:
    (tmp_path / "file").touch()
    config = load(f"{GOOD}http.middleware: [websockets, static]\nhttp.static: {static}\n")
    [problem] = problems(config)
    assert str(problem).startswith(error)


def test_sections_that_no_name_switches_on_are_ignored(load: Load) -> None:
    config = load(f"{GOOD}http.static: {{dir: gone}}\nhttp.headers: {{}}\n")
    assert found(config, "ignored") == [
        "http.static: http.middleware does not list static",
        "http.headers: http.middleware does not list headers",
    ]
    assert list(problems(config)) == []


def test_beside_a_roadrunner_its_middleware_is_its_own(load: Load) -> None:
    config = load(f"{GOOD}websockets.address: ':81'\nhttp.middleware: [websockets, static, gzip]\n")
    assert not [
        text for kind in ("used", "ignored", "warning") for text in found(config, kind) if "gzip" in text
    ]
    assert list(problems(config)) == []


def test_without_pages_there_is_nothing_to_go_through(load: Load) -> None:
    good = GOOD.replace("server: {command: php worker.php}\n", "")
    config = load(f"{good}websockets.authorize: none\nhttp.middleware: [websockets, gzip]\n")
    assert "http.middleware: gzip: for pages, and nobody serves any" in found(config, "ignored")


def test_what_is_not_served_is_said(load: Load) -> None:
    keys = "fcgi: {address: 'tcp://:1'}, http2: {h2c: true}, http3: {address: ':1'}, cache: {}, gzip: {}"
    config = load(f"{GOOD}http: {{address: ':80', middleware: [websockets], {keys}}}\n".replace(GOOD, BASE))
    assert found(config, "ignored") == [
        "http.fcgi: FastCGI is not served",
        "http.http2: HTTP/2 is not served",
        "http.http3: HTTP/3 is not served",
        "http.cache: RoadRunner's HTTP cache (Souin), which is not here",
        "http.gzip: the middleware gzip has no keys",
    ]


BASE = "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith("http:"))
