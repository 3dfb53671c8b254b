"""What the clients of a server have asked for so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rr_py_ws.wire.recovery import Recovered

JOIN_REFUSALS = (
    "authorization",
    "unanswered",
    "broker",
    "topics",
    "topics_per_command",
    "topic_length",
    "joins_waiting",
)
"""Why a join was answered with `#join`; `unanswered` is for a PHP that failed to decide."""
LEAVE_REFUSALS = ("broker", "topics_per_command")
"""Why a leave was answered with `#leave`."""

RECOVERIES = ("recovered", "epoch", "trimmed", "limit", "ahead", "off")
"""What becomes of a wish for the history of a topic."""


@dataclass(slots=True)
class CommandMetrics:
    """What the clients of a server have asked for so far.

    Attributes:
        joins: join commands.
        joins_refused: reason -> those that were answered with `#join`.
        joins_waiting: those that wait for the authorizer now.
        leaves: leave commands.
        leaves_refused: reason -> those that were answered with `#leave`.
        recoveries: what became of wishes for the histories of topics -> how many.
        replayed: messages that were sent again for these.
        headers: headers commands.
        ignored: messages that are not a command.
        waiting: messages that wait behind a command that is not answered.
        waiting_bytes: the same in bytes.
    """

    joins: int = 0
    joins_refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JOIN_REFUSALS, 0))
    joins_waiting: int = 0
    leaves: int = 0
    leaves_refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEAVE_REFUSALS, 0))
    recoveries: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RECOVERIES, 0))
    replayed: int = 0
    headers: int = 0
    ignored: int = 0
    waiting: int = 0
    waiting_bytes: int = 0

    def count_recoveries(self, told: Iterable[Recovered]) -> None:
        """Count what a client is told of its wishes."""
        for _, _, replayed, reason in told:
            self.recoveries[reason or "recovered"] += 1
            self.replayed += replayed
