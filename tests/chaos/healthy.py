"""Those who behave, and how they fare: clients, publishers and newcomers, until the server stops."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import quantiles
from subprocess import TimeoutExpired

from chaos.browser import Browser, Refused, join
from chaos.topics import TOPICS, any_topic, topic
from rr_py_ws.adapters.rpc.client import RPCClient
from rr_py_ws.errors import RPCError
from rr_py_ws.wire.publish import Message
from support.process import Server

CLIENTS = 50
_GROUPS = 10
"""Clients of a group are in the same topics, and in no topic of another group."""
_RECEIVERS = CLIENTS // _GROUPS
"""Of each message."""
_PUBLISHERS = 2
_PUBLISHES_PER_SECOND = 150
"""Of all publishers together."""
_HANDSHAKES_PER_SECOND = 5
_LATE = 1.5
"""Seconds that a stop may take longer than allowed, before it is not waited for any more."""


@dataclass(frozen=True)
class Figures:
    """How those who behave fared.

    Attributes:
        latency: seconds from a publish to its arrival, p99 over all messages and clients. A message that has
            not arrived counts with the time until the end of the measurement.
        handshake: seconds of the slowest handshake; one that was not answered counts in the same way, one
            that was refused is infinite.
        published: calls that were answered, as a part of those that were due.
        stop: seconds from SIGTERM to the end of the process; infinite when it did not end in time and with
            exit code 0.
        told: clients that got the close code 1001.
        waited: part of the time in which the server could have run and had no core, because others had it.
    """

    latency: float
    handshake: float
    published: float
    stop: float
    told: int
    waited: float = 0.0


class Healthy:
    """Fifty clients, each in 20 of 200 topics, two publishers, and newcomers, until the server is stopped."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._browsers: list[Browser] = []
        self._publishers: list[RPCClient] = []
        self._begun: list[float] = []
        self._arrived: Counter[int] = Counter()
        self._latencies: list[float] = []
        self._handshakes: list[float] = []
        self._answered = 0

    async def connect(self) -> None:
        """Connect clients and publishers."""
        for number in range(CLIENTS):
            topics = [topic(every) for every in range(number % _GROUPS, TOPICS, _GROUPS)]
            browser = await join(self._server.address, topics, self._take)
            self._browsers.append(browser)
        while len(self._publishers) < _PUBLISHERS:
            self._publishers.append(await RPCClient.connect(self._server.rpc))

    async def measure(self, seconds: float, grace: float) -> Figures:
        """Publish, receive and connect for a while; then stop the server.

        Args:
            seconds: how long.
            grace: seconds that the stop may take.
        """
        waited = self._waited()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    _at_pace(_PUBLISHES_PER_SECOND, self._publish),
                    _at_pace(_HANDSHAKES_PER_SECOND, self._come),
                )
        waited = self._waited() - waited
        end = time.monotonic()
        for number, begun in enumerate(self._begun):
            self._latencies += [end - begun] * (_RECEIVERS - self._arrived[number])
        latency = quantiles(self._latencies, n=100)[98]
        due = seconds * _PUBLISHES_PER_SECOND
        published = min(1.0, self._answered / (due - 1))
        stop, told = await self._stop(grace)
        return Figures(latency, max(self._handshakes), published, stop, told, waited / seconds)

    def _waited(self) -> float:
        """Seconds that the server's event loop has waited for a core (proc(5), schedstat)."""
        schedstat = Path(f"/proc/{self._server.process.pid}/schedstat").read_text()
        return int(schedstat.split()[1]) / 1e9

    async def _publish(self, number: int) -> None:
        payload = b"%d" % number
        publisher = self._publishers[number % _PUBLISHERS]
        self._begun.append(time.monotonic())
        with suppress(RPCError):
            await publisher.publish([Message("", [any_topic(number)], payload)])
            self._answered += 1

    def _take(self, topic: str, payload: str) -> None:
        number = int(payload)
        self._arrived[number] += 1
        self._latencies.append(time.monotonic() - self._begun[number])

    async def _come(self, _: int) -> None:
        begun = time.monotonic()
        seconds = None
        try:
            browser = await Browser.connect(self._server.address, self._take)
            seconds = time.monotonic() - begun
            browser.reset()
        except Refused:
            seconds = math.inf
        finally:
            self._handshakes.append(time.monotonic() - begun if seconds is None else seconds)

    async def _stop(self, grace: float) -> tuple[float, int]:
        """Stop the server; return how long it took, and how many clients were told."""
        begun = time.monotonic()
        self._server.signal(signal.SIGTERM)
        waiting = asyncio.create_task(asyncio.to_thread(self._wait, grace + _LATE))
        with suppress(TimeoutError):
            async with asyncio.timeout(grace + _LATE):
                for browser in self._browsers:
                    await browser.closed
        ended = await waiting
        seconds = time.monotonic() - begun if ended else math.inf
        told = sum(browser.code == 1001 for browser in self._browsers)
        for browser in self._browsers:
            browser.reset()
        with suppress(TimeoutError):  # a server that stands still leaves calls unread
            async with asyncio.timeout(1):
                await asyncio.gather(*(publisher.close() for publisher in self._publishers))
        return seconds, told

    def _wait(self, timeout: float) -> bool:
        """Whether the server ends in time, and as it should."""
        try:
            return self._server.process.wait(timeout) == 0
        except TimeoutExpired:
            return False


async def _at_pace(per_second: float, step: Callable[[int], Coroutine[None, None, None]]) -> None:
    """Begin a step so many times a second, whether those before have ended or not, until cancelled."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in count():
            await asyncio.sleep(begun + number / per_second - time.monotonic())
            tasks.create_task(step(number))
