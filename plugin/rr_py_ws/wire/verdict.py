"""What is decided about a client: whether it may connect, or join topics."""

from __future__ import annotations

from dataclasses import dataclass

from rr_py_ws.wire.details import NO_DETAILS, Details

ALLOWS = 200
"""The only status that means yes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer about one handshake or join.

    Attributes:
        status: HTTP status; exactly 200 allows.
        headers: name and value pairs, in order, to pass on with a refusal. Names are tokens, values have no
            control characters but TAB.
        body: bytes to pass on with a refusal.
        reason: why, when it was not PHP that refused; for clients that ask for reasons.
        answered: False when PHP should have decided and could not.
        grant: what the authorizer wants to see again with each join; opaque to everybody else.
        details: what an application has said beside yes.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reason: str = ""
    answered: bool = True
    grant: object = None
    details: Details = NO_DETAILS

    @property
    def allowed(self) -> bool:
        """Whether the client may go on."""
        return self.status == ALLOWS

    @property
    def size(self) -> int:
        """Bytes of headers and body."""
        return len(self.body) + sum([len(name) + len(value) for name, value in self.headers])

    def shows_history(self, topic: str) -> bool:
        """Whether the client may see what was published to a topic before it joined."""
        return topic not in self.details.without_history and not self.details.without_histories


def unanswered(reason: str) -> Verdict:
    """Return what somebody is refused with when nobody could decide."""
    return Verdict(400, reason=reason, answered=False)


ALLOWED = Verdict(200)
FAILED = unanswered("PHP gave no answer")
