"""How a session joins topics: who is asked, in which order, and what the client is told.

What is asked may be answered now or later (see `ports`); for what comes later there is one coroutine, which
the transport runs as a task, so that this module stays free of I/O.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from rr_py_ws.core.cost import QUESTION, TOPICS, topics_cost, wishes_cost
from rr_py_ws.core.fail_closed import fail_closed
from rr_py_ws.core.history import Recoveries
from rr_py_ws.core.session_context import SessionContext, SessionTransport, breach_of_join
from rr_py_ws.errors import BrokerError
from rr_py_ws.wire.command import Command, Wish
from rr_py_ws.wire.push import usual_join_reply
from rr_py_ws.wire.verdict import ALLOWED, Verdict

_LONGEST_REFUSED = 1024
"""Topics over the limit of a command that are sent back with the refusal."""
_BROKER_FAILED = "the broker failed"


class Joining:
    """The joins of one session; `Session` is the rest of it.

    Args:
        transport: replies are written to it, and it is the subscriber.
        grant: what the authorizer has answered to the handshake, and sees again with each join.
        context: what the session shares with others.

    Attributes:
        opted_in: whether the client has ever used an id, and so is told more than by RoadRunner.
    """

    __slots__ = ("_asked_for", "_busy", "_closed", "_context", "_grant", "_transport", "opted_in")

    def __init__(self, transport: SessionTransport, grant: object, context: SessionContext) -> None:
        self._transport = transport
        self._grant = grant
        self._context = context
        # The topics of all joins so far: it is in no more than these.
        self._asked_for = 0
        self._busy = False
        self._closed = False
        self.opted_in = False

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

    def _join(self, command: Command) -> None:
        topics = command.topics or ()
        if breach := self._breach(command, topics):
            self._transport.command_refused(breach[1])
            self._refuse_join(command, *breach)
            return
        count = len(topics)
        self._asked_for += count
        if count >= TOPICS:
            self._transport.charge(topics_cost(count))
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
        context = self._context
        limits = context.limits
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
        if context.counters.joins_waiting >= limits.max_joins_waiting:
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
        _, topics, _, id, me, history = command
        try:
            if history is None:
                joining = self._context.subscriptions.join(
                    self._transport, self._broker(command), topics or ()
                )
            else:
                joining = self._join_with_history(command, history, verdict)
        except BrokerError as error:
            self._refuse_by_broker(command, error)
            return None
        if joining is None:
            if id is None and not me and topics and len(topics) == 1:
                self._transport.write(usual_join_reply(topics[0]))
            else:
                self._answer_join(command, None)
            return None
        if isinstance(joining, dict):
            self._answer_join(command, joining)
            return None
        return joining

    def _join_with_history(
        self, command: Command, wishes: Mapping[str, Wish], verdict: Verdict
    ) -> Recoveries | Awaitable[Recoveries]:
        """Subscribe; what is wished for and withheld is not looked for."""
        context = self._context
        self._charge(wishes_cost(len(wishes)))
        self.opted_in = True
        if verdict is not ALLOWED:
            wishes = {topic: wish for topic, wish in wishes.items() if verdict.shows_history(topic)}
        return context.subscriptions.join_with_history(
            self._transport, self._broker(command), command.topics or (), wishes, context.replay_limit
        )

    def _answer_join(self, command: Command, recoveries: Recoveries | None) -> None:
        """Tell the client that it is in, and send what it has missed."""
        if recoveries is None or command.history is None:
            self._reply("@join", command, client=self._transport.id if command.me else "")
            return
        context, transport = self._context, self._transport
        answer = context.answers.find(transport, command, recoveries)
        context.counters.count_recoveries(answer.told)
        if answer.missed:
            self._charge(answer.cost)
            transport.replay(answer.reply_to(transport), answer.missed, answer.frames)
        else:
            transport.write(answer.reply_to(transport))

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
    ) -> None:
        """Answer a command, with its topics; a refused list that is very long only costs."""
        topics: Sequence[str] | None = command.topics
        longest = max(_LONGEST_REFUSED, self._context.limits.max_topics_per_command)
        if topics is not None and len(topics) > longest:
            topics = ()
        id = command.id if id is None else id
        encoding = self._transport.encoding
        self._transport.write(encoding.reply(kind, topics, id=id, reason=reason, client=client))
