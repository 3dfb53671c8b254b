"""A real server in a storm: everything around it is killed at random, while healthy subscribers count."""

from __future__ import annotations

import asyncio
import random
import re
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from chaos import publishers
from chaos.attackers.process import attack_in_turn
from chaos.attackers.site import tls
from chaos.browser import Browser, Refused, join
from chaos.ledger import TOPICS, Ledger, Receipts
from support.ports import free_port
from support.process import Server, configuration
from support.waiting import DEADLINE, eventually

_HEALTHY = 10
_VISITORS = 20
_STEADY = ("steady-1", "steady-2")
_MOST_GROWTH = 48 << 20
"""Bytes of resident memory; what visitors leave unread may be as much as 20 send queues."""
_MOST_GROWTH_ATTACKED = _MOST_GROWTH + (24 << 20)
"""The C library keeps up to twice the largest block that was ever freed (mallopt(3), M_TRIM_THRESHOLD); the
largest calls of attackers have 12 MB."""

Job = Callable[[str, str, Ledger, random.Random], Awaitable[None]]


def start_server(directory: Path, *, patience: str = "2s", env: Mapping[str, str] | None = None) -> Server:
    """Start `rr-py-ws serve` with PHP workers and TLS, and wait for it.

    Args:
        directory: for its configuration.
        patience: between pings, and for their answers.
        env: more environment.
    """
    config = configuration(
        "attacked.php",
        http=tls(directory),
        websockets={
            "ping": {"interval": patience, "timeout": patience},
            "limits": {"send_queue": "256KiB"},
            "compression": "on",  # for attackers; nobody else asks for it
        },
        metrics={"address": f"127.0.0.1:{free_port()}"},
        logs={"level": "info"},
    )
    server = Server(directory, config, env=env)
    # We kill workers while they start, too.
    server.tolerated += ["cannot replace a worker, will try again", "PHP workers are down"]
    server.wait_until_ready()
    return server


def sample(server: Server, name: str) -> float:
    """Read one number, over all labels, from the metrics page."""
    with urllib.request.urlopen(
        f"http://{server.config['metrics']['address']}/metrics", timeout=DEADLINE
    ) as page:
        text = page.read().decode()
    values = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    assert values, f"no {name} in the metrics"
    return sum(map(float, values))


