from __future__ import annotations

import pytest

from rr_py_ws.address import TCPAddress, UnixAddress, parse_dsn


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
    assert str(address) == dsn


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
        "udp://127.0.0.1:6001",
        "pipes",
    ],
)
def test_anything_else_is_refused_by_name(dsn: str) -> None:
    with pytest.raises(ValueError, match="is no address; write tcp://host:port") as caught:
        parse_dsn(dsn)
    assert str(caught.value).startswith(repr(dsn))
