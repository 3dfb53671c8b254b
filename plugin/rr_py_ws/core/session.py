"""One client's conversation: commands in, replies out, in order.

Commands of one connection are handled one after another; while PHP or the broker is being asked, later ones
wait in a queue, as the bytes that they came as. When what is asked is answered (see `joining`), the transport
has those that wait handled, one by one. What is asked for is charged to the client by what it costs, see
`cost`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rr_py_ws.core.cost import BYTES, message_cost, slow_cost, topics_cost
from rr_py_ws.core.joining import Joining
from rr_py_ws.core.session_context import SessionContext, SessionTransport
from rr_py_ws.errors import BrokerError, CommandError
from rr_py_ws.wire.command import Command, decode_command

_LONGEST_NAME = 64
"""Characters of a command that nobody knows, in the log and in the reply."""


class Session(Joining):
    """The state of one connection above the WebSocket protocol.

    Args:
        transport: see `Joining`.
        grant: see `Joining`.
        context: see `Joining`.

    Attributes:
        waiting: commands that wait behind the one that is being handled; None when there are none.
        waiting_size: bytes of the commands that wait.
    """

    __slots__ = ("waiting", "waiting_size")

    def __init__(self, transport: SessionTransport, grant: object, context: SessionContext) -> None:
        Joining.__init__(self, transport, grant, context)
        # None instead of an empty deque, which takes more memory than the rest of a session.
        self.waiting: deque[bytes] | None = None
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
        name = command.name
        if problem:
            self._ignore(command, problem)
        elif name == "join":
            counters.joins += 1
            self._join(command)
        elif name == "leave":
            counters.leaves += 1
            self._leave(command)
        elif name == "headers":
            counters.headers += 1
        else:
            self._ignore(command, f"unknown command {name[:_LONGEST_NAME]!r}")

    def _ignore(self, command: Command, reason: str) -> None:
        """Drop a command; a client that has ever used an id is told, if need be with an empty one."""
        self._context.counters.ignored += 1
        self._transport.command_ignored(reason)
        if self.opted_in:
            id = "" if command.id is None else command.id
            self._reply("#error", command, reason, id=id)

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

    def _charge_slow(self, size: int) -> None:
        self._transport.charge(slow_cost(size))
