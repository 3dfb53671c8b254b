"""Messages that one run of a script keeps and publishes."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rr_py_ws.adapters.brokers.redis.calls import Argument, Command
from rr_py_ws.adapters.brokers.redis.marks import checksum_of, encode_exclude
from rr_py_ws.adapters.brokers.redis.owed import Debt
from rr_py_ws.adapters.brokers.redis.scripts import APPEND
from rr_py_ws.adapters.brokers.redis.topics import Topic
from rr_py_ws.core.history import Receipt
from rr_py_ws.wire.publication import Publication

_MOST = 128
"""Messages of one run, which keep Redis busy for some 0.5 ms;"""
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


class Batch:
    """Messages of one topic that follow each other; implements `Run`.

    More can be added until the command is written. Then, and not before, it is asked for what else the script
    has to be told: that may change while messages are added.

    Args:
        topic: of the messages.
        prepare: returns the arguments that come before those of the messages.
        once: the idempotency key of the only message.

    Attributes:
        topic: as given.
        messages: in order, with who waits for each.
        debt: what is owed to the topic, and paid by this; set by who prepares.
        size: bytes of the payloads.
        is_open: whether more may be added.
        has_key: whether there is an idempotency key.
    """

    __slots__ = (
        "_items",
        "_keys",
        "_prepare",
        "_prepared",
        "debt",
        "has_key",
        "is_open",
        "messages",
        "size",
        "topic",
    )

    def __init__(
        self, topic: Topic, prepare: Callable[[Batch], Sequence[Argument]], once: bytes = b""
    ) -> None:
        names = topic.names
        self._keys = (names.stream, names.meta, once) if once else (names.stream, names.meta)
        self._prepare = prepare
        self._prepared: Sequence[Argument] = ()
        self._items: list[Argument] = []
        self.topic = topic
        self.messages: list[tuple[Publication, Final]] = []
        self.debt: Debt | None = None
        self.size = 0
        self.has_key = bool(once)
        self.is_open = not once

    def add(self, publication: Publication, final: Final) -> None:
        """Add a message at the end."""
        payload = publication.payload
        exclude = encode_exclude(publication.exclude) if publication.exclude else b""
        self._items += (payload, checksum_of(payload), exclude)
        self.messages.append((publication, final))
        self.size += len(payload)
        if len(self.messages) == _MOST or self.size > _LARGEST:
            self.is_open = False

    def by_digest(self) -> Command:
        """See `Run.by_digest`."""
        return (b"EVALSHA", APPEND.digest, *self._arguments())

    def with_text(self) -> Command:
        """See `Run.with_text`."""
        return (b"EVAL", APPEND.text, *self._arguments())

    def _arguments(self) -> Command:
        self.is_open = False
        # The same again when it was not run: the server has moved, or does not know the script.
        self._prepared = self._prepared or self._prepare(self)
        return (len(self._keys), *self._keys, *self._prepared, *self._items)

    def fail(self, error: BaseException) -> None:
        """Tell all who wait that it was not published, or that nobody knows."""
        for _, final in self.messages:
            final.fail(error)
