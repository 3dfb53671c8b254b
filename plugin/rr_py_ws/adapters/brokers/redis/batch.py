"""Messages that one run of a script keeps and publishes."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from rr_py_ws.adapters.brokers.redis.calls import Argument, Command
from rr_py_ws.adapters.brokers.redis.marks import checksum_of, encode_exclude
from rr_py_ws.adapters.brokers.redis.owed import Debt
from rr_py_ws.adapters.brokers.redis.scripts import APPEND
from rr_py_ws.adapters.brokers.redis.topics import Topic
from rr_py_ws.core.history import Receipt
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.publication import Publication

_MOST = 128
"""Messages of one run, which keep Redis busy for some 0.5 ms, for 1 ms if each is of another topic;"""
_LARGEST = 256 * 1024
"""and bytes of their payloads, beside the last one."""


def as_it_is(receipt: Receipt) -> Receipt:
    """Answer a publisher with the whole receipt."""
    return receipt


class Final(NamedTuple):
    """What a publisher waits for; it may have gone.

    Attributes:
        future: of the publisher.
        answer: makes its result.
    """

    future: Future[Any]
    answer: Callable[[Receipt], Any] = as_it_is

    def set(self, receipt: Receipt) -> None:
        """The message was published."""
        if not self.future.done():
            self.future.set_result(self.answer(receipt))

    def fail(self, error: BaseException) -> None:
        """It was not, or nobody knows."""
        if not self.future.done():
            self.future.set_exception(error)


Outcome = Receipt | BrokerError | None
"""What became of a message; None when that is still to be seen."""


class Section:
    """What a batch has of one topic.

    Args:
        number: of the section, from 1.
        topic: which one.

    Attributes:
        number: as given.
        topic: as given.
        messages: in order, with who waits for each.
        items: what the script is told of them.
        debt: what is owed to the topic, and paid by this; set by who prepares.
    """

    __slots__ = ("debt", "items", "messages", "number", "topic")

    def __init__(self, number: int, topic: Topic) -> None:
        self.number = number
        self.topic = topic
        self.messages: list[tuple[Publication, Final]] = []
        self.items: list[Argument] = []
        self.debt: Debt | None = None

    def fail(self, error: BaseException) -> None:
        """Tell all who wait that their message was not published, or that nobody knows."""
        for _, final in self.messages:
            final.fail(error)


class Batch:
    """Messages that follow each other; implements `Run`.

    More can be added until the command is written. Then, and not before, it is asked for what else the script
    has to be told: that may change while messages are added.

    Args:
        prepare: returns the arguments, except for the keys.
        once: the idempotency key of the only message.

    Attributes:
        size: bytes of the payloads.
        count: messages.
        is_open: whether more may be added.
        has_key: whether there is an idempotency key.
    """

    __slots__ = (
        "_latest",
        "_once",
        "_order",
        "_prepare",
        "_prepared",
        "_sections",
        "_switches",
        "count",
        "has_key",
        "is_open",
        "size",
    )

    def __init__(self, prepare: Callable[[Batch], Sequence[Argument]], once: bytes = b"") -> None:
        self._prepare = prepare
        self._prepared: Command = ()
        self._once = once
        self._sections: dict[str, Section] = {}
        self._latest: Section | None = None
        self._order: list[int] = []
        self._switches = 0
        self.size = 0
        self.count = 0
        self.has_key = bool(once)
        self.is_open = not once

    @property
    def sections(self) -> Collection[Section]:
        """What there is of each topic."""
        return self._sections.values()

    @property
    def order(self) -> bytes:
        """The number of the section of each message; empty if it is section after section."""
        return b"" if self._switches == len(self._sections) else " ".join(map(str, self._order)).encode()

    def add(self, topic: Topic, publication: Publication, final: Final) -> None:
        """Add a message at the end."""
        section = self._latest
        if section is None or section.topic is not topic:
            section = self._sections.get(topic.name)
            if section is None:
                section = self._sections[topic.name] = Section(len(self._sections) + 1, topic)
            self._latest = section
            self._switches += 1
        payload = publication.payload
        exclude = encode_exclude(publication.exclude) if publication.exclude else b""
        section.items += (payload, checksum_of(payload), exclude)
        section.messages.append((publication, final))
        self._order.append(section.number)
        self.count += 1
        self.size += len(payload)
        if self.count == _MOST or self.size > _LARGEST:
            self.is_open = False

    def take_over(self, section: Section) -> None:
        """Have all that is in a section of another batch, and nothing else."""
        self._sections = {section.topic.name: section}
        section.number = self._switches = 1
        self.count = len(section.messages)
        self._order = [1] * self.count
        self.size = sum([len(publication.payload) for publication, _ in section.messages])
        self.is_open = False

    def is_of(self, topic: Topic) -> bool:
        """Whether the latest message, if there is one, is of this topic."""
        return self._latest is not None and self._latest.topic is topic

    def has(self, topic: Topic) -> bool:
        """Whether there is a message of a topic."""
        return topic.name in self._sections

    def by_digest(self) -> Command:
        """See `Run.by_digest`."""
        return (b"EVALSHA", APPEND.digest, *self._arguments())

    def with_text(self) -> Command:
        """See `Run.with_text`."""
        return (b"EVAL", APPEND.text, *self._arguments())

    def _arguments(self) -> Command:
        self.is_open = False
        if not self._prepared:  # the same again when it was not run: the server moved, or lacks the script
            keys = [key for section in self.sections for key in section.topic.keys]
            if self._once:
                keys.append(self._once)
            self._prepared = (len(keys), *keys, *self._prepare(self))
        return self._prepared

    def tell(self, outcomes: Sequence[Sequence[Outcome]]) -> None:
        """Tell all who wait, in the order in which the messages were added, what became of theirs.

        Args:
            outcomes: of each section, of each of its messages.
        """
        told = [
            zip(section.messages, of_section, strict=True)
            for section, of_section in zip(self.sections, outcomes, strict=True)
        ]
        for number in self._order:
            (_, final), outcome = next(told[number - 1])
            if isinstance(outcome, Receipt):
                final.set(outcome)
            elif outcome is not None:
                final.fail(outcome)

    def fail(self, error: BaseException) -> None:
        """Tell all who wait that it was not published, or that nobody knows."""
        for section in self.sections:
            section.fail(error)
