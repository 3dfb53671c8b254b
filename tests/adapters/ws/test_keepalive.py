from __future__ import annotations

import asyncio
import gc
import selectors
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from rr_py_ws.adapters.net.deadline import MOMENT
from rr_py_ws.adapters.ws.keepalive import KeepAlive


class _NoWaiting(selectors.DefaultSelector):
    """A selector for which time passes as fast as it is waited for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is left that could happen"
        self.now += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own: sleeping takes no time, and timers are exact."""

    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


Run = Callable[[Awaitable[None]], None]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

        def run(scene: Awaitable[None]) -> None:
            async def main() -> None:
                await scene

            runner.run(main())

        yield run


class Client:
    """A peer that answers pings after `latency` seconds; None is never."""

    def __init__(self, latency: float | None = 0.01) -> None:
        self.latency = latency
        self.alive = True
        self.pings: list[float] = []
        self.cut_at: float | None = None
        self.broken = False

    def ping(self) -> None:
        loop = asyncio.get_running_loop()
        if self.broken:
            raise RuntimeError("the transport is closed")
        self.pings.append(loop.time())
        if self.latency is not None:
            loop.call_later(self.latency, self.hear)

    def hear(self) -> None:
        self.alive = True

    def abort(self) -> None:
        assert self.cut_at is None
        self.cut_at = asyncio.get_running_loop().time()


def keep_alive(*peers: Client, interval: float = 25.0, timeout: float = 20.0) -> KeepAlive:
    watch = KeepAlive(interval, timeout)
    watch.start()
    for peer in peers:
        watch.add(peer)
    return watch


def test_every_peer_is_pinged_once_per_interval(run: Run) -> None:
    async def scene() -> None:
        quick, slow = Client(), Client(latency=19.0)
        watch = keep_alive(quick, slow)
        await asyncio.sleep(110)
        watch.stop()
        assert quick.pings == slow.pings == [25, 50, 75, 100]
        assert (quick.cut_at, slow.cut_at) == (None, None)

    run(scene())


def test_a_peer_that_talks_is_pinged_too(run: Run) -> None:
    """What the server sends is what keeps a proxy between from closing."""

    async def scene() -> None:
        peer = Client()
        watch = keep_alive(peer)
        for _ in range(60):
            await asyncio.sleep(1)
            peer.heard = True
        watch.stop()
        assert peer.pings == [25, 50]

    run(scene())


def test_d18_a_silent_peer_is_given_up_after_the_timeout(run: Run) -> None:
    """In RoadRunner half-open peers stayed for ever, and held their topics."""

    async def scene() -> None:
        silent, alive = Client(latency=None), Client()
        watch = keep_alive(silent, alive)
        await asyncio.sleep(199)
        watch.stop()
        assert silent.pings == [25]
        assert silent.cut_at == 45 + MOMENT
        assert alive.cut_at is None
        assert alive.pings == [25, 50, 75, 100, 125, 150, 175]

    run(scene())


@pytest.mark.parametrize("timeout", [10.0, 25.0, 60.0])
def test_d18_a_peer_that_falls_silent_later_is_given_up_then(run: Run, timeout: float) -> None:
    """Its time runs from the first ping without an answer."""

    async def scene() -> None:
        peer = Client()
        watch = keep_alive(peer, timeout=timeout)
        await asyncio.sleep(60)
        assert peer.pings == [25, 50]
        peer.latency = None
        await asyncio.sleep(100)
        watch.stop()
        assert peer.cut_at == 75 + timeout + MOMENT

    run(scene())


def test_anything_heard_after_the_ping_is_an_answer(run: Run) -> None:
    async def scene() -> None:
        peer = Client(latency=None)
        watch = keep_alive(peer)
        await asyncio.sleep(44)
        peer.hear()
        await asyncio.sleep(2)
        assert peer.cut_at is None
        watch.stop()

    run(scene())


def test_what_was_heard_before_the_ping_is_no_answer(run: Run) -> None:
    async def scene() -> None:
        peer = Client(latency=None)
        watch = keep_alive(peer)
        await asyncio.sleep(24.9)
        peer.hear()
        await asyncio.sleep(25)
        assert peer.cut_at is not None
        watch.stop()

    run(scene())


def test_each_peer_has_its_own_time(run: Run) -> None:
    """One timer looks after all of them twice a second, so a ping may be late by that much each time."""

    async def scene() -> None:
        peers = [Client() for _ in range(30)]
        watch = keep_alive()
        begins = []
        for peer in peers:
            watch.add(peer)
            begins.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.7)
        await asyncio.sleep(75 - 0.7)
        watch.stop()
        for peer, begin in zip(peers, begins, strict=True):
            for number, ping in enumerate(peer.pings, 1):
                assert 0 <= ping - (begin + 25 * number) < 0.5 * number + 1e-9
            assert len(peer.pings) >= 2

    run(scene())


