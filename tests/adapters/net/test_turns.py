"""The budget of a turn of the event loop: who waits, and in which order they go on."""

from __future__ import annotations

import asyncio

from rr_py_ws.adapters.net.turns import Turns


class Peer:
    """Has pieces of work, and takes each from the budget in its turn."""

    def __init__(self, turns: Turns, done: list[str], name: str, cost: int, pieces: int = 1) -> None:
        self.turns, self.done, self.name, self.cost, self.pieces = turns, done, name, cost, pieces

    def go_on(self) -> None:
        self.turns.left -= self.cost
        self.done.append(self.name)
        self.pieces -= 1
        if self.pieces:
            self.turns.wait(self.go_on, light=False)


async def test_as_much_is_done_in_a_turn_as_its_budget_allows() -> None:
    turns, done = Turns(10), list[str]()
    for number in range(7):
        turns.wait(Peer(turns, done, str(number), cost=4).go_on, light=False)
    counts = []
    while turns.crowded:
        before = len(done)
        await asyncio.sleep(0)
        counts.append(len(done) - before)
    assert counts == [3, 3, 1]
    assert done == list("0123456")


async def test_those_that_ask_for_little_go_first_and_leave_half_to_the_others() -> None:
    turns, done = Turns(10), list[str]()
    heavy = Peer(turns, done, "heavy", cost=4, pieces=3)
    turns.wait(heavy.go_on, light=False)
    for _ in range(8):
        turns.wait(Peer(turns, done, "light", cost=1).go_on, light=True)
    await asyncio.sleep(0)
    assert done == ["light"] * 5 + ["heavy"] * 2
    await asyncio.sleep(0)
    assert done[7:] == ["light"] * 3 + ["heavy"]


async def test_those_that_ask_for_little_have_what_nobody_else_needs() -> None:
    turns, done = Turns(10), list[str]()
    for _ in range(12):
        turns.wait(Peer(turns, done, "light", cost=1).go_on, light=True)
    await asyncio.sleep(0)
    assert len(done) == 10


async def test_what_was_dearer_than_the_budget_is_paid_once() -> None:
    turns, done = Turns(10), list[str]()
    turns.wait(Peer(turns, done, "dear", cost=100).go_on, light=False)
    turns.wait(Peer(turns, done, "next", cost=1).go_on, light=False)
    await asyncio.sleep(0)
    assert done == ["dear"]
    await asyncio.sleep(0)
    assert done == ["dear", "next"]
    assert turns.left == 9


async def test_tasks_have_their_pieces_in_turn() -> None:
    turns, done = Turns(10), list[str]()

    async def work(name: str) -> None:
        for _ in range(3):
            await turns.piece(4)
            done.append(name)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    counts = []
    while not all(task.done() for task in tasks):
        before = len(done)
        await asyncio.sleep(0)
        counts.append(len(done) - before)
    assert max(counts) == 3
    assert sorted(done) == list("aaabbbccc")
    assert not turns.crowded


async def test_a_task_that_is_cancelled_waits_no_longer() -> None:
    turns = Turns(1)
    await turns.piece(1)
    waiting = asyncio.create_task(turns.piece(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not turns.crowded


async def test_a_peer_that_has_gone_is_not_called() -> None:
    turns, done = Turns(10), list[str]()
    gone = Peer(turns, done, "gone", cost=1)
    for light in (False, True):
        turns.wait(gone.go_on, light=light)
        turns.discard(gone.go_on)
    await asyncio.sleep(0)
    assert not done and not turns.crowded
