"""What the peers of an RPC server may make it hold."""

from __future__ import annotations

from dataclasses import dataclass

from rr_py_ws.wire.goridge import DEFAULT_MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class RPCLimits:
    """`websockets.limits`, as far as RPC is concerned.

    Attributes:
        connections: open at a time; one more is closed at once.
        calls: unfinished ones of one connection, at which it is not read any more.
        payload: bytes in one frame; a larger one is passed over, and answered with an error.
        frame_timeout: seconds that a frame may take to arrive, for each MiB of it.
        unfinished: bytes in memory of all frames that have arrived in part. Over it, only the one that was
            begun first is read on.
    """

    connections: int = 1024
    calls: int = 1024
    payload: int = DEFAULT_MAX_PAYLOAD
    frame_timeout: float = 30.0
    unfinished: int = 4 * DEFAULT_MAX_PAYLOAD
