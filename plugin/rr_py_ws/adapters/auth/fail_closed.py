"""The rule "authorization fails closed", enforced whatever an authorizer does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from rr_py_ws import logs
from rr_py_ws.core.ports import Authorizer
from rr_py_ws.wire.access import FAILED, AccessRequest, Verdict

log = logs.get_limited("websockets")


class FailClosed:
    """An authorizer around another: when that one raises, which it should not, the answer is a refusal.

    Args:
        authorizer: the one that decides.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self.reads_requests = authorizer.reads_requests

    def connect(self, request: AccessRequest) -> Verdict | Awaitable[Verdict]:
        """See `Authorizer.connect`."""
        return _ask(lambda: self._authorizer.connect(request))

    def join(self, request: AccessRequest, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        """See `Authorizer.join`."""
        return _ask(lambda: self._authorizer.join(request, topics))


def _ask(question: Callable[[], Verdict | Awaitable[Verdict]]) -> Verdict | Awaitable[Verdict]:
    try:
        answer = question()
    except Exception as error:
        return _refuse(error)
    return answer if isinstance(answer, Verdict) else _wait(answer)


async def _wait(answer: Awaitable[Verdict]) -> Verdict:
    try:
        return await answer
    except Exception as error:
        return _refuse(error)


def _refuse(error: Exception) -> Verdict:
    log.error("authorizer failed", error=f"{type(error).__name__}: {error}")
    return FAILED
