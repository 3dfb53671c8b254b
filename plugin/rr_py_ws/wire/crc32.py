"""The checksum in the entity tags of RoadRunner's `static`: a CRC-32 with a polynomial of its own.

zlib has only the usual polynomial, and a table that is looked up for each byte takes nine times as long as
this. The message is taken as one long number, a polynomial over GF(2), and made short by a rule that leaves
its remainder as it is: x to the power of `_DISTANCE` has the same remainder as the few `_TERMS`, and the
square of such a rule is the rule with all its exponents doubled. A fold takes a few shifts of the number.
"""

from __future__ import annotations

_POLYNOMIAL = 0x48D90782
"""Its bits in reverse order (static etag.go @v2.14.4)."""
_ONES = 0xFFFFFFFF
_SHORT = 1024  # bits; what is left is taken byte by byte


def crc32(data: bytes, before: int = 0) -> int:
    """Return the checksum.

    Args:
        data: the bytes, or the next of them.
        before: the checksum of all bytes before.
    """
    register, bits = before ^ _ONES, 8 * len(data)
    if bits > _SHORT:
        # A register that is not empty is the same as other bytes at the beginning.
        number, register = int.from_bytes(data, "little") ^ register, 0
        while bits > _SHORT:
            number, bits = _fold(number, bits)
        data = (number << (-bits % 8)).to_bytes((bits + 7) // 8, "little")
    for byte in data:
        register = _TABLE[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ _ONES


def _fold(number: int, bits: int) -> tuple[int, int]:
    """Move the beginning of a message over what follows.

    Args:
        number: the message; its lowest bit is the coefficient of the highest power.
        bits: how many it has.
    """
    doubled = (bits // (2 * _DISTANCE)).bit_length() - 1
    first = bits - (_DISTANCE << doubled)
    moved, rest = number & ((1 << first) - 1), number >> first
    # The rest begins where the highest power of what is moved lands, or before.
    left = max(bits - first, first + (_TERMS[0] << doubled))
    folded = rest << (left - (bits - first))
    for exponent in _TERMS:
        folded ^= moved << (left - first - (exponent << doubled))
    return folded, left


def _after_zero(register: int) -> int:
    """Let a zero bit follow, which is to multiply with x."""
    return register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)


def _after_byte(register: int) -> int:
    for _ in range(8):
        register = _after_zero(register)
    return register


def _best_rule() -> tuple[int, tuple[int, ...]]:
    """Find a power of x whose remainder has few terms.

    Returns:
        Its exponent, and those of the terms, the highest first.
    """
    remainder, powers = 1 << 31, {}
    for exponent in range(_SHORT // 2):
        powers[exponent] = tuple(31 - bit for bit in range(32) if remainder >> bit & 1)
        remainder = _after_zero(remainder)
    distance = min(range(_SHORT // 4, _SHORT // 2), key=lambda exponent: len(powers[exponent]))
    return distance, powers[distance]


_TABLE = tuple(map(_after_byte, range(256)))
_DISTANCE, _TERMS = _best_rule()
