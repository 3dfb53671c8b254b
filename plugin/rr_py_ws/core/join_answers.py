"""What clients are told that have joined with a wish, and what they are sent: made once for all alike."""

from __future__ import annotations

from typing import NamedTuple

from rr_py_ws.core.cost import replay_cost
from rr_py_ws.core.history import Recoveries
from rr_py_ws.core.ports import Subscriber
from rr_py_ws.core.replay import fit, settle_recoveries
from rr_py_ws.core.shared import Shared
from rr_py_ws.wire.command import Command
from rr_py_ws.wire.recovery import NOTHING, Missed, Recovered

_MOST_ENCODED, _LARGEST_ENCODED = 100, 16 * 1024
"""Messages that are encoded for all who are sent them, and bytes of their payloads; of their frames, too."""
_MOST_TOPICS = 8
"""Topics of a join that may have others like it; with more, to look for them costs more than it brings."""
_LARGEST = 128 * 1024
"""Bytes of an answer that is remembered."""
_ANSWER, _MESSAGE = 1000, 500
"""Bytes that an answer takes, and each message of it, besides names, payloads and frames."""


class JoinAnswer(NamedTuple):
    """The answer to a join.

    Attributes:
        told: what becomes of the wishes.
        missed: what is sent again.
        cost: what that is charged.
        before: the reply up to the id of the connection.
        after: the rest of it.
        frames: all that is sent again, encoded; empty when it is not, because others do not get the same, or
            it is too much.
    """

    told: list[Recovered]
    missed: Missed
    cost: int
    before: bytes
    after: bytes
    frames: bytes = b""

    def reply_to(self, subscriber: Subscriber) -> bytes:
        """Return the reply to one client; its id needs no escapes."""
        return b"%b%b%b" % (self.before, subscriber.id.encode(), self.after)


class JoinAnswers:
    """Makes the answers to joins with a wish.

    Nearly all clients that come back after an outage want the same as many others, with the same positions.

    Args:
        size: see `settle_recoveries`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._shared = Shared[JoinAnswer](largest=_LARGEST)

    def find(self, subscriber: Subscriber, command: Command, recoveries: Recoveries) -> JoinAnswer:
        """Return what a client is told and sent.

        Args:
            subscriber: is in the topics.
            command: the join, with wishes.
            recoveries: see `settle_recoveries`.
        """
        topics, wishes = command[1], command[5]
        if not topics or len(topics) > _MOST_TOPICS or wishes is None or len(wishes) != len(recoveries):
            return self._make(subscriber, command, recoveries)
        # All that the answer hangs on: each of these recoveries is that of a wish, and none is missing.
        key = subscriber.encoding, len(subscriber.id), command[3], tuple(topics), tuple(recoveries.items())
        answer = self._shared.get(key)
        if answer is None:
            answer = self._make(subscriber, command, recoveries)
            replays = [recovery.replay for recovery in recoveries.values()]
            if not any(replay.excludes for replay in replays) and fit(replays, self._size):
                answer = self._share(key, subscriber, answer)
        return answer

    def _make(self, subscriber: Subscriber, command: Command, recoveries: Recoveries) -> JoinAnswer:
        wishes, encoding = command.history or {}, subscriber.encoding
        told, missed = settle_recoveries(subscriber, wishes, recoveries, self._size)
        before, after = encoding.split_reply(
            "@join", command.topics, id=command.id, size=len(subscriber.id), history=told
        )
        if not missed:
            return JoinAnswer(told, NOTHING, 0, before, after)
        return JoinAnswer(told, missed, replay_cost(missed, deflated=encoding.deflated), before, after)

    def _share(self, key: tuple[object, ...], subscriber: Subscriber, answer: JoinAnswer) -> JoinAnswer:
        missed = answer.missed
        if len(missed) <= _MOST_ENCODED and missed.size <= _LARGEST_ENCODED:
            frames = b"".join(map(subscriber.encoding.push, missed))
            if len(frames) <= _LARGEST_ENCODED:
                answer = answer._replace(frames=frames)
        size = len(answer.frames) + missed.size + _MESSAGE * len(missed)
        # Id and topics are there as texts, too, with up to four bytes for a character, and as UTF-8 in those.
        names = 6 * len(answer.before) + 2 * len(answer.after)
        self._shared.add(key, answer, _ANSWER + names + size)
        return answer
