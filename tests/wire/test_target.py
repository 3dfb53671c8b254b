"""What becomes the URI that PHP parses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.http import parse_request_head
from rr_py_ws.wire.target import check_host, parse_request_line
from support.http_heads import parse, raw

HOSTS = [
    "a",
    "A.Example",
    "a.example:80",
    "a:1",
    "a:65535",
    "a:00080",
    "a:",
    "a_b",
    "a-.b..c.",
    "xn--bcher-kva.example",
    "1.2.3.4:8080",
    "[::1]",
    "[::1]:8080",
    "[2001:DB8::1]:443",
    "b%C3%BCcher.example",
    "a!$&'()*+,;=~b",
]
NO_HOSTS = [
    "good.example/admin?x=",
    "a:b",
    "x:99999",
    "x:65536",
    "x:000080",
    "x:0",
    "x:-1",
    "x:+80",
    "x:8 0",
    "x:80:80",
    "x::80",
    ":80",
    ":",
    "u@h",
    "u:p@h:80",
    "a b",
    "a\tb",
    "a#b",
    "a?b",
    "a/b",
    "a\\b",
    "{a}",
    "a|b",
    "a<b>",
    'a"b',
    "a^b",
    "a`b",
    "é",
    "a%",
    "a%zz",
    "a%2fb",
    "u%40h",
    "a%3A80",
    "a%00",
    "a%0d%0a",
    "a%20b",
    "%61",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[::1]x",
    "[::1]:x",
    "[::1]:99999",
    "[1:2]",
    "[:::]",
    "[v1.a]",
    "[a]",
    # Some of the PSR-7 libraries throw at these, too.
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[::ffff:1.2.3.4]",
]


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_that_php_reads_as_they_are_written(host: str) -> None:
    request = parse(host=host)
    assert request.host == host
    assert parse(f"GET http://{host}/ws HTTP/1.1").host == host


@pytest.mark.parametrize("host", NO_HOSTS)
def test_hosts_that_end_php_or_mislead_it_are_refused(host: str) -> None:
    """Point 1: `Host: good.example/admin?x=` became the path that PHP saw, and `a:b` ended its worker."""
    with pytest.raises(ProtocolError, match="malformed Host header") as refused:
        check_host(host.encode())
    assert refused.value.status == 400
    if "\t" not in host:  # which ends the name before the parser of fields hands it on
        with pytest.raises(ProtocolError):
            parse(host=host)


@pytest.mark.parametrize("host", [host for host in NO_HOSTS if not re.search(r"[/?#\t ]", host)] + [""])
def test_the_authority_of_an_absolute_target_is_looked_at_as_well(host: str) -> None:
    with pytest.raises(ProtocolError, match="malformed Host header"):
        parse_request_line(f"GET http://{host}/ws HTTP/1.1".encode())


@pytest.mark.parametrize("scheme", ["http", "HTTPS", "ws", "wss"])
def test_the_host_of_an_absolute_target_counts(scheme: str) -> None:
    """Point 1: RFC 9112 section 3.2.2."""
    request = parse(f"GET {scheme}://b.example:8080/ws?a HTTP/1.1")
    assert (request.host, request.target) == ("b.example:8080", "/ws?a")
    assert request.header(b"host") == "a.example:8080"


@pytest.mark.parametrize("target", ["/ws#a", "/ws?a#b", "#", "http://a/ws#b", "/ws?#"])
def test_a_fragment_is_refused(target: str) -> None:
    """PHP's query would end there, and the raw query would not."""
    with pytest.raises(ProtocolError, match="fragment"):
        parse(f"GET {target} HTTP/1.1")


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (b"/w\xc3\xa9?\xc3\xa9=1", b"/w%C3%A9?\xc3\xa9=1"),
        (b"/\xff?\xff", b"/%FF?\xff"),
        (b'/a"b', b"/a%22b"),
        (b"/%77%c3%a9", b"/%77%c3%a9"),
        (b"/%77\xc3\xa9!", b"/w%C3%A9%21"),  # one that has to be escaped is escaped as a whole
        (b"/a!$&'()*+,;=:@[b]~-._", b"/a!$&'()*+,;=:@[b]~-._"),
        (b'/ws?a=\\^`{|}"<>%zz', b'/ws?a=\\^`{|}"<>%zz'),
    ],
)
def test_bytes_that_are_not_ascii_are_passed_on_as_go_passes_them(target: bytes, written: bytes) -> None:
    """Point 13: escaped in the path, as they are in the query."""
    assert parse_request_line(b"GET %b HTTP/1.1" % target).target == written.decode(
        "utf-8", "surrogateescape"
    )


