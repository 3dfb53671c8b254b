from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import accept_key

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.http import parse_request_head, refusal_response
from rr_py_ws.wire.upgrade import (
    accept_response,
    check_upgrade,
    offered_extensions,
    requested_subprotocols,
)
from support.http_heads import GOOD, Response, head, parse, raw


class TestUpgradeChecks:
    def test_a_good_handshake_is_not_refused(self) -> None:
        assert check_upgrade(parse()) is None

    @pytest.mark.parametrize("value", ["websocket", "WebSocket", "WEBSOCKET"])
    def test_the_upgrade_has_any_case(self, value: str) -> None:
        assert check_upgrade(parse(upgrade=value)) is None

    @pytest.mark.parametrize(
        "value", ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade,close", "a ,\tUPGRADE , b"]
    )
    def test_the_connection_has_the_token_upgrade(self, value: str) -> None:
        assert check_upgrade(parse(connection=value)) is None

    @pytest.mark.parametrize("value", ["WebSocket", "h2c, websocket", "websocket , h2c", ",,websocket"])
    def test_the_upgrade_has_the_token_websocket(self, value: str) -> None:
        """RFC 9110, 7.8: a list of protocols, of which the server chooses one. RoadRunner took one alone."""
        assert check_upgrade(parse(upgrade=value)) is None

    @pytest.mark.parametrize("key", ["x" * 24, "!" * 24, "\xe9" * 24])
    def test_the_key_is_not_decoded(self, key: str) -> None:
        assert check_upgrade(parse(sec_websocket_key=key)) is None

    @pytest.mark.parametrize(
        ("request_head", "status", "text"),
        [
            (head("POST /ws HTTP/1.1"), 405, b"handshake error: bad HTTP request method"),
            (head("HEAD /ws HTTP/1.1"), 405, b"handshake error: bad HTTP request method"),
            (head("GET /ws HTTP/1.0"), 505, b"handshake error: bad HTTP protocol version"),
            (head("GET /ws HTTP/0.9"), 505, b"handshake error: bad HTTP protocol version"),
            (head("GET /ws HTTP/2.0"), 505, b"handshake error: bad HTTP protocol version"),
            (head(without=["Host"]), 400, b'handshake error: bad "Host" header'),
            (head(host=""), 400, b'handshake error: bad "Host" header'),
            (head(without=["Upgrade"]), 400, b'handshake error: bad "Upgrade" header'),
            (head(upgrade="h2c"), 400, b'handshake error: bad "Upgrade" header'),
            (head(upgrade="websocket/13"), 400, b'handshake error: bad "Upgrade" header'),
            (head(without=["Connection"]), 400, b'handshake error: bad "Connection" header'),
            (head(connection="keep-alive"), 400, b'handshake error: bad "Connection" header'),
            (head(connection="upgraded, no upgrade"), 400, b'handshake error: bad "Connection" header'),
            (head(without=["Sec-WebSocket-Key"]), 400, b'handshake error: bad "Sec-WebSocket-Key" header'),
            (head(sec_websocket_key="x" * 23), 400, b'handshake error: bad "Sec-WebSocket-Key" header'),
            (head(sec_websocket_key="x" * 25), 400, b'handshake error: bad "Sec-WebSocket-Key" header'),
            (
                head(without=["Sec-WebSocket-Version"]),
                400,
                b'handshake error: bad "Sec-WebSocket-Version" header',
            ),
            (head(sec_websocket_version="12"), 426, b'handshake error: bad "Sec-WebSocket-Version" header'),
            (
                head(sec_websocket_version="13, 8"),
                426,
                b'handshake error: bad "Sec-WebSocket-Version" header',
            ),
        ],
    )
    def test_d12_a_refusal_has_roadrunners_text_and_ends_the_connection(
        self, request_head: bytes, status: int, text: bytes
    ) -> None:
        """RoadRunner left the socket open and unread."""
        verdict = check_upgrade(parse_request_head(request_head))
        assert verdict is not None
        response = Response(refusal_response(verdict))
        assert (response.status, response.body, response.complete) == (status, text, True)
        assert response.header("Content-Type") == ["text/plain; charset=utf-8"]
        assert response.header("Content-Length") == [str(len(text))]
        assert response.header("Connection") == ["close"]
        assert response.header("Sec-WebSocket-Version") == (["13"] if status == 426 else [])

    def test_the_first_header_line_counts(self) -> None:
        twice = raw(
            *head()[:-4].split(b"\r\n"), b"Upgrade: h2c", b"Connection: close", b"Sec-WebSocket-Version: 8"
        )
        assert check_upgrade(parse_request_head(twice)) is None

    def test_checks_come_in_roadrunners_order(self) -> None:
        """With everything wrong, mending one thing after the other brings up the next check."""
        lines = ["POST /ws HTTP/1.0", "GET /ws HTTP/1.0", *["GET /ws HTTP/1.1"] * 6]
        texts = []
        for line, good in zip(lines, [0, 0, *range(6)], strict=True):
            fields = dict.fromkeys(GOOD, "") | dict(list(GOOD.items())[:good])
            verdict = check_upgrade(
                parse_request_head(raw(line.encode(), *(f"{k}: {v}".encode() for k, v in fields.items())))
            )
            texts.append(verdict.body.decode().removeprefix("handshake error: bad ") if verdict else "")
        assert texts == [
            "HTTP request method",
            "HTTP protocol version",
            *(f'"{name}" header' for name in GOOD),
            "",
        ]

    @given(st.integers(0, len(head()) - 4), st.binary(min_size=1, max_size=6))
    def test_any_request_that_can_be_read_can_be_checked(self, at: int, garbage: bytes) -> None:
        whole = head()
        try:
            request = parse_request_head(whole[:at] + garbage + whole[at:])
        except ProtocolError:
            return
        verdict = check_upgrade(request)
        assert verdict is None or verdict.status in (400, 405, 426, 505)
        requested_subprotocols(request)
        offered_extensions(request)


