"""What was published, and whether a subscriber got what it has a right to."""

from __future__ import annotations


class Ledger:
    """Messages of all publishers, which number theirs from 0 and send them one after another.

    Attributes:
        begun: publisher -> how many of its calls have been begun.
        accepted: publisher -> how many the server has accepted: all up to the last that it said so of.
    """

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.accepted: dict[str, int] = {}

    def begin(self, publisher: str) -> int:
        """Note that a call begins, before anything of it is sent; return the number of its message."""
        number = self.begun.setdefault(publisher, 0)
        self.begun[publisher] = number + 1
        return number

    def accept(self, publisher: str, number: int) -> None:
        """Note that the server has accepted this message; the calls are answered in order."""
        assert number == self.accepted.get(publisher, 0), f"{publisher}: reply {number} out of order"
        self.accepted[publisher] = number + 1


class Receipts:
    """What one subscriber got, and whether that is what it should have got.

    Attributes:
        wrong: what it should not have got, or not then; one text for each.
        count: how many messages it got.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._due: dict[str, int] | None = None
        self._next: dict[str, int] = {}
        self.wrong: list[str] = []
        self.count = 0

    def joined(self) -> None:
        """Note that `@join` has arrived: what is begun from now on is due; what came before is welcome."""
        self._due = dict(self._ledger.begun)

    def take(self, topic: str, payload: str) -> None:
        """Take a message `publisher:number:...`, published to the topic of that number."""
        publisher, digits, _ = payload.split(":", 2)
        number = int(digits)
        self.count += 1
        if publisher in self._next:
            expected = self._next[publisher]
            in_order = number == expected
        else:
            expected = number if self._due is None else self._due.get(publisher, 0)
            in_order = number <= expected
        if not in_order:
            self.wrong.append(f"{publisher}: {number} instead of {expected}")
        if topic != topic_of(number):
            self.wrong.append(f"{publisher}: {number} in {topic}")
        self._next[publisher] = number + 1

    def missing(self) -> dict[str, int]:
        """How many accepted messages have not come, by publisher."""
        assert self._due is not None
        had = self._due | self._next
        accepted = self._ledger.accepted.items()
        return {name: count - had.get(name, 0) for name, count in accepted if had.get(name, 0) < count}


TOPICS = ("north", "east", "south", "west")


def topic_of(number: int) -> str:
    """A publisher goes round all topics, so that its order is seen over all of them."""
    return TOPICS[number % len(TOPICS)]
