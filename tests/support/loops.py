"""On which event loops tests run.

The program runs on uvloop where it can, and on asyncio's own loop elsewhere. In a room whose conftest imports
the hook, tests run on uvloop:

    from support.loops import pytest_asyncio_loop_factories

Where the loops differ, which is in transports, sockets and processes, tests run on both: `both_loops`, on a
test or as `pytestmark` of a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


both_loops = pytest.mark.loops("uvloop", "asyncio")
"""For tests of what the event loops do differently."""

one_loop = pytest.mark.loops("uvloop")
"""For tests without such a difference in a file of `both_loops`."""

asyncio_loop = pytest.mark.loops("asyncio")
"""For tests that look into asyncio's own loop."""


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops that the closest mark names."""
    mark = item.get_closest_marker("loops") or one_loop.mark
    return {name: LOOPS[name] for name in mark.args}