class TestAcceptResponse:
    def test_is_roadrunners_byte_for_byte(self) -> None:
        """The key and its answer are the sample of RFC 6455 section 1.3."""
        assert accept_response(parse()) == (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )

    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=24, max_size=24))
    def test_answers_any_key(self, key: str) -> None:
        accepted = f"Sec-WebSocket-Accept: {accept_key(key)}\r\n"
        assert accepted.encode() in accept_response(parse(sec_websocket_key=key))

    def test_names_the_subprotocol_that_was_agreed_on(self) -> None:
        response = accept_response(parse(), "rr.json")
        assert response.endswith(b"=\r\nSec-WebSocket-Protocol: rr.json\r\n\r\n")

    def test_names_the_extensions_that_were_agreed_on(self) -> None:
        response = accept_response(parse(), "rr.json", "permessage-deflate; x=1")
        assert response.endswith(
            b"=\r\nSec-WebSocket-Protocol: rr.json\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; x=1\r\n\r\n"
        )


class TestOfferedExtensions:
    @pytest.mark.parametrize(
        ("lines", "offers"),
        [
            ([], ""),
            ([b"sec-WebSocket-extensions: a; x=1, b"], "a; x=1, b"),
            ([b"Sec-WebSocket-Extensions: a", b"X: y", b"SEC-WEBSOCKET-EXTENSIONS: b"], "a,b"),
        ],
    )
    def test_are_one_list(self, lines: list[bytes], offers: str) -> None:
        assert offered_extensions(parse_request_head(raw(b"GET / HTTP/1.1", b"Host: a", *lines))) == offers


class TestRequestedSubprotocols:
    @pytest.mark.parametrize(
        ("lines", "names"),
        [
            ([], []),
            ([b"Sec-WebSocket-Protocol: rr.json"], ["rr.json"]),
            ([b"sec-websocket-protocol: b , a,rr.json"], ["b", "a", "rr.json"]),
            ([b"Sec-WebSocket-Protocol: a", b"X: y", b"SEC-WEBSOCKET-PROTOCOL: b"], ["a", "b"]),
        ],
    )
    def test_are_in_the_clients_order(self, lines: list[bytes], names: list[str]) -> None:
        assert requested_subprotocols(parse_request_head(raw(b"GET / HTTP/1.1", b"Host: a", *lines))) == names
