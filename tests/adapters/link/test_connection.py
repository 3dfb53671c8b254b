"""One link: calls, their results in order, and what becomes of them when an end is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rr_py_ws.adapters.link.connection import DOWN, Link
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.errors import BrokerError, WorkersDown
from rr_py_ws.wire.link import encode_batch, encode_tell
from rr_py_ws.wire.publication import Publication
from support.loops import both_loops
from support.turns import Turns
from support.waiting import eventually

pytestmark = both_loops


class End:
    """One end, and what has come to it."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.waiting: dict[str, asyncio.Future[object]] = {}
        self.full: list[bool] = []
        self.lost = 0
        handlers = {
            "echo": lambda *args: list(args),
            "say": self.said.append,
            "wait": self._wait,
            "later": self._later,
            "refuse": self._refuse,
            "sleep": lambda: asyncio.sleep(3600),
        }
        self.link = Link(handlers, self._receive, self._lose, self.full.append)

    def _receive(self, number: int, publications: list[Publication]) -> None:
        self.said += [(number, one.payload) for one in publications]

    def _lose(self) -> None:
        self.lost += 1

    def _wait(self, name: str) -> asyncio.Future[object]:
        self.waiting[name] = asyncio.get_running_loop().create_future()
        return self.waiting[name]

    async def _later(self, name: str) -> str:
        await self._wait(name)
        self.said.append(name)
        return name

    def _refuse(self) -> None:
        raise WorkersDown("nobody is there")


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    loop = asyncio.get_running_loop()
    pair = End(), End()
    for end, sock in zip(pair, socket.socketpair(), strict=True):
        sock.setblocking(False)
        await loop.create_connection(lambda end=end: end.link, sock=sock)
    yield pair
    for end in pair:
        end.link.close()
    await eventually(lambda: all(end.lost for end in pair), "both ends are closed")


Ends = tuple[End, End]


def batch(*payloads: bytes) -> tuple[int, list[Publication]]:
    return 3, [Publication("t", one) for one in payloads]


async def test_calls_go_in_both_directions(ends: Ends) -> None:
    one, other = ends
    assert await one.link.call("echo", 1, "é", b"\0", None) == [1, "é", b"\0", None]
    assert await other.link.call("echo") == []


async def test_an_error_is_raised_where_the_call_was_made(ends: Ends) -> None:
    with pytest.raises(WorkersDown, match="nobody is there"):
        await ends[0].link.call("refuse")


async def test_a_method_that_is_missing_is_an_error(ends: Ends) -> None:
    with pytest.raises(BrokerError):
        await ends[0].link.call("no such method")


async def test_a_mistake_in_what_carries_something_out_does_not_end_the_link(
    ends: Ends, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody would make another link as long as both processes live."""
    one, other = ends
    one.link.tell("refuse")
    one.link.tell("no such method")
    call = one.link.call("echo", 1, convert=lambda _: {}["nothing"])
    with pytest.raises(KeyError, match="nothing"):
        await call
    with pytest.raises(BrokerError, match="KeyError") as failure:
        await one.link.call("no such method")
    assert "no such method" not in failure.value.public  # which may be told to clients
    assert await one.link.call("echo", 1) == [1]
    assert (one.lost, other.lost) == (0, 0)
    assert capsys.readouterr().err.count("Traceback") == 3


async def test_results_come_when_they_are_there(ends: Ends) -> None:
    one, other = ends
    calls = {name: one.link.call("wait", name) for name in "abc"}
    await eventually(lambda: len(other.waiting) == 3)
    for name in "cab":
        other.waiting[name].set_result(name)
        assert await calls[name] == name


async def test_everything_keeps_the_order_in_which_it_was_said(ends: Ends) -> None:
    """A result stands between the publications before it and those behind it."""
    one, other = ends
    call = one.link.call("wait", "it", convert=lambda value: one.said.append(value))
    await eventually(lambda: other.waiting)
    other.link.push(*batch(b"1", b"2"))
    other.link.tell("say", "told")
    other.waiting["it"].set_result("result")
    await asyncio.sleep(0)  # the result is written
    other.link.push(*batch(b"3"))
    await call
    await eventually(lambda: len(one.said) == 5)
    assert one.said == [(3, b"1"), (3, b"2"), "told", "result", (3, b"3")]


async def test_a_coroutine_has_its_result_written_when_it_ends(ends: Ends) -> None:
    """What is said in the turn behind its end comes behind its result."""
    one, other = ends
    order: list[object] = one.said
    call = one.link.call("later", "it", convert=order.append)
    await eventually(lambda: other.waiting)
    other.waiting["it"].set_result(None)
    await eventually(lambda: other.said, pause=0)
    other.link.push(*batch(b"1"))
    await call
    await eventually(lambda: len(order) == 2)
    assert order == ["it", (3, b"1")]


@pytest.mark.parametrize("method", ["wait", "later"])
async def test_a_call_that_is_cancelled_is_withdrawn(method: str, ends: Ends) -> None:
    one, other = ends
    call = one.link.call(method, "it")
    await eventually(lambda: other.waiting)
    call.cancel()
    await eventually(other.waiting["it"].cancelled)
    assert await one.link.call("echo", 1) == [1]


async def test_what_waits_for_an_end_that_is_gone_fails(ends: Ends) -> None:
    one, other = ends
    calls = [one.link.call("wait", "it"), one.link.call("sleep")]
    await eventually(lambda: other.waiting)
    other.link.close()
    for call in calls:
        with pytest.raises(BrokerError, match=DOWN):
            await call
    assert one.lost == 1
    with pytest.raises(BrokerError, match=DOWN):
        await one.link.call("echo")
    one.link.tell("say", "nobody hears it")
    one.link.push(*batch(b"nor that"))
    await eventually(other.waiting["it"].cancelled)


async def test_a_large_value_arrives_whole(ends: Ends) -> None:
    value: Any = b"x" * 5_000_000
    assert await ends[0].link.call("echo", value) == [value]


async def test_it_is_told_when_the_other_end_takes_nothing_more(ends: Ends) -> None:
    one, other = ends
    other.link.pause_reading(True)
    for _ in range(4):
        one.link.push(*batch(b"x" * 1_000_000))
    await eventually(lambda: one.full)
    assert one.full == [True]
    other.link.pause_reading(False)
    await eventually(lambda: len(one.full) == 2)
    assert one.full == [True, False]
    await eventually(lambda: len(other.said) == 4)


async def test_what_comes_together_is_written_to_clients_together_and_at_once() -> None:
    said: list[str] = []
    turns = Turns()
    end = TurnEnd(turns.schedule)

    def receive(number: int, publications: list[Publication]) -> None:
        if not end.waiting:  # as a hub does with the first publication of a turn
            end.schedule(lambda: said.append("written"))
        said.extend(one.topic for one in publications)

    link = Link({"fail": lambda: said[99]}, receive, lambda: None, turn_end=end)
    batches = [encode_batch(0, [Publication(topic, b"")]) for topic in ("a", "b")]
    link.data_received(batches[0] + encode_tell("fail", ()) + batches[1])
    assert said == ["a", "b", "written"]
    link.data_received(batches[0])
    assert said[3:] == ["a", "written"]
    assert not turns.scheduled
