"""What all WebSockets of a server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rr_py_ws.adapters.ws.gap_closer import GapCloser
from rr_py_ws.adapters.ws.metrics import WebSocketMetrics
from rr_py_ws.adapters.ws.read_throttle import ReadTurns
from rr_py_ws.config import Limits
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.session_context import SessionContext
from rr_py_ws.core.token_bucket import TokenBucket


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """The surroundings of a connection, the same for all of them.

    Attributes:
        limits: `websockets.limits`.
        session: see `SessionContext`.
        counters: what happens is counted there.
        bucket: how fast each client may send.
        turns: whose frames are looked at in a turn of the event loop.
        backpressure: told of receivers that are behind.
        gaps: closes who cannot be told of a gap.
        close_timeout: seconds that a peer may take to read the last of what was sent and to close its side;
            then the connection is cut.
        closed: called with a connection whose socket is gone, and the code of the close frame that was sent
            to it, None when there was none.
    """

    limits: Limits
    session: SessionContext
    counters: WebSocketMetrics
    bucket: TokenBucket
    turns: ReadTurns
    backpressure: Backpressure
    gaps: GapCloser
    close_timeout: float
    closed: Callable[[Any, int | None], None]
