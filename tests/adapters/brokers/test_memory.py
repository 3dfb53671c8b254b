"""What the memory broker promises beyond the contract."""

from __future__ import annotations

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.wire.publication import Publication


async def test_a_publication_is_handed_on_as_it_is_and_at_once() -> None:
    """Also what other brokers cannot carry: its time, and who does not get it."""
    received: list[Publication] = []
    broker = MemoryBroker()
    await broker.start(received.append, lambda topics: None)
    publication = Publication("foo", b"1", time=1.5, exclude="a connection")
    assert broker.publish(publication) is None  # type: ignore[func-returns-value]
    assert len(received) == 1
    assert received[0] is publication
    await broker.close()
