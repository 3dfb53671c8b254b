from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.errors import WorkerError
from rr_py_ws.wire.access import (
    canonical_name,
    connect_question,
    decode_answer,
    encode_request,
    join_question,
    pack_request,
    unpack_request,
)
from rr_py_ws.wire.verdict import Verdict
from support.go_json import go_decode

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
HOSTILE_NAMES = [b"Cookie", b"attributes", b"ws:joinTopics", b"ws:joinServer", b'"', b'x":[""],"attributes']
HOSTILE = [
    b'"},"attributes":{"ws:joinServer":true},"x":{"y":"',
    b'attributes="}; ws:joinTopics=a; remoteAddr=1.2.3.4',
    b"a=1; a=2; A=3; %61=4",
    b'\\"\\',
    b"",
]


def encode(*headers: tuple[bytes, bytes], uri: str = "http://localhost/ws", raw_query: str = "") -> bytes:
    return encode_request(
        remote_addr="127.0.0.1",
        protocol="HTTP/1.1",
        method="GET",
        uri=uri,
        headers=headers,
        raw_query=raw_query,
    )


def decoded(*headers: tuple[bytes, bytes], uri: str = "http://localhost/ws", raw_query: str = "") -> Any:
    return json.loads(connect_question(encode(*headers, uri=uri, raw_query=raw_query)))


ESCAPES = b"%41 %22 %fF %3b %0a %08 %e2%80%A8 %C3%A9 %ef%bf%be %EF%BF%BD".split()
CHARACTERS = [b"%c" % byte for byte in b'; =%+&<>\t\r\n\\",!?aA\x00\x7f\xff']
PIECES = st.lists(st.sampled_from([b"; a=", *ESCAPES, *CHARACTERS]), max_size=14).map(b"".join)


