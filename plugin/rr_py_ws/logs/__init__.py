"""Logs: one line per event, per channel, in the forms of RoadRunner's `logs` section.

::

    log = logs.get_logger("websockets")         # module level, before or after setup
    log.info("client joined", topics=3)
    peer_log = logs.get_limited("websockets")   # for whatever a peer can trigger again and again

`setup` is called once, by the application; until then warnings and errors go to stderr. A logger belongs to a
channel, never to a connection; a call below the level costs one empty function call. The event is a constant
text, what varies goes into fields. Control characters, from whomever, never reach a terminal or split a line.
"""

from __future__ import annotations

from rr_py_ws.logs.limiter import Limiter
from rr_py_ws.logs.loggers import Emit, Logger, get_limited, get_logger, setup, shutdown
from rr_py_ws.logs.render import escape

__all__ = ["Emit", "Limiter", "Logger", "escape", "get_limited", "get_logger", "setup", "shutdown"]
