from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.access import decode_answer
from rr_py_ws.wire.http import RequestHead, parse_request_head, refusal_response, try_again_later
from rr_py_ws.wire.verdict import Verdict
from support.http_heads import GOOD, Response, head, parse, raw


class TestRequestHead:
    def test_has_everything_that_checks_and_php_need(self) -> None:
        request = parse_request_head(
            raw(b"GET /ws?a=%20&b HTTP/1.1", b"hOST: x", b"X-A: 1", b"x-a:2", b"Empty:", b"Latin: \xe9")
        )
        assert request.method == "GET"
        assert request.target == "/ws?a=%20&b"
        assert request.path == "/ws"
        assert request.query == "a=%20&b"
        assert request.version == "1.1"
        assert request.headers == [
            (b"hOST", b"x"),
            (b"X-A", b"1"),
            (b"x-a", b"2"),
            (b"Empty", b""),
            (b"Latin", b"\xe9"),
        ]
        assert request.header(b"host") == "x"
        assert request.header(b"x-a") == "1"
        assert request.header(b"latin") == "é"
        assert request.header(b"missing") == ""

    @pytest.mark.parametrize("value", [b"websocket", b"  websocket", b"websocket  ", b"\t websocket \t"])
    def test_values_have_no_spaces_around_them(self, value: bytes) -> None:
        """Go trims on both sides; a space at the end made `Sec-WebSocket-Version: 13 ` a wrong version."""
        request = parse_request_head(raw(b"GET / HTTP/1.1", b"Host: a", b"Upgrade:" + value))
        assert request.headers[1] == (b"Upgrade", b"websocket")
        assert request.header(b"upgrade") == "websocket"

    @pytest.mark.parametrize(
        ("target", "path", "query"),
        [
            ("/", "/", ""),
            ("/ws", "/ws", ""),
            ("/ws/", "/ws/", ""),
            ("/ws?", "/ws", ""),
            ("/ws??a", "/ws", "?a"),
            ("/w%73", "/ws", ""),
            ("/%2fws", "//ws", ""),
            ("/ws%3Fa", "/ws?a", ""),
            ("/ws?a=%77", "/ws", "a=%77"),
            ("/%C3%A9", "/é", ""),
            ("/%ff", "/\udcff", ""),
            ("/ws%00", "/ws\0", ""),
            ("//ws", "//ws", ""),
            ("/./ws", "/./ws", ""),
            ("/redirect?to=http://b/ws", "/redirect", "to=http://b/ws"),
            # Absolute form
            ("http://b.example/ws?a", "/ws", "a"),
            ("HTTPS://b.example:8443/ws", "/ws", ""),
            ("http://b.example", "/", ""),
            ("http://b.example?a", "/", "a"),
            ("http://b.example?/ws", "/", "/ws"),
            ("http://b.example/?/ws", "/", "/ws"),
            ("ftp://b.example/ws", "ftp://b.example/ws", ""),
        ],
    )
    def test_the_path_is_what_go_would_make_of_the_target(self, target: str, path: str, query: str) -> None:
        request = parse(f"GET {target} HTTP/1.1")
        assert (request.path, request.query) == (path, query)

    @pytest.mark.parametrize("line", ["OPTIONS * HTTP/1.1", "CONNECT a.example:80 HTTP/1.1"])
    def test_a_target_that_is_no_path_is_no_served_path(self, line: str) -> None:
        assert not parse(line).path.startswith("/")

    def test_a_path_of_bytes_that_are_no_utf8_is_read_with_and_without_escapes(self) -> None:
        """Parsers differ in whether they let such bytes pass; decoding must not depend on it."""
        request = RequestHead("GET", "/\udcff%41", "1.1", [], {})
        assert request.path == "/\udcffA"

    @pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE", "PROPFIND"])
    def test_any_method_can_be_read(self, method: str) -> None:
        assert parse(f"{method} /ws HTTP/1.1").method == method

    def test_empty_lines_before_it_are_skipped(self) -> None:
        assert parse_request_head(b"\r\n" + head()) == parse_request_head(head())

    def test_an_empty_body_may_be_announced(self) -> None:
        assert parse(content_length="0").header(b"content-length") == "0"


