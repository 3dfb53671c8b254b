"""The shards of a cluster: each topic has one server, the master of its slot (Redis 7 sharded pub/sub).

Which master has which slot is asked of any node, at the start and whenever there is a sign that it has
changed: an answer `MOVED`, a subscription that a node ends, a connection that is lost.
"""

from __future__ import annotations

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.channels import Channel, wait_for
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import FixedResolver, moved_to, server_address, slot_ranges
from rr_py_ws.adapters.brokers.redis.node import NodeConnections
from rr_py_ws.adapters.brokers.redis.reconnect import Context, describe_failure
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError

_SLOTS = 16384

log = logs.get_logger("broadcast")


def slot_of(channel: bytes) -> int:
    """The slot of a channel (Redis cluster specification, "Hash tags")."""
    _, opened, rest = channel.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return crc_hqx(tag if opened and closed and tag else channel, 0) % _SLOTS


class ShardedCluster:
    """Two connections to each master.

    Order is kept for each topic; messages of different topics may take different ways.

    Args:
        context: what all connections of the broker share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._masters: list[Address | None] = [None] * _SLOTS
        # The same, with what answers MOVED have told since the slots were read. Only for publishing: until
        # then a topic is where it was subscribed.
        self._publish_to = self._masters
        self._nodes: dict[Address, NodeConnections] = {}
        self._unassigned: dict[bytes, Channel] = {}
        self._told_by: Address | None = None
        self._stale = asyncio.Event()
        self._stale.set()
        self._problem = "the slots of the cluster are not known yet"
        self._first_refresh: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closing = TaskSet("broadcast")
        self._refreshing = TaskSet("broadcast")
        self._refreshing.spawn(self._refresh_slots())

    @property
    def ready(self) -> bool:
        """Whether messages can be published to, and are received from, every shard."""
        return (
            not self._unassigned
            and None not in self._masters
            and all(node.ready for node in self._nodes.values())
        )

    async def first_attempt(self) -> str:
        """Wait for the first attempt to connect to everything; return why it failed, or nothing."""
        problem = await self._first_refresh
        problems = await asyncio.gather(*(node.first_attempt() for node in self._nodes.values()))
        return next(filter(None, [problem, *problems]), "")

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Send a message as `Publisher.publish` does; once more, if its slot has moved, to where it is."""
        master = self._publish_to[slot_of(channel)]
        if master is None:
            self._context.counters.publish_failures += 1
            raise BrokerError(f"redis is not available: {self._problem}")
        final: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first = self._nodes[master].publish(channel, payload)
        first.add_done_callback(partial(self._published, final, master, channel, payload))
        return final

    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> asyncio.Future[None] | None:
        """Subscribe channels, given as name and topic; None when all of them are live."""
        waiting = []
        for name, topic in wanted:
            master = self._masters[slot_of(name)]
            # One that has left its master is not assigned to the next before the slots are read.
            if master is None or name in self._unassigned:
                waiting.append(self._unassigned.setdefault(name, Channel(name, topic)))
            elif channel := self._nodes[master].subscriber.join(name, topic):
                waiting.append(channel)
        return wait_for(waiting, self._context.join_timeout, self._explain)

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more."""
        for name in names:
            master = self._masters[slot_of(name)]
            if self._unassigned.pop(name, None) is None and master is not None:
                self._nodes[master].unsubscribe([name])

    async def settle(self) -> None:
        """Wait for what was published here and is on its way back."""
        await asyncio.gather(*(node.settle() for node in self._nodes.values()))

    async def close(self) -> None:
        """Close all connections; joins that wait fail."""
        await self._refreshing.cancel()
        for node in self._nodes.values():
            await node.close()
        await self._closing.finish()
        for channel in self._unassigned.values():
            channel.answer_joins(BrokerError("the redis broker is not running"))
        self._unassigned.clear()

    # Messages for slots that move

    def _published(
        self,
        final: asyncio.Future[None],
        master: Address,
        channel: bytes,
        payload: bytes,
        first: asyncio.Future[None],
    ) -> None:
        error = first.exception()
        if not isinstance(error, ErrorReply) or error.code != "MOVED" or final.done():
            _copy_result(final, first)
            return
        self._stale.set()
        try:
            self._told_by = target = moved_to(error, master)
            if target not in self._nodes:  # it becomes one of them when the slots are read
                raise error
            self._publish_to[slot_of(channel)] = target
            second = self._nodes[target].publish(channel, payload)
        except BrokerError as problem:
            final.set_exception(problem)
            return
        self._context.counters.publish_failures -= 1  # the first time does not count
        # Redis has refused the first, so the second is no copy of it. There is no third: two masters that
        # name each other would get it for ever.
        second.add_done_callback(partial(_copy_result, final))

    # Which master has which slot

    async def _refresh_slots(self) -> None:
        """Ask again when there is a sign that it has changed, but not more often than the backoff says."""
        backoff = self._context.make_backoff()
        while True:
            await self._stale.wait()
            self._stale.clear()  # before asking: what changes meanwhile is one more reason to ask
            try:
                self._apply(await self._ask())
            except Exception as error:  # also a mistake of this program: it must not end the asking
                failure = describe_failure(error)
                if failure["reason"] != self._problem:  # logged once, not each time that it is met
                    section = self._context.name
                    log.warning("the slots of the cluster cannot be read", section=section, **failure)
                    self._problem = failure["reason"]
                self._stale.set()
            else:
                self._problem = ""
                if self._unassigned:
                    self._stale.set()
                else:
                    backoff.reset()
            if not self._first_refresh.done():
                self._first_refresh.set_result(self._problem)
            await asyncio.sleep(backoff.next_pause())

    async def _ask(self) -> list[tuple[int, int, Address]]:
        """Ask the nodes one after another until one knows; first the one that has told of a change.

        The others may not have heard of it yet, replicas last of all.
        """
        problem = BrokerError("no node of the cluster is known")
        told_by, self._told_by = self._told_by, None
        known = random.sample(list(self._nodes), len(self._nodes))
        for address in dict.fromkeys((*([told_by] if told_by else []), *known, *self._context.addresses)):
            try:
                timeout = self._context.options.read_timeout
                connection = await self._context.connector.connect(address, timeout)
                try:
                    reply = await connection.request("CLUSTER", "SLOTS")
                finally:
                    connection.close("not needed any more")
                slots = [
                    (first, last, server_address(host, port, address))
                    for first, last, host, port in slot_ranges(reply)
                ]
            except BrokerError as error:
                problem = error
                continue
            if slots:
                return slots
            problem = BrokerError(f"redis at {address}: the cluster has no slots")
        raise problem

    def _apply(self, slots: Sequence[tuple[int, int, Address]]) -> None:
        """Connect to the masters, leave those that are none any more, and move channels between them."""
        masters: list[Address | None] = [None] * _SLOTS
        for first, last, master in slots:
            masters[first : last + 1] = [master] * (last + 1 - first)
        self._masters, self._publish_to = masters, masters.copy()
        current = {master for _, _, master in slots}
        for master in current - self._nodes.keys():
            moved = partial(self._slot_moved, master)
            self._nodes[master] = NodeConnections(
                self._context, FixedResolver(master), self._stale.set, moved
            )
        # First all channels are taken from where they are not any more, then a master is closed: closing one
        # fails the joins of the channels that it still has.
        for address, node in list(self._nodes.items()):
            for channel in node.subscriber.unassign(partial(_is_elsewhere, masters, address)):
                self._unassigned[channel.name] = channel
            if address not in current:
                self._closing.spawn(self._nodes.pop(address).close())
        for channel in list(self._unassigned.values()):
            owner = masters[slot_of(channel.name)]
            if owner is not None:
                del self._unassigned[channel.name]
                self._nodes[owner].subscriber.assign(channel)

    def _slot_moved(self, master: Address, channel: Channel, where: ErrorReply | None) -> None:
        """Take a channel back that a master does not have any more."""
        self._told_by = master
        if where is not None:
            with suppress(BrokerError):  # an address that cannot be used; the slots are read all the same
                self._told_by = moved_to(where, master)
        channel.interrupt()
        self._unassigned[channel.name] = channel
        self._stale.set()

    def _explain(self) -> str:
        subscribers = (node.subscriber for node in self._nodes.values())
        problems = (subscriber.problem for subscriber in subscribers if not subscriber.ready)
        return next(problems, self._problem or "no answer")


def _is_elsewhere(masters: Sequence[Address | None], here: Address, channel: bytes) -> bool:
    return masters[slot_of(channel)] != here


def _copy_result(final: asyncio.Future[None], source: asyncio.Future[None]) -> None:
    error = source.exception()  # asked for in any case: asyncio complains of one that nobody has looked at
    if final.done():  # cancelled; the caller has gone
        return
    if error is None:
        final.set_result(None)
    else:
        final.set_exception(error)
