"""The order of the stop, and that it keeps to its time whatever its parts do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest

from rr_py_ws.server import shutdown
from rr_py_ws.server.shutdown import shut_down

GRACE = 30.0


class Parts:
    """Stands for everything that is stopped.

    Attributes:
        steps: what was stopped, in order, with the seconds that it was given.
        elapsed: seconds that have passed in an instant, because a step has taken all that it was given.
        slow: whether steps do that.
        stuck: a step that does not even end when its time is over.
        cut: step -> how many did not end in time.
        pages: what answers requests for pages.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []
        self.elapsed = 0.0
        self.slow = False
        self.stuck = ""
        self.cut: dict[str, int] = {}
        self.connections = 7
        self.pages: object = None
        self.settles_by_itself = True

    @property
    def order(self) -> list[str]:
        return [step for step, _ in self.steps]

    async def _take(self, step: str, seconds: float) -> int:
        self.steps.append((step, seconds))
        self.elapsed += seconds if self.slow else 0
        await asyncio.sleep(3600 if step == self.stuck else 0)
        return self.cut.get(step, 0)

    def part(self, step: str) -> Any:
        """A part whose `stop` is this step."""
        part = Parts.__new__(Parts)
        part.stop = lambda seconds: self._take(step, seconds)  # type: ignore[attr-defined]
        return part

    # The HTTP listener, beside the WebSockets

    def refuse(self) -> None:
        self.steps.append(("refuse", 0.0))

    async def stop_http(self, timeout: float) -> int:
        return await self._take("peers", timeout)

    # The WebSockets

    def __len__(self) -> int:
        return self.connections

    async def drain(self, seconds: float) -> None:
        await self._take("drain", seconds)

    async def stop(self, timeout: float) -> int:
        return await self._take("clients", timeout)

    # The node and its only broker

    @property
    def brokers(self) -> dict[str, Parts]:
        return {"default": self}

    async def settle(self) -> None:
        self.steps.append(("settle", 0.0))
        if not self.settles_by_itself:
            await asyncio.sleep(3600)

    def flush(self) -> None:
        self.steps.append(("flush", 0.0))

    async def close(self) -> None:
        self.steps.append(("close", 0.0))

    async def shut_down(self, drain: float = 3600.0, grace: float = GRACE, delay: float = 0.0) -> bool:
        pools = {"pool": self.part("workers"), "pages": self.part("page workers") if self.pages else None}
        core: Any = SimpleNamespace(rpc=self.part("rpc"), forward=None, node=self, **pools)
        http = SimpleNamespace(refuse=self.refuse, stop=self.stop_http, pages=self.pages)
        listener: Any = SimpleNamespace(http=http, websockets=self, gateway=None)
        return await shut_down(core, listener, [self.part("ops")], grace=grace, delay=delay, drain=drain)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Mock:
    log = Mock()
    monkeypatch.setattr(shutdown, "log", log)
    return log


async def test_publishers_come_first_then_clients_then_workers_and_readiness_last() -> None:
    parts = Parts()
    assert await parts.shut_down(drain=0.0)
    clients = ["drain", "clients", "peers"]
    assert parts.order == ["refuse", "rpc", "settle", "flush", *clients, "workers", "close", "ops"]


async def test_nothing_is_stopped_until_the_delay_is_over() -> None:
    """Point 9: the port closed at once, and load balancers sent clients there for seconds."""
    parts = Parts()
    stopping = asyncio.ensure_future(parts.shut_down(delay=3600.0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert parts.order == []
    stopping.cancel()
    await asyncio.wait([stopping])


async def test_the_delay_is_a_part_of_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point 9: who waits for the end needs to know one time only."""
    parts = Parts()
    assert await parts.shut_down(delay=0.01, grace=GRACE)
    given, undelayed = dict(parts.steps), Parts()
    assert await undelayed.shut_down(grace=GRACE)
    assert 0 < given["rpc"] < dict(undelayed.steps)["rpc"]


async def test_peers_that_do_not_take_their_refusal_get_what_clients_get_after_the_drain() -> None:
    """Not the time of a drain that may be over at once: theirs was counted from its beginning."""
    parts = Parts()
    assert await parts.shut_down(drain=0.01)
    given = dict(parts.steps)
    assert given["peers"] == given["clients"]
    assert parts.order.index("peers") > parts.order.index("drain")


async def test_requests_for_pages_get_more_time_than_clients_and_both_pools_end_together() -> None:
    parts = Parts()
    parts.pages = object()
    assert await parts.shut_down(drain=0.0)
    given = dict(parts.steps)
    assert given["peers"] == pytest.approx((GRACE - 1) / 2, abs=0.5) and given["peers"] > given["clients"]
    assert given["workers"] == given["page workers"]
    assert parts.order[-4:] == ["workers", "page workers", "close", "ops"]


async def test_the_parts_of_the_time_are_never_more_than_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    parts.slow = True
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + parts.elapsed)
    assert await parts.shut_down()
    given = dict(parts.steps)
    assert sum(given.values()) - given["peers"] <= GRACE  # peers are stopped beside the clients
    assert all(given[step] > 0 for step in ("rpc", "drain", "clients", "workers", "ops"))
    assert given["drain"] <= GRACE / 2


async def test_the_drain_takes_no_longer_than_is_configured() -> None:
    parts = Parts()
    assert await parts.shut_down(drain=0.01)
    assert dict(parts.steps)["drain"] == 0.01


@pytest.mark.parametrize("stuck", ["rpc", "drain", "clients", "workers"])
async def test_a_part_that_never_ends_is_given_up_and_said_to_be(stuck: str) -> None:
    parts = Parts()
    parts.stuck = stuck
    assert not await parts.shut_down(grace=0.1)
    assert [step for step in parts.order if step != "peers"][-2:] == [stuck, "ops"]


async def test_a_broker_that_does_not_settle_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is here already is written all the same."""
    monkeypatch.setattr(shutdown, "_SETTLE", 0.01)
    parts = Parts()
    parts.settles_by_itself = False
    assert await parts.shut_down()
    assert parts.order[2:5] == ["settle", "flush", "drain"]


async def test_one_line_says_what_was_cut(log: Mock) -> None:
    parts = Parts()
    parts.cut = {"rpc": 2, "workers": 1}
    assert await parts.shut_down(drain=0.0)
    assert log.info.call_args == call("stopping", connections=7, grace_period=GRACE)
    [(event, fields)] = [(line.args[0], line.kwargs) for line in log.warning.call_args_list]
    assert event == "stopped, what did not end in time was cut"
    assert fields.items() >= {"rpc_calls": 2, "clients": 0, "workers": 1}.items()


async def test_a_stop_in_time_says_so(log: Mock) -> None:
    assert await Parts().shut_down(drain=0.0)
    assert log.info.call_args.args == ("stopped in time",)
    assert not log.warning.called
