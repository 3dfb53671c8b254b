from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rr_py_ws.wire.crc32 import crc32

POLYNOMIAL = 0x48D90782


def bit_by_bit(data: bytes) -> int:
    """The definition."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (POLYNOMIAL if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 3639822934),
        (b"a.css", 3348524111),
        (bytes(range(256)) * 1000, 2698991436),
    ],
)
def test_the_values_are_those_of_go(data: bytes, expected: int) -> None:
    """Computed with hash/crc32 and the table of roadrunner-server/static v2.14.4."""
    assert crc32(data) == expected


@given(st.binary(max_size=700), st.integers(0, 700))
def test_any_bytes_in_one_or_two_pieces(data: bytes, at: int) -> None:
    assert crc32(data) == bit_by_bit(data)
    assert crc32(data[at:], crc32(data[:at])) == crc32(data)


@pytest.mark.parametrize("length", [*range(120, 140), 1023, 1024, 1025, 4096, 10_000])
def test_every_length(length: int) -> None:
    data = bytes(index * 7 % 251 for index in range(length))
    assert crc32(data) == bit_by_bit(data)
