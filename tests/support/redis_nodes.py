"""Brokers on Redis that notice everything soon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rr_py_ws.adapters.brokers.redis import RedisBroker
from rr_py_ws.config import RedisOptions
from support.broker_node import Node
from support.waiting import eventually

Start = Callable[..., Awaitable[Node]]

OPTIONS: dict[str, Any] = {
    "dial_timeout": 1.0,
    "read_timeout": 5.0,
    "pool_timeout": 5.0,
    "min_retry_backoff": 0.005,
    "max_retry_backoff": 0.05,
}
IMPATIENT: dict[str, Any] = {"read_timeout": 0.4}
"""For servers that say nothing. One that is busy, as its machine may be, must not be taken for such a one."""


def make_broker(*addresses: str, check_interval: float = 0.05, **options: Any) -> RedisBroker:
    """A broker that is not started."""
    section = RedisOptions(addrs=addresses, **OPTIONS | options)
    return RedisBroker("default", section, check_interval=check_interval, linger=0.1)


def redis_broker(node: Node) -> RedisBroker:
    assert isinstance(node.broker, RedisBroker)
    return node.broker


async def works(node: Node) -> None:
    """The broker becomes ready, and what it is given comes back."""
    await eventually(lambda: node.broker.ready, "a broker that is ready")
    await node.subscribe("a")
    await node.publish("a", b"works")
    await node.wait_for("a", b"works")