def go_cookies(*lines: bytes) -> dict[str, str]:
    """Read `Cookie` headers one cookie after the other, by what Go's net/http says of each."""
    found = {}
    for part in b";".join(lines).split(b";"):
        cookie = re.fullmatch(
            rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:=(\"?)([ !#-:<-\[\]-~]*)\2)?", part.strip(b" \t\r\n")
        )
        if cookie is not None and not re.search(rb"%(?![0-9A-Fa-f]{2})", cookie[3] or b""):
            value = unquote_to_bytes((cookie[3] or b"").replace(b"+", b" "))
            points = go_decode(value)
            found[cookie[1].decode()] = "".join("\ufffd" if point is None else chr(point) for point in points)
    return found


def cookies(*lines: bytes) -> Any:
    return decoded(*((b"Cookie", line) for line in lines))["cookies"]


class TestTheRequest:
    def test_is_what_rr_2_11_sends_byte_for_byte(self) -> None:
        """Keys in the order of Go's struct, maps sorted, names canonical, no Host, no uploads."""
        request = encode(
            (b"Host", b"localhost:8080"),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"Sec-WebSocket-Version", b"13"),
            (b"cookie", b"sid=a+b; theme=dark"),
            (b"X-TAG", b"1"),
            (b"x-tag", b"2"),
            uri="http://localhost:8080/ws?b=2&a=%201",
            raw_query="b=2&a=%201",
        )
        assert connect_question(request) == (
            b'{"remoteAddr":"127.0.0.1","protocol":"HTTP/1.1","method":"GET",'
            b'"uri":"http://localhost:8080/ws?b=2\\u0026a=%201",'
            b'"headers":{"Connection":["Upgrade"],"Cookie":["sid=a+b; theme=dark"],'
            b'"Sec-Websocket-Key":["dGhlIHNhbXBsZSBub25jZQ=="],"Sec-Websocket-Version":["13"],'
            b'"Upgrade":["websocket"],"X-Tag":["1","2"]},'
            b'"cookies":{"sid":"a b","theme":"dark"},'
            b'"rawQuery":"b=2\\u0026a=%201","parsed":false,"attributes":{"ws:joinServer":true}}'
        )

    def test_has_the_topics_of_a_join_as_one_text(self) -> None:
        context = join_question(encode(), ["chat", "news<1>"])
        assert context.endswith(b'"attributes":{"ws:joinTopics":"chat,news\\u003c1\\u003e"}}')

    def test_without_headers_and_cookies_has_empty_maps(self) -> None:
        assert b'"headers":{},"cookies":{},' in encode()

    def test_has_no_line_breaks_in_uri_and_query(self) -> None:
        """They would let a client forge a second request line for whoever logs or forwards it."""
        request = decoded(uri="http://l/ws?a\r\nb", raw_query="a\r\nb\n")
        assert (request["uri"], request["rawQuery"]) == ("http://l/ws?ab", "ab")

    def test_keeps_header_values_in_their_order(self) -> None:
        request = decoded((b"x", b"2"), (b"y", b"-"), (b"X", b"1"), (b"x", b"3"))
        assert request["headers"] == {"X": ["2", "1", "3"], "Y": ["-"]}

    def test_strips_white_space_around_header_values(self) -> None:
        assert decoded((b"x", b" \ta b \t"))["headers"] == {"X": ["a b"]}

    def test_has_bytes_that_are_no_utf8_as_replacement_characters(self) -> None:
        request = decoded((b"x", b"\xff\xc3\xa9\xe2\x82"), uri="http://l/\udcff")
        assert request["headers"] == {"X": ["\ufffdé\ufffd\ufffd"]}
        assert request["uri"] == "http://l/\ufffd"

    @given(
        st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=30)), max_size=8),
        st.text(max_size=20),
    )
    def test_is_json_whatever_the_client_sends(self, headers: list[tuple[bytes, bytes]], uri: str) -> None:
        uri = uri.encode("utf-8", "replace").decode()
        request = decoded(*headers, uri=uri, raw_query=uri)
        keys = "remoteAddr protocol method uri headers cookies rawQuery parsed attributes"
        assert list(request) == keys.split()
        assert sum(map(len, request["headers"].values())) == sum(
            canonical_name(name) != b"Host" for name, _ in headers
        )

    @given(
        st.lists(st.tuples(st.sampled_from(HOSTILE_NAMES) | st.binary(max_size=6), st.sampled_from(HOSTILE))),
        st.sampled_from(HOSTILE),
        st.text(max_size=20),
    )
    def test_a_client_cannot_write_what_we_say_to_php(
        self, headers: list[tuple[bytes, bytes]], query: bytes, topic: str
    ) -> None:
        """Of two keys with one name PHP takes the last: a name that comes twice would be a way in."""

        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            assert len({name for name, _ in pairs}) == len(pairs)
            return dict(pairs)

        topic = topic.encode("utf-8", "replace").decode()
        prefix = encode(*headers, uri=query.decode(), raw_query=query.decode())
        request = json.loads(join_question(prefix, [topic]), object_pairs_hook=once)
        assert request["attributes"] == {"ws:joinTopics": topic}
        assert (request["parsed"], request["remoteAddr"]) == (False, decoded()["remoteAddr"])


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (b"sec-websocket-key", b"Sec-Websocket-Key"),
        (b"SEC-WEBSOCKET-KEY", b"Sec-Websocket-Key"),
        (b"x-API-key", b"X-Api-Key"),
        (b"etag", b"Etag"),
        (b"x--y-", b"X--Y-"),
        (b"x_real_IP", b"X_real_ip"),
        (b"1a-2B", b"1a-2b"),
        (b"bad name", b"bad name"),
        (b"n\xc3\xa4me", b"n\xc3\xa4me"),
        (b"", b""),
    ],
)
def test_header_names_have_gos_canonical_form(name: bytes, canonical: bytes) -> None:
    assert canonical_name(name) == canonical


class TestCookies:
    def test_are_url_decoded(self) -> None:
        assert cookies(b"a=x%20y+z%2B%C3%A9") == {"a": "x y z+é"}

    def test_come_from_several_headers(self) -> None:
        assert cookies(b"a=1; b=2", b"c=3") == {"a": "1", "b": "2", "c": "3"}

    def test_with_one_name_the_last_wins(self) -> None:
        assert cookies(b"a=1; a=2", b"a=3") == {"a": "3"}

    @pytest.mark.parametrize("line", [b"a=%zz", b"a=%", b"a=%4", b"a=100%; b=%%41"])
    def test_that_cannot_be_decoded_are_left_out(self, line: bytes) -> None:
        assert cookies(line) == {}

    @pytest.mark.parametrize(
        "line", [b"=1", b"a b=1", b"a(=1", b"\xc3\xa4=1", b'"a"=1', b"a\x00=1", b";;  ;", b""]
    )
    def test_with_an_illegal_name_are_left_out(self, line: bytes) -> None:
        assert cookies(line + b"; ok=1") == {"ok": "1"}

    @pytest.mark.parametrize(
        "line", [b'a="', b'a="x', b'a=x"y', b"a=x\\y", b"a=\xc3\xa9", b"a=x\ty", b"a=\x7f"]
    )
    def test_with_an_illegal_value_are_left_out(self, line: bytes) -> None:
        assert cookies(line + b"; ok=1") == {"ok": "1"}

    @pytest.mark.parametrize(
        ("line", "value"),
        [
            (b'a="x y"', "x y"),
            (b'a=""', ""),
            (b"a=", ""),
            (b"a", ""),
            (b"a=b=c", "b=c"),
            (b" a = x ; ", " x"),
            (b"a=x,y", "x,y"),
            (b"a=%00", "\0"),
            (b"a=%ff", "\ufffd"),
        ],
    )
    def test_values(self, line: bytes, value: str) -> None:
        assert cookies(line) == {"a": value}

    @given(st.lists(PIECES, max_size=3))
    def test_any_headers_are_read_as_a_slow_copy_of_gos_rules_reads_them(self, lines: list[bytes]) -> None:
        assert cookies(*lines) == go_cookies(*lines)

    @pytest.mark.parametrize(
        "line",
        [
            b";".join(b"%x=%%fF" % number for number in range(2_000)),
            b"a" + b"\t" * 16_000 + b",",
            b";" * 16_000,
        ],
    )
    def test_a_head_full_of_them_is_read_like_any_other(self, line: bytes) -> None:
        """One by one they took 22 ms of the event loop; a careless pattern would take seconds."""
        assert cookies(line) == go_cookies(line)


