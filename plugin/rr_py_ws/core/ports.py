"""What the core asks of the outside, and what the outside may ask of the core.

An adapter implements one of these protocols; another that passes the same contract tests can take its place.
Several methods answer "now or later": they return the result itself when it is known at once (memory broker,
allow-all authorizer), and an awaitable when it is not (Redis, PHP). The hot path pays for a task only when
there is something to wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rr_py_ws.core.hub import Subscriber
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.access import AccessRequest, Verdict


class Broker(Protocol):
    """Carries messages between publishers and nodes; knows topics, never connections."""

    @property
    def ready(self) -> bool:
        """Whether it would take a message now, and brings those of everything that is subscribed."""

    async def start(
        self, on_message: Callable[[str, bytes], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """Begin.

        Args:
            on_message: called with topic and payload of each message of a subscribed topic.
            on_gap: called with subscribed topics of which messages may have been missed, when they arrive
                again, and before the first that does.

        Raises:
            BrokerError: the broker cannot start.
        """

    def publish(self, topic: str, payload: bytes) -> Awaitable[None] | None:
        """Hand one message over; None when it is accepted already.

        Raises (now, or from the awaitable):
            BrokerError: the message was not accepted.
        """

    def subscribe(self, topics: Sequence[str]) -> Awaitable[None] | None:
        """Make sure that messages of these topics arrive here; None when they do already.

        Called for every join, also for topics that somebody on this node is in.

        Raises (now, or from the awaitable):
            BrokerError: the topics cannot be subscribed.
        """

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Messages of these topics are no longer wanted. Does not fail and does not wait."""

    async def settle(self) -> None:
        """Wait until all that was accepted here and is subscribed has been handed to `on_message`.

        Does not fail: what a broken connection has lost will not come. May take as long as a time-out.
        """

    async def close(self) -> None:
        """Release everything; no `on_message` call follows."""

    def metrics(self) -> Iterable[Sample]:
        """Tell what it counts by itself, with a label `broker`."""


class Authorizer(Protocol):
    """Decides who may connect and join. Fails closed: never raises, a failure is a refusal.

    Attributes:
        reads_requests: False when it does not look at requests; it is then given `NO_REQUEST`.
    """

    reads_requests: bool

    def connect(self, request: AccessRequest) -> Verdict | Awaitable[Verdict]:
        """Decide about a handshake."""

    def join(self, request: AccessRequest, topics: Sequence[str]) -> Verdict | Awaitable[Verdict]:
        """Decide about a join command of the connection that was made by `request`.

        One without topics asks again whether this client may be connected.
        """


class Subscriptions(Protocol):
    """What a client's session needs to join and leave topics.

    `broker` is the name of a `broadcast` section; any other text means the default broker.
    """

    def count_with(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> int:
        """Return in how many topics, over all brokers, a subscriber would be if it joined these, too."""

    def join(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> Awaitable[None] | None:
        """Subscribe; None when the topics' messages reach the subscriber from now on.

        Raises (now, or from the awaitable):
            BrokerError: the subscriber is in none of the topics that it was not in before.
        """

    def leave(self, subscriber: Subscriber, broker: str, topics: Sequence[str]) -> None:
        """Unsubscribe; topics that the subscriber is not in are left alone.

        Raises:
            BrokerError: the subscriber is still in the topics.
        """

    def leave_all(self, subscriber: Subscriber) -> None:
        """Unsubscribe from everything; the connection is gone. Does not fail."""

    def fell_behind(self, subscriber: Subscriber) -> None:
        """The subscriber's socket takes nothing more. Does not fail."""

    def caught_up(self, subscriber: Subscriber) -> None:
        """The subscriber has taken everything that waited for it, or is gone. Does not fail."""


class Publisher(Protocol):
    """What an RPC service needs to publish."""

    def publish(self, broker: str, topics: Sequence[str], payload: bytes) -> Awaitable[None] | None:
        """Publish one message to each topic, in order; None when the broker has accepted all of them.

        Args:
            broker: name of a `broadcast` section; any other text means the default broker.
            topics: an empty topic is skipped.
            payload: any bytes.

        Raises (now, or from the awaitable):
            BrokerError: a broker refused; what was published before stays published.
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


class WorkerPool(Protocol):
    """What informer and resetter need of a pool of workers."""

    def states(self) -> list[WorkerState]:
        """Describe each worker process."""

    async def reset(self) -> None:
        """Replace every worker; returns when the new ones are ready. Nobody is refused meanwhile.

        Raises:
            WorkerStartError: the new workers cannot be started.
        """