@pytest.mark.parametrize("timeout", [10.0, 25.0, 60.0])
def test_the_timeout_may_be_shorter_or_longer_than_the_interval(run: Run, timeout: float) -> None:
    """With a longer one, pings once came once per timeout, and a proxy between might have closed by then."""

    async def scene() -> None:
        alive, silent = Client(), Client(latency=None)
        watch = keep_alive(alive, silent, timeout=timeout)
        await asyncio.sleep(160)
        watch.stop()
        assert alive.pings == [25, 50, 75, 100, 125, 150]
        assert alive.cut_at is None
        assert silent.cut_at == 25 + timeout + MOMENT
        assert silent.pings == alive.pings[: len(silent.pings)]
        assert len(silent.pings) == {10: 1, 25: 2, 60: 3}[timeout]

    run(scene())


def test_a_late_answer_counts_until_the_timeout_is_over(run: Run) -> None:
    """Pings that are sent meanwhile neither shorten nor extend the time of the first."""

    async def scene() -> None:
        peer = Client(latency=None)
        watch = keep_alive(peer, timeout=60.0)
        await asyncio.sleep(80)
        assert len(peer.pings) == 3
        peer.hear()
        await asyncio.sleep(70)
        assert peer.cut_at is None
        watch.stop()

    run(scene())


def test_a_discarded_peer_is_left_alone(run: Run) -> None:
    async def scene() -> None:
        unpinged, pinged, never_added, stays = Client(), Client(latency=None), Client(), Client()
        watch = keep_alive(pinged, unpinged, stays)
        watch.discard(unpinged)
        watch.discard(never_added)
        await asyncio.sleep(26)
        watch.discard(pinged)
        await asyncio.sleep(60)
        watch.stop()
        assert unpinged.pings == []
        assert (len(pinged.pings), pinged.cut_at) == (1, None)
        assert len(stays.pings) == 3

    run(scene())


def test_one_peer_whose_ping_fails_does_not_stop_the_others(run: Run) -> None:
    """An exception in the only timer there is would have ended all keep-alive."""

    async def scene() -> None:
        peers = [Client() for _ in range(5)]
        peers[1].broken = True
        watch = keep_alive(*peers)
        await asyncio.sleep(60)
        watch.stop()
        assert peers[1].cut_at == 25
        assert [len(peer.pings) for peer in peers] == [2, 0, 2, 2, 2]

    run(scene())


def test_an_interval_of_zero_is_off(run: Run) -> None:
    async def scene() -> None:
        peer = Client()
        watch = keep_alive(peer, interval=0.0)
        await asyncio.sleep(1000)
        assert (peer.pings, peer.cut_at) == ([], None)
        watch.discard(peer)
        watch.stop()

    run(scene())


def test_stop_ends_it_for_good(run: Run) -> None:
    async def scene() -> None:
        peer = Client()
        watch = keep_alive(peer)
        watch.stop()
        watch.stop()
        await asyncio.sleep(100)
        assert peer.pings == []

    run(scene())


def test_stop_from_within_a_tick_ends_it_too(run: Run) -> None:
    """The end of the last peer may be what the server waits for to stop."""

    async def scene() -> None:
        class Last(Client):
            def abort(self) -> None:
                super().abort()
                watch.stop()

        last, other = Last(latency=None), Client()
        watch = keep_alive(last, other)
        await asyncio.sleep(100)
        assert last.cut_at is not None
        assert len(other.pings) == 1

    run(scene())


def test_d2_a_peer_that_was_given_up_or_discarded_is_not_held(run: Run) -> None:
    async def scene() -> None:
        silent, gone = Client(latency=None), Client()
        watch = keep_alive(silent, gone)
        watch.discard(gone)
        await asyncio.sleep(50)
        assert silent.cut_at is not None
        references = [weakref.ref(silent), weakref.ref(gone)]
        del silent, gone
        gc.collect()
        assert [reference() for reference in references] == [None, None]
        watch.stop()

    run(scene())


def test_another_interval_counts_for_each_peer_from_its_next_ping_on(run: Run) -> None:
    async def scene() -> None:
        first, second = Client(), Client()
        watch = keep_alive(first)
        await asyncio.sleep(20)
        watch.add(second)
        watch.reload(10.0, 20.0, [first, second])
        await asyncio.sleep(51)
        watch.stop()
        assert first.pings[0] == 25
        assert second.pings == [45, 55, 65]

    run(scene())


def test_a_shorter_timeout_counts_from_the_next_ping_on(run: Run) -> None:
    async def scene() -> None:
        silent = Client(latency=None)
        watch = keep_alive(silent)
        watch.reload(25.0, 5.0, [silent])
        await asyncio.sleep(40)
        watch.stop()
        assert silent.cut_at == 30 + MOMENT

    run(scene())


def test_pings_can_begin_and_end_while_peers_are_connected(run: Run) -> None:
    async def scene() -> None:
        peer = Client()
        watch = keep_alive(peer, interval=0.0)
        await asyncio.sleep(100)
        watch.reload(10.0, 20.0, [peer])
        await asyncio.sleep(25)
        assert peer.pings == [110, 120]
        watch.reload(0.0, 20.0, [peer])
        await asyncio.sleep(100)
        assert peer.pings == [110, 120]
        watch.reload(10.0, 20.0, [peer])
        await asyncio.sleep(15)
        watch.stop()
        assert peer.pings == [110, 120, 235]

    run(scene())