@pytest.mark.parametrize(
    ("headers", "raw_query"),
    [
        ([(b"A", b"<" * 16_000)], ""),
        ([(b"A", b"\xff" * 16_000)], ""),
        ([(b"Cookie", b";".join(b"%d=<>&" % number for number in range(1_800)))], ""),
        ([], "<" * 16_000),
    ],
    ids=["escapes", "not UTF-8", "cookies", "query"],
)
def test_a_request_is_kept_in_fewer_bytes_than_its_head_had(
    headers: list[tuple[bytes, bytes]], raw_query: str
) -> None:
    """As JSON it may be twelve times as long, and there is one for each connection."""
    request = encode(*headers, uri=f"http://localhost/ws?{raw_query}", raw_query=raw_query)
    assert len(request) > 80_000
    kept = pack_request(request)
    assert len(kept) < 16_000
    assert unpack_request(kept) == request


def test_a_usual_request_is_kept_as_it_is() -> None:
    request = encode((b"Cookie", b"token=" + b"x" * 3_000))
    assert pack_request(request) is request
    assert unpack_request(request) is request


def answer(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


class TestTheAnswer:
    def test_200_allows(self) -> None:
        assert decode_answer(b'{"status":200,"headers":{}}', b"").allowed

    def test_only_an_allowing_verdict_carries_the_grant(self) -> None:
        assert decode_answer(b'{"status":200}', b"", b"the request").grant == b"the request"
        assert decode_answer(b'{"status":403}', b"", b"the request").grant is None

    @pytest.mark.parametrize("status", [100, 101, 201, 204, 302, 401, 403, 500, 599, 600, 999])
    def test_any_other_status_refuses(self, status: int) -> None:
        verdict = decode_answer(answer(status=status), b"no")
        assert verdict == Verdict(status, (), b"no")
        assert not verdict.allowed

    def test_headers_keep_their_order(self) -> None:
        verdict = decode_answer(b'{"status":401,"headers":{"x-b":["1","2"],"A":["3"],"C":[]}}', b"")
        assert verdict.headers == (("X-B", "1"), ("X-B", "2"), ("A", "3"))

    @pytest.mark.parametrize("headers", [b"", b',"headers":null', b',"headers":{}', b',"headers":{"A":null}'])
    def test_headers_may_be_missing(self, headers: bytes) -> None:
        assert decode_answer(b'{"status":403%s}' % headers, b"").headers == ()

    def test_the_case_of_keys_is_ignored(self) -> None:
        assert decode_answer(b'{"Status":403,"HEADERS":{"a":["b"]}}', b"") == Verdict(403, (("A", "b"),))

    def test_other_keys_are_ignored(self) -> None:
        assert decode_answer(b'{"status":200,"x":[1,{"y":null}]}', b"").allowed

    def test_a_body_key_replaces_the_body(self) -> None:
        text = base64.b64encode(b"from the key \xff").decode()
        assert decode_answer(answer(status=403, body=text), b"body").body == b"from the key \xff"
        assert (
            decode_answer(answer(status=403, body=f"{text[:8]}\r\n{text[8:]}"), b"body").body[:4] == b"from"
        )
        assert decode_answer(answer(status=403, body=""), b"body").body == b""

    @pytest.mark.parametrize(
        "status", [b'"200"', b"200.0", b"2e2", b"true", b"[200]", b"{}", b"1e999", b"99999999999999999999"]
    )
    def test_a_status_that_is_no_integer_is_an_error(self, status: bytes) -> None:
        with pytest.raises(WorkerError):
            decode_answer(b'{"status":%s,"headers":{}}' % status, b"")

    @pytest.mark.parametrize("status", [None, 0, 99, 1000, -200])
    def test_d11_an_answer_without_a_legal_status_is_an_error_and_no_crash(self, status: int | None) -> None:
        with pytest.raises(WorkerError, match="status"):
            decode_answer(answer(status=status), b"")
        with pytest.raises(WorkerError, match="status"):
            decode_answer(b'{"headers":{}}', b"")

    @pytest.mark.parametrize(
        "headers", [b"[]", b'""', b"1", b'{"a":"b"}', b'{"a":[1]}', b'{"a":[["b"]]}', b'{"a":{"b":"c"}}']
    )
    def test_headers_of_another_shape_are_an_error(self, headers: bytes) -> None:
        with pytest.raises(WorkerError, match="header"):
            decode_answer(b'{"status":200,"headers":%s}' % headers, b"")

    @pytest.mark.parametrize("body", ["?", "YQ", "YQ=", "YQ==YQ==", "é", 1, ["a"]])
    def test_a_body_key_that_is_no_base64_is_an_error(self, body: object) -> None:
        with pytest.raises(WorkerError, match="body"):
            decode_answer(answer(status=403, body=body), b"")

    @pytest.mark.parametrize(
        "context", [b"", b"<html>", b"null", b"[]", b"200", b'{"status":200', b"\xff", b"[" * 5000]
    )
    def test_what_is_no_json_object_is_an_error(self, context: bytes) -> None:
        with pytest.raises(WorkerError):
            decode_answer(context, b"")

    @pytest.mark.parametrize(
        "more",
        [
            b'"x":[%b{}]' % (b"{}," * 20_000),
            b'"x":%b0%b' % (b'[{"a":[' * 40, b"]}]" * 40) + b',"y":[%b0]' % (b"0," * 17_000),
            b'"headers":{%b"z":[]}' % b"".join(b'"X-%d":[""],' % number for number in range(1025)),
            b'"headers":{"a":[%b""]}' % (b'"",' * 1024),
            b'"headers":{"a":["%b"]}' % (b"x" * 1_050_000),
        ],
        ids=["maps", "numbers", "headers", "values", "a long value"],
    )
    def test_what_would_take_long_to_decode_is_an_error(self, more: bytes) -> None:
        """A worker that was taken over had everybody wait for two seconds with each answer."""
        with pytest.raises(WorkerError, match="the answer has more than"):
            decode_answer(b'{"status":200,%b}' % more, b"")

    def test_as_many_headers_as_are_allowed(self) -> None:
        verdict = decode_answer(answer(status=403, headers={f"X-{n}": ["a,b,[c"] for n in range(1024)}), b"")
        assert len(verdict.headers) == 1024

    @given(st.fixed_dictionaries({"status": st.just(403)}, optional={"headers": ANY_JSON, "body": ANY_JSON}))
    def test_any_other_json_is_an_answer_or_an_error(self, fields: dict[str, Any]) -> None:
        try:
            verdict = decode_answer(json.dumps(fields).encode("utf-8", "surrogatepass"), b"")
        except WorkerError as error:
            assert "\n" not in str(error)
        else:
            assert verdict.status == 403

    @pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nSet-Cookie", "Ä", "X\0"])
    def test_a_header_name_that_is_no_token_is_left_out(self, name: str) -> None:
        assert decode_answer(answer(status=403, headers={name: ["1"], "Ok": ["2"]}), b"").headers == (
            ("Ok", "2"),
        )

    def test_a_header_value_cannot_split_the_response(self) -> None:
        headers = {"Location": ["/\r\nSet-Cookie: a=b", "\r\n\r\n<script>", "a\0b\tc"]}
        verdict = decode_answer(answer(status=302, headers=headers), b"")
        assert verdict.headers == (
            ("Location", "/  Set-Cookie: a=b"),
            ("Location", "<script>"),
            ("Location", "a b\tc"),
        )

    @given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=10), max_size=3), max_size=3))
    def test_no_header_of_php_has_a_line_break(self, headers: dict[str, Sequence[str]]) -> None:
        for name, value in decode_answer(
            json.dumps({"status": 403, "headers": headers}).encode(), b""
        ).headers:
            assert name
            assert not {*name, *value} & {"\r", "\n", "\0", "\x7f"}


def test_cookies_are_in_the_order_of_their_names_as_go_writes_maps() -> None:
    """Not in that of the JSON, in which a quote stands between `a` and what follows it."""
    for value in (b"1", b"%41"):
        found = encode((b"Cookie", b"a!=%b; b=1; a=%b" % (value, value)))
        assert found.index(b'"a":') < found.index(b'"a!":') < found.index(b'"b":')
