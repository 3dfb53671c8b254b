"""One client's conversation: commands in, replies out, in order.

Commands of one connection are handled one after another; while PHP or the broker is being asked, later ones
wait in a queue, as the bytes that they came as. What the session asks may be answered now or later (see
`ports`); for what comes later the session makes one coroutine, and the transport runs it as a task, so that
this module stays free of I/O. When that has ended, the transport has those that wait handled, one by one.
What is asked for is charged to the client by what it costs, see `cost`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rr_py_ws.config import Limits
from rr_py_ws.core.command_metrics import CommandMetrics
from rr_py_ws.core.cost import QUESTION, message_cost, topics_cost
from rr_py_ws.core.fail_closed import fail_closed
from rr_py_ws.core.ports import Authorizer, Subscriber, Subscriptions
from rr_py_ws.errors import BrokerError, CommandError
from rr_py_ws.wire.access import Verdict
from rr_py_ws.wire.command import Command, decode_command

_LONGEST_REFUSED = 1024
"""Topics over the limit of a command that are sent back with the refusal."""
_LONGEST_NAME = 64
"""Characters of a command that nobody knows, in the log and in the reply."""


class SessionTransport(Subscriber, Protocol):
    """The connection below a session."""

    def write(self, data: bytes) -> None:
        """Send a reply, behind everything that was sent before."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task, which is cancelled when the connection ends."""

    def command_ignored(self, reason: str) -> None:
        """A command was dropped, as RoadRunner drops it; worth a log line."""

    def command_refused(self, reason: str) -> None:
        """A command was refused, because it would break a limit; worth a log line."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a server share.

    Attributes:
        authorizer: decides about joins.
        subscriptions: where topics are joined and left.
        limits: what is refused without asking anybody; see `websockets.limits` in docs/configuration.md.
        counters: what is asked for is counted there.
    """

    authorizer: Authorizer
    subscriptions: Subscriptions
    limits: Limits
    counters: CommandMetrics


class Session:
    """The state of one connection above the WebSocket protocol.

    Args:
        transport: replies are written to it, and it is the subscriber.
        grant: what the authorizer has answered to the handshake, and sees again with each join.
        context: what the session shares with others.

    Attributes:
        opted_in: whether the client has ever used an id, and so is told more than by RoadRunner.
        waiting_size: bytes of the commands that wait.
    """

    __slots__ = (
        "_busy",
        "_closed",
        "_context",
        "_grant",
        "_transport",
        "_waiting",
        "opted_in",
        "waiting_size",
    )

    def __init__(self, transport: SessionTransport, grant: object, context: SessionContext) -> None:
        self._transport = transport
        self._grant = grant
        self._context = context
        # None instead of an empty deque, which takes more memory than the rest of a session.
        self._waiting: deque[bytes] | None = None
        self._busy = False
        self._closed = False
        self.opted_in = False
        self.waiting_size = 0

    @property
    def commands_waiting(self) -> int:
        """How many commands wait behind the one that is being handled."""
        return len(self._waiting) if self._waiting is not None else 0

    def receive_message(self, message: bytes) -> None:
        """Handle one message of the client, or queue it behind the one that is being handled."""
        if not self._busy and not self._waiting:
            self._handle(message)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(message)
        self._count_waiting(1, len(message))

    def handle_waiting(self) -> bool:
        """Handle the message that waits longest.

        Returns:
            False when there is none, or one before it is still being handled.
        """
        if self._busy or not self._waiting:
            return False
        message = self._waiting.popleft()
        self._count_waiting(-1, -len(message))
        if not self._waiting:
            self._waiting = None
        self._handle(message)
        return True

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost; told to a client that has ever used an id."""
        if self.opted_in:
            self._transport.write(self._transport.encoding.reply("#gap", topics, id=""))

    def close(self) -> None:
        """The connection is gone: leave everything, drop what waits."""
        self._closed = True
        self._count_waiting(-self.commands_waiting, -self.waiting_size)
        self._waiting = None
        self._context.subscriptions.leave_all(self._transport)

    def _count_waiting(self, messages: int, size: int) -> None:
        self.waiting_size += size
        self._context.counters.waiting += messages
        self._context.counters.waiting_bytes += size

    def _handle(self, message: bytes) -> None:
        self._charge(message_cost(message))
        counters = self._context.counters
        try:
            command, problem = decode_command(message), ""
        except CommandError as error:
            command, problem = Command(id=error.id), str(error)
        if command.id is not None:
            self.opted_in = True
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
        self._charge(topics_cost(len(topics)))
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
        if len(topics) > limits.max_topics_per_command:
            return "topics_per_command", f"more than {limits.max_topics_per_command} topics in a command"
        for topic in topics:
            # Bytes that the client has sent; those that are not UTF-8 are surrogates here.
            size = len(topic) if topic.isascii() else len(topic.encode("utf-8", "surrogateescape"))
            if size > limits.max_topic_length:
                return "topic_length", f"a topic of more than {limits.max_topic_length} bytes"
        subscriptions = self._context.subscriptions
        if subscriptions.count_with(self._transport, command.broker, topics) > limits.max_topics:
            return "topics", f"more than {limits.max_topics} topics"
        if self._context.counters.joins_waiting >= limits.max_joins_waiting:
            return "joins_waiting", "too many joins wait for an answer, try again later"
        return None

    def _subscribe(self, command: Command, verdict: Verdict) -> Awaitable[None] | None:
        """Subscribe as the verdict says, and reply; an awaitable when the broker has to be waited for."""
        if not verdict.allowed:
            kind = "authorization" if verdict.answered else "unanswered"
            self._refuse_join(command, kind, verdict.reason or f"refused with status {verdict.status}")
            return None
        try:
            subscribing = self._context.subscriptions.join(
                self._transport, command.broker, command.topics or ()
            )
        except BrokerError as error:
            self._refuse_join(command, "broker", str(error))
            return None
        if subscribing is None:
            self._reply("@join", command)
        return subscribing

    async def _finish_join(
        self, command: Command, deciding: Awaitable[Verdict] | None, subscribing: Awaitable[None] | None
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
            problem = ""
            try:
                await subscribing
            except Exception as error:  # whatever it is, the commands behind this one must not wait for ever
                problem = str(error)
            if self._closed:
                return
            if problem:
                self._refuse_join(command, "broker", problem)
            else:
                self._reply("@join", command)
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
                self._context.subscriptions.leave(self._transport, command.broker, topics)
                self._reply("@leave", command)
                return
            except BrokerError as error:
                kind, reason = "broker", str(error)
        self._context.counters.leaves_refused[kind] += 1
        self._reply("#leave", command, reason)

    def _refuse_join(self, command: Command, kind: str, reason: str) -> None:
        """Answer a join with `#join`; `kind` is one of `JOIN_REFUSALS`."""
        self._context.counters.joins_refused[kind] += 1
        self._reply("#join", command, reason)

    def _charge(self, cost: int) -> None:
        if cost:  # nearly never: a small command is all in its frame
            self._transport.charge(cost)

    def _reply(self, kind: str, command: Command, reason: str = "", id: str | int | None = None) -> None:
        """Answer a command with its topics; a refused list that is very long only costs, and is left out."""
        topics: Sequence[str] | None = command.topics
        longest = max(_LONGEST_REFUSED, self._context.limits.max_topics_per_command)
        if topics is not None and len(topics) > longest:
            topics = ()
        id = command.id if id is None else id
        self._transport.write(self._transport.encoding.reply(kind, topics, id=id, reason=reason))
