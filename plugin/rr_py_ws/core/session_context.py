"""What a session needs around it: the connection below it, and what all sessions share."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rr_py_ws.config import Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.join_answers import JoinAnswers
from rr_py_ws.core.ports import Authorizer, Subscriber, Subscriptions
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.wire.recovery import Missed
from rr_py_ws.wire.verdict import Verdict

_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, at most."""


def _size(topic: str) -> int:
    """Return how many bytes of the client a topic was; those that are not UTF-8 are surrogates here."""
    return len(topic) if topic.isascii() else len(topic.encode("utf-8", "surrogateescape"))


def breach_of_join(topics: Sequence[str], limits: Limits) -> tuple[str, str] | None:
    """Return which limit of a command these topics would break, as one of `JOIN_REFUSALS` and in words."""
    count = len(topics)
    if count > limits.max_topics_per_command:
        return "topics_per_command", f"more than {limits.max_topics_per_command} topics in a command"
    longest = len(topics[0]) if count == 1 else max(map(len, topics), default=0)
    if longest > limits.max_topic_length // _LONGEST_CHARACTER and any(
        _size(topic) > limits.max_topic_length for topic in topics
    ):
        return "topic_length", f"a topic of more than {limits.max_topic_length} bytes"
    return None


def breach_of_put(topics: Sequence[str], limits: Limits) -> str:
    """Return in words which limit a client would break that is put into these topics; it is in none."""
    if breach := breach_of_join(topics, limits):
        return breach[1]
    return f"more than {limits.max_topics} topics" if len(topics) > limits.max_topics else ""


class SessionTransport(Subscriber, Protocol):
    """The connection below a session."""

    def write(self, data: bytes) -> None:
        """Send a reply, behind everything that was sent before."""

    def replay(self, reply: bytes, missed: Missed, frames: bytes) -> None:
        """Send a reply, and messages again right behind it, before everything that is sent later.

        Args:
            reply: the whole frame.
            missed: the messages.
            frames: all of them encoded, if somebody has done that, and they are few; else empty.
        """

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task, which is cancelled when the connection ends."""

    def put_failed(self, topics: Sequence[str], reason: str) -> None:
        """The client is not in topics that the authorizer has put it into; it should go away soon."""

    def command_ignored(self, reason: str) -> None:
        """A command was dropped, as RoadRunner drops it; worth a log line."""

    def command_refused(self, reason: str) -> None:
        """A command was refused, because it would break a limit; worth a log line."""

    def join_refused(self, topics: Sequence[str], reason: str, verdict: Verdict | None) -> None:
        """A join was refused by the authorizer, with this verdict, or by the broker; worth a log line.

        The reason may have words of others, which the client is not told.
        """


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a server share.

    Attributes:
        authorizer: decides about joins.
        subscriptions: where topics are joined and left.
        limits: what is refused without asking anybody; see `websockets.limits` in docs/configuration.md.
        counters: what is asked for is counted there.
        select_broker: whether the `broker` of a command counts; see `websockets.select_broker`.
        tell_of_gaps: whether also clients are told of gaps that have never used an id; see
            `websockets.on_gap`.
        replay_limit: how much of a topic may be sent again at once.
        answers: to joins with a wish, under these limits.
    """

    authorizer: Authorizer
    subscriptions: Subscriptions
    limits: Limits
    counters: CommandMetrics
    select_broker: bool = False
    tell_of_gaps: bool = False
    replay_limit: ReplayLimit = field(init=False)
    answers: JoinAnswers = field(init=False)

    def __post_init__(self) -> None:
        """Make what hangs on the limits alone."""
        limit = ReplayLimit(self.limits.recovery_messages, self.limits.recovery_topic_size)
        object.__setattr__(self, "replay_limit", limit)
        object.__setattr__(self, "answers", JoinAnswers(self.limits.recovery_size))
