"""Point 9.7: a client that may have missed messages is told so, or closed; none keeps a hole in silence."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rr_py_ws.adapters.ws import gap_closer
from rr_py_ws.adapters.ws.connection import Connection
from rr_py_ws.adapters.ws.gap_closer import GapCloser
from support.clock import Clock
from support.loops import both_loops
from support.waiting import eventually
from support.ws_peer import CLOSE, close, frame, push
from support.ws_site import Site, Start

MISSED = close(1012, "messages may have been missed")


async def missed(site: Site, *topics: str) -> None:
    """The broker was away for a while."""
    site.hub.tell_missed(topics)


@both_loops
async def test_old_clients_are_closed_and_those_that_have_used_an_id_are_told(site: Site) -> None:
    old, other, curious = [await site.open() for _ in range(3)]
    await old.join("a", "b")
    await other.join("quiet")
    await curious.command("join", ["a"], id=1)
    await curious.frame()
    await missed(site, "a", "b")
    site.publish("a", "after")
    await curious.expect('{"topic":"#gap","payload":["a"],"id":""}', push("a", "after"))
    await old.expect(push("a", "after"))  # until its turn it is served
    assert await old.frame() == (CLOSE, MISSED)
    await old.send(frame(CLOSE, MISSED))
    assert await old.rest() == b""
    old.close()
    site.publish("quiet", "still here")
    await other.expect(push("quiet", "still here"))
    await eventually(lambda: site.sample("connections_closed", "1012") == 1)


async def test_all_are_told_where_the_configuration_says_so(start: Start) -> None:
    site = await start(on_gap="tell")
    client = await site.open()
    await client.join("a")
    await missed(site, "a")
    await client.expect('{"topic":"#gap","payload":["a"],"id":""}')
    assert await client.silent()


async def test_who_has_gone_before_its_turn_is_not_closed(site: Site) -> None:
    for end in ("close", "reset"):
        client = await site.open()
        await client.join("a")
        await missed(site, "a")
        await client.send(frame(CLOSE, close(1000)))
        assert await client.frame() == (CLOSE, close(1000))
        getattr(client, end)()
    await eventually(lambda: site.server.connections == 0)
    assert site.sample("connections_closed", "1012") == 0


async def test_a_stop_closes_those_that_wait_for_their_turn(site: Site) -> None:
    client = await site.open()
    await client.join("a")
    await missed(site, "a")
    await site.server.websockets.drain(0.0)
    assert await client.frame() == (CLOSE, close(1001, "server is stopping"))


class Client:
    """Stands for a connection whose close frame costs nothing."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.close_for_gap = close
        self.failed: list[Exception] = []
        self.write_failed = self.failed.append


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock and the timers of the closer."""
    clock = Clock()
    loop: Any = SimpleNamespace(time=clock.time, call_later=clock.call_later)
    monkeypatch.setattr(gap_closer.asyncio, "get_running_loop", lambda: loop)
    return clock


def closed_by(clock: Clock, count: int, seconds: float = 3.0) -> tuple[GapCloser, list[float]]:
    """A closer with so many clients, and the list of times at which they are closed."""
    times: list[float] = []
    closer = GapCloser(seconds)
    for _ in range(count):
        closer.add(cast(Connection, Client(lambda: times.append(clock.now))))
    return closer, times


@pytest.mark.parametrize("count", [1, 2, 50, 10_000])
def test_clients_are_never_closed_all_at_once(clock: Clock, count: int) -> None:
    """They all come back: the longest stretch of a tenth of the time has its tenth of them."""
    _, times = closed_by(clock, count)
    assert times == []
    clock.sleep(3.1)
    assert len(times) == count
    for tenth in range(31):
        crowd = [time for time in times if tenth / 10 <= time < tenth / 10 + 0.3]
        assert len(crowd) <= max(7, count * 0.12)
    assert not clock.calls


def test_a_second_gap_before_the_end_of_the_first_closes_nobody_twice(clock: Clock) -> None:
    times: list[float] = []
    closer = GapCloser(3.0)
    clients = [cast(Connection, Client(lambda: times.append(clock.now))) for _ in range(100)]
    for _ in range(2):
        for client in clients:
            closer.add(client)
    clock.sleep(1.0)
    waiting = 100 - len(times)
    closer.add(clients[-1])
    clock.sleep(2.1)
    assert 0 < waiting < 100 == len(times)


def test_one_that_fails_does_not_keep_the_others_from_their_turns(clock: Clock) -> None:
    closer, times = closed_by(clock, 3)

    def fail() -> None:
        raise RuntimeError("its transport is closed")

    broken = Client(fail)
    closer.add(cast(Connection, broken))
    clock.sleep(3.1)
    assert len(times) == 3
    assert [str(error) for error in broken.failed] == ["its transport is closed"]


def test_after_a_stop_nobody_is_closed(clock: Clock) -> None:
    closer, times = closed_by(clock, 3)
    closer.stop()
    clock.sleep(10.0)
    assert times == []
