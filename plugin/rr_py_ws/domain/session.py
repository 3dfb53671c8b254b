"""One client's conversation: commands in, replies out, in order.

Commands of one connection are handled one after another; while PHP or the broker is being asked, later ones
wait in a queue, also those that cannot be decoded. What the session asks may be answered now or later (see
`ports`); waiting itself is the shell's job, so that this module stays free of I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from rr_py_ws.domain.hub import Subscriber
from rr_py_ws.domain.ports import Authorizer, Subscriptions
from rr_py_ws.errors import BrokerError, CommandError
from rr_py_ws.wire.access import AccessRequest, Verdict
from rr_py_ws.wire.command import Command, decode_command
from rr_py_ws.wire.push import encode_reply


class Shell(Subscriber, Protocol):
    """The connection around a session."""

    def when_done(self, waiting: Awaitable[Any], then: Callable[[Any, Exception | None], None]) -> None:
        """Wait in the background, then call `then(result, error)`; not at all once the connection is gone."""

    def command_ignored(self, reason: str) -> None:
        """A command was dropped, as RoadRunner drops it; worth a log line."""


@dataclass(slots=True)
class CommandStats:
    """What the clients of a server have asked for so far.

    Attributes:
        joins: join commands.
        refused: those that were answered with `#join`.
        leaves: leave commands.
        headers: headers commands.
        ignored: messages that are no command.
    """

    joins: int = 0
    refused: int = 0
    leaves: int = 0
    headers: int = 0
    ignored: int = 0


class Session:
    """The state of one connection above the WebSocket protocol.

    Args:
        shell: replies are written to it, and it is the subscriber.
        request: the upgrade request, which PHP sees again with every join.
        authorizer: decides about joins.
        subscriptions: where topics are joined and left.
        stats: what is asked for is counted there.
    """

    __slots__ = (
        "_answer_all",
        "_authorizer",
        "_busy",
        "_queue",
        "_request",
        "_shell",
        "_stats",
        "_subscriptions",
    )

    def __init__(
        self,
        shell: Shell,
        request: AccessRequest,
        authorizer: Authorizer,
        subscriptions: Subscriptions,
        stats: CommandStats,
    ) -> None:
        self._shell = shell
        self._request = request
        self._authorizer = authorizer
        self._subscriptions = subscriptions
        self._stats = stats
        self._queue: deque[tuple[Command, str]] | None = None
        self._busy = False
        self._answer_all = False

    @property
    def backlog(self) -> int:
        """How many commands wait behind the one that is being handled."""
        return len(self._queue) if self._queue is not None else 0

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
        self._subscriptions.leave_all(self._shell)

    def _handle(self, command: Command, problem: str) -> None:
        if problem:
            self._ignore(command, problem)
            return
        match command.name:
            case "join":
                self._stats.joins += 1
                self._ask(command)
            case "leave":
                self._stats.leaves += 1
                self._leave(command)
            case "headers":
                self._stats.headers += 1
            case unknown:
                self._ignore(command, f"unknown command {unknown!r}")

    def _ignore(self, command: Command, reason: str) -> None:
        """Drop a command; a client that has ever used an id is told, if need be with an empty one."""
        self._stats.ignored += 1
        self._shell.command_ignored(reason)
        if self._answer_all:
            id = "" if command.id is None else command.id
            self._shell.write(encode_reply("#error", command.topics, id=id, reason=reason))

    def _ask(self, command: Command) -> None:
        if command.topics:
            verdict = self._authorizer.join(self._request, command.topics)
        else:
            verdict = self._authorizer.connect(self._request)
        if isinstance(verdict, Verdict):
            self._join(command, verdict, None)
        else:
            self._wait(verdict, partial(self._join, command))

    def _join(self, command: Command, verdict: Verdict, error: Exception | None) -> None:
        if error is not None or not verdict.allowed:
            self._refuse(command, str(error) if error else f"refused with status {verdict.status}")
            return
        try:
            waiting = self._subscriptions.join(self._shell, command.broker, command.topics or ())
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
            self._refuse(command, str(error))

    def _refuse(self, command: Command, reason: str) -> None:
        self._stats.refused += 1
        self._reply("#join", command, reason)

    def _leave(self, command: Command) -> None:
        try:
            self._subscriptions.leave(self._shell, command.broker, command.topics or ())
        except BrokerError as error:
            self._reply("#leave", command, str(error))
        else:
            self._reply("@leave", command)

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
