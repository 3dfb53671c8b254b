"""Which event loop the server runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Choose uvloop, or asyncio's own loop where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)
