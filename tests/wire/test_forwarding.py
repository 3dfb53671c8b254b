"""The forms in which proxies write addresses."""

from __future__ import annotations

import pytest

from rr_py_ws.wire.forwarding import addresses


def read(name: str, *lines: str) -> list[str | None]:
    """The senders, the one that the last proxy has seen first."""
    return [str(found) if found else None for found in addresses(name.encode(), list(lines))]


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" \t192.0.2.1\t ", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),  # Azure Application Gateway
        ("192.0.2.1:_port", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ('"192.0.2.1"', "192.0.2.1"),
        ('"192.0.2.1:4711"', "192.0.2.1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ('"\\[2001:db8::1\\]"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("unknown", None),
        ('"unknown"', None),
        ("_hidden", None),
        ('"_hidden:_80"', None),
        ("192.0.2", None),
        ("192.0.2.256", None),
        ("192.0.2.01", None),
        ("192.0.2.1:80:80", None),
        ("192.0.2.1 x", None),
        ("[2001:db8::1", None),
        ("2001:db8::1]", None),
        ("[]", None),
        ("unix:", None),
        ("app.example", None),
        ("é", None),
    ],
)
@pytest.mark.parametrize(
    "name", ["x-forwarded-for", "x-real-ip", "true-client-ip", "cf-connecting-ip", "forwarded"]
)
def test_every_header_knows_every_form(name: str, written: str, address: str | None) -> None:
    """Point 3."""
    assert read(name, f"for={written}" if name == "forwarded" else written) == [address]


@pytest.mark.parametrize(
    ("element", "address"),
    [
        (";for=192.0.2.1", "192.0.2.1"),  # RFC 7239: pairs may be left out
        ("proto=https;; ;for=192.0.2.1; ", "192.0.2.1"),
        (";", None),
        ("For=192.0.2.1;proto=https", "192.0.2.1"),
        ("proto=https; FOR=192.0.2.1 ;by=10.0.0.1", "192.0.2.1"),
        ("for = 192.0.2.1 ; by = _x", "192.0.2.1"),
        ("for=192.0.2.1;", "192.0.2.1"),
        ('for="[2001:db8::1]:4711";host="a.example:80"', "2001:db8::1"),
        ('host="a;for=203.0.113.9";for=192.0.2.1', "192.0.2.1"),
        ("by=192.0.2.1", None),
        ("for=192.0.2.1;for=203.0.113.9", None),
        ("for", None),
        ("for=", None),
        ("192.0.2.1", None),
        ('for="192.0.2.1', None),
        ('for="192.0.2.1"x', None),
    ],
)
def test_an_element_of_forwarded_names_its_sender(element: str, address: str | None) -> None:
    """Point 3: RFC 7239 section 4."""
    assert read("forwarded", element) == [address]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["a, 192.0.2.1, 192.0.2.2"], ["192.0.2.2", "192.0.2.1", None]),
        (["192.0.2.1,192.0.2.2", "192.0.2.3"], ["192.0.2.3", "192.0.2.2", "192.0.2.1"]),
        ([",, 192.0.2.1 ,\t,"], ["192.0.2.1"]),
        ([], []),
        ([""], []),
    ],
)
def test_several_lines_are_one_list(lines: list[str], found: list[str | None]) -> None:
    """Point 3."""
    assert read("x-forwarded-for", *lines) == found


@pytest.mark.parametrize(
    "written_by_client",
    ['for="', 'for="x', 'for=1.1.1.1;by="', '"', ";", 'for="a\\', "=,=", 'host="a,for='],
)
@pytest.mark.parametrize("written_by_proxy", ["for=192.0.2.1", 'for="192.0.2.1:80";host="a,for=203.0.113.9"'])
def test_what_the_client_has_written_does_not_hide_what_the_proxy_adds(
    written_by_client: str, written_by_proxy: str
) -> None:
    """Point 3: a quotation mark that never ends, before the proxy's element in the same line."""
    assert read("forwarded", f"{written_by_client}, {written_by_proxy}")[0] == "192.0.2.1"
    assert read("forwarded", written_by_client, written_by_proxy)[0] == "192.0.2.1"
