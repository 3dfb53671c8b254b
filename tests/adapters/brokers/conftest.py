"""Redis servers that tests share. Those that break a server start their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop

from support.redis_servers import Cluster, RedisServer, redis_server


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The contract holds on both loops, which differ in the addresses that they take.

    What takes longer is tested on the one that is used.
    """
    loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    on_both = item.path.parent == Path(__file__).parent or item.path.name == "test_addresses.py"
    return loops if on_both else {"uvloop": uvloop.new_event_loop}


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
