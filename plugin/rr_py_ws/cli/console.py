"""How commands run: the error line, text of peers on the terminal, the event loop, signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rr_py_ws.cli.flags import Flags

_T = TypeVar("_T")
_WRITE_TIMEOUT = 1.0
"""Seconds, at most, that the error line may take."""


def escape(text: str) -> str:
    """Make control characters in text of a peer visible, so that the text is one line of the terminal."""
    from rr_py_ws.logs import escape as visible  # takes as long to load as all the rest of a short command

    return visible(text)


def fail(*texts: str) -> int:
    """Write a line for each error and return the exit code."""
    from rr_py_ws.logs.outputs import StreamOutput

    stderr = StreamOutput("stderr")
    # RoadRunner's RPC errors are chains over several lines.
    lines = [f"error: {escape(' '.join(text.split()))}" for text in texts]
    if stderr.terminal:
        lines = [click.style(line, fg="red", bold=True) for line in lines]
    # In a thread: a server must also end when nobody reads its stderr.
    written = tuple(f"{line}\n" for line in lines)
    writing = threading.Thread(target=stderr.write, args=(written,), daemon=True)
    writing.start()
    writing.join(_WRITE_TIMEOUT)
    return 1


def run(flags: Flags, work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end and return the result."""
    if not flags.debug:
        # Without a handler, `logging` prints what asyncio reports as a traceback beside the error line.
        logging.getLogger().addHandler(logging.NullHandler())
    return asyncio.run(work)


def run_until_signal(flags: Flags, work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, or until SIGINT or SIGTERM cancels it, which is a success too."""

    async def guarded() -> None:
        task = asyncio.ensure_future(work)
        # Instead of KeyboardInterrupt, which could come at any place, cancelling lets connections be closed.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        # A cancelled task is the success; the result of any other may be an error.
        if not task.cancelled():
            task.result()

    run(flags, guarded())
