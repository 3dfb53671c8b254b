"""`http.ssl.redirect`: the values are those that RoadRunner 2.11.4 answers with."""

from __future__ import annotations

import pytest

from rr_py_ws.wire.http import parse_request_head
from rr_py_ws.wire.redirect import redirect_to_tls


def head(target: str, host: str = "app.test", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("host", "port", "location"),
    [
        ("app.test", 443, "https://app.test/ws"),
        ("app.test", 8443, "https://app.test:8443/ws"),
        ("app.test:8080", 443, "https://app.test/ws"),
        ("app.test:8080", 8443, "https://app.test:8443/ws"),
        ("127.0.0.1:80", 444, "https://127.0.0.1:444/ws"),
        # RoadRunner cuts at the first colon, which leaves `[` of an IPv6 address.
        ("[::1]:8080", 8443, "https://[::1]:8443/ws"),
        ("[::1]", 443, "https://[::1]/ws"),
    ],
)
def test_the_port_is_that_of_the_listener_with_tls(host: str, port: int, location: str) -> None:
    verdict = redirect_to_tls(parse_request_head(head("/ws", host)), port)
    assert verdict.status == 308
    assert dict(verdict.headers) == {
        "Location": location,
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "Content-Type": "text/html; charset=utf-8",
    }
    assert verdict.body == f'<a href="{location}">Permanent Redirect</a>.\n\n'.encode()


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/", "/"),
        ("/ws?a=1&b=%20", "/ws?a=1&b=%20"),
        ("/ws?", "/ws"),
        ("/a%2Fb%20c", "/a/b%20c"),
        ("/a!b'(c)*", "/a%21b%27%28c%29%2A"),
        ("/%3Fx%23y", "/%3Fx%23y"),
        ("http://other.test/ws?x", "/ws?x"),
    ],
)
def test_path_and_query_are_kept(target: str, location: str) -> None:
    verdict = redirect_to_tls(parse_request_head(head(target)), 443)
    assert dict(verdict.headers)["Location"].endswith(f".test{location}")


def test_the_host_of_an_absolute_target_counts() -> None:
    """RFC 9112, 3.2.2."""
    verdict = redirect_to_tls(parse_request_head(head("http://other.test:81/ws", "app.test")), 443)
    assert dict(verdict.headers)["Location"] == "https://other.test/ws"


def test_the_body_cannot_carry_markup_of_the_sender() -> None:
    verdict = redirect_to_tls(parse_request_head(head("/ws?\"><script>alert('1')&amp;")), 443)
    assert b"<script>" not in verdict.body
    assert b"?&#34;&gt;&lt;script&gt;alert(&#39;1&#39;)&amp;amp;" in verdict.body


def test_other_methods_than_get_and_head_get_no_body() -> None:
    verdict = redirect_to_tls(parse_request_head(head("/ws", method="DELETE")), 443)
    assert verdict.body == b""
    assert "Content-Type" not in dict(verdict.headers)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("*", "app.test"),
        ("@evil.test:", "app.test"),
        (".evil.test:80", "app.test"),
        ("app.test:80", "app.test"),
        ("/ws", ""),
    ],
)
def test_what_has_no_url_is_sent_nowhere(target: str, host: str) -> None:
    """Points 1 and 2: it would become `https://app.test:8443@evil.test:`, or `https://:8443/ws`."""
    verdict = redirect_to_tls(parse_request_head(head(target, host)), 8443)
    assert (verdict.status, verdict.headers) == (400, ())