class TestRefusedHeads:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\r\n\r\n",
            b"\0\r\n\r\n",
            b"GET\r\n\r\n",
            b"get /ws HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS on a plain port
            b"GET /ws HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"GET /ws HTTP/1.2\r\nHost: a\r\n\r\n",
            b"GET /w\ts HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /w\0s HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ws HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    def test_what_is_no_http_request(self, data: bytes) -> None:
        with pytest.raises(ProtocolError):
            parse_request_head(data)

    def test_a_head_that_is_cut_anywhere(self) -> None:
        """A half head once came out as a request without headers, and nothing at all as `DELETE`."""
        whole = head()
        for size in range(len(whole)):
            with pytest.raises(ProtocolError):
                parse_request_head(whole[:size])

    @pytest.mark.parametrize(
        "lines",
        [
            # Which host?
            [b"Host: a", b"Host: b"],
            [b"Host: a", b"host: a"],
            # A body: where do frames begin?
            [b"Host: a", b"Content-Length: 5"],
            [b"Host: a", b"Content-Length: 0", b"Content-Length: 0"],
            [b"Host: a", b"Content-Length: 0", b"Content-Length: 5"],
            [b"Host: a", b"Content-Length: 00"],
            [b"Host: a", b"Content-Length: +0"],
            [b"Host: a", b"Content-Length: 0, 0"],
            [b"Host: a", b"Content-Length:"],
            [b"Host: a", b"Content-Length: 99999999999999999999999"],
            [b"Host: a", b"Transfer-Encoding: chunked"],
            [b"Host: a", b"transfer-encoding: identity"],
            [b"Host: a", b"Transfer-Encoding:"],
            [b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 0"],
            [b"Host: a", b"Transfer-Encoding:\tchunked"],
            # Folded lines
            [b"Host: a", b" b"],
            [b" Host: a"],
            [b"Host: a", b"X: b", b"\tc"],
            [b"Host: a", b"Transfer-Encoding:", b" chunked"],
            # Lines that do not end as they should
            [b"Host: a\nX: b"],
            [b"Host: a\rX: b"],
            [b"Host: a\n\nGET /evil HTTP/1.1", b"Host: b"],
            [b"Host: a", b"\nGET /evil HTTP/1.1", b"Host: b"],
            # Names and values that are none
            [b"Host : a"],
            [b": a"],
            [b"Host"],
            [b"Ho st: a"],
            [b"Host: a", b"X\xff: a"],
            [b"Host: a\0"],
            [b"Host: a", b"X: \x01"],
            [b"Host: a", b"X: \x7f"],
        ],
    )
    @pytest.mark.parametrize(
        "upgrade", [[], [b"Upgrade: websocket", b"Connection: Upgrade"]], ids=["", "upgrade"]
    )
    def test_what_a_proxy_may_understand_otherwise(self, lines: list[bytes], upgrade: list[bytes]) -> None:
        for order in (upgrade + lines, lines + upgrade):
            with pytest.raises(ProtocolError):
                parse_request_head(raw(b"GET /ws HTTP/1.1", *order))

    def test_line_feeds_alone(self) -> None:
        with pytest.raises(ProtocolError):
            parse_request_head(b"GET /ws HTTP/1.1\nHost: a\n\nGET /evil HTTP/1.1\r\n\r\n")

    @pytest.mark.parametrize("second", [b"G", b"GET /evil HTTP/1.1", b"GET /evil HTTP/1.1\r\n\r\n"])
    def test_two_requests(self, second: bytes) -> None:
        """The target of the second was appended to that of the first when neither had a host."""
        with pytest.raises(ProtocolError):
            parse_request_head(b"GET /ws HTTP/1.1\r\n\r\n" + second)

    @given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda junk: b"GET /ws HTTP/1.1\r\n" + junk))
    def test_any_bytes_give_a_request_or_a_handshake_error(self, data: bytes) -> None:
        try:
            request = parse_request_head(data + b"\r\n\r\n")
        except ProtocolError as error:
            assert "\n" not in str(error)
            return
        assert request.path is not None

    @given(st.integers(0, len(head()) - 4), st.binary(min_size=1, max_size=6))
    def test_a_good_head_with_garbage_inside_gives_a_request_or_a_handshake_error(
        self, at: int, garbage: bytes
    ) -> None:
        whole = head()
        try:
            request = parse_request_head(whole[:at] + garbage + whole[at:])
        except ProtocolError:
            return
        assert len(request.headers) <= len(GOOD) + 2