class Storm:
    """What happens around one server.

    Args:
        server: it runs, with a worker that allows everything.
        seed: decides what happens; not when, which the machine has a say in.
        attackers: kinds of attackers that are there, too, one after the other; None is nobody.

    Attributes:
        counts: how often each thing has happened.
        wrong: what should not have been; one text for each.
    """

    def __init__(self, server: Server, seed: int, attackers: Sequence[str | None] = (None,)) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._server = server
        self._dice = random.Random(seed)
        self._attackers = attackers
        self._ledger = Ledger()
        self._healthy: list[tuple[Browser, Receipts]] = []

    async def rage(self, seconds: float) -> None:
        """Let it happen for a while; then everything has to be as it was, and nothing may be missing."""
        for _ in range(_HEALTHY):
            receipts = Receipts(self._ledger)
            self._healthy.append((await join(self._server.address, TOPICS, receipts.take), receipts))
            receipts.joined()
        memory, descriptors = self._server.memory(), self._server.descriptors()
        async with self._running():
            try:
                await attack_in_turn(self._attackers, self._server, seconds)
            except AssertionError as error:  # the server stands still
                self.wrong.append(str(error))
        await self._wait_for_accepted()
        self._check_healthy()
        await self._wait_until("only the healthy are left", self._is_calm)
        await self._wait_until(
            f"no more than {descriptors} descriptors", lambda: self._server.descriptors() <= descriptors
        )
        growth = self._server.memory() - memory
        if growth > (_MOST_GROWTH_ATTACKED if any(self._attackers) else _MOST_GROWTH):
            self.wrong.append(f"memory grew by {growth >> 20} MiB")
        for browser, _ in self._healthy:
            await browser.close()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Everything that goes on meanwhile; an exception in any of it is a failure."""
        rpc, ledger = self._server.rpc, self._ledger
        jobs = [publishers.publish_steadily(name, rpc, ledger, self._new_dice()) for name in _STEADY]
        jobs += [self._visit_again_and_again() for _ in range(_VISITORS)]
        jobs += [
            self._again_and_again("publishers reset in a call", publishers.publish_and_be_reset, 0.1),
            self._again_and_again(
                "publishers killed in a call", publishers.publish_from_php_and_be_killed, 0.3
            ),
            self._kill_workers(),
            self._reset_workers(),
        ]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(error, asyncio.CancelledError):
                    self.wrong.append(f"{type(error).__name__}: {error}")

    def _new_dice(self) -> random.Random:
        return random.Random(self._dice.random())

    # Those who come and go

    async def _visit_again_and_again(self) -> None:
        dice = self._new_dice()
        while True:
            await asyncio.sleep(dice.uniform(0, 0.5))
            try:
                await self._visit(dice)
            except Refused:
                self.counts["visitors refused"] += 1

    async def _visit(self, dice: random.Random) -> None:
        """Join, listen for a while, leave perhaps, and end in any way."""
        receipts = Receipts(self._ledger)
        browser = await join(self._server.address, TOPICS, receipts.take)
        receipts.joined()
        self.counts["visitors"] += 1
        try:
            await asyncio.sleep(dice.uniform(0, 1))
            if dice.random() < 0.3:
                await browser.command("leave", *TOPICS)
                came = receipts.count
                await asyncio.sleep(dice.uniform(0, 0.1))
                if receipts.count > came:
                    self.wrong.append("a message came after @leave")
            ending = dice.choice(("close", "reset", "vanish", "break_off", "offend", "stall"))
            self.counts[f"ended by {ending}"] += 1
            await self._end(browser, ending, dice)
        finally:
            browser.reset()
            self.wrong += receipts.wrong

    async def _end(self, browser: Browser, ending: str, dice: random.Random) -> None:
        match ending:
            case "close" | "offend":
                await (browser.close() if ending == "close" else browser.offend())
                expected = 1000 if ending == "close" else 1007
                if browser.code != expected:
                    self.wrong.append(f"close code {browser.code} instead of {expected}")
            case "stall":
                await browser.stall(dice.uniform(0, 6))
            case "break_off":
                await browser.break_off()
            case _:
                getattr(browser, ending)()

    # Those who are killed

    async def _again_and_again(self, what: str, job: Job, pause: float) -> None:
        dice = self._new_dice()
        while True:
            await job(f"{job.__name__}-{self.counts[what]}", self._server.rpc, self._ledger, dice)
            self.counts[what] += 1
            await asyncio.sleep(dice.expovariate(1 / pause))

    async def _kill_workers(self) -> None:
        dice = self._new_dice()
        while True:
            await asyncio.sleep(dice.expovariate(1 / 0.5))
            workers = await asyncio.to_thread(self._server.family)
            if workers:
                with suppress(psutil.NoSuchProcess):
                    dice.choice(workers).kill()
                    self.counts["workers killed"] += 1

    async def _reset_workers(self) -> None:
        dice = self._new_dice()
        while True:
            await asyncio.sleep(dice.expovariate(1 / 3))
            await publishers.reset_workers(self._server.rpc)
            self.counts["resets"] += 1

    # Afterwards

    async def _wait_for_accepted(self) -> None:
        """Wait until nothing accepted is on its way any more."""
        with suppress(AssertionError):  # what is missing is told one by one
            await eventually(lambda: not any(receipts.missing() for _, receipts in self._healthy))

    def _check_healthy(self) -> None:
        for browser, receipts in self._healthy:
            if browser.closed.done():
                self.wrong.append(f"a healthy subscriber was closed with {browser.code}")
            self.wrong += receipts.wrong
            self.wrong += [
                f"{count} messages of {name} are missing" for name, count in receipts.missing().items()
            ]
            self.counts["delivered to the healthy"] += receipts.count
        self.counts["accepted"] = sum(self._ledger.accepted.values())

    def _is_calm(self) -> bool:
        return (
            sample(self._server, "rr_ws_connections") == _HEALTHY
            and sample(self._server, "rr_ws_handshakes") == 0
            and sample(self._server, "rr_ws_rpc_connections") == 0
            and sample(self._server, "rr_ws_subscriptions") == _HEALTHY * len(TOPICS)
            and sample(self._server, "rr_ws_workers") == 3  # and the one for pages
        )

    async def _wait_until(self, what: str, check: Callable[[], Any]) -> None:
        try:
            await eventually(lambda: asyncio.to_thread(check), what, pause=0.05)
        except AssertionError as error:
            self.wrong.append(str(error))
