"""One client's conversation: commands in, replies out, in order.

Commands of one connection are handled one after another; while PHP or the broker is being asked, later ones
wait in a queue, also those that cannot be decoded. What the session asks may be answered now or later (see
`ports`); waiting itself is the shell's job, so that this module stays free of I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from rr_py_ws.core.hub import Subscriber
from rr_py_ws.core.limits import CommandLimits
from rr_py_ws.core.ports import Authorizer, Subscriptions
from rr_py_ws.errors import BrokerError, CommandError
from rr_py_ws.wire.access import AccessRequest, Verdict
from rr_py_ws.wire.command import Command, decode_command
from rr_py_ws.wire.push import encode_reply

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


class Shell(Subscriber, Protocol):
    """The connection around a session."""

    def when_done(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        """Wait in the background, then call `then(result, error)`; not at all once the connection is gone."""

    def command_ignored(self, reason: str) -> None:
        """A command was dropped, as RoadRunner drops it; worth a log line."""

    def command_over_limit(self, reason: str) -> None:
        """A command was refused, because it would break a limit; worth a log line."""


@dataclass(slots=True)
class CommandStats:
    """What the clients of a server have asked for so far.

    Attributes:
        joins: join commands.
        joins_refused: reason -> those that were answered with `#join`.
        joins_waiting: those that wait for the authorizer now.
        leaves: leave commands.
        leaves_refused: reason -> those that were answered with `#leave`.
        headers: headers commands.
        ignored: messages that are no command.
    """

    joins: int = 0
    joins_refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JOIN_REFUSALS, 0))
    joins_waiting: int = 0
    leaves: int = 0
    leaves_refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEAVE_REFUSALS, 0))
    headers: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """What all sessions of a server share.

    Attributes:
        authorizer: decides about joins.
        subscriptions: where topics are joined and left.
        limits: what is refused without asking anybody.
        stats: what is asked for is counted there.
    """

    authorizer: Authorizer
    subscriptions: Subscriptions
    limits: CommandLimits
    stats: CommandStats


class Session:
    """The state of one connection above the WebSocket protocol.

    Args:
        shell: replies are written to it, and it is the subscriber.
        request: the upgrade request, which PHP sees again with every join.
        setup: what it shares with others.
    """

    __slots__ = ("_answer_all", "_asking", "_busy", "_queue", "_request", "_setup", "_shell")

    def __init__(self, shell: Shell, request: AccessRequest, setup: Setup) -> None:
        self._shell = shell
        self._request = request
        self._setup = setup
        self._queue: deque[tuple[Command, str]] | None = None
        self._busy = False
        self._asking = False
        self._answer_all = False

    @property
    def backlog(self) -> int:
        """How many commands wait behind the one that is being handled."""
        return len(self._queue) if self._queue is not None else 0

    @property
    def opted_in(self) -> bool:
        """Whether the client has ever used an id, and so is told more than by RoadRunner."""
        return self._answer_all

    def receive_message(self, message: bytes) -> None:
        """Handle one message of the client, or queue it behind the one that is being handled."""
        try:
            command, problem = decode_command(message), ""
        except CommandError as error:
            command, problem = Command(id=error.id), str(error)
        if command.id is not None:
            self._answer_all = True
        if self._busy:
            if self._queue is None:
                self._queue = deque()
            self._queue.append((command, problem))
        else:
            self._handle(command, problem)

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost; told to a client that has ever used an id."""
        if self._answer_all:
            self._shell.write(encode_reply("#gap", topics, id=""))

    def close(self) -> None:
        """The connection is gone: leave everything, drop what waits."""
        self._queue = None
        self._stop_asking()
        self._setup.subscriptions.leave_all(self._shell)

    def _handle(self, command: Command, problem: str) -> None:
        if problem:
            self._ignore(command, problem)
            return
        match command.name:
            case "join":
                self._setup.stats.joins += 1
                self._ask(command)
            case "leave":
                self._setup.stats.leaves += 1
                self._leave(command)
            case "headers":
                self._setup.stats.headers += 1
            case unknown:
                self._ignore(command, f"unknown command {unknown!r}")

    def _ignore(self, command: Command, reason: str) -> None:
        """Drop a command; a client that has ever used an id is told, if need be with an empty one."""
        self._setup.stats.ignored += 1
        self._shell.command_ignored(reason)
        if self._answer_all:
            id = "" if command.id is None else command.id
            self._shell.write(encode_reply("#error", command.topics, id=id, reason=reason))

    def _ask(self, command: Command) -> None:
        if breach := self._breach(command):
            kind, reason = breach
            self._shell.command_over_limit(reason)
            self._refuse(command, kind, reason)
            return
        verdict = self._setup.authorizer.join(self._request, command.topics or ())
        if isinstance(verdict, Verdict):
            self._join(command, verdict, None)
        else:
            self._asking = True
            self._setup.stats.joins_waiting += 1
            self._wait(verdict, partial(self._answered, command))

    def _breach(self, command: Command) -> tuple[str, str] | None:
        """Which limit a join would break, as one of `JOIN_REFUSALS` and in words."""
        setup, limits, topics = self._setup, self._setup.limits, command.topics or ()
        if reason := limits.too_many_in_command(topics):
            return "topics_per_command", reason
        if reason := limits.too_long(topics):
            return "topic_length", reason
        if setup.subscriptions.count_with(self._shell, command.broker, topics) > limits.max_topics:
            return "topics", f"more than {limits.max_topics} topics"
        if setup.stats.joins_waiting >= limits.max_joins_waiting:
            return "joins_waiting", "too many joins wait for an answer, try again later"
        return None

    def _answered(self, command: Command, verdict: Verdict, error: Exception | None) -> None:
        self._stop_asking()
        self._join(command, verdict, error)

    def _stop_asking(self) -> None:
        if self._asking:
            self._asking = False
            self._setup.stats.joins_waiting -= 1

    def _join(self, command: Command, verdict: Verdict, error: Exception | None) -> None:
        if error is not None:
            self._refuse(command, "unanswered", str(error))
            return
        if not verdict.allowed:
            kind = "authorization" if verdict.answered else "unanswered"
            self._refuse(command, kind, verdict.reason or f"refused with status {verdict.status}")
            return
        try:
            waiting = self._setup.subscriptions.join(self._shell, command.broker, command.topics or ())
        except BrokerError as failure:
            self._joined(command, None, failure)
            return
        if waiting is None:
            self._reply("@join", command)
        else:
            self._wait(waiting, partial(self._joined, command))

    def _joined(self, command: Command, _: None, error: Exception | None) -> None:
        if error is None:
            self._reply("@join", command)
        else:
            self._refuse(command, "broker", str(error))

    def _refuse(self, command: Command, kind: str, reason: str) -> None:
        """Answer a join with `#join`; `kind` is one of `JOIN_REFUSALS`."""
        self._setup.stats.joins_refused[kind] += 1
        self._reply("#join", command, reason)

    def _leave(self, command: Command) -> None:
        topics = command.topics or ()
        if reason := self._setup.limits.too_many_in_command(topics):
            self._shell.command_over_limit(reason)
            self._refuse_leave(command, "topics_per_command", reason)
            return
        try:
            self._setup.subscriptions.leave(self._shell, command.broker, topics)
        except BrokerError as error:
            self._refuse_leave(command, "broker", str(error))
        else:
            self._reply("@leave", command)

    def _refuse_leave(self, command: Command, kind: str, reason: str) -> None:
        """Answer a leave with `#leave`; `kind` is one of `LEAVE_REFUSALS`."""
        self._setup.stats.leaves_refused[kind] += 1
        self._reply("#leave", command, reason)

    def _reply(self, kind: str, command: Command, reason: str = "") -> None:
        self._shell.write(encode_reply(kind, command.topics, id=command.id, reason=reason))

    def _wait(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        self._busy = True
        self._shell.when_done(waiting, partial(self._resume, then))

    def _resume(
        self, then: Callable[[Any, Exception | None], None], result: Any, error: Exception | None
    ) -> None:
        self._busy = False
        then(result, error)
        while self._queue and not self._busy:
            self._handle(*self._queue.popleft())
        if not self._queue:
            self._queue = None  # an empty deque takes more memory than the rest of a session
