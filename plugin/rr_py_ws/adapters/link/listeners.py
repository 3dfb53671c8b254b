"""All listener processes, as the core process has them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from rr_py_ws import logs
from rr_py_ws.adapters.link.listener import Listener
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import QuestionPool
from rr_py_ws.core.remote_holds import RemoteHolds
from rr_py_ws.metrics import Metric, Sample, counter, gauge, merge
from rr_py_ws.wire.link import unpack_metrics

_LONGEST_STANDSTILL = 5.0
"""Seconds for which a listener may take nothing of a full link, while publishers wait; then it is ended."""
_LOOKS = 5
"""Looks within them: a machine that was suspended meanwhile makes one of them late, not the listener."""
_METRICS_TIMEOUT = 1.0
"""Seconds that listeners have to tell what they count."""
_LOOK_EVERY = 0.5
"""Seconds between two looks whether the listeners have to hear that the server is ready, or is not."""

Counted = tuple[list[Metric], dict[int, list[Metric]]]
"""Counters of processes that have ended, and of listeners by the id of their process."""

log = logs.get_logger("app")


class Listeners:
    """All of them; also a part that has metrics, and what is stopped like the clients of one process.

    Args:
        wanted: how many there should be.
        node: of the core.
        pools: name -> workers.
        backpressure: of the node; holds of listeners go there.
        ready: whether clients can be served now.
        pause: has publishers wait, and go on.
        on_stuck: told the number of a listener that takes nothing.
        has_pages: whether listeners answer requests for pages.
        counted: what a core that has ended has left; None: there was none.

    Attributes:
        pages: see `HTTPListener.pages`; None without.
        all_listening: set when all listeners accept clients.
    """

    gateway = None

    def __init__(
        self,
        wanted: int,
        node: Node,
        pools: Mapping[str, QuestionPool],
        backpressure: Backpressure,
        ready: Callable[[], bool],
        pause: Callable[[bool], None],
        on_stuck: Callable[[int], None],
        *,
        has_pages: bool,
        counted: Counted | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._wanted = wanted
        self._node = node
        self._pools = pools
        self._ready = ready
        self._pause = pause
        self._on_stuck = on_stuck
        self._holds = RemoteHolds(backpressure.held, self._loop.time)
        self._all: dict[int, Listener] = {}
        self._listening: set[Listener] = set()
        self._full: dict[Listener, asyncio.TimerHandle] = {}
        # Listeners that live tell anew what they have counted; others have ended while there was no core.
        self._past, self._before = counted or ([], {})
        self._told: dict[Listener, bool] = {}
        self._lost = 0
        self._stopping = False
        self._released = False
        self._open = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.all_listening = asyncio.Event()
        self.pages: object = has_pages or None
        self._timer = self._loop.call_soon(self._look)

    def open(self) -> None:
        """Let listeners accept clients, those that are there and those to come."""
        self._open = True
        self.tell_all("open")

    async def connect(self, number: int, accepted: socket.socket) -> None:
        """Serve a listener process at a socket that leads to it."""
        if self._released:
            accepted.close()
            return
        listener = Listener(number, self, self._node, self._pools, self._holds)
        self._all[number] = listener
        self._empty.clear()
        await self._loop.create_connection(lambda: listener.link, sock=accepted)
        if self._open:
            listener.link.tell("open")
        self._tell_ready(listener)

    @property
    def any_listening(self) -> bool:
        """Whether any of them accepts clients."""
        return bool(self._listening)

    # Called by listeners

    def listening(self, listener: Listener) -> None:
        """It accepts clients."""
        self._listening.add(listener)
        if len(self._listening) >= self._wanted:
            self.all_listening.set()

    def lost(self, listener: Listener) -> None:
        """Its process is gone."""
        self._listening.discard(listener)
        self._told.pop(listener, None)
        self.full(listener, False)
        self._lost += not self._stopping
        self._past = merge([*self._past, *_growing(listener.snapshot)])
        if self._all.get(listener.number) is listener:
            del self._all[listener.number]
        if not self._all:
            self._empty.set()

    def full(self, listener: Listener, full: bool) -> None:
        """It takes nothing more, or has taken what waited."""
        timer = self._full.pop(listener, None)
        if timer is not None:
            timer.cancel()
        if full:
            self._look_again(listener, _LOOKS)
        self._pause(bool(self._full))

    def _look_again(self, listener: Listener, looks: int) -> None:
        """Give a listener up that does not take what waits until so many looks are over."""
        if looks:
            pause = _LONGEST_STANDSTILL / _LOOKS
            self._full[listener] = self._loop.call_later(pause, self._look_again, listener, looks - 1)
        else:
            self._on_stuck(listener.number)

    # Readiness

    def look(self) -> None:
        """Tell all listeners whether the server is ready, those that do not know."""
        for listener in self._all.values():
            self._tell_ready(listener)

    def _look(self) -> None:
        self.look()
        self._timer = self._loop.call_later(_LOOK_EVERY, self._look)

    def _tell_ready(self, listener: Listener) -> None:
        ready = self._ready()
        if self._told.get(listener) != ready:
            self._told[listener] = ready
            listener.link.tell("ready", ready)

    # Metrics

    async def refresh(self) -> None:
        """Have all of them tell what they count."""
        asked = {listener: listener.link.call("metrics") for listener in self._all.values()}
        if not asked:
            return
        done, late = await asyncio.wait(asked.values(), timeout=_METRICS_TIMEOUT)
        for call in late:
            call.cancel()
        for listener, call in asked.items():
            # One that has ended since it told counts with what it told before.
            is_there = self._all.get(listener.number) is listener
            if is_there and call in done and call.exception() is None:
                listener.process, snapshot = call.result()
                listener.snapshot = unpack_metrics(snapshot)
                self._before.pop(listener.process, None)
        if sum(bool(listener.process) for listener in self._all.values()) >= self._wanted:
            # Whoever else was there has ended; a process may get its id one day.
            self._past = merge([*self._past, *chain.from_iterable(self._before.values())])
            self._before = {}

    def metrics(self) -> Iterator[Metric]:
        """Yield what all of them have counted, those that have ended too."""
        found = [metric for listener in self._all.values() for metric in listener.snapshot]
        before = chain.from_iterable(self._before.values())
        yield from merge([*self._past, *before, *found, self._count_lost()])
        yield gauge("listeners", "Listener processes that accept clients.", len(self._listening))

    def counted(self, own: Iterable[Metric]) -> Counted:
        """Return what a core that takes the place of this one has to know.

        Args:
            own: what the core has counted itself.
        """
        told = {
            listener.process: _growing(listener.snapshot)
            for listener in self._all.values()
            if listener.process
        }
        return merge([*_growing(own), *self._past, self._count_lost()]), self._before | told

    def _count_lost(self) -> Metric:
        return counter("listeners_lost", "Listener processes that have ended unasked.", self._lost)

    # The stop: see `server.shutdown`

    def __len__(self) -> int:
        """Return how many WebSockets there are, as far as it was told."""
        return int(
            sum(
                sum(metric.values.values())
                for listener in self._all.values()
                for metric in listener.snapshot
                if isinstance(metric, Sample) and metric.name == "connections"
            )
        )

    @property
    def websockets(self) -> Listeners:
        """The same: what concerns WebSockets."""
        return self

    @property
    def http(self) -> Requests:
        """What concerns other requests."""
        return Requests(self)

    async def drain(self, seconds: float) -> None:
        """See `WebSocketHandler.drain`."""
        await self.refresh()
        await self.call_all("drain", seconds, len(self))

    async def stop(self, timeout: float) -> int:
        """See `WebSocketHandler.stop`."""
        return sum(await self.call_all("stop_websockets", timeout))

    async def call_all(self, method: str, *args: object) -> list[int]:
        """Call a method of all listeners; one that ends meanwhile has nothing more to tell."""
        calls = [listener.link.call(method, *args) for listener in self._all.values()]
        results = await asyncio.gather(*calls, return_exceptions=True)
        return [result for result in results if isinstance(result, int)]

    def tell_all(self, method: str, *args: object) -> None:
        """Tell all listeners something."""
        for listener in self._all.values():
            listener.link.tell(method, *args)

    def release(self) -> None:
        """Leave them and their clients alone from now on: they wait for another core."""
        self._released = True
        self._all.clear()
        self._empty.set()

    async def end(self, timeout: float) -> None:
        """Have all of them end, and wait for it."""
        self._stopping = True
        await self.refresh()
        self.tell_all("end")
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            log.warning("listener processes do not end", processes=sorted(self._all))
        self._timer.cancel()


class Requests:
    """What is stopped like the HTTP listener of one process."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self.pages = listeners.pages

    def refuse(self) -> None:
        """See `HTTPListener.refuse`."""
        self._listeners.tell_all("refuse")

    async def stop(self, timeout: float) -> int:
        """See `HTTPListener.stop`."""
        return sum(await self._listeners.call_all("stop_requests", timeout))


def _growing(metrics: Iterable[Metric]) -> list[Metric]:
    return [metric for metric in metrics if not (isinstance(metric, Sample) and metric.kind == "gauge")]
