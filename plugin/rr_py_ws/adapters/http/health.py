"""`websockets.health_path`: readiness on the clients' port, for load balancers that ask nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from rr_py_ws.adapters.http.connection import HTTPConnection
from rr_py_ws.wire.verdict import Verdict

_READY = Verdict(200, (), b"ready\n")
_NOT_READY = Verdict(503, (), b"not ready\n")


def health_handler(ready: Callable[[], bool]) -> Callable[[HTTPConnection], None]:
    """Make a handler that answers every method: 200 when the server is ready, else 503.

    While the server stops there is no handler any more: every request is answered 503.
    """

    def handle(connection: HTTPConnection) -> None:
        connection.answer(_READY if ready() else _NOT_READY)

    return handle
