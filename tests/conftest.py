"""For all tests: how Hypothesis works, where their files are, and in which order they run.

The machines that run them are shared, so that how long an example takes says nothing. And a run of the suite
is the same each time, and short: what chance may find is looked for with `--hypothesis-profile=random`, and
`make fuzz`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from rr_py_ws import native
from rr_py_ws.wire import push

settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("random"), derandomize=True, max_examples=50)
settings.load_profile("same")

if len(tempfile.gettempdir()) > 30:  # the path of a socket has at most 107 bytes, with the name of its test
    os.environ["PYTEST_DEBUG_TEMPROOT"] = "/tmp"

_LAST = ("tests/wire/", "tests/core/", "tests/config/", "tests/conformance/", "tests/logs/")


@pytest.fixture(scope="module", params=["native", "pure"])
def variant(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the tests of a module with the functions in C, and once more with their twins in Python."""
    if request.param == "native" and native.MISSING:
        pytest.skip(f"no native part: {native.MISSING}")
    with pytest.MonkeyPatch.context() as patch:
        for name, (python, compiled) in native.TWINS.items():
            asked = compiled if request.param == "native" else python
            for module in list(sys.modules.values()):
                if any(vars(module).get(name) is function for function in (python, compiled) if function):
                    patch.setattr(module, name, asked)
            if name == "encode_push":
                patch.setattr(push.STRING, "push", asked)  # which keeps what there was at its import
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that start no process behind the others.

    Each process of the run takes a file after the other: the last ones should be short.
    """
    items.sort(key=lambda item: (item.nodeid.startswith(_LAST), not item.nodeid.startswith("tests/e2e/")))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """End a coroutine that waits in vain a little before pytest-timeout would.

    That raises its exception out of whatever runs when its time is over. If it is a task of the code under
    test, the task ends, and the test waits for ever.
    """
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0] if marker else item.config.getini("timeout"))
        item.obj = _bounded(item.obj, 0.9 * seconds)


def _bounded(test: Callable[..., Awaitable[object]], seconds: float) -> Callable[..., Awaitable[object]]:
    @functools.wraps(test)
    async def run(**arguments: object) -> None:
        async with asyncio.timeout(seconds):
            await test(**arguments)

    return run


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests: many of these look at what is left, and collect."""
    gc.collect()
    gc.freeze()
