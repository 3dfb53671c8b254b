"""The shards of a cluster: each topic has one server, the master of its slot (Redis 7 sharded pub/sub)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from rr_py_ws.adapters.brokers.redis.calls import Run
from rr_py_ws.adapters.brokers.redis.channels import Channel, wait_for
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import FixedResolver, Resolver, moved_to
from rr_py_ws.adapters.brokers.redis.masters import Masters
from rr_py_ws.adapters.brokers.redis.node import NodeConnections
from rr_py_ws.adapters.brokers.redis.publisher import Publisher
from rr_py_ws.adapters.brokers.redis.reconnect import Context
from rr_py_ws.adapters.brokers.redis.rights import Rights
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError


class ShardedCluster:
    """Two connections to each master.

    Order is kept for each topic; messages of different topics may take different ways.

    Args:
        context: what all connections of the broker share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._unassigned: dict[bytes, Channel] = {}
        self._masters = Masters(context, self._connect, self._reassign)

    @property
    def ready(self) -> bool:
        """Whether messages can be published to, and are received from, every shard."""
        return (
            not self._unassigned
            and self._masters.are_complete
            and all(node.ready for node in self._masters.connections.values())
        )

    async def first_attempt(self) -> str:
        """Wait for the first attempt to connect to everything; return why it failed, or nothing."""
        problem = await self._masters.first_refresh
        nodes = self._masters.connections.values()
        problems = await asyncio.gather(*(node.first_attempt() for node in nodes))
        return next(filter(None, [problem, *problems]), "")

    def publish(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Send a message as `Publisher.publish` does; once more, if its slot has moved, to where it is."""
        return self._masters.send(channel, lambda node: node.publish(channel, payload))

    def publish_beside(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Publish where scripts run: messages of a topic have one way."""
        return self.publish(channel, payload)

    def run(self, channel: bytes, call: Run) -> asyncio.Future[Any]:
        """Run a script as `Publisher.run` does, where a channel is."""
        return self._masters.send(
            channel, lambda node: node.run_here(call), lambda node: node.run_here(call, asking=True)
        )

    def run_then(self, channel: bytes, call: Run, then: Callable[[Any], None]) -> None:
        """Do the same, as `Publisher.run_then` does."""
        self.run(channel, call).add_done_callback(partial(_hand_on, then))

    def subscribe(self, wanted: Sequence[tuple[bytes, str]]) -> asyncio.Future[None] | None:
        """Subscribe channels, given as name and topic; None when all of them are live."""
        waiting = []
        for name, topic in wanted:
            master = self._masters.of(name)
            # One that has left its master is not assigned to the next before the slots are read.
            if master is None or name in self._unassigned:
                waiting.append(self._unassigned.setdefault(name, Channel(name, topic)))
            elif channel := self._masters.connections[master].subscriber.join(name, topic):
                waiting.append(channel)
        return wait_for(waiting, self._context.join_timeout, self._explain)

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """These channels are not wanted any more."""
        for name in names:
            master = self._masters.of(name)
            if unassigned := self._unassigned.pop(name, None):
                if self._context.histories is not None:
                    self._context.histories.unpair(unassigned.topic)
            elif master is not None:
                self._masters.connections[master].unsubscribe([name])

    def reconnect(self, channel: bytes) -> None:
        """Open the connection anew through which a channel is received."""
        if master := self._masters.of(channel):
            self._masters.connections[master].subscriber.reconnect()

    async def settle(self) -> None:
        """Wait for what was published here and is on its way back."""
        await asyncio.gather(*(node.settle() for node in self._masters.connections.values()))

    async def close(self) -> None:
        """Close all connections; joins that wait fail."""
        await self._masters.close()
        for channel in self._unassigned.values():
            channel.answer_joins(BrokerError("the redis broker is not running"))
        self._unassigned.clear()

    # Channels that move

    def _connect(self, master: Address) -> NodeConnections:
        moved = partial(self._slot_moved, master)
        return NodeConnections(self._context, FixedResolver(master), self._suspect, moved)

    def _suspect(self) -> None:
        self._masters.suspect()

    def _reassign(self) -> bool:
        """Move channels to the masters that have them; return whether any is left."""
        for address, node in self._masters.connections.items():
            for channel in node.subscriber.unassign(partial(self._is_elsewhere, address)):
                self._unassigned[channel.name] = channel
        for channel in list(self._unassigned.values()):
            owner = self._masters.of(channel.name)
            if owner is not None:
                del self._unassigned[channel.name]
                self._masters.connections[owner].subscriber.assign(channel)
        return bool(self._unassigned)

    def _slot_moved(self, master: Address, channel: Channel, where: ErrorReply | None) -> None:
        """Take a channel back that a master does not have any more."""
        told_by = master
        if where is not None:
            with suppress(BrokerError):  # an address that cannot be used; the slots are read all the same
                told_by = moved_to(where, master)
        channel.interrupt()
        self._unassigned[channel.name] = channel
        self._masters.suspect(told_by)

    def _is_elsewhere(self, here: Address, channel: bytes) -> bool:
        return self._masters.of(channel) != here

    def _explain(self) -> str:
        subscribers = (node.subscriber for node in self._masters.connections.values())
        problems = (subscriber.problem for subscriber in subscribers if not subscriber.ready)
        return next(problems, self._masters.problem or "no answer")


class ClusterNode(NodeConnections):
    """One node of a cluster through which everything goes, but for scripts: these run where their keys are.

    Args:
        context: what all connections of the broker share.
        resolver: chooses the node.
    """

    def __init__(self, context: Context, resolver: Resolver) -> None:
        super().__init__(context, resolver)
        self._context = context
        self._masters = Masters(context, self._connect, lambda: False)

    def run(self, channel: bytes, call: Run) -> asyncio.Future[Any]:
        """Run a script as `Publisher.run` does, where a channel is."""
        return self._masters.send(
            channel, lambda master: master.run(call), lambda master: master.run(call, asking=True)
        )

    def run_then(self, channel: bytes, call: Run, then: Callable[[Any], None]) -> None:
        """Do the same, as `Publisher.run_then` does."""
        self.run(channel, call).add_done_callback(partial(_hand_on, then))

    def publish_beside(self, channel: bytes, payload: bytes) -> asyncio.Future[None]:
        """Publish where scripts run, so that the order of a topic is kept; if need be through this node."""
        try:
            return self._masters.send(channel, lambda master: master.publish(channel, payload))
        except BrokerError:
            return self.publish(channel, payload)

    async def first_attempt(self) -> str:
        """Wait for the first attempt to connect to everything; return why it failed, or nothing."""
        problem = await super().first_attempt()
        problem = problem or await self._masters.first_refresh
        masters = self._masters.connections.values()
        problems = await asyncio.gather(*(master.first_attempt for master in masters))
        return next(filter(None, [problem, *problems]), "")

    async def close(self) -> None:
        """Close the connections; joins that wait fail."""
        await self._masters.close()
        await super().close()

    def _connect(self, master: Address) -> Publisher:
        return Publisher(self._context, FixedResolver(master), Rights(self._context), self._publishing_by)

    def _publishing_by(self, address: Address | None) -> None:
        if address is None:
            self._masters.suspect()


def _hand_on(then: Callable[[Any], None], running: asyncio.Future[Any]) -> None:
    then(running.exception() or running.result())
