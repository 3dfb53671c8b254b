from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.wire.http import RequestHead

PEER = "10.1.2.3"
PROXIES = TrustedProxies(["10.0.0.0/8", "fc00::/7", "192.0.2.7"])


def head(**headers: str) -> RequestHead:
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return RequestHead("GET", "/ws", "1.1", fields, dict(fields))


def claimed(**headers: str) -> str:
    """The client's address as a trusted proxy's headers tell it."""
    return PROXIES.client_address(PEER, head(**headers))


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, PEER),
        ({"x_forwarded_for": "198.51.100.1"}, "198.51.100.1"),
        ({"x_forwarded_for": "198.51.100.1, 198.51.100.2, 10.0.0.1"}, "198.51.100.1"),
        (
            {"x_forwarded_for": "198.51.100.1,198.51.100.2"},
            "198.51.100.1",
        ),  # not every proxy writes the space
        ({"x_forwarded_for": "198.51.100.1 , 198.51.100.2"}, "198.51.100.1"),
        ({"x_forwarded_for": "2001:db8::1"}, "2001:db8::1"),
        ({"x_real_ip": "198.51.100.1"}, "198.51.100.1"),
        ({"true_client_ip": "198.51.100.1"}, "198.51.100.1"),
        ({"cf_connecting_ip": "198.51.100.1"}, "198.51.100.1"),
        ({"forwarded": "for=198.51.100.1"}, "198.51.100.1"),
        ({"forwarded": "For=198.51.100.1;proto=https"}, "198.51.100.1"),
        ({"forwarded": "proto=https; FOR=198.51.100.1 ;by=10.0.0.1, for=198.51.100.2"}, "198.51.100.1"),
        ({"forwarded": "proto=https, for=198.51.100.1, for=198.51.100.2"}, "198.51.100.1"),
        ({"forwarded": 'for="198.51.100.1:4711"'}, "198.51.100.1"),
        ({"forwarded": 'for="[2001:db8::1]"'}, "2001:db8::1"),
        ({"forwarded": 'for="[2001:db8::1]:4711"'}, "2001:db8::1"),
        ({"forwarded": 'for="2001:db8::1"'}, "2001:db8::1"),
    ],
)
def test_a_trusted_proxy_says_whom_it_speaks_for(headers: dict[str, str], address: str) -> None:
    assert claimed(**headers) == address


def test_headers_count_in_roadrunners_order() -> None:
    headers = {
        "forwarded": "for=198.51.100.1",
        "x_forwarded_for": "198.51.100.2",
        "x_real_ip": "198.51.100.3",
        "true_client_ip": "198.51.100.4",
        "cf_connecting_ip": "198.51.100.5",
    }
    found = []
    for name in tuple(headers):
        found.append(claimed(**headers))
        del headers[name]
    assert found == [f"198.51.100.{number}" for number in range(1, 6)]


@pytest.mark.parametrize(
    "claim",
    [
        "",
        "unknown",
        "_hidden",
        "localhost",
        "198.51.100",
        "198.51.100.256",
        "<b>",
        "127.0.0.1\r\nX: y",
        "::1/64",
    ],
)
@pytest.mark.parametrize("name", ["x_forwarded_for", "x_real_ip", "true_client_ip", "cf_connecting_ip"])
def test_a_claim_that_is_no_address_is_passed_over(name: str, claim: str) -> None:
    assert claimed(**{name: claim}) == PEER
    assert claimed(**{name: claim, "cf_connecting_ip": "198.51.100.9"}) == "198.51.100.9"


@pytest.mark.parametrize(
    "claim", ["", ";", ",", "for", "for=", "for=[", 'for="', "for=unknown", "for=_x", "by=10.0.0.1"]
)
def test_a_forwarded_header_without_an_address_is_passed_over(claim: str) -> None:
    assert claimed(forwarded=claim) == PEER
    assert claimed(forwarded=claim, x_real_ip="198.51.100.9") == "198.51.100.9"


@pytest.mark.parametrize("peer", ["198.51.100.1", "11.0.0.1", "192.0.2.8", "2001:db8::1", "", "@socket"])
def test_a_peer_that_is_not_trusted_speaks_for_itself(peer: str) -> None:
    assert PROXIES.client_address(peer, head(x_forwarded_for="203.0.113.1")) == peer


@pytest.mark.parametrize("peer", ["10.0.0.0", "10.255.255.255", "fd00::1", "192.0.2.7"])
def test_trusted_are_all_in_the_subnets(peer: str) -> None:
    assert PROXIES.client_address(peer, head(x_forwarded_for="203.0.113.1")) == "203.0.113.1"


def test_a_subnet_may_be_written_with_a_host_in_it() -> None:
    proxies = TrustedProxies(["10.1.2.3/8"])
    assert proxies.client_address("10.9.9.9", head(x_real_ip="203.0.113.1")) == "203.0.113.1"


def test_without_subnets_nobody_is_trusted() -> None:
    assert TrustedProxies([]).client_address(PEER, head(x_forwarded_for="203.0.113.1")) == PEER


def test_a_subnet_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="ten/8"):
        TrustedProxies(["ten/8"])


@given(st.text(st.characters(max_codepoint=0xFF)), st.text(st.sampled_from("for=[]\"';:, 1.")))
def test_no_header_breaks_it(anything: str, forwarded: str) -> None:
    address = claimed(forwarded=forwarded, x_forwarded_for=anything, x_real_ip=anything)
    assert address
    assert not {"\r", "\n", " ", ","} & set(address)
