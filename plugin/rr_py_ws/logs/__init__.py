"""Logs: one line per event, per channel, in the formats of RoadRunner's `logs` section.

::

    log = logs.get_logger("websockets")         # at module level, before or after setup
    log.info("client joined", topics=3)
    peer_log = logs.get_limited("websockets")   # for events that a peer can cause again and again

The event is a constant text; values that vary go into fields. The program calls `setup` once; until then
warnings and errors go to stderr. A logger belongs to a channel, never to a connection, which is a field.
Control characters in events and fields never reach a terminal and never split a line.

An event passes through four steps: `Logger` checks level and rate, `Renderer` makes the line, `OutputQueue`
takes the line from the caller, and an `Output` writes the line in a thread of its own.
"""

from __future__ import annotations

from rr_py_ws.logs.limiter import Limiter
from rr_py_ws.logs.loggers import (
    Logger,
    get_limited,
    get_logger,
    metrics,
    print_line,
    set_levels,
    setup,
    shutdown,
)
from rr_py_ws.logs.render import escape
from rr_py_ws.logs.routes import try_outputs

__all__ = [
    "Limiter",
    "Logger",
    "escape",
    "get_limited",
    "get_logger",
    "metrics",
    "print_line",
    "set_levels",
    "setup",
    "shutdown",
    "try_outputs",
]