class TestTryAgainLater:
    def test_clients_that_are_refused_together_do_not_come_back_together(self) -> None:
        seconds = set()
        for _ in range(200):
            verdict = try_again_later(503, b"too many")
            assert (verdict.status, verdict.body, verdict.allowed) == (503, b"too many", False)
            [(name, value)] = verdict.headers
            assert name == "Retry-After"
            seconds.add(int(value))
        assert seconds == {2, 3, 4, 5, 6}


class TestRefusalResponse:
    def test_passes_on_what_php_said(self) -> None:
        headers = (
            ("X-Reason", "no é"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Content-Type", "text/x"),
        )
        response = Response(refusal_response(Verdict(403, headers, b"<html>")))
        assert (response.status, response.reason, response.body) == (403, b"Forbidden", b"<html>")
        assert response.headers[:4] == list(headers)
        assert [name for name, _ in response.headers[4:]] == ["Date", "Content-Length", "Connection"]

    def test_of_a_refused_origin_is_empty(self) -> None:
        response = Response(refusal_response(Verdict(405)))
        assert (response.status, response.body, response.complete) == (405, b"", True)
        assert response.header("Content-Length") == ["0"]
        assert response.header("Content-Type") == []

    @pytest.mark.parametrize(
        "name", ["Connection", "CONTENT-LENGTH", "keep-alive", "Transfer-Encoding", "Upgrade"]
    )
    def test_says_itself_where_it_ends(self, name: str) -> None:
        response = Response(refusal_response(Verdict(401, ((name, "1"),), b"body")))
        assert (response.body, response.complete) == (b"body", True)
        assert sorted(found for found, _ in response.headers) == [
            "Connection",
            "Content-Length",
            "Content-Type",
            "Date",
        ]

    def test_says_what_to_upgrade_to(self) -> None:
        """Point 13: a header without which its status means nothing (RFC 9110 section 15.5.22)."""
        response = Response(refusal_response(Verdict(426, (("Upgrade", "websocket"), ("X-A", "1")))))
        assert response.header("Upgrade") == ["websocket"]
        assert response.header("Connection") == ["upgrade, close"]
        assert response.header("X-A") == ["1"]

    @pytest.mark.parametrize(
        ("status", "name"),
        [
            (301, "Location"),
            (401, "Www-Authenticate"),
            (405, "Allow"),
            (407, "Proxy-Authenticate"),
            (416, "Content-Range"),
            (429, "Retry-After"),
            (304, "Etag"),
            (700, "X-Own"),
        ],
    )
    def test_passes_on_the_header_that_belongs_to_a_status(self, status: int, name: str) -> None:
        """Point 13."""
        answer = json.dumps({"status": status, "headers": {name: ["x"]}}).encode()
        response = Response(refusal_response(decode_answer(answer, b"")))
        assert (response.status, response.header(name)) == (status, ["x"])

    def test_has_no_second_date(self) -> None:
        assert Response(refusal_response(Verdict(401, (("date", "now"),)))).header("Date") == []

    def test_its_date_has_the_form_of_http(self) -> None:
        (date,) = Response(refusal_response(Verdict(401))).header("Date")
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)

    @pytest.mark.parametrize("status", [204, 304])
    def test_without_a_body_when_its_status_has_none(self, status: int) -> None:
        data = refusal_response(Verdict(status, (), b"body"))
        assert data.endswith(b"\r\n\r\n")
        response = Response(data)
        assert (response.status, response.complete) == (status, True)
        assert response.header("Content-Length") == response.header("Content-Type") == []

    @pytest.mark.parametrize("status", [100, 101, 103, 199])
    def test_cannot_be_an_interim_one(self, status: int) -> None:
        """After 101 the client would take the body for frames."""
        assert Response(refusal_response(Verdict(status, (), b"body"))).status == 400

    @pytest.mark.parametrize(
        ("status", "line"),
        [
            (201, b"201 Created"),
            (404, b"404 Not Found"),
            (299, b"299 status code 299"),
            (599, b"599 status code 599"),
            (700, b"700 status code 700"),
            (999, b"999 status code 999"),
        ],
    )
    def test_has_gos_status_line(self, status: int, line: bytes) -> None:
        assert refusal_response(Verdict(status)).startswith(b"HTTP/1.1 " + line + b"\r\n")

    def test_to_head_tells_the_length_of_what_it_does_not_send(self) -> None:
        data = refusal_response(Verdict(403, (), b"body"), send_body=False)
        assert b"Content-Length: 4\r\n" in data
        assert data.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"no", "text/plain; charset=utf-8"),
            (b'{"a":"<html>"}', "text/plain; charset=utf-8"),
            ("né".encode(), "text/plain; charset=utf-8"),
            (b"\x1b[1mbold\n\r\t\f", "text/plain; charset=utf-8"),
            (b"<!DOCTYPE html>", "text/html; charset=utf-8"),
            (b" \n\t<HtMl >", "text/html; charset=utf-8"),
            (b"<p>no</p>", "text/html; charset=utf-8"),
            (b"<!-- x -->", "text/html; charset=utf-8"),
            (b"<script >", "text/html; charset=utf-8"),
            (b"<pre>no</pre>", "text/plain; charset=utf-8"),
            (b"<htmlx>", "text/plain; charset=utf-8"),
            (b"x<html>", "text/plain; charset=utf-8"),
            (b"<html", "text/plain; charset=utf-8"),
            (b'\n<?xml version="1.0"?>', "text/xml; charset=utf-8"),
            (b"a\0b", "application/octet-stream"),
            (b"\x1f\x8b\x08", "application/x-gzip"),
            (b" " * 512 + b"\0<html>", "text/plain; charset=utf-8"),  # only the first 512 bytes are looked at
        ],
    )
    def test_guesses_the_type_as_go_does(self, body: bytes, kind: str) -> None:
        assert Response(refusal_response(Verdict(403, (), body))).header("Content-Type") == [kind]


