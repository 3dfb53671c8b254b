"""Brokers on Redis that notice everything soon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rr_py_ws.adapters.brokers.redis import RedisBroker, Timings
from rr_py_ws.config import RedisOptions
from support.broker_node import Node

Start = Callable[..., Awaitable[Node]]

TIMINGS = Timings(check_interval=0.05, first_pause=0.005, longest_pause=0.05, linger=0.1)
OPTIONS: dict[str, Any] = {"dial_timeout": 1.0, "read_timeout": 0.4, "pool_timeout": 5.0}


def make_broker(*addresses: str, **options: Any) -> RedisBroker:
    """A broker that is not started."""
    return RedisBroker("default", RedisOptions(addrs=addresses, **OPTIONS | options), timings=TIMINGS)


def redis_broker(node: Node) -> RedisBroker:
    assert isinstance(node.broker, RedisBroker)
    return node.broker
