"""Point 12: a rule that can match nobody is said to be one, by `check` and at the start."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rr_py_ws.config import Config, check, unmatched_rules
from rr_py_ws.core.origin import OriginRule

Load = Callable[..., Config]

BASE = (
    "rpc: {listen: 'tcp://127.0.0.1:6001'}\nserver: {command: php worker.php}\n"
    "http: {address: ':80', middleware: [websockets]}\nwebsockets: {broker: main}\n"
    "broadcast: {main: {driver: memory, config: {}}}\n"
)
PAGES = [
    "https://example.com",
    "http://example.com",
    "https://www.example.com",
    "https://example.com:8443",
    "http://localhost:3000",
    "http://localhost",
    "http://[::1]:8080",
    "https://xn--bcher-kva.example",
    "https://a.b.example.com",
    "chrome-extension://abcdefgh",
    "capacitor://localhost",
    "null",
    "http://127.0.0.1:8000",
]

MATCH = [
    *PAGES,
    "*",
    "https://*",
    "https://*.example.com",
    "*.example.com",
    "*example.com",
    "HTTPS://Example.com",
    "*://example.com",
    "http*://example.com",
    "http://localhost:*",
    "http://localhost*",
    "https://example.*",
    "https://*.example.com:8443",
    "http://[::1]*",
    "https*",
]
MATCH_NONE = [
    ("example.com", "https://example.com"),
    ("localhost", "https://localhost"),
    ("localhost:3000", "https://localhost:3000"),
    ("https://example.com/", "https://example.com"),
    ("https://example.com/app", "https://example.com"),
    ("https://*.example.com/", "https://*.example.com"),
    ("https://example.com:443", "https://example.com"),
    ("http://example.com:80", "http://example.com"),
    ("wss://example.com", "https://example.com"),
    ("ws://localhost:8080/ws", "https://localhost:8080"),
    ("example.*", "https://example.*"),
    ("https://*.*.example.com", ""),
    ("https://bücher.example", ""),
    ("^https://.*$", ""),
    ("https://a b.example", ""),
    ("https://", ""),
    ("https:example.com", ""),
    ("any", "https://any"),
    ("https://user@example.com", ""),
]


def rules(load: Load, origin: str) -> list[str]:
    config = load(BASE, overrides=[f"websockets.allowed_origin={origin}"])
    return [f"{key}: {text}" for key, text in unmatched_rules(config)]


@pytest.mark.parametrize("origin", MATCH)
def test_an_origin_that_pages_have_is_no_mistake(load: Load, origin: str) -> None:
    assert rules(load, origin) == []


@pytest.mark.parametrize(("origin", "meant"), MATCH_NONE)
def test_an_origin_that_no_page_has_is_told_with_what_was_meant(load: Load, origin: str, meant: str) -> None:
    [text] = rules(load, origin)
    assert text.startswith("websockets.allowed_origin: ") and "matches no page" in text
    assert text.endswith(f"no path, did you mean {meant}?" if meant else "no path")
    # The rule itself says the same of every page here.
    assert not any(OriginRule([origin]).allows(page) for page in PAGES)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "websockets.path: /ws?x=1",
            'websockets.path: "/ws?x=1" matches no request:'
            " the path is compared without its query and decoded, so it has no ?",
        ),
        (
            "websockets.path: /a%20b",
            'websockets.path: "/a%20b" matches no request:'
            " the path is compared without its query and decoded, so it has no %",
        ),
        (
            "http.trusted_subnets: [10.0.0.0/8]",
            "http.trusted_subnets: ignored, http.middleware does not list proxy_ip_parser",
        ),
        (  # Point 2: an authority that protects nothing
            "http.ssl: {cert: a.pem, key: a.pem, root_ca: b.pem}",
            "http.ssl.root_ca: nobody is asked for a certificate, client_auth_type is no_client_cert",
        ),
        (
            "logs.channels.websocket: {level: error}",
            "logs.channels.websocket: nothing is logged there, did you mean websockets?",
        ),
    ],
)
def test_other_rules_that_match_nobody(load: Load, text: str, warning: str) -> None:
    config = load(f"{BASE}{text}\n")
    assert [one.text for one in check(config) if one.kind == "warning"] == [warning]
