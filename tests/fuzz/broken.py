"""A target with a fault, by which the tests see that faults are found."""

from __future__ import annotations

from contextlib import suppress

from rr_py_ws.errors import ProtocolError
from rr_py_ws.wire.goridge import FrameDecoder


def goridge(data: bytes) -> None:
    """Let out what the decoder never raises, and only for a stream that has a frame in it."""
    decoder = FrameDecoder()
    decoder.receive_data(data[1:])
    with suppress(ProtocolError):
        frame = decoder.next_frame()
        if frame is not None and len(frame.options) == 2:
            raise IndexError


TARGETS = {"goridge": goridge}
