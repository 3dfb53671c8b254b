"""On which event loops tests run.

The program runs on uvloop where it can, and on asyncio's own loop elsewhere. What depends on transports,
sockets or processes runs on both, in rooms whose conftest imports the hook:

    from support.loops import pytest_asyncio_loop_factories

Everything else, also in such a room, runs on one of them: `pytestmark = one_loop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])
"""For tests that see no difference between event loops."""
