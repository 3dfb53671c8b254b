"""The shards of a cluster: each topic has one server, the master of its slot (Redis 7 sharded pub/sub).

Which master has which slot is asked of any node, at the start and whenever there is a sign that it has
changed: an answer `MOVED`, a subscription that a node ends, a connection that is lost.
"""

from __future__ import annotations

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Awaitable, Sequence
from functools import partial

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.channels import Channel
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import FixedRoute, decode_slots
from rr_py_ws.adapters.brokers.redis.endpoint import Endpoint
from rr_py_ws.adapters.brokers.redis.node import Pair, Setup
from rr_py_ws.adapters.brokers.redis.reconnect import Backoff
from rr_py_ws.errors import BrokerError

_SLOTS = 16384

log = logs.get_logger("broadcast")


def slot_of(channel: bytes) -> int:
    """The slot of a channel (Redis cluster specification, "Hash tags")."""
    _, opened, rest = channel.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return crc_hqx(tag if opened and closed and tag else channel, 0) % _SLOTS


class Shards:
    """A pair of connections for each master.

    Order is kept for each topic; messages of different topics may take different ways.

    Args:
        setup: what all connections share.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._seeds = [Endpoint.parse(address) for address in setup.options.addrs]
        self._owners: list[Endpoint | None] = [None] * _SLOTS
        self._pairs: dict[Endpoint, Pair] = {}
        self._homeless: dict[bytes, Channel] = {}
        self._knowing: Endpoint | None = None
        self._stale = asyncio.Event()
        self._stale.set()
        self._problem = "the slots of the cluster are not known yet"
        self._attempted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._retired: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run())

    @property
    def ready(self) -> bool:
        """Whether messages can be published to, and are received from, every shard."""
        return (
            not self._homeless
            and None not in self._owners
            and all(pair.ready for pair in self._pairs.values())
        )

    async def attempt(self) -> str:
        """Wait for the first attempt to connect to everything; return why it failed, or nothing."""
        problem = await self._attempted
        problems = await asyncio.gather(*(pair.attempt() for pair in self._pairs.values()))
        return next(filter(None, [problem, *problems]), "")

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """See `Outlet.publish`. A message for a slot that has moved is sent once more, to where it is."""
        final: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first = self._pair(channel).publish(channel, payload)
        first.add_done_callback(partial(self._published, final, channel, payload))
        return final

    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> Awaitable[None] | None:
        """Subscribe channels, given as name and topic; None when all of them are live."""
        join = self._setup.join(self._explain)
        for name, topic in wanted:
            owner = self._owners[slot_of(name)]
            if owner is None or name in self._homeless:
                join.wait_for(self._homeless.setdefault(name, Channel(name, topic)))
            else:
                self._pairs[owner].feed.subscribe(name, topic, join)
        return join.future

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more."""
        for name in names:
            owner = self._owners[slot_of(name)]
            if self._homeless.pop(name, None) is None and owner is not None:
                self._pairs[owner].feed.unsubscribe([name])

    async def settle(self) -> None:
        """Wait for what was published here and is on its way back; see `Feed.settle`."""
        await asyncio.gather(*(pair.settle() for pair in self._pairs.values()))

    async def close(self) -> None:
        """Close all connections; joins that wait fail."""
        self._task.cancel()
        await asyncio.wait([self._task])
        for pair in self._pairs.values():
            await pair.close()
        if self._retired:
            await asyncio.wait(self._retired)
        for channel in self._homeless.values():
            channel.fail(BrokerError("the redis broker is not running"))
        self._homeless.clear()

    # Messages for slots that move

    def _pair(self, channel: bytes) -> Pair:
        owner = self._owners[slot_of(channel)]
        if owner is None:
            self._setup.counters.publish_failures += 1
            raise BrokerError(f"redis is not available: {self._problem}")
        return self._pairs[owner]

    def _published(
        self, final: asyncio.Future[None], channel: bytes, payload: bytes, first: asyncio.Future[None]
    ) -> None:
        if final.done():
            return
        error = first.exception()
        if error is None:
            final.set_result(None)
        elif not isinstance(error, ErrorReply) or error.code != "MOVED":
            final.set_exception(error)
        else:
            self._publish_again(final, channel, payload, error)

    def _publish_again(
        self, final: asyncio.Future[None], channel: bytes, payload: bytes, moved: ErrorReply
    ) -> None:
        self._stale.set()
        try:
            self._knowing = target = _target(moved)
            if target not in self._pairs:
                raise moved
            self._owners[slot_of(channel)] = target
            second = self._pairs[target].publish(channel, payload)
        except BrokerError as error:
            final.set_exception(error)
            return
        self._setup.counters.publish_failures -= 1  # the first time does not count
        second.add_done_callback(partial(_settle, final))

    # Which master has which slot

    async def _run(self) -> None:
        """Ask again when there is a sign that it has changed, but not more often than the backoff says."""
        backoff = Backoff(self._setup.pace.shortest, self._setup.pace.longest)
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                self._apply(await self._ask())
            except BrokerError as error:
                self._note_problem(str(error))
                self._stale.set()
            else:
                self._problem = ""
                if self._homeless:
                    self._stale.set()
                else:
                    backoff.reset()
            if not self._attempted.done():
                self._attempted.set_result(self._problem)
            await asyncio.sleep(backoff.pause())

    async def _ask(self) -> list[tuple[int, int, Endpoint]]:
        """Ask the nodes one after another until one knows; first the one that has told of a change.

        The others may not have heard of it yet, replicas last of all.
        """
        problem: BrokerError | None = None
        knowing, self._knowing = self._knowing, None
        masters = random.sample(list(self._pairs), len(self._pairs))
        for endpoint in dict.fromkeys((*([knowing] if knowing else []), *masters, *self._seeds)):
            try:
                link = await self._setup.connect(endpoint)
                try:
                    slots = decode_slots(await link.request("CLUSTER", "SLOTS"), endpoint)
                finally:
                    link.close("not needed any more")
            except BrokerError as error:
                problem = error
                continue
            if slots:
                return slots
            problem = BrokerError(f"redis at {endpoint}: the cluster has no slots")
        assert problem is not None
        raise problem

    def _apply(self, slots: Sequence[tuple[int, int, Endpoint]]) -> None:
        owners: list[Endpoint | None] = [None] * _SLOTS
        for first, last, master in slots:
            owners[first : last + 1] = [master] * (last + 1 - first)
        self._owners = owners
        masters = {master for _, _, master in slots}
        for master in masters - self._pairs.keys():
            moved = partial(self._move, master)
            self._pairs[master] = Pair(self._setup, FixedRoute(master), self._stale.set, moved)
        for endpoint, pair in list(self._pairs.items()):
            for channel in pair.feed.release(partial(_is_elsewhere, owners, endpoint)):
                self._homeless[channel.name] = channel
            if endpoint not in masters:
                self._retire(self._pairs.pop(endpoint))
        for channel in list(self._homeless.values()):
            owner = owners[slot_of(channel.name)]
            if owner is not None:
                del self._homeless[channel.name]
                self._pairs[owner].feed.adopt(channel)

    def _retire(self, pair: Pair) -> None:
        task = asyncio.create_task(pair.close())
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    def _move(self, here: Endpoint, channel: Channel, where: ErrorReply | None) -> None:
        self._knowing = here if where is None else _target(where)
        channel.interrupt()
        self._homeless[channel.name] = channel
        self._stale.set()

    def _note_problem(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("the slots of the cluster cannot be read", section=self._setup.name, reason=problem)
            self._problem = problem

    def _explain(self) -> str:
        problems = (pair.feed.problem for pair in self._pairs.values() if not pair.feed.ready)
        return next(problems, self._problem or "no answer")


def _is_elsewhere(owners: Sequence[Endpoint | None], here: Endpoint, channel: bytes) -> bool:
    return owners[slot_of(channel)] != here


def _target(moved: ErrorReply) -> Endpoint:
    """Where a slot is, from `MOVED <slot> <host>:<port>`."""
    host, _, port = moved.text.rpartition(" ")[2].rpartition(":")
    if not port.isdecimal():
        raise moved
    return Endpoint(host, int(port))


def _settle(final: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    if not final.done():
        error = second.exception()
        if error is None:
            final.set_result(None)
        else:
            final.set_exception(error)
