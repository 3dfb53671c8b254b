"""The broker of a single node: a publication is accepted and delivered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rr_py_ws.errors import BrokerError
from rr_py_ws.metrics import Sample
from rr_py_ws.wire.publication import Publication


class MemoryBroker:
    """Implements the port `Broker` without anything outside this process.

    Nothing is kept: a topic without subscribers on this node costs one dictionary look-up.

    Attributes:
        publish: hands a publication on as it is. While the broker runs this is `on_publication` itself, so
            that publishing costs no call; look it up each time, for it changes with `start` and `close`.
    """

    def __init__(self) -> None:
        self.publish: Callable[[Publication], None] = _not_running

    @property
    def ready(self) -> bool:
        """Whether it runs."""
        return self.publish is not _not_running

    async def start(
        self, on_publication: Callable[[Publication], None], on_gap: Callable[[Sequence[str]], None]
    ) -> None:
        """Begin; nothing is ever missed, so `on_gap` is never called."""
        self.publish = on_publication

    def subscribe(self, topics: Sequence[str]) -> None:
        """Return at once: what is published here arrives here."""

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Return at once."""

    async def settle(self) -> None:
        """Return at once: nothing is ever on its way."""

    async def close(self) -> None:
        """End; further publications are refused."""
        self.publish = _not_running

    def metrics(self) -> tuple[Sample, ...]:
        """Nothing that the hub does not count."""
        return ()


def _not_running(publication: Publication) -> None:
    raise BrokerError("the memory broker is not running")
