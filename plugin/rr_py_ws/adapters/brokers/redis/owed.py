"""Topics whose epoch has to end, because a message of theirs was delivered that no history holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rr_py_ws.errors import BrokerError

_MOST = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Debt:
    """What is owed to one topic.

    Attributes:
        epoch: that has to end; `*` for the one that there is.
    """

    epoch: str


class Owed:
    """What is to be made up for."""

    def __init__(self) -> None:
        self._debts: dict[str, Debt] = {}

    @property
    def topics(self) -> Sequence[str]:
        """Which topics."""
        return tuple(self._debts)

    def add(self, topic: str, epoch: str = "") -> None:
        """A message of a topic was delivered that is not kept.

        Args:
            topic: which one.
            epoch: in which it is missing, if that is known.

        Raises:
            BrokerError: there are too many.
        """
        if len(self._debts) >= _MOST and topic not in self._debts:
            raise BrokerError(f"redis cannot keep the messages of more than {_MOST} topics")
        owed = self._debts.get(topic)
        # The one that there is may be another one than any that is known here, so it stays owed.
        self._debts[topic] = Debt("*" if owed is not None and owed.epoch == "*" else epoch or "*")

    def find(self, topic: str) -> Debt | None:
        """Return what is owed to a topic."""
        return self._debts.get(topic)

    def settle(self, topic: str, debt: Debt | None) -> None:
        """A debt is paid; what was owed since is not."""
        if debt is not None and self._debts.get(topic) is debt:
            del self._debts[topic]
