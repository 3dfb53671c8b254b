from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws import logs
from rr_py_ws.adapters.http import proxies
from rr_py_ws.adapters.http.proxies import TrustedProxies
from rr_py_ws.config.models import ClientAddressHeader
from rr_py_ws.wire.http import RequestHead

PEER = "10.1.2.3"
SUBNETS = ["10.0.0.0/8", "fc00::/7", "192.0.2.7"]
PROXIES = TrustedProxies(SUBNETS)
CLIENT = "198.51.100.1"
HEADERS = get_args(ClientAddressHeader)


def head(*fields: tuple[str, str]) -> RequestHead:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    first = {name.lower(): value for name, value in reversed(pairs)}
    names = [name.lower() for name, _ in pairs]
    repeated = frozenset(name for name in names if names.count(name) > 1)
    return RequestHead("GET", "/ws", "1.1", pairs, first, repeated)


def claimed(*values: str, name: str = "X-Forwarded-For") -> str:
    """The client's address as a trusted proxy's header tells it, a line for each value."""
    return TrustedProxies(SUBNETS, name).client_address(PEER, head(*((name, value) for value in values)))


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_of_the_proxy_names_the_client(name: str) -> None:
    prefix = "for=" if name == "forwarded" else ""
    assert claimed(f"{prefix}{CLIENT}", name=name) == CLIENT


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_the_proxy_does_not_write_are_not_read(name: str) -> None:
    """Point 3: a proxy passes on what it does not know, and a client's `Forwarded` counted."""
    claims = [(other, "203.0.113.9") for other in HEADERS if other not in (name, "forwarded")]
    claims.append(("forwarded", "for=203.0.113.9" if name != "forwarded" else f"for={CLIENT}"))
    if name != "forwarded":
        claims.append((name, CLIENT))
    assert TrustedProxies(SUBNETS, name).client_address(PEER, head(*claims)) == CLIENT


@pytest.mark.parametrize(
    "values",
    [
        [f"203.0.113.1, 203.0.113.2, {CLIENT}"],
        [f"203.0.113.1,203.0.113.2,{CLIENT}"],
        ["203.0.113.1", CLIENT],
        ["203.0.113.1, 203.0.113.2", f" {CLIENT} , 10.0.0.9"],
        [f"203.0.113.1, {CLIENT}, 10.0.0.1, 192.0.2.7"],
        [f"203.0.113.1, {CLIENT}, 10.0.0.1:80, [fd00::1]:80"],
        [f'"203.0.113.1, {CLIENT}'],
        [f"10.0.0.5, 10.0.0.6, {CLIENT}"],
        [f"unknown, {CLIENT}"],
        [f", ,{CLIENT}, ,"],
    ],
)
def test_the_first_sender_on_the_way_back_that_is_no_proxy_counts(values: list[str]) -> None:
    """Point 3: nginx adds the address that it sees to what the client has written before."""
    assert claimed(*values) == CLIENT


def test_forged_addresses_do_not_make_a_client_many() -> None:
    """Point 3: five of them got past `max_connections_per_address: 2`."""
    assert {claimed(f"203.0.113.{number}, {CLIENT}") for number in range(5)} == {CLIENT}
    assert {
        claimed(f"for=203.0.113.{number}", f"for={CLIENT};proto=https", name="Forwarded")
        for number in range(5)
    } == {CLIENT}


@pytest.mark.parametrize("values", [["10.0.0.9"], ["10.0.0.9, 10.0.0.8"], ["10.0.0.9", "fd00::1"]])
def test_when_all_are_proxies_the_farthest_is_the_client(values: list[str]) -> None:
    assert claimed(*values) == "10.0.0.9"


@pytest.mark.parametrize(
    "hidden", ["unknown", "_hidden", "localhost", "198.51.100.256", "<b>", "unix:", "::1/64"]
)
def test_what_is_behind_a_sender_without_an_address_is_not_believed(hidden: str) -> None:
    assert claimed(f"203.0.113.1, {hidden}") == PEER
    assert claimed(f"203.0.113.1, {hidden}, 10.0.0.9") == "10.0.0.9"


@pytest.mark.parametrize("values", [[], [""], [", ,"]])
def test_a_proxy_that_says_nothing_speaks_for_itself(values: list[str]) -> None:
    assert claimed(*values) == PEER


def test_a_proxy_that_writes_another_header_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Point 3: with RoadRunner's file and a proxy that writes `X-Real-IP`, all clients would be one."""
    monkeypatch.setattr(proxies, "log", logs.get_logger("websockets"))
    trusted = TrustedProxies(SUBNETS)
    assert trusted.client_address(PEER, head()) == PEER
    assert trusted.client_address("203.0.113.1", head(("X-Real-IP", CLIENT))) == "203.0.113.1"
    assert capsys.readouterr().err == ""
    for _ in range(2):
        assert trusted.client_address(PEER, head(("X-Real-IP", CLIENT))) == PEER
    line = capsys.readouterr().err
    assert line.count("websockets.client_address_header") == 1
    assert '"read": "x-forwarded-for", "found": "x-real-ip", "remote": "10.1.2.3"' in line


@pytest.mark.parametrize("peer", ["198.51.100.1", "11.0.0.1", "192.0.2.8", "2001:db8::1", "", "@socket"])
def test_a_peer_that_is_not_trusted_speaks_for_itself(peer: str) -> None:
    assert PROXIES.client_address(peer, head(("X-Forwarded-For", "203.0.113.1"))) == peer


@pytest.mark.parametrize("peer", ["10.0.0.0", "10.255.255.255", "fd00::1", "192.0.2.7", "::ffff:10.0.0.1"])
def test_trusted_are_all_in_the_subnets(peer: str) -> None:
    assert PROXIES.client_address(peer, head(("X-Forwarded-For", "203.0.113.1"))) == "203.0.113.1"


def test_a_subnet_may_be_written_with_a_host_in_it() -> None:
    trusted = TrustedProxies(["10.1.2.3/8"])
    assert trusted.client_address("10.9.9.9", head(("x-forwarded-for", "203.0.113.1"))) == "203.0.113.1"


def test_a_subnet_of_ipv4_may_be_written_as_one_of_ipv6() -> None:
    """Point 3: the addresses in it are looked at as those of IPv4."""
    proxies = TrustedProxies(["::ffff:172.16.0.0/108"])
    assert proxies.trusts("172.31.255.1") and proxies.trusts("::ffff:172.16.0.1")
    assert not proxies.trusts("172.32.0.1") and not proxies.trusts("::1")


def test_without_subnets_nobody_is_trusted() -> None:
    assert TrustedProxies([]).client_address(PEER, head(("X-Forwarded-For", "203.0.113.1"))) == PEER


def test_a_subnet_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="ten/8"):
        TrustedProxies(["ten/8"])


@given(
    st.sampled_from(HEADERS),
    st.lists(
        st.text(st.characters(max_codepoint=0xFF)) | st.text(st.sampled_from("for=[]\"';:, 1.%")), max_size=3
    ),
)
def test_no_header_breaks_it(name: str, values: list[str]) -> None:
    address = claimed(*values, name=name)
    assert address
    assert not {"\r", "\n", " ", ",", "%"} & set(address)
