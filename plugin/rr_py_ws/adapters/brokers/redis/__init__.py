"""The broker on Redis pub/sub: standalone, Sentinel, Cluster."""

from __future__ import annotations

from rr_py_ws.adapters.brokers.redis.broker import RedisBroker
from rr_py_ws.adapters.brokers.redis.connector import tls_context
from rr_py_ws.adapters.brokers.redis.metrics import RedisMetrics

__all__ = ["RedisBroker", "RedisMetrics", "tls_context"]
