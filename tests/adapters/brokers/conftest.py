"""Redis servers that tests share. Those that break a server start their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.loops import pytest_asyncio_loop_factories
from support.redis_servers import Cluster, RedisServer, redis_server

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that stays up."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The unix socket of a server that stays up."""
    directory = tmp_path_factory.mktemp("socket")
    with redis_server(directory, "--unixsocket", "redis.sock") as server:
        assert server.ask("PING") == "PONG"  # it listens at its port first; who answers listens everywhere
        yield directory / "redis.sock"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that stays whole."""
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path_factory.mktemp("cluster"))
