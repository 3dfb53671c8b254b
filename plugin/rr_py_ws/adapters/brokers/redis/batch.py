"""Messages that one run of a script keeps and publishes."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, NamedTuple

from rr_py_ws.adapters.brokers.redis.calls import pack_words
from rr_py_ws.adapters.brokers.redis.marks import mark_line
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
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class
_BY_DIGEST, _WITH_TEXT = pack_words(b"EVALSHA", APPEND.digest), pack_words(b"EVAL", APPEND.text)
_WORDS = 3
"""Of the script's arguments so many are about a section, beside two for each message."""

Outcome = bytes | Receipt | BrokerError | None
"""What became of the messages of a topic: `<epoch>.<offset>.<nonce>` of the last one, what all are told, or
None when that is still to be seen."""


class Message(NamedTuple):
    """A message and who waits for it, who may have gone.

    Attributes:
        section: of its topic.
        number: among those of the section, from 1.
        publication: the message.
        future: of the publisher.
        wants_receipt: whether its result is a receipt.
    """

    section: Section
    number: int
    publication: Publication
    future: Future[Any]
    wants_receipt: bool


class Section:
    """What a batch has of one topic.

    Args:
        number: of the section, from 1.
        topic: which one.

    Attributes:
        number: as given.
        topic: as given.
        count: messages.
        items: what the script is told of them, encoded for a command.
        about: what else the script is told, encoded for a command; set by who prepares,
        debt: and what is owed to the topic, and paid by this.
        outcome: set by who reads the answer.
    """

    __slots__ = ("about", "count", "debt", "items", "number", "outcome", "topic")

    def __init__(self, number: int, topic: Topic) -> None:
        self.number = number
        self.topic = topic
        self.count = 0
        self.items: list[bytes] = []
        self.about = b""
        self.debt: Debt | None = None
        self.outcome: Outcome = None


class Batch:
    """Messages that follow each other; implements `Run`.

    More can be added until the command is written. Then, and not before, it is asked for what else the script
    has to be told: that may change while messages are added.

    Args:
        prepare: returns the arguments that are about all sections, how many and encoded for a command, and
            says what each section is about.
        once: the idempotency key of the only message.

    Attributes:
        messages: in order.
        size: bytes of the payloads.
        is_open: whether more may be added.
        has_key: whether there is an idempotency key.
    """

    __slots__ = (
        "_latest",
        "_once",
        "_parts",
        "_prepare",
        "_sections",
        "_switches",
        "_words",
        "has_key",
        "is_open",
        "messages",
        "size",
    )

    def __init__(self, prepare: Callable[[Batch], tuple[int, bytes]], once: bytes = b"") -> None:
        self._prepare = prepare
        self._parts: list[bytes] = []
        self._words = 0
        self._once = once
        self._sections: dict[str, Section] = {}
        self._latest: Section | None = None
        self._switches = 0
        self.size = 0
        self.messages: list[Message] = []
        self.has_key = bool(once)
        self.is_open = not once

    @property
    def sections(self) -> Collection[Section]:
        """What there is of each topic."""
        return self._sections.values()

    @property
    def order(self) -> str:
        """The number of the section of each message; empty if it is section after section."""
        if self._switches == len(self._sections):
            return ""
        return " ".join([str(message.section.number) for message in self.messages])

    def add(self, topic: Topic, publication: Publication, future: Future[Any], wants_receipt: bool) -> None:
        """Add a message at the end."""
        section = self._latest
        if section is None or section.topic is not topic:
            section = self._sections.get(topic.name)
            if section is None:
                section = self._sections[topic.name] = Section(len(self._sections) + 1, topic)
            self._latest = section
            self._switches += 1
        payload, exclude = publication[1], publication[4]  # a third of the time of their names
        line, size = mark_line(payload, exclude), len(payload)
        section.items += (b"$%d\r\n" % size, payload, b"\r\n$%d\r\n%b\r\n" % (len(line), line))
        section.count = number = section.count + 1
        messages = self.messages
        messages.append(_new(Message, (section, number, publication, future, wants_receipt)))
        self.size += size
        if len(messages) == _MOST or self.size > _LARGEST:
            self.is_open = False

    def of(self, section: Section) -> list[Message]:
        """Return the messages of a section."""
        return [message for message in self.messages if message.section is section]

    def is_of(self, topic: Topic) -> bool:
        """Whether the latest message, if there is one, is of this topic."""
        return self._latest is not None and self._latest.topic is topic

    def has(self, topic: Topic) -> bool:
        """Whether there is a message of a topic."""
        return topic.name in self._sections

    def by_digest(self) -> bytes:
        """See `Run.by_digest`."""
        return self._encode(_BY_DIGEST)

    def with_text(self) -> bytes:
        """See `Run.with_text`."""
        return self._encode(_WITH_TEXT)

    def _encode(self, command: bytes) -> bytes:
        """Put the command together from what is encoded already: half the time of encoding it at once."""
        self.is_open = False
        if not self._parts:  # the same again when it was not run: the server moved, or lacks the script
            self._parts = self._prepare_parts()
        return b"".join((b"*%d\r\n" % (2 + self._words), command, *self._parts))

    def _prepare_parts(self) -> list[bytes]:
        sections = self.sections
        count, common = self._prepare(self)
        keys = 2 * len(sections) + self.has_key
        parts = [_pack_number(keys), *[section.topic.keys for section in sections]]
        if self.has_key:
            parts.append(pack_words(self._once))
        parts.append(common)
        for section in sections:
            parts += (section.topic.channels, section.about, *section.items)
        self._words = 1 + keys + count + _WORDS * len(sections) + 2 * len(self.messages)
        return parts

    def tell(self) -> None:
        """Tell all who wait, in the order in which the messages were added, the outcome of their section."""
        for section, number, _, future, wants_receipt in self.messages:
            outcome = section.outcome
            if outcome is None or future.done():  # who waits may have gone
                continue
            if isinstance(outcome, BrokerError):
                future.set_exception(outcome)
            elif not wants_receipt:
                future.set_result(None)
            elif isinstance(outcome, Receipt):
                future.set_result(outcome)
            else:
                epoch, last, nonce = outcome.decode().split(".")
                future.set_result(Receipt(f"{epoch}.{int(last) - section.count + number}.{nonce}"))

    def fail(self, error: BrokerError) -> None:
        """Tell all who wait that it was not published, or that nobody knows."""
        for section in self.sections:
            section.outcome = error
        self.tell()


@lru_cache(2 * _MOST)
def _pack_number(number: int) -> bytes:
    return pack_words(number)


def settle(future: Future[Any], result: object) -> None:
    """Give somebody who waits, and may have gone, a result."""
    if not future.done():
        future.set_result(result)


def fail(future: Future[Any], error: BaseException) -> None:
    """Give somebody who waits, and may have gone, an error."""
    if not future.done():
        future.set_exception(error)
