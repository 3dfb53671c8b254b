"""The masters of a cluster, and which of them has which slot.

It is asked of any node, at the start and whenever there is a sign that it has changed: an answer `MOVED`, a
subscription that a node ends, a connection that is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from rr_py_ws import logs
from rr_py_ws.adapters.brokers.redis.connection import ErrorReply
from rr_py_ws.adapters.brokers.redis.discovery import moved_to, server_address, slot_ranges
from rr_py_ws.adapters.brokers.redis.names import SLOTS, slot_of
from rr_py_ws.adapters.brokers.redis.reconnect import Context, describe_failure
from rr_py_ws.adapters.net.tasks import TaskSet
from rr_py_ws.address import Address
from rr_py_ws.errors import BrokerError

log = logs.get_logger("broadcast")


class MasterConnections(Protocol):
    """What is connected to one master."""

    async def close(self) -> None:
        """Close the connections."""


_Connections = TypeVar("_Connections", bound=MasterConnections)
_Result = TypeVar("_Result")


class Masters(Generic[_Connections]):
    """Keeps connections to each master.

    Args:
        context: what all connections of the broker share.
        connect: makes the connections to a master.
        reassign: called when other masters have the slots, before the connections to those that have none
            are closed; returns whether the slots should be read again soon.

    Attributes:
        by_slot: the master of each slot.
        connections: those to each master.
        problem: why the slots cannot be read; empty when they can.
    """

    def __init__(
        self, context: Context, connect: Callable[[Address], _Connections], reassign: Callable[[], bool]
    ) -> None:
        self._context = context
        self._connect = connect
        self._reassign = reassign
        self.by_slot: list[Address | None] = [None] * SLOTS
        # The same, with what answers MOVED have told since the slots were read. Only for what is sent: until
        # then a topic is where it was subscribed.
        self._send_to = self.by_slot
        self.connections: dict[Address, _Connections] = {}
        self._told_by: Address | None = None
        self._stale = asyncio.Event()
        self._stale.set()
        self.problem = "the slots of the cluster are not known yet"
        self.first_refresh: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closing = TaskSet("broadcast")
        self._refreshing = TaskSet("broadcast")
        self._refreshing.spawn(self._refresh_slots())

    @property
    def are_complete(self) -> bool:
        """Whether each slot has a master."""
        return None not in self.by_slot

    def of(self, channel: bytes) -> Address | None:
        """The master that has a channel, as far as it is known."""
        return self.by_slot[slot_of(channel)]

    def suspect(self, told_by: Address | None = None) -> None:
        """There is a sign that the slots have changed.

        Args:
            told_by: who knows of it.
        """
        if told_by is not None:
            self._told_by = told_by
        self._stale.set()

    def send(
        self,
        channel: bytes,
        send: Callable[[_Connections], asyncio.Future[_Result]],
        ask: Callable[[_Connections], asyncio.Future[_Result]] | None = None,
    ) -> asyncio.Future[_Result]:
        """Send something to the master of a channel; once more, if its slot has moved, to where it is.

        Args:
            channel: whose slot it is.
            send: sends it.
            ask: sends it to a master that is about to get the slot, and has some of its keys already.

        Raises (now, or from the future):
            BrokerError: that master is not known; or as `send`.
        """
        master = self._send_to[slot_of(channel)]
        if master is None:
            self._context.counters.publish_failures += 1
            raise BrokerError("redis is not available: no connection", self.problem)
        final: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        first = send(self.connections[master])
        first.add_done_callback(partial(self._sent, final, master, channel, send, ask or send))
        return final

    async def close(self) -> None:
        """Close all connections."""
        await self._refreshing.cancel()
        for connections in self.connections.values():
            await connections.close()
        await self._closing.finish()

    def _sent(
        self,
        final: asyncio.Future[Any],
        master: Address,
        channel: bytes,
        send: Callable[[_Connections], asyncio.Future[Any]],
        ask: Callable[[_Connections], asyncio.Future[Any]],
        first: asyncio.Future[Any],
    ) -> None:
        error = first.exception()
        if not isinstance(error, ErrorReply) or error.code not in ("MOVED", "ASK") or final.done():
            _copy_result(final, first)
            return
        self._stale.set()
        try:
            target = moved_to(error, master)
            if error.code == "MOVED":
                self._told_by = target
            if target not in self.connections:  # it becomes one of them when the slots are read
                raise error
            if error.code == "MOVED":
                self._send_to[slot_of(channel)] = target
            else:
                send = ask
            second = send(self.connections[target])
        except BrokerError as problem:
            self._context.counters.publish_failures += problem is error
            final.set_exception(problem)
            return
        # Redis has refused the first, so the second is no copy of it. There is no third: two masters that
        # name each other would get it for ever.
        second.add_done_callback(partial(self._sent_again, final))

    def _sent_again(self, final: asyncio.Future[Any], second: asyncio.Future[Any]) -> None:
        self._context.counters.publish_failures += getattr(second.exception(), "code", "") == "MOVED"
        _copy_result(final, second)

    # Which master has which slot

    async def _refresh_slots(self) -> None:
        """Ask again when there is a sign that it has changed, but not more often than the backoff says."""
        backoff = self._context.make_backoff()
        while True:
            await self._stale.wait()
            self._stale.clear()  # before asking: what changes meanwhile is one more reason to ask
            try:
                is_unfinished = self._apply(await self._ask())
            except Exception as error:  # also a mistake of this program: it must not end the asking
                failure = describe_failure(error)
                if failure["reason"] != self.problem:  # logged once, not each time that it is met
                    section = self._context.name
                    log.warning("the slots of the cluster cannot be read", section=section, **failure)
                    self.problem = failure["reason"]
                self._stale.set()
            else:
                self.problem = ""
                if is_unfinished:
                    self._stale.set()
                else:
                    backoff.reset()
            if not self.first_refresh.done():
                self.first_refresh.set_result(self.problem)
            await asyncio.sleep(backoff.next_pause())

    async def _ask(self) -> list[tuple[int, int, Address]]:
        """Ask the nodes one after another until one knows; first the one that has told of a change.

        The others may not have heard of it yet, replicas last of all.
        """
        problem = BrokerError("no node of the cluster is known")
        told_by, self._told_by = self._told_by, None
        known = random.sample(list(self.connections), len(self.connections))
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

    def _apply(self, slots: Sequence[tuple[int, int, Address]]) -> bool:
        """Connect to the masters, and leave those that are none any more."""
        masters: list[Address | None] = [None] * SLOTS
        for first, last, master in slots:
            masters[first : last + 1] = [master] * (last + 1 - first)
        self.by_slot, self._send_to = masters, masters.copy()
        current = {master for _, _, master in slots}
        for master in current - self.connections.keys():
            self.connections[master] = self._connect(master)
        # First all channels are taken from where they are not any more, then a master is closed: closing one
        # fails the joins of the channels that it still has.
        is_unfinished = self._reassign()
        for address in self.connections.keys() - current:
            self._closing.spawn(self.connections.pop(address).close())
        return is_unfinished


def _copy_result(final: asyncio.Future[Any], source: asyncio.Future[Any]) -> None:
    error = source.exception()  # asked for in any case: asyncio complains of one that nobody has looked at
    if final.done():  # cancelled; the caller has gone
        return
    if error is None:
        final.set_result(source.result())
    else:
        final.set_exception(error)
