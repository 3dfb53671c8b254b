"""What the core asks of the outside, and what the outside may ask of the core.

An adapter implements one of these protocols; another that passes the same contract tests can take its place.
Several methods answer "now or later": they return the result itself when it is known at once (memory broker,
`authorize: none`), and an awaitable when it is not (Redis, PHP). The hot path pays for a task only when there
is something to wait for.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from rr_py_ws.core.history import History, Receipt, Recoveries
from rr_py_ws.core.hold import Hold, Topic
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import WorkerError
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.http import Request
from rr_py_ws.wire.publication import Publication, Pushes
from rr_py_ws.wire.push import Encoding
from rr_py_ws.wire.verdict import Verdict
from rr_py_ws.wire.worker import Message, Question

Publish = Callable[[Publication], Awaitable[None] | None]
"""Hands a publication to a broker, and returns or raises what that does; see `Broker.publish`."""


class Subscriber(Protocol):
    """A connection, as the core sees it. Compared by identity.

    Attributes:
        id: of the connection, unguessable.
        me: the client's own name for itself; empty when it has not said.
        encoding: the form in which it gets pushes and replies; `Subscriptions` changes it, nobody else.
        descriptor: of the socket that `send` writes to as it is, now; -1 when it does anything else.
    """

    id: str
    me: str
    encoding: Encoding
    descriptor: int

    def send(self, frames: bytes, /) -> int:
        """Send pushes at once, as far as that goes: as `socket.send`, return how many bytes were taken."""

    def push(self, pushes: Pushes, taken: int) -> None:
        """Take pushes of which `send` has taken only the first `taken` bytes; never blocks."""

    def charge(self, cost: int) -> None:
        """The client has asked for something that costs as much as so many small commands."""

    def missed(self, topics: Sequence[str]) -> None:
        """Messages of these topics may have been lost on their way to this node. Does not fail."""

    def write_failed(self, error: Exception) -> None:
        """`push` raised; the subscriber should go away soon, but not during this call."""


class Broker(Protocol):
    """Carries publications between publishers and nodes; knows topics, never connections."""

    @property
    def routes(self) -> Mapping[str, Callable[[Publication], None]] | None:
        """What does the work of `publish` for the topics that were published to lately.

        None when there is nothing shorter; it stays the same mapping, or None.
        """

    @property
    def history(self) -> History | None:
        """What it keeps of topics; None when it keeps nothing of any."""

    @property
    def ready(self) -> bool:
        """Whether it would take a publication now, and brings those of everything that is subscribed."""

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """Begin.

        Args:
            on_publication: called with each publication of a subscribed topic.
            on_gap: called with subscribed topics of which publications may have been missed, when they arrive
                again, and before the first that does.

        Raises:
            BrokerError: the broker cannot start.
        """

    def publish(self, publication: Publication) -> Awaitable[None] | None:
        """Hand one publication over; an awaitable when the broker has not accepted it yet.

        Raises (now, or from the awaitable):
            BrokerError: the publication was not accepted.
        """

    def publish_once(
        self, publication: Publication, key: str = "", *, skip_history: bool = False
    ) -> Receipt | Awaitable[Receipt]:
        """Do what `publish` does, and tell the position; with what only some publishers ask for.

        Args:
            publication: what is published.
            key: when something was published to the topic under this key in the last `KEY_LIFE` seconds, its
                position is returned and nothing is published; empty for none.
            skip_history: deliver it, and keep it in no history.

        Raises (now, or from the awaitable):
            BrokerError: the publication was not accepted.
        """

    def subscribe(self, topics: Sequence[str]) -> Awaitable[None] | None:
        """Make sure that publications of these topics arrive here; None when they do already.

        Called for every join, also for topics that somebody on this node is in.

        Raises (now, or from the awaitable):
            BrokerError: the topics cannot be subscribed.
        """

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Publications of these topics are no longer wanted. Does not fail and does not wait."""

    async def settle(self) -> None:
        """Wait until all that was accepted here and is subscribed has been handed to `on_publication`.

        Does not fail: what a broken connection has lost will not come. May take as long as a time-out.
        """

    async def close(self) -> None:
        """Release everything; no `on_publication` call follows."""

    def metrics(self) -> Iterable[Sample]:
        """Tell what it counts by itself, with a label `broker`."""