HOSTILE_HEADERS = st.dictionaries(
    st.sampled_from(["X-A", "x", "Set-Cookie", "a\r\nb", "a: b", "é", "", "Content-Length", "X\0", "Upgrade"])
    | st.text(max_size=6),
    st.lists(
        st.sampled_from(["1", "a\r\nSet-Cookie: b", "\r\n\r\n<html>", "\n", "a\rb", "\0", "\x85"]) | st.text()
    ),
    max_size=5,
)


class TestHostileAnswersOfPHP:
    """Text of a client that PHP puts into a header must not become a header or a body of its own.

    `decode_answer` is the guard: it is the only place where foreign text becomes a `Verdict`.
    """

    @pytest.mark.parametrize(
        ("name", "value", "header"),
        [
            ("X-A", "a\r\nSet-Cookie: admin=1", ("X-A", "a  Set-Cookie: admin=1")),
            ("X-A", "a\r\n\r\n<html>", ("X-A", "a    <html>")),
            ("X-A", "a\nb\rc\0d\x7fe", ("X-A", "a b c d e")),
            ("X-A", "\r\n", ("X-A", "")),
            ("X-A\r\nSet-Cookie", "admin=1", None),
            ("X-A: a\r\nX-B", "b", None),
            ("X A", "b", None),
            ("X-A:", "b", None),
            ("", "b", None),
        ],
    )
    def test_cannot_split_the_response(self, name: str, value: str, header: tuple[str, str] | None) -> None:
        answer = json.dumps({"status": 403, "headers": {name: [value]}}).encode()
        data = refusal_response(decode_answer(answer, b"body"))
        response = Response(data)
        assert (response.status, response.body, response.responses) == (403, b"body", 1)
        assert response.headers[:-4] == ([header] if header else [])
        assert data.count(b"\n") == data.count(b"\r\n") == len(response.headers) + 2

    @given(st.integers(200, 999), HOSTILE_HEADERS, st.binary(max_size=50))
    def test_never_split_the_response(self, status: int, headers: dict[str, list[str]], body: bytes) -> None:
        verdict = decode_answer(json.dumps({"status": status, "headers": headers}).encode(), body)
        head, end, rest = refusal_response(verdict).partition(b"\r\n\r\n")
        assert end
        assert rest == (b"" if status in (204, 304) else body)
        lines = head.split(b"\r\n")
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", b"".join(lines))
        names = [line.partition(b": ")[0].lower() for line in lines[1:]]
        assert all(re.fullmatch(rb"[!#$%&'*+.^_`|~0-9a-z-]+", name) for name in names)
        assert names.count(b"content-length") == (status not in (204, 304))
        assert names.count(b"connection") == 1
        assert not {b"transfer-encoding", b"keep-alive"} & set(names)
        assert status == 426 or b"upgrade" not in names
