"""The byte-level client for tests that are no coroutines."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from functools import cache, wraps
from typing import Any

from support.ws_peer import Client


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all blocking clients, which runs in a thread until the process ends."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="blocking clients", daemon=True).start()
    return loop


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, whichever thread asks; several threads may do so at once."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


class BlockingClient:
    """A `Client` whose methods return when they are done. It reads only what is asked for.

    Args:
        address: of the server.
        options: of `Client.connect`.
    """

    def __init__(self, address: tuple[str, int], **options: Any) -> None:
        self._client: Client = run(Client.connect(address, **options))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        @wraps(attribute)
        def method(*args: Any, **options: Any) -> Any:
            return run(attribute(*args, **options))

        return method
