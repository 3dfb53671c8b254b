from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rr_py_ws.adapters.rpc import Registry, RPCListener, build_registry
from rr_py_ws.config import Limits
from rr_py_ws.core.ports import Probe
from support.loops import pytest_asyncio_loop_factories
from support.rpc_peer import IdlePool, Peer, RecordingPublisher

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
async def pool() -> IdlePool:
    return IdlePool()


@pytest.fixture
async def registry(publisher: RecordingPublisher, pool: IdlePool) -> Registry:
    return build_registry(
        publisher=publisher,
        pools={"websockets": pool, "http": None},
        probes={
            "websockets": Probe(healthy=lambda: True, ready=lambda: True),
            "broadcast": Probe(healthy=lambda: True, ready=lambda: False),
        },
        version="2.11.4",
        config=lambda: b'{"rpc":{}}',
        limits=Limits(),
    )


@pytest.fixture
async def server(registry: Registry) -> AsyncIterator[RPCListener]:
    """A server on a free TCP port, with a limit of 1 MiB."""
    server = RPCListener(registry, "tcp://127.0.0.1:0", limits=Limits(rpc_payload=1 << 20))
    await server.start()
    yield server
    await server.stop(grace=1.0)


@pytest.fixture
async def connect(server: RPCListener) -> AsyncIterator[Callable[[], Awaitable[Peer]]]:
    """Connects peers and closes them in the end."""
    peers: list[Peer] = []

    async def connect() -> Peer:
        peers.append(await Peer.connect(server.address))
        return peers[-1]

    yield connect
    for peer in peers:
        await peer.close()


@pytest.fixture
async def peer(connect: Callable[[], Awaitable[Peer]]) -> Peer:
    return await connect()
