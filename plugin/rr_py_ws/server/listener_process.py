"""A listener process of a server with several: the sockets of clients, and a link to the core."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rr_py_ws import config, logs
from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.auth.php import PHPAuthorizer
from rr_py_ws.adapters.http.places import Places
from rr_py_ws.adapters.link.broker import LinkBroker
from rr_py_ws.adapters.link.core import Core
from rr_py_ws.adapters.link.pool import LinkPool
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.history_rules import HistoryRules
from rr_py_ws.core.hold import Topic
from rr_py_ws.core.node import Node
from rr_py_ws.core.ports import Authorizer
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.errors import RRWSError
from rr_py_ws.metrics import MetricSource, Sample, counter, gauge
from rr_py_ws.server import rlimits
from rr_py_ws.server.certificates import CertificateWatch
from rr_py_ws.server.changes import Changes
from rr_py_ws.server.child import ChildProcess
from rr_py_ws.server.control import Control
from rr_py_ws.server.core_role import TURNS_PER_QUEUE, report_hold
from rr_py_ws.server.handed_on import HandedOn
from rr_py_ws.server.listener_role import ListenerRole
from rr_py_ws.server.preparation import Preparation
from rr_py_ws.server.shares import for_listener
from rr_py_ws.server.systemd import InheritedSockets
from rr_py_ws.wire.link import Plain, pack_metrics

_OF_CORE = frozenset(("topics", "published_messages", "broker_ready"))
"""Metrics of brokers and hubs that the core tells for all: what is at several listeners would count twice."""
_LAST_PART = 0.25
"""The part of the grace period in which, without the core, the last clients have to go."""

log = logs.get_logger("app")


class ListenerProcess(ChildProcess):
    """See `ChildProcess`.

    Args:
        number: of the process, from 1.
        loaded: the configuration.
        prepared: of this configuration, without problems.
        read_again: reads it at a reload.
        last: what a reload has brought last.
        control: to the parent.
        sockets: to listen on.
        places: what the other processes have.
        again: whether the process takes the place of one that has ended.
    """

    def __init__(
        self,
        number: int,
        loaded: config.Config,
        prepared: Preparation,
        read_again: Callable[[], config.Config],
        last: HandedOn[config.Config],
        control: Control,
        sockets: InheritedSockets,
        places: Places,
        *,
        again: bool,
    ) -> None:
        super().__init__(number, loaded, read_again, last, control, again=again)
        self._prepared = prepared
        self._sockets = sockets
        self._places = places
        self._opening = asyncio.Lock()
        self._is_listening = False
        self._failure: RRWSError | None = None
        self._alone: asyncio.Task[None] | None = None
        self._ended: asyncio.Event

    def prepare(self) -> None:
        """Make the parts."""
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        turn_end = TurnEnd(loop.call_soon)
        self._core = core = Core(self._core_lost, turn_end)
        loaded = for_listener(self.loaded, self._places.processes)
        section = loaded.settings
        turn = section.limits.send_queue // TURNS_PER_QUEUE
        self._backpressure = Backpressure(loop.call_later, loop.time, turn, self._begin_hold)
        self._backpressure.publishers.append(core.pause)
        rules = HistoryRules(section.history)
        size = section.limits.recovery_size
        self._brokers = {
            name: LinkBroker(name, place, core, rules, size)
            for place, name in enumerate(sorted(self._prepared.brokers))
        }
        self._node = Node(self._brokers, section.broker, turn_end.schedule, self._backpressure)
        authorizer: Authorizer = AllowAll()
        self._authorizer: PHPAuthorizer | None = None
        if loaded.asks_php:
            pool = LinkPool("websockets", core, section.pool.allocate_timeout)
            authorizer = self._authorizer = PHPAuthorizer(
                pool, section.authorize_timeout, allow_commas=section.allow_commas
            )
        pages: LinkPool | None = None
        if loaded.serves_pages:
            assert loaded.http is not None
            pages = LinkPool("http", core, loaded.http.pool.allocate_timeout)
        shares = rlimits.share(loaded, core=False)
        if shares.warning and self.number == 1:  # of all that are alike, one tells
            log.warning(shares.warning)
        self._role = ListenerRole(
            loaded,
            self._prepared.https,
            shares,
            authorizer,
            self._node,
            self._backpressure,
            self._ready,
            pages,
            self._places,
        )
        self._certificates = CertificateWatch(
            self._role.tls_files(loaded), fresh=not self.again, tells=self.number == 1
        )
        core.handlers |= {
            "open": self._open,
            "metrics": self._metrics,
            "refuse": self._role.http.refuse,
            "drain": self._drain,
            "stop_websockets": self._role.websockets.stop,
            "stop_requests": self._stop_requests,
            "end": self._ended.set,
        }

    async def link(self, number: int, accepted: socket.socket) -> None:
        """Use a core, the first one or a new one."""
        await self._core.connect(accepted)
        if self._is_listening:
            self._core.tell("listening")

    async def serve(self) -> int:
        """Accept clients when the core is ready, until it says that this is the end."""
        await self._node.start()
        self.started(self._certificates.look, Changes(self.loaded, serves_pages=self._role.serves_pages))
        background = asyncio.ensure_future(self.run_beside(self._certificates.run()))
        stop = asyncio.ensure_future(self.stopping.wait())
        end = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait((stop, end), return_when=asyncio.FIRST_COMPLETED)
        if not self._ended.is_set() and not self._core.there:
            await self._stop_alone()
        await end
        background.cancel()
        await asyncio.wait((background,))
        await self._node.close()
        self._core.close()
        if self._failure is not None:
            raise self._failure
        return 0

    def take(self, loaded: config.Config) -> None:
        """Take what can change."""
        self.loaded = loaded
        own = for_listener(loaded, self._places.processes)
        section = own.settings
        turn = section.limits.send_queue // TURNS_PER_QUEUE
        self._backpressure.turn = min(self._backpressure.turn, turn)
        for broker in self._brokers.values():
            if broker.history is not None:
                broker.history.recovery_size = section.limits.recovery_size
        if self._authorizer is not None:
            self._authorizer.reload(section.authorize_timeout, allow_commas=section.allow_commas)
        self._role.reload(own, rlimits.share(own, core=False).clients)
        for files in self._role.tls_files(own):
            self._certificates.replace(files)
        logs.set_levels(loaded.logs)

    def _ready(self) -> bool:
        return self._core.ready and all(broker.ready for broker in self._node.brokers.values())

    # What the core says

    async def _open(self) -> None:
        """Accept clients: everything that they need is started."""
        async with self._opening:  # the core that says so may be a new one already
            if not self._is_listening and not self.stopping.is_set():
                if self.again:
                    await self._certificates.look()
                try:
                    await self._role.start(self._sockets)
                except RRWSError as error:
                    self._failure = error
                    self._ended.set()
                    return
                self._sockets.close()  # those of the core
                self._is_listening = True
        self._core.tell("listening")

    def _metrics(self) -> tuple[int, list[Plain]]:
        sources: list[MetricSource] = [*self._role.metric_sources(), self._node, logs]
        found = [metric for source in sources for metric in source.metrics()]
        kept = [metric for metric in found if metric.name not in _OF_CORE]
        return os.getpid(), pack_metrics([*kept, *self._usage()])

    def _usage(self) -> Iterator[Sample]:
        """Yield what the process takes: what the core tells as `process_*` is about the core."""
        number = str(self.number)
        text = "CPU time of a listener process."
        yield counter("listener_cpu_seconds", text, {number: time.process_time()}, "process")
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        yield gauge("listener_resident_bytes", "Memory of a listener process.", {number: memory}, "process")

    async def _drain(self, seconds: float, clients: int = 0) -> int:
        self._node.flush()
        websockets = self._role.websockets
        await websockets.drain(seconds, max(0, clients - len(websockets)))
        return 0

    async def _stop_requests(self, timeout: float) -> int:
        cut = await self._role.http.stop(timeout)
        if (gateway := self._role.gateway) is not None:
            cut += await gateway.stop(timeout)
            await gateway.close()
        return cut

    # The link

    def _core_lost(self) -> None:
        if self.stopping.is_set() and not self._ended.is_set():
            self._alone = asyncio.get_running_loop().create_task(self._stop_alone())

    async def _stop_alone(self) -> None:
        """Stop without a core that would say how."""
        grace = self.loaded.endure.grace_period
        self._role.http.refuse()
        await self._drain(min(self.loaded.settings.drain.time, grace / 2))
        timeout = _LAST_PART * grace
        await asyncio.gather(self._role.websockets.stop(timeout), self._stop_requests(timeout))
        self._ended.set()

    def _begin_hold(self, topic: Topic, behind: int, receivers: int) -> None:
        """Have the core hold the publishers of a topic, until its receivers here have caught up."""
        report_hold(topic, behind, receivers)
        self._core.tell("hold", *topic)
        self._backpressure.held[topic].wait(partial(self._end_hold, *topic))

    def _end_hold(self, *topic: Any) -> None:
        self._core.tell("release", *topic)