class Authorizer(Protocol):
    """Decides who may connect and join. Fails closed: never raises, a failure is a refusal."""

    def connect(self, request: Request) -> Verdict | Awaitable[Verdict]:
        """Decide about a handshake.

        Returns (now, or from the awaitable):
            A verdict; when it allows, its `grant` is what this authorizer wants to see again with each join.
        """

    def join(self, grant: object, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        """Decide about a join command of the connection whose handshake was answered with this grant.

        One without topics asks again whether this client may be connected.
        """


class Subscriptions(Protocol):
    """What a client's session needs to join and leave topics.

    `broker` is the name of a `broadcast` section; any other text means the default broker.
    """

    def count_with(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> int:
        """Return in how many topics, over all brokers, a subscriber would be if it joined these, too."""

    def join(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> Awaitable[None] | None:
        """Subscribe; None when the topics' publications reach the subscriber from now on.

        Raises (now, or from the awaitable):
            BrokerError: the subscriber is in none of the topics that it was not in before.
        """

    def join_with_history(
        self,
        subscriber: Subscriber,
        broker: str,
        topics: Sequence[str],
        wishes: Mapping[str, Wish],
        limit: ReplayLimit,
    ) -> Recoveries | Awaitable[Recoveries]:
        """Subscribe, and find what is kept; from then on the subscriber gets pushes with positions.

        Raises (now, or from the awaitable):
            BrokerError: the subscriber is in none of the topics that it was not in before.

        Returns (now, or from the awaitable):
            What is kept of each topic that is wished for, up to this moment: what is published later reaches
            the subscriber. So whoever gets this must send it before anything else can happen.
        """

    def leave(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> None:
        """Unsubscribe; topics that the subscriber is not in are left alone.

        Raises:
            BrokerError: the subscriber is still in the topics.
        """

    def leave_all(self, subscriber: Subscriber) -> None:
        """Unsubscribe from everything; the connection is gone. Does not fail."""


class Publisher(Protocol):
    """What an RPC service needs to publish."""

    def publish(self, broker: str, publication: Publication) -> Awaitable[None] | None:
        """Publish; see `Broker.publish`.

        Args:
            broker: name of a `broadcast` section; any other text means the default broker.
            publication: what is published.

        Raises (now, or from the awaitable):
            BrokerError: the broker refused.
        """

    def publisher(self, broker: str) -> Publish:
        """Return what does the work of `publish` for one broker, which is looked up only once."""

    def is_heard(self, broker: str, topics: Iterable[str]) -> bool:
        """Whether somebody on this node is in one of the topics."""

    def publish_once(
        self, broker: str, publication: Publication, key: str = "", *, skip_history: bool = False
    ) -> Receipt | Awaitable[Receipt]:
        """Publish; see `Broker.publish_once`."""

    def history(self, broker: str) -> History | None:
        """Return what the broker keeps of topics; see `Broker.history`."""


class Holds(Protocol):
    """What an RPC service needs to know of topics that hold their publishers; see `core.backpressure`."""

    @property
    def held(self) -> Collection[Topic]:
        """The topics that hold their publishers now; nearly always empty. Always the same object."""

    def find_hold(self, broker: str, topics: Iterable[str]) -> Hold | None:
        """Return a hold of one of the topics; None when all of them can be published to.

        Args:
            broker: name of a `broadcast` section; any other text means the default broker.
            topics: what is to be published to.
        """


@dataclass(frozen=True, slots=True)
class Probe:
    """How a plugin is; both are answered at once.

    Attributes:
        healthy: whether it works, so that a restart of the process would be no help.
        ready: whether it can be used now. False before everything is started, and as soon as a stop begins.
    """

    healthy: Callable[[], bool]
    ready: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the informer tells about one worker process.

    Attributes:
        pid: process id.
        status: RoadRunner's number: 0 inactive, 1 ready, 2 working, 3 invalid, 4 stopping, 5 killing,
            6 destroyed, 7 max jobs reached, 8 stopped, 9 errored.
        status_text: the same as a word.
        execs: requests answered.
        created: start time, Unix nanoseconds.
        memory: resident set size in bytes.
        cpu_percent: CPU seconds used per second of life, times 100.
        command: the command line.
    """

    pid: int
    status: int
    status_text: str
    execs: int
    created: int
    memory: int
    cpu_percent: float
    command: str


Answer = Message | WorkerError | TimeoutError
"""What a question to PHP comes to."""


class Lane(IntEnum):
    """Where a question waits for a free worker. Workers are given to the lanes in turn: none starves another.

    A handshake has little time, and may not wait behind thousands of joins.
    """

    HANDSHAKES = 0
    JOINS = 1


class AnswerParts(Protocol):
    """What follows the first part of an answer that a worker streams."""

    async def next_part(self) -> Message | None:
        """Wait for the next part; None when there is no other. The worker waits for slow callers.

        Raises:
            WorkerError: the worker failed.
        """

    def stop(self) -> None:
        """Nobody wants the rest; nothing when it has come. Its worker is told so."""


class QuestionPool(Protocol):
    """Workers that answer questions, in this process or in another one."""

    @property
    def allocate_timeout(self) -> float:
        """Seconds, at most, that a question waits for a free worker by default."""

    def ask(
        self,
        question: Message,
        on_answer: Callable[[Answer], object],
        limit: float = 0.0,
        *,
        lane: Lane = Lane.JOINS,
        wait: float | None = None,
        within: float = math.inf,
    ) -> Callable[[], None]:
        """Ask one worker.

        Args:
            question: context and body.
            on_answer: called once, perhaps during this call, with the answer; or with the reason why there is
                none: TimeoutError when `within` is over, NoFreeWorkers when no worker became free in time,
                WorkersDown when the question was refused, WorkerError when the worker failed.
            limit: seconds for the answer of a worker, not counting the wait for it; then it is killed. 0 is
                no limit but `exec_ttl`.
            lane: where to wait for a worker.
            wait: seconds to wait for one; None is `allocate_timeout`.
            within: seconds for everything; then the caller has no answer, and the worker goes on.

        Returns:
            What withdraws the question: `on_answer` is not called any more. It does not disturb the worker.
        """

    async def exec_streamed(
        self, question: Question, limit: float = 0.0
    ) -> tuple[Message, AnswerParts | None]:
        """Ask one worker, which may answer in several parts, and wait for the answer; otherwise as `ask`.

        To cancel this withdraws the question. When a worker has it already, this ends when the worker is done
        with it: what the question names, such as a file, can be removed then. Who cancels this once more does
        not wait.

        Returns:
            The answer, or its first part and the others. Whoever takes those calls `stop` in the end.

        Raises:
            NoFreeWorkers: none became free in time.
            WorkersDown: refused at once, or while it waited.
            WorkerError: the worker failed.
        """


class WorkerPool(QuestionPool, Protocol):
    """A pool, and what informer and resetter need of it."""

    def states(self) -> list[WorkerState]:
        """Describe each worker process."""

    async def reset(self) -> None:
        """Replace every worker; returns when the new ones are ready. Nobody is refused meanwhile.

        Raises:
            WorkerStartError: the new workers cannot be started.
        """
