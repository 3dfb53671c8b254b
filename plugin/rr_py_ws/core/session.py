"""One client's conversation: commands in, replies out, in order.

Commands of one connection are handled one after another; while PHP or the broker is being asked, later ones
wait in a queue, as the bytes that they came as. What the session asks may be answered now or later (see
`ports`); for what comes later the session makes one coroutine, and the transport runs it as a task, so that
this module stays free of I/O. When that has ended, the transport has those that wait handled, one by one.
What is asked for is charged to the client by what it costs, see `cost`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rr_py_ws.config import Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.cost import (
    BYTES,
    QUESTION,
    TOPICS,
    message_cost,
    replay_cost,
    slow_cost,
    topics_cost,
    wishes_cost,
)
from rr_py_ws.core.fail_closed import fail_closed
from rr_py_ws.core.history import Recoveries
from rr_py_ws.core.ports import Authorizer, Subscriber, Subscriptions
from rr_py_ws.core.replay import Replay, settle_recoveries
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError, CommandError
from rr_py_ws.wire.access import ALLOWED, Verdict
from rr_py_ws.wire.command import Command, Wish, decode_command
from rr_py_ws.wire.push import usual_join_reply
from rr_py_ws.wire.recovery import Recovered

_LONGEST_REFUSED = 1024
"""Topics over the limit of a command that are sent back with the refusal."""
_BROKER_FAILED = "the broker failed"
_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, at most."""
_LONGEST_NAME = 64
"""Characters of a command that nobody knows, in the log and in the reply."""


def _size(topic: str) -> int:
    """Return how many bytes of the client a topic was; those that are not UTF-8 are surrogates here."""
    return len(topic) if topic.isascii() else len(topic.encode("utf-8", "surrogateescape"))


def breach_of_join(topics: Sequence[str], limits: Limits) -> tuple[str, str] | None:
    """Return which limit of a command these topics would break, as one of `JOIN_REFUSALS` and in words."""
    if len(topics) > limits.max_topics_per_command:
        return "topics_per_command", f"more than {limits.max_topics_per_command} topics in a command"
    longest = max(map(len, topics), default=0)
    if longest > limits.max_topic_length // _LONGEST_CHARACTER and any(
        _size(topic) > limits.max_topic_length for topic in topics
    ):
        return "topic_length", f"a topic of more than {limits.max_topic_length} bytes"
    return None


