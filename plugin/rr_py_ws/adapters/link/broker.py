"""A broker of the core process, as a listener process has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from weakref import WeakSet

from rr_py_ws.adapters.link.core import Core
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.core.history import Page, Query, Receipt, Recoveries, Synchronize
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.ring import ReplayLimit
from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.command import Wish
from rr_py_ws.wire.link import Plain, unpack_publications, unpack_recoveries
from rr_py_ws.wire.publication import Position, Publication
from rr_py_ws.wire.recovery import OFF, Missed

_CONFIRMED = 0
_AT_ONCE = 1000
"""Topics that are subscribed with one call after the core was away."""
_RETRY = 1.0
"""Seconds until topics are subscribed again whose broker has refused them then."""
_FEWER = 10
"""By so much fewer are subscribed with one call then, down to one: the broker refuses a call as a whole."""


class LinkBroker:
    """Implements the port `Broker`: what it is asked for is done by the broker of the core.

    Args:
        name: of the section of `broadcast`.
        number: of the broker, in batches.
        core: where the broker is.
        rules: which topics have a history.
        recovery_size: see `LinkHistory`.
    """

    routes = None

    def __init__(
        self, name: str, number: int, core: Core, rules: HistoryRules, recovery_size: int = 1 << 31
    ) -> None:
        self._name = name
        self._core = core
        self._running = False
        self._on_publication: Callable[[Publication], None] = _nowhere
        self._on_gap: Callable[[Sequence[str]], None] = _nowhere
        # Topic -> the last call that has subscribed it and is not answered; `_CONFIRMED` when it is.
        self._topics: dict[str, int] = {}
        self._calls = 0
        # Those of which nothing is handed on until they are subscribed again: first comes the gap.
        self._interrupted: set[str] = set()
        self._resuming = TaskSet("link")
        self.history = LinkHistory(name, core, rules, recovery_size) if rules else None
        core.brokers[number] = self

    @property
    def ready(self) -> bool:
        """Whether the core is there and everything is subscribed again; how its broker is, the core tells."""
        return self._running and self._core.there and not self._interrupted

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """Begin."""
        self._on_publication, self._on_gap = on_publication, on_gap
        self._running = True

    async def close(self) -> None:
        """Hand nothing on any more."""
        self._running = False
        self._on_publication = self._on_gap = _nowhere
        await self._resuming.cancel()

    def metrics(self) -> Iterable[Sample]:
        """Tell nothing: the core tells what its broker counts."""
        return ()

    # Publishing

    def publish(self, publication: Publication) -> Awaitable[None]:
        """See `Broker.publish`."""
        return self._call("publish", tuple(publication))

    async def publish_once(
        self, publication: Publication, key: str = "", *, skip_history: bool = False
    ) -> Receipt:
        """See `Broker.publish_once`."""
        return Receipt(*await self._call("publish_once", tuple(publication), key, skip_history))

    async def settle(self) -> None:
        """Wait for a call that has nothing to do: everything that was said before it has come then."""
        if self._running and self._core.there:
            try:
                await self._call("settle")
            except BrokerError:  # what a broken link has lost will not come
                return

    # Topics

    def subscribe(self, topics: Sequence[str]) -> Awaitable[None] | None:
        """See `Broker.subscribe`."""
        known = self._topics
        missing = [topic for topic in topics if known.get(topic) != _CONFIRMED]
        if not missing:
            return None
        return self._subscribe(missing, *self._ask_for(missing))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """See `Broker.unsubscribe`."""
        if left := [topic for topic in topics if self._topics.pop(topic, None) is not None]:
            self._interrupted.difference_update(left)
            if self._running:
                self._core.tell("unsubscribe", self._name, left)

    def _ask_for(self, topics: Sequence[str]) -> tuple[int, Awaitable[None]]:
        """Subscribe; what is asked for and given up again meanwhile is not confirmed by an old answer."""
        asking = self._call("subscribe", list(topics))
        self._calls = number = self._calls + 1
        self._topics.update(dict.fromkeys(topics, number))
        return number, asking

    async def _subscribe(self, topics: Sequence[str], number: int, asking: Awaitable[None]) -> None:
        await asking
        known = self._topics
        for topic in topics:
            if known.get(topic) == number:
                known[topic] = _CONFIRMED
        if back := self._interrupted.intersection(topics):
            self._interrupted -= back
            self._on_gap([topic for topic in topics if topic in back])

    def _call(self, method: str, *args: object) -> Awaitable[Plain]:
        if not self._running:
            raise BrokerError("the link to the core process is not running")
        return self._core.call(method, self._name, *args)

    # The link

    def receive(self, publications: list[Publication]) -> None:
        """Hand publications on."""
        if self._interrupted:
            publications = [one for one in publications if one.topic not in self._interrupted]
        if self.history is not None:
            self.history.watch(publications)
        on_publication = self._on_publication
        for publication in publications:
            on_publication(publication)

    def missed(self, topics: list[str]) -> None:
        """Tell who is in the topics."""
        self._on_gap(topics)

    def lost(self) -> None:
        """Nothing is subscribed any more."""
        self._interrupted = set(self._topics)
        self._topics = dict.fromkeys(self._topics, -1)

    def connected(self) -> None:
        """Subscribe everything again, and tell of the gap."""
        if self._interrupted and self._running:
            self._resuming.spawn(self._resume())

    async def _resume(self) -> None:
        size = _AT_ONCE
        while self._core.there and self._interrupted:
            topics = list(self._interrupted)
            parts = [topics[start : start + size] for start in range(0, len(topics), size)]
            refused = [part for part in parts if not await self._subscribe_again(part)]
            if refused:
                # All of many are refused by a broker that is away; of few, or some of many, each is tried.
                if len(refused) < len(parts) or len(topics) <= _AT_ONCE:
                    size = max(1, size // _FEWER)
                await asyncio.sleep(_RETRY)

    async def _subscribe_again(self, topics: Sequence[str]) -> bool:
        wanted = [topic for topic in topics if topic in self._interrupted]
        try:
            await self._subscribe(wanted, *self._ask_for(wanted))
        except BrokerError:
            return False
        return True


class LinkHistory:
    """Implements the port `History`: what is kept, is kept in the core.

    Args:
        name: of the section of `broadcast`.
        core: where the histories are.
        rules: which topics have one.
        recovery_size: bytes that all topics of a join may get: more must not go over the link, either.

    Attributes:
        recovery_size: the same; it may change.
    """

    def __init__(self, name: str, core: Core, rules: HistoryRules, recovery_size: int) -> None:
        self.recovery_size = recovery_size
        self._name = name
        self._core = core
        self._rules = rules
        self._recovering: WeakSet[_Recovered] = WeakSet()

    def keeps(self, topic: str) -> bool:
        """See `History.keeps`."""
        return self._rules.find(topic) is not None

    async def recover(self, wishes: Mapping[str, Wish], limit: ReplayLimit) -> Synchronize:
        """See `History.recover`."""
        try:
            return await self._core.call(  # type: ignore[no-any-return]
                "recover", self._name, dict(wishes), tuple(limit), self.recovery_size, convert=self._begin
            )
        except BrokerError:
            return lambda: dict.fromkeys(wishes, OFF)

    async def read(self, topic: str, query: Query) -> Page:
        """See `History.read`."""
        found, position, reason = await self._core.call("read", self._name, topic, tuple(query))
        return Page(unpack_publications(found) if position is not None else (), position, reason)

    async def clear(self, topic: str) -> Position | None:
        """See `History.clear`."""
        return await self._core.call("clear", self._name, topic)  # type: ignore[no-any-return]

    def watch(self, publications: Iterable[Publication]) -> None:
        """These are handed on now: whoever was told before what is kept gets them, too."""
        if self._recovering:
            for recovered in self._recovering:
                recovered.add(publications)

    def _begin(self, found: Plain) -> _Recovered:
        recovered = _Recovered(unpack_recoveries(found))
        self._recovering.add(recovered)
        return recovered


class _Recovered:
    """What was kept when the core answered, and what has come since; the client is told in a later turn."""

    def __init__(self, recoveries: Recoveries) -> None:
        self._recoveries = recoveries
        self._came: dict[str, list[Publication]] = {}

    def add(self, publications: Iterable[Publication]) -> None:
        for publication in publications:
            if publication.topic in self._recoveries and publication.position is not None:
                self._came.setdefault(publication.topic, []).append(publication)

    def __call__(self) -> Recoveries:
        for topic, came in self._came.items():
            recovery = self._recoveries[topic]
            self._recoveries[topic] = recovery._replace(replay=Missed([*recovery.replay, *came]))
        self._came = {}
        return self._recoveries


def _nowhere(_: object) -> None:
    pass
