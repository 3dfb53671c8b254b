"""What the memory broker promises beyond the contract."""

from __future__ import annotations

from rr_py_ws.adapters.brokers.memory import MemoryBroker
from rr_py_ws.config import HistoryRule
from rr_py_ws.core.history import Query
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.wire.publication import Publication


async def test_a_publication_is_handed_on_as_it_is_and_at_once() -> None:
    """Also what other brokers cannot carry: its time, and who does not get it."""
    received: list[Publication] = []
    broker = MemoryBroker()
    await broker.start(received.append, lambda topics: None)
    publication = Publication("foo", b"1", time=1.5, exclude=("a connection",))
    assert broker.publish(publication) is None  # type: ignore[func-returns-value]
    assert len(received) == 1
    assert received[0] is publication
    await broker.close()


async def test_keys_of_long_topics_are_bounded_as_all_is() -> None:
    """The topic of a key is a text of its own: it counts, however long it is."""
    budget = 1 << 20
    broker = MemoryBroker(HistoryRules([HistoryRule(topics=("news*",), size=10, ttl=60.0)]), budget)
    await broker.start(lambda publication: None, lambda topics: None)
    broker.publish(Publication("news", b"kept"))
    for number in range(1000):
        broker.publish_once(Publication(f"{number:05000}", b""), "key", skip_history=True)
        assert broker.history.size <= budget
    assert broker.publish_once(Publication(f"{999:05000}", b""), "key").duplicate
    await broker.close()


async def test_keys_take_the_place_of_old_keys_before_that_of_messages() -> None:
    """Publishers with long names must not empty the histories of all others."""
    broker = MemoryBroker(HistoryRules([HistoryRule(topics=("news*",), size=10, ttl=60.0)]), 1 << 20)
    await broker.start(lambda publication: None, lambda topics: None)
    broker.publish(Publication("news", b"kept"))
    for number in range(1000):
        broker.publish_once(Publication(f"{number:05000}", b""), "key", skip_history=True)
    page = broker.history.read("news", Query("", 10))
    assert [publication.payload for publication in page.publications] == [b"kept"]
    await broker.close()
