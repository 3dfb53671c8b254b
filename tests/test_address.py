from __future__ import annotations

import pytest

from rr_py_ws.address import TCPAddress, UnixAddress, parse_dsn, parse_host_port


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("tcp://127.0.0.1:6001", TCPAddress("127.0.0.1", 6001)),
        ("tcp://:6001", TCPAddress("", 6001)),
        ("tcp://[::1]:6001", TCPAddress("::1", 6001)),
        ("tcp://localhost:0", TCPAddress("localhost", 0)),
        ("unix:///run/rr.sock", UnixAddress("/run/rr.sock")),
        ("unix://rr.sock", UnixAddress("rr.sock")),
    ],
)
def test_addresses_are_read_and_written(dsn: str, address: TCPAddress | UnixAddress) -> None:
    assert parse_dsn(dsn) == address
    assert address.dsn == dsn
    assert str(address) == dsn.partition("://")[2]


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "127.0.0.1:6001",
        "tcp:127.0.0.1:6001",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:x",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:٣",
        "tcp://127.0.0.1:65536",
        "tcp://::1:6001",
        "unix://",
        "unix://a\0b",
        "tcp://a\0b:6001",
        "tcp://[]:6001",
        "tcp:// :6001",
        "tcp://a://b:6001",
        "udp://127.0.0.1:6001",
        "pipes",
    ],
)
def test_anything_else_is_refused_by_name(dsn: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write tcp://host:port") as caught:
        parse_dsn(dsn)
    assert str(caught.value).startswith(repr(dsn))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", TCPAddress("127.0.0.1", 80)),
        (":80", TCPAddress("", 80)),
        ("[::1]:65535", TCPAddress("::1", 65535)),
        ("example.com:0", TCPAddress("example.com", 0)),
    ],
)
def test_host_and_port_are_read_and_written(text: str, address: TCPAddress) -> None:
    assert parse_host_port(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "80", "host", "host:", "::1:80", "host:x", "host:٣", ":65536", "a\nb:80", "[]:80", " :80", "a b:80"],
)
def test_what_is_not_host_and_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write host:port") as caught:
        parse_host_port(text)
    assert str(caught.value).startswith(repr(text))


def test_a_host_is_not_cut_at_a_nul() -> None:
    """The resolver cut it: a server with the address `127.0.0.1\\0.example.com:80` listened on 127.0.0.1."""
    with pytest.raises(ValueError, match="is not an address"):
        parse_host_port("127.0.0.1\0.example.com:80")


@pytest.mark.parametrize(
    ("dsn", "local"),
    [
        ("tcp://127.8.0.1:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://localhost:1", True),
        ("unix:///run/rr.sock", True),
        ("tcp://:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://10.0.0.1:1", False),
        ("tcp://localhost.example.com:1", False),
    ],
)
def test_who_can_reach_an_address(dsn: str, local: bool) -> None:
    assert parse_dsn(dsn).is_local is local


@pytest.mark.parametrize(
    ("host", "every"),
    [
        ("", True),
        ("0.0.0.0", True),
        ("0", True),
        ("0x0.0", True),
        ("::", True),
        ("0:0::", True),
        ("::ffff:0.0.0.0", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("localhost", False),
        ("0.example.com", False),
    ],
)
def test_which_addresses_are_every_address_of_the_machine(host: str, every: bool) -> None:
    assert TCPAddress(host, 80).is_every is every
