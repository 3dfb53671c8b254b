"""What stands in for the transport of an RPC peer that has left, while its last calls are carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class GoneTransport(asyncio.Transport):
    """Stands for the transport of a peer that has left while there is something to go on with.

    Args:
        on_close: called once, when nothing is left.
    """

    def __init__(self, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._on_close: Callable[[], None] | None = on_close

    def close(self) -> None:
        """Say that nothing is left, and hold nothing: connection and transport refer to each other."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    abort = close

    def write(self, data: object) -> None:
        """Nobody takes it."""

    def is_closing(self) -> bool:
        """It is for itself to say when it ends."""
        return False

    def pause_reading(self) -> None:
        """Nothing comes any more."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        """Return 0."""
        return 0