class SessionTransport(Subscriber, Protocol):
    """The connection below a session."""

    def write(self, data: bytes) -> None:
        """Send a reply, behind everything that was sent before."""

    def replay(self, replay: Replay) -> None:
        """Send this behind everything that was sent before, and before everything that is sent later."""

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
    """

    authorizer: Authorizer
    subscriptions: Subscriptions
    limits: Limits
    counters: CommandMetrics
    select_broker: bool = False
    tell_of_gaps: bool = False


class Session:
    """The state of one connection above the WebSocket protocol.

    Args:
        transport: replies are written to it, and it is the subscriber.
        grant: what the authorizer has answered to the handshake, and sees again with each join.
        context: what the session shares with others.

    Attributes:
        opted_in: whether the client has ever used an id, and so is told more than by RoadRunner.
        waiting: commands that wait behind the one that is being handled; None when there are none.
        waiting_size: bytes of the commands that wait.
    """

    __slots__ = (
        "_asked_for",
        "_busy",
        "_closed",
        "_context",
        "_grant",
        "_transport",
        "opted_in",
        "waiting",
        "waiting_size",
    )

    def __init__(self, transport: SessionTransport, grant: object, context: SessionContext) -> None:
        self._transport = transport
        self._grant = grant
        self._context = context
        # None instead of an empty deque, which takes more memory than the rest of a session.
        self.waiting: deque[bytes] | None = None
        # The topics of all joins so far: it is in no more than these.
        self._asked_for = 0
        self._busy = False
        self._closed = False
        self.opted_in = False
        self.waiting_size = 0

    @property
    def commands_waiting(self) -> int:
        """How many commands wait behind the one that is being handled."""
        return len(self.waiting) if self.waiting is not None else 0

    @property
    def pending(self) -> bool:
        """Whether a command that has arrived is not answered yet."""
        return not self._closed and (self._busy or self.commands_waiting > 0)

    def receive_message(self, message: bytes) -> None:
        """Handle one message of the client, or queue it behind the one that is being handled."""
        if not self._busy and not self.waiting:
            self._handle(message)
            return
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append(message)
        self._count_waiting(1, len(message))

    def handle_waiting(self) -> bool:
        """Handle the message that waits longest.

        Returns:
            False when there is none, or one before it is still being handled.
        """
        if self._busy or not self.waiting:
            return False
        message = self.waiting.popleft()
        self._count_waiting(-1, -len(message))
        if not self.waiting:
            self.waiting = None
        self._handle(message)
        return True

    def put_into(self, topics: Sequence[str]) -> None:
        """Join topics because the authorizer says so; nothing is sent for it. Commands wait for it."""
        self._asked_for += len(topics)
        try:
            subscribing = self._context.subscriptions.join(self._transport, "", topics)
        except BrokerError as error:
            self._transport.put_failed(topics, str(error))
            return
        if subscribing is not None:
            self._busy = True
            self._transport.spawn(self._finish_put(topics, subscribing))

    async def _finish_put(self, topics: Sequence[str], subscribing: Awaitable[None]) -> None:
        try:
            await subscribing
        except Exception as error:
            if not self._closed:
                self._transport.put_failed(topics, str(error))
        self._busy = False

    @property
    def told_of_gaps(self) -> bool:
        """Whether the client is sent `#gap`: it has used an id, or all clients are told."""
        return self.opted_in or self._context.tell_of_gaps

    def missed(self, topics: Sequence[str]) -> bool:
        """Tell of topics of which messages may have been lost; False when the client is not told of gaps."""
        if self.told_of_gaps:
            self._transport.write(self._transport.encoding.reply("#gap", topics, id=""))
        return self.told_of_gaps

    def close(self) -> None:
        """The connection is gone: leave everything, drop what waits."""
        self._closed = True
        if self.waiting is not None:
            self._count_waiting(-len(self.waiting), -self.waiting_size)
            self.waiting = None
        self._context.subscriptions.leave_all(self._transport)

    def _count_waiting(self, messages: int, size: int) -> None:
        self.waiting_size += size
        self._context.counters.waiting += messages
        self._context.counters.waiting_bytes += size

    def _handle(self, message: bytes) -> None:
        if len(message) >= BYTES:
            self._transport.charge(message_cost(message))
        counters = self._context.counters
        try:
            command, problem = decode_command(message, self._charge_slow), ""
        except CommandError as error:
            command, problem = Command(id=error.id), str(error)
        if command.id is not None:
            self.opted_in = True
        if command.me:
            self._transport.me = command.me
        if problem:
            self._ignore(command, problem)
        elif command.name == "join":
            counters.joins += 1
            self._join(command)
        elif command.name == "leave":
            counters.leaves += 1
            self._leave(command)
        elif command.name == "headers":
            counters.headers += 1
        else:
            self._ignore(command, f"unknown command {command.name[:_LONGEST_NAME]!r}")

    def _ignore(self, command: Command, reason: str) -> None:
        """Drop a command; a client that has ever used an id is told, if need be with an empty one."""
        self._context.counters.ignored += 1
        self._transport.command_ignored(reason)
        if self.opted_in:
            id = "" if command.id is None else command.id
            self._reply("#error", command, reason, id=id)

    def _join(self, command: Command) -> None:
        topics = command.topics or ()
        if breach := self._breach(command, topics):
            self._transport.command_refused(breach[1])
            self._refuse_join(command, *breach)
            return
        self._asked_for += len(topics)
        if len(topics) >= TOPICS:
            self._transport.charge(topics_cost(len(topics)))
        try:
            verdict = self._context.authorizer.join(self._grant, topics)
        except Exception as error:  # whatever an authorizer raises, the client must not get in
            verdict = fail_closed(error)
        if isinstance(verdict, Verdict):
            subscribing = self._subscribe(command, verdict)
            if subscribing is not None:
                self._busy = True
                self._transport.spawn(self._finish_join(command, None, subscribing))
        else:
            self._transport.charge(QUESTION)
            self._context.counters.joins_waiting += 1
            self._busy = True
            self._transport.spawn(self._finish_join(command, verdict, None))

    def _breach(self, command: Command, topics: Sequence[str]) -> tuple[str, str] | None:
        """Return which limit a join would break, as one of `JOIN_REFUSALS` and in words."""
        limits = self._context.limits
        if breach := breach_of_join(topics, limits):
            return breach
        # What it is in, and which of these topics are among that, is looked at only when it matters.
        if self._asked_for + len(topics) > limits.max_topics:
            count_with, broker = self._context.subscriptions.count_with, self._broker(command)
            self._asked_for = count_with(self._transport, broker, ())
            if (
                self._asked_for + len(topics) > limits.max_topics
                and count_with(self._transport, broker, topics) > limits.max_topics
            ):
                return "topics", f"more than {limits.max_topics} topics"
        if self._context.counters.joins_waiting >= limits.max_joins_waiting:
            return "joins_waiting", "too many joins wait for an answer, try again later"
        return None

    def _subscribe(self, command: Command, verdict: Verdict) -> Awaitable[Recoveries | None] | None:
        """Subscribe as the verdict says, and reply; an awaitable when the broker has to be waited for."""
        if verdict is not ALLOWED and not verdict.allowed:
            kind = "authorization" if verdict.answered else "unanswered"
            reason = verdict.reason or f"refused with status {verdict.status}"
            self._transport.join_refused(command.topics or (), reason, verdict)
            self._refuse_join(command, kind, reason)
            return None
        joining: Recoveries | Awaitable[Recoveries | None] | None
        try:
            if command.history is None:
                broker = command.broker if self._context.select_broker else ""
                topics = command.topics or ()
                joining = self._context.subscriptions.join(self._transport, broker, topics)
            else:
                joining = self._join_with_history(command, command.history, verdict)
        except BrokerError as error:
            self._refuse_by_broker(command, error)
            return None
        if joining is None and command.id is None and not command.me and len(command.topics or ()) == 1:
            assert command.topics is not None
            self._transport.write(usual_join_reply(command.topics[0]))
            return None
        if joining is None or isinstance(joining, dict):
            self._answer_join(command, joining)
            return None
        return joining

    def _join_with_history(
        self, command: Command, wishes: Mapping[str, Wish], verdict: Verdict
    ) -> Recoveries | Awaitable[Recoveries]:
        """Subscribe; what is wished for and withheld is not looked for."""
        limits = self._context.limits
        self._charge(wishes_cost(len(wishes)))
        self.opted_in = True
        return self._context.subscriptions.join_with_history(
            self._transport,
            self._broker(command),
            command.topics or (),
            {topic: wish for topic, wish in wishes.items() if verdict.shows_history(topic)},
            ReplayLimit(limits.recovery_messages, limits.recovery_topic_size),
        )

    def _answer_join(self, command: Command, recoveries: Recoveries | None) -> None:
        """Tell the client that it is in, and send what it has missed."""
        if recoveries is None or command.history is None:
            self._reply("@join", command, client=self._transport.id if command.me else "")
            return
        told, sent = settle_recoveries(
            self._transport, command.history, recoveries, self._context.limits.recovery_size
        )
        self._context.counters.count_recoveries(told)
        self._reply("@join", command, client=self._transport.id, history=told)
        if sent:
            encoding = self._transport.encoding
            self._charge(replay_cost(sent, deflated=encoding.deflated))
            self._transport.replay(Replay(encoding, sent))

    async def _finish_join(
        self,
        command: Command,
        deciding: Awaitable[Verdict] | None,
        subscribing: Awaitable[Recoveries | None] | None,
    ) -> None:
        """Do the part of a join that has to be waited for; what came meanwhile is handled by the transport.

        Cancelled when the connection ends. What has been decided in that very moment must not subscribe a
        connection that has left everything, so each wait is followed by a look at `_closed`.
        """
        if deciding is not None:
            try:
                verdict = await deciding
            except Exception as error:
                verdict = fail_closed(error)
            finally:
                self._context.counters.joins_waiting -= 1
            if self._closed:
                return
            subscribing = self._subscribe(command, verdict)
        if subscribing is not None:
            problem: Exception | None = None
            recoveries: Recoveries | None = None
            try:
                recoveries = await subscribing
            except Exception as error:  # whatever it is, the commands behind this one must not wait for ever
                problem = error
            if self._closed:
                if recoveries is not None:
                    self._context.subscriptions.leave_all(self._transport)
                return
            if problem is not None:
                self._refuse_by_broker(command, problem)
            else:
                self._answer_join(command, recoveries)
        self._busy = False

    def _leave(self, command: Command) -> None:
        topics = command.topics or ()
        limit = self._context.limits.max_topics_per_command
        if len(topics) > limit:
            kind, reason = "topics_per_command", f"more than {limit} topics in a command"
            self._transport.command_refused(reason)
        else:
            self._charge(topics_cost(len(topics)))
            try:
                self._context.subscriptions.leave(self._transport, self._broker(command), topics)
                self._reply("@leave", command)
                return
            except BrokerError as error:
                kind, reason = "broker", error.public
        self._context.counters.leaves_refused[kind] += 1
        self._reply("#leave", command, reason)

    def _broker(self, command: Command) -> str:
        """Return the broker that a command is for, as its name; empty for the default one."""
        return command.broker if self._context.select_broker else ""

    def _refuse_join(self, command: Command, kind: str, reason: str) -> None:
        """Answer a join with `#join`; `kind` is one of `JOIN_REFUSALS`."""
        self._context.counters.joins_refused[kind] += 1
        self._reply("#join", command, reason)

    def _refuse_by_broker(self, command: Command, error: Exception) -> None:
        """Answer a join with `#join`: the broker has failed, in words that are for the log only."""
        self._transport.join_refused(command.topics or (), str(error), None)
        public = error.public if isinstance(error, BrokerError) else _BROKER_FAILED
        self._refuse_join(command, "broker", public)

    def _charge_slow(self, size: int) -> None:
        self._transport.charge(slow_cost(size))

    def _charge(self, cost: int) -> None:
        if cost:  # nearly never: a small command is all in its frame
            self._transport.charge(cost)

    def _reply(
        self,
        kind: str,
        command: Command,
        reason: str = "",
        id: str | int | None = None,
        client: str = "",
        history: Sequence[Recovered] = (),
    ) -> None:
        """Answer a command with its topics; a refused list that is very long only costs, and is left out."""
        topics: Sequence[str] | None = command.topics
        longest = max(_LONGEST_REFUSED, self._context.limits.max_topics_per_command)
        if topics is not None and len(topics) > longest:
            topics = ()
        id = command.id if id is None else id
        encoding = self._transport.encoding
        self._transport.write(
            encoding.reply(kind, topics, id=id, reason=reason, client=client, history=history)
        )
