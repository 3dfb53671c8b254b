"""The broker of a single node: a published message is accepted and delivered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.publication import Publication


class MemoryBroker:
    """Implements the port `Broker` without anything outside this process.

    Nothing is kept: a topic without subscribers on this node costs one dictionary look-up.
    """

    def __init__(self) -> None:
        self._on_publication: Callable[[Publication], None] = _not_running

    @property
    def ready(self) -> bool:
        """See `Broker.ready`."""
        return self._on_publication is not _not_running

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """See `Broker.start`: nothing is ever missed."""
        self._on_publication = on_publication

    def publish(self, publication: Publication) -> None:
        """See `Broker.publish`."""
        self._on_publication(publication)

    def subscribe(self, topics: Sequence[str]) -> None:
        """See `Broker.subscribe`: nothing to ask anybody for."""

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """See `Broker.unsubscribe`."""

    async def settle(self) -> None:
        """See `Broker.settle`: nothing is ever on its way."""

    async def close(self) -> None:
        """See `Broker.close`."""
        self._on_publication = _not_running

    def metrics(self) -> tuple[Sample, ...]:
        """See `Broker.metrics`: nothing that the hub does not count."""
        return ()


def _not_running(publication: Publication) -> None:
    raise BrokerError("the memory broker is not running")
