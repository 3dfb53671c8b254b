from __future__ import annotations

import pytest

from rr_py_ws.address import (
    TCPAddress,
    UnixAddress,
    format_peer,
    network_of,
    parse_dsn,
    parse_host_port,
    parse_http_target,
)


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


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


@pytest.mark.parametrize("address", ["", "unix", "10.0.0.256"])
def test_what_is_no_ip_address_counts_as_nothing(address: str) -> None:
    assert network_of(address) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (("192.0.2.7", 41234), "192.0.2.7:41234"),
        (("::ffff:192.0.2.7", 41234, 0, 0), "192.0.2.7:41234"),
        (("2001:db8::7", 41234, 0, 0), "[2001:db8::7]:41234"),
        (("fe80::7%eth0", 41234, 0, 2), "[fe80::7%eth0]:41234"),
        ("", "unknown"),
        (b"", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_peer_is_written_as_host_and_port(name: object, text: str) -> None:
    """Point 16: the log had `('192.0.2.7', 41234)`, and in other lines no port."""
    assert format_peer(name) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8080", TCPAddress("127.0.0.1", 8080)),
        ("http://app", TCPAddress("app", 80)),
        ("http://app/", TCPAddress("app", 80)),
        ("http://[::1]", TCPAddress("::1", 80)),
        ("http://[::1]:81/", TCPAddress("::1", 81)),
        ("unix:///run/app.sock", UnixAddress("/run/app.sock")),
    ],
)
def test_a_server_of_http(text: str, address: TCPAddress | UnixAddress) -> None:
    assert parse_http_target(text) == address


NO_SERVERS = (
    "https://app app:80 http:// http://:80 http://app:0 http://u@app:80 http://u:p@app http://app/x"
    " http://app:80/x http://app?x tcp://app:80 unix:// http://app:80#x"
)


@pytest.mark.parametrize("text", NO_SERVERS.split())
def test_what_is_no_server_of_http(text: str) -> None:
    with pytest.raises(ValueError, match="write http://host:port or unix://path"):
        parse_http_target(text)