def test_raw_bytes_in_the_path_are_compared_like_escaped_ones() -> None:
    """Point 13."""
    assert parse_request_head(raw("GET /wé?é HTTP/1.1".encode(), b"Host: a")).path == "/wé"
    assert parse_request_head(raw("GET /wé?é HTTP/1.1".encode(), b"Host: a")).query == "é"


@pytest.mark.parametrize("method", ["FOO", "M-SEARCH", "VERSION-CONTROL", "X_Y", "G"])
def test_methods_that_no_parser_knows_are_methods(method: str) -> None:
    """Point 13: the answer is 405, when PHP allows the request."""
    assert parse(f"{method} /ws HTTP/1.1").method == method


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /ws HTTP/1.2", 505),
        ("GET /ws HTTP/3.0", 505),
        ("GET /ws HTTP/0.0", 505),
        ("get /ws HTTP/1.1", 405),
        ("Get /ws HTTP/1.1", 405),
        ("G!T /ws HTTP/1.1", 405),
        ("G(T /ws HTTP/1.1", 400),
        ("GET /ws HTTP/1.10", 400),
        ("GET /ws http/1.1", 400),
        ("GET /ws HTTP/1.1 ", 400),
        ("GET  /ws HTTP/1.1", 400),
        ("GET /ws  HTTP/1.1", 400),
        (" GET /ws HTTP/1.1", 400),
        ("GET /w s HTTP/1.1", 400),
        ("GET /ws", 400),
        ("GET ws HTTP/1.1", 400),
        ("", 400),
    ],
)
def test_a_request_line_that_is_none_has_the_answer_of_the_protocol(line: str, status: int) -> None:
    """Point 13: versions and methods have the answers of docs/protocol.md, whatever parser reads them."""
    with pytest.raises(ProtocolError) as refused:
        parse_request_line(line.encode())
    assert refused.value.status == status


ODD = st.text(st.sampled_from("ab09.-_~!$&'()*+,;=:%[]@/? \\{}<>\"^`|é"), max_size=12)


@pytest.mark.skipif(not shutil.which("php"), reason="needs PHP")
@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(ODD, ODD, st.booleans()), min_size=100, max_size=200))
def test_php_reads_the_uri_as_this_server_does(parts: list[tuple[str, str, bool]]) -> None:
    """Point 1: whatever gets through, PHP finds host, path and query where they are."""
    heads = []
    for host, rest, absolute in parts:
        target = f"http://{host}/ws{rest}" if absolute else f"/ws{rest}"
        try:
            request = parse_request_head(
                raw(f"GET {target} HTTP/1.1".encode(), f"Host: {'a' if absolute else host}".encode())
            )
        except ProtocolError:
            continue
        if request.host:
            heads.append(request)
    code = 'foreach (json_decode($argv[1]) as $uri) echo json_encode(parse_url($uri)), "\\n";'
    uris = json.dumps([f"http://{request.host}{request.target}" for request in heads])
    run = subprocess.run(["php", "-r", code, uris], capture_output=True, check=True)
    for request, line in zip(heads, run.stdout.splitlines(), strict=True):
        found = json.loads(line)
        host, _, port = request.host.rpartition(":") if request.host[-1] != "]" else (request.host, "", "")
        host, port = (host, port) if host else (port, "")
        assert found["host"] == host
        assert found.get("port") == (int(port) if port else None)
        assert not found.keys() & {"user", "pass", "fragment"}
        assert unquote_to_bytes(found["path"]) == request.path.encode()
        assert found.get("query", "") == request.query


@pytest.mark.parametrize("target", ["/a%", "/a%2", "/%zz/b?c", "/%%41"])
def test_a_path_with_a_broken_escape_is_refused_as_in_go(target: str) -> None:
    with pytest.raises(ProtocolError, match="invalid URL escape"):
        parse_request_line(f"GET {target} HTTP/1.1".encode())
