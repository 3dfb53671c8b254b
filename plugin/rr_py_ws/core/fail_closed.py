"""The rule "authorization fails closed", whatever an authorizer does."""

from __future__ import annotations

from rr_py_ws import logs
from rr_py_ws.wire.verdict import FAILED, Verdict

log = logs.get_limited("websockets")


def fail_closed(error: Exception) -> Verdict:
    """Return the refusal that takes the place of what an authorizer raised, which it should not.

    Whoever asks an authorizer catches every exception, of the call and of the awaitable that it returned, and
    goes on with this verdict.
    """
    log.error("authorizer failed", error=f"{type(error).__name__}: {error}")
    return FAILED
