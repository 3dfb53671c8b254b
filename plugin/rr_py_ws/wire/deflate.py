"""Compressed pushes: the sending half of permessage-deflate (RFC 7692).

Nothing of a message helps to compress the next one (`server_no_context_takeover`). That costs some of the
gain, and buys that a message is compressed once for all connections, and that no connection has a window of
its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from rr_py_ws.wire.framing.websocket import RSV1, frame_payload, server_frame
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.push import Encoding

Schedule = Callable[[Callable[[], None]], object]

TAIL = b"\x00\x00\xff\xff"
"""What a flush ends with; left out of each message (RFC 7692 section 7.2.1)."""

_LARGEST = 256 * 1024
"""Compressing holds everything else up: a message of this size for 1 ms, for 12 ms if it has no pattern."""
_TURN = 4 * 1024 * 1024
"""What may be compressed in one turn of the event loop, in all forms: each byte of a message counts as one,
each byte that it becomes as ten, which is what is slow. That is 15 ms; what follows is sent as it is."""
_MEMORY = 5
"""Makes messages as short as zlib's default of 8 does, and is set up faster by a microsecond or two."""


@dataclass(slots=True)
class DeflateMetrics:
    """What compression has done so far.

    Attributes:
        agreed: handshakes that ended with it.
        messages: pushes that were compressed, each once for each form in which somebody gets it.
        saved: bytes that these are shorter, however many connections they are sent to.
    """

    agreed: int = 0
    messages: int = 0
    saved: int = 0


class Compressor:
    """Makes compressed forms of pushes.

    Args:
        level: zlib's, 1 (fast) to 9 (small).
        min_size: a message below so many bytes is sent as it is; so is one that does not become shorter.
        counters: counts what is compressed.
        schedule: calls its argument once, after the current turn of the loop (`loop.call_soon`).
    """

    def __init__(self, level: int, min_size: int, counters: DeflateMetrics, schedule: Schedule) -> None:
        self._level = level
        self._min_size = min_size
        self._counters = counters
        self._schedule = schedule
        self._left = _TURN
        self._encodings: dict[tuple[Encoding, int], Encoding] = {}

    def encoding(self, plain: Encoding, window_bits: int) -> Encoding:
        """Return the compressed form of an encoding, always the same one, so that connections share it.

        Args:
            plain: without compression.
            window_bits: how far the receiver can look back, as a power of two, 9 to 15.
        """
        key = plain, window_bits
        if key not in self._encodings:

            def push(publication: Publication) -> bytes:
                return self._compress(plain.push(publication), window_bits)

            positioned = None if plain.positioned is None else self.encoding(plain.positioned, window_bits)
            self._encodings[key] = Encoding(plain.subprotocol, push, deflated=True, positioned=positioned)
        return self._encodings[key]

    def _compress(self, frame: bytes, window_bits: int) -> bytes:
        message = frame_payload(frame)
        if not self._min_size <= len(message) <= _LARGEST or self._left <= 0:
            return frame
        if self._left == _TURN:
            self._schedule(self._begin_turn)
        deflate = zlib.compressobj(self._level, zlib.DEFLATED, -window_bits, _MEMORY)
        deflated = deflate.compress(message) + deflate.flush(zlib.Z_SYNC_FLUSH)
        self._left -= len(message) + 10 * len(deflated)
        saved = len(message) - len(deflated) + len(TAIL)
        if saved <= 0:
            return frame
        self._counters.messages += 1
        self._counters.saved += saved
        return server_frame(frame[0] | RSV1, deflated[: -len(TAIL)])

    def _begin_turn(self) -> None:
        self._left = _TURN
