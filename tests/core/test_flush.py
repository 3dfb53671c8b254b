"""Writing to many sockets: in Python, and in C."""

from __future__ import annotations

import gc
import select
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from rr_py_ws.core import flush as module
from rr_py_ws.native import TWINS


class Receiver:
    """A subscriber with a socket of its own; `direct`: the native part may write to it."""

    def __init__(self, *, direct: bool = True) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.descriptor = self.ours.fileno() if direct else -1
        self.send = self.ours.send

    def received(self) -> bytes:
        data = b""
        while select.select([self.theirs], [], [], 0)[0] and (part := self.theirs.recv(1 << 20)):
            data += part
        return data

    def fill(self) -> None:
        try:
            while True:
                self.ours.send(b"x" * 65536)
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture(params=["python", "c"])
def flush(request: pytest.FixtureRequest) -> Any:
    python, compiled = TWINS[module.flush.__name__]
    if request.param == "python":
        return python
    if compiled is None:
        pytest.skip("no native part")
    return compiled


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Receiver] = []

    def make(count: int, **options: Any) -> list[Receiver]:
        new = [Receiver(**options) for _ in range(count)]
        made.extend(new)
        return new

    yield make
    for receiver in made:
        receiver.close()


def batch(receivers: Any, frames: bytes) -> Any:
    return receivers, "t", frames


@pytest.mark.parametrize("count", [0, 1, 300])
def test_everybody_gets_all_of_it(flush: Any, make: Any, count: int) -> None:
    receivers = make(count)
    assert flush([batch(dict.fromkeys(receivers), b"frames")]) == []
    assert [receiver.received() for receiver in receivers] == [b"frames"] * count


def test_batches_reach_whom_they_are_meant_for_in_the_order_of_the_calls(flush: Any, make: Any) -> None:
    receivers = make(40)
    for turn in range(5):
        batches = [batch([receiver], b"%d:%d." % (turn, at)) for at, receiver in enumerate(receivers)]
        assert flush(batches) == []
    for at, receiver in enumerate(receivers):
        assert receiver.received() == b"".join(b"%d:%d." % (turn, at) for turn in range(5))


def test_who_has_no_socket_of_its_own_is_sent_to(flush: Any, make: Any) -> None:
    """With TLS, or while something waits, only `send` knows what to do."""
    direct, others = make(20), make(20, direct=False)
    mixed = [receiver for pair in zip(direct, others, strict=True) for receiver in pair]
    assert flush([batch(mixed, b"frames")]) == []
    assert {receiver.received() for receiver in mixed} == {b"frames"}


def test_who_takes_nothing_or_a_part_is_told_and_nobody_else_notices(flush: Any, make: Any) -> None:
    receivers = make(30)
    full, gone = receivers[3], receivers[20]
    full.fill()
    gone.theirs.close()
    behind = flush([batch([], b""), batch(receivers, b"frames")])
    assert behind == [(full, 1, 0), (gone, 1, 0)]
    others = [receiver for receiver in receivers if receiver not in (full, gone)]
    assert {receiver.received() for receiver in others} == {b"frames"}
    behind = flush([batch(others, b"y" * (8 << 20))])
    assert [receiver for receiver, _, _ in behind] == others
    for receiver, _, taken in behind:
        assert 0 < taken < 8 << 20
        assert receiver.received() == b"y" * taken


def test_what_send_raises_is_as_if_nothing_was_taken(flush: Any, make: Any) -> None:
    class Failing(Receiver):
        def __init__(self) -> None:
            super().__init__(direct=False)
            self.send = self.fail

        def fail(self, _: Any) -> int:
            raise RuntimeError("a mistake")

    failing = Failing()
    (healthy,) = make(1)
    behind = flush([batch([failing, healthy], b"frames")])
    assert [(receiver, taken) for receiver, _, taken in behind] == [(failing, 0)]
    assert healthy.received() == b"frames"
    failing.close()


def test_a_descriptor_that_is_closed_harms_nobody(flush: Any, make: Any) -> None:
    """It may not be, but what the kernel refuses for one socket must not keep others waiting."""
    receivers = make(20)
    receivers[5].ours.close()
    behind = flush([batch(receivers, b"frames")])
    assert [(receiver, taken) for receiver, _, taken in behind] == [(receivers[5], 0)]
    assert [receiver.received() for receiver in receivers].count(b"frames") == 19


def test_nothing_is_kept(flush: Any, make: Any) -> None:
    receivers = make(300)
    frames = bytes(300)
    what = batch(receivers, frames)
    before = [sys.getrefcount(thing) for thing in (what, frames, *receivers)]
    for _ in range(50):
        assert flush([what]) == []
        assert all(receiver.received() for receiver in receivers)
    receivers[0].fill()
    assert len(flush([what])) == 1
    gc.collect()
    assert [sys.getrefcount(thing) for thing in (what, frames, *receivers)] == before


class Unending:
    """Fails in the middle."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self.receivers = receivers

    def __iter__(self) -> Iterator[Receiver]:
        yield from self.receivers
        raise LookupError("changed meanwhile")


@pytest.mark.parametrize("wrong", [None, [None], [batch(1, b"")], [batch([None], b"")], [([],)]])
def test_misuse_is_an_error_and_no_crash(flush: Any, wrong: Iterable[Any]) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError)):
        flush(wrong)


@pytest.mark.parametrize("count", [0, 3, 300])
def test_an_error_while_subscribers_are_walked_through_comes_out(flush: Any, make: Any, count: int) -> None:
    receivers = make(count)
    before = [sys.getrefcount(receiver) for receiver in receivers]
    with pytest.raises(LookupError, match="changed meanwhile"):
        flush([batch(Unending(receivers), b"frames")])
    assert [sys.getrefcount(receiver) for receiver in receivers] == before
