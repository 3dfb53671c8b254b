"""The core half of a server: brokers, RPC, PHP workers.

The two halves of a server are composed in one place each, this and `server.listener_role`. The core half
carries messages and asks PHP; the listener half has the sockets of browsers. The listener sees of the core
only ports: where topics are joined, an authorizer, backpressure. So the two can be composed in one process,
as `server.app` does, or in several that are linked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from rr_py_ws import config, logs
from rr_py_ws.adapters.auth.allow_all import AllowAll
from rr_py_ws.adapters.php import RR_VERSION
from rr_py_ws.adapters.rpc import CallTurns, RPCListener, build_registry
from rr_py_ws.address import parse_dsn
from rr_py_ws.core.backpressure import Backpressure
from rr_py_ws.core.hold import Topic
from rr_py_ws.core.hub import Hub
from rr_py_ws.core.node import MakeHub, Node
from rr_py_ws.core.ports import Authorizer, Broker, Probe
from rr_py_ws.core.turn_end import TurnEnd
from rr_py_ws.metrics import MetricSource
from rr_py_ws.server.certificates import TLSFiles
from rr_py_ws.server.systemd import InheritedSockets

if TYPE_CHECKING:
    from rr_py_ws.adapters.php.pool import WorkerPool
    from rr_py_ws.adapters.php.source_watch import SourceWatch
    from rr_py_ws.adapters.rpc.forward import Forward
    from rr_py_ws.server.workers import Workers

TURNS_PER_QUEUE = 4
"""Turns of the loop, each as full as may be, that fit into a send queue."""

log = logs.get_logger("app")
limited = logs.get_limited("broadcast")


class CoreRole:
    """Brokers and hubs, PHP workers, and the RPC listener that PHP publishes to.

    Args:
        loaded: the configuration.
        brokers: one for each section of `broadcast` that is served.
        max_rpc_connections: connections that the descriptors are enough for.
        make_hub: see `Node`.

    Attributes:
        backpressure: told of receivers that are behind; holds and pauses publishers.
        node: where messages are published and topics joined.
        pool: PHP workers that decide who may connect and join; None when nobody asks PHP.
        pages: PHP workers that answer all other requests; None when nobody asks them. They are others: a slow
            page never delays a handshake.
        authorizer: decides who may connect and join.
        rpc: None when the file has no `rpc` section.
        forward: RoadRunner's RPC behind ours; None without `websockets.rpc.forward`.
        probes: plugin name -> how the plugin is: `websockets`, `broadcast`, and `broadcast.<name>` of
            brokers.
        serving: whether everything is started and no stop has begun; the probes look at it.

    Raises:
        ConfigError: an address cannot be used.
    """

    def __init__(
        self,
        loaded: config.Config,
        brokers: Mapping[str, Broker],
        max_rpc_connections: int,
        make_hub: MakeHub = Hub,
    ) -> None:
        self._config = loaded
        self._section = section = loaded.settings
        loop = asyncio.get_running_loop()
        self.serving = False
        self.backpressure = Backpressure(
            loop.call_later, loop.time, section.limits.send_queue // TURNS_PER_QUEUE, report_hold
        )
        turn_end = TurnEnd(loop.call_soon)
        self.node = Node(brokers, section.broker, turn_end.schedule, self.backpressure, make_hub)
        self._workers = self._build_workers()
        self.pool = self._workers.deciding if self._workers else None
        self.pages = self._workers.pages if self._workers else None
        self._sources: SourceWatch | None = None
        self._watched: config.Reload | None = None
        self.authorizer: Authorizer = (self._workers and self._workers.authorizer) or AllowAll()
        self.probes = self._build_probes()
        turns = CallTurns(turn_end)
        target = loaded.rpc_forward
        self.forward = _build_forward(target, section.limits, turns) if target is not None else None
        self._registry = build_registry(
            publisher=self.node,
            holds=self.node,
            pools={"websockets": self.pool, **({"http": self.pages} if self.pages else {})},
            probes=self.probes,
            version=RR_VERSION,  # who asks compares it with releases of RoadRunner
            config=lambda: config.masked_json(loaded),
            limits=section.limits,
            neighbour=self.forward,
            turns=turns,
        )
        self.rpc: RPCListener | None = None
        if loaded.rpc_listen is not None:
            own = section.rpc
            self.rpc = RPCListener(
                self._registry,
                loaded.rpc_listen,
                key="websockets.rpc.listen" if own and own.listen else "rpc.listen",
                limits=section.limits.model_copy(update={"max_rpc_connections": max_rpc_connections}),
                mode=own.mode if own else None,
            )
            self.backpressure.publishers.append(self.rpc.pause)

    def metric_sources(self) -> Iterator[MetricSource]:
        """Yield the parts that have something to tell."""
        yield self.node
        yield self._registry
        if self.rpc is not None:
            yield self.rpc
        if self.forward is not None:
            yield self.forward
        if self._workers is not None:
            yield from self._workers.metric_sources()

    def reload(self, loaded: config.Config, max_rpc_connections: int) -> None:
        """Take the limits of publishers and workers, and the files that have workers replaced."""
        section = loaded.settings
        if loaded.reload != self._watched:
            self._watch_sources(loaded.reload)
        # Clients that are there keep their send queues, so what is to fit into those may only become less.
        turn = section.limits.send_queue // TURNS_PER_QUEUE
        self.backpressure.turn = min(self.backpressure.turn, turn)
        limits = section.limits.model_copy(update={"max_rpc_connections": max_rpc_connections})
        if self.rpc is not None:
            self.rpc.reload(limits)
        if self.forward is not None:
            self.forward.limits = limits
        if self._workers is not None:
            self._workers.reload(section)

    @property
    def pools(self) -> dict[str, WorkerPool]:
        """Plugin name -> its PHP workers."""
        return self._workers.pools if self._workers else {}

    def ready(self) -> bool:
        """Whether clients can be served now: by workers and by the broker of `websockets.broker`."""
        return all(self.probes[name].ready() for name in ("websockets", f"broadcast.{self._section.broker}"))

    async def start(self, sockets: InheritedSockets) -> None:
        """Start brokers, then the RPC listener, then workers, which may publish while they boot.

        Last, their files are watched.

        Raises:
            RRWSError: something cannot start.
        """
        await self.node.start()
        for name in sorted(self._config.broadcast.keys() - self._config.served_brokers.keys()):
            driver = self._config.broadcast[name].driver
            log.warning("broker left out, this version has no such driver", section=name, driver=driver)
        if self.rpc is None:
            log.warning("no rpc section in the configuration: nobody can publish")
        else:
            if self.forward is not None:
                await self.forward.start()
            await self.rpc.start(sockets.take("rpc", self.rpc.address))
            for address in self.rpc.addresses:
                if not parse_dsn(address).is_local:
                    log.warning(
                        "RPC has no password: whoever reaches its address can publish to every topic",
                        address=address,
                    )
        if self._config.websockets is None:
            log.warning("no websockets section in the configuration: messages only go to other nodes")
            return
        if self.pool is None:
            log.warning("authorize is none: everybody may connect and join every topic")
        if self._workers is not None:
            await self._workers.start()
        if self.pool is not None and self._section.allow_commas:
            log.warning("allow_commas is on: who may join a and b may also join the topic a,b")
        self._watch_sources(self._config.reload)

    async def stop_watching(self) -> None:
        """Have no workers replaced any more because of their files."""
        if self._sources is not None:
            await self._sources.stop()

    def _watch_sources(self, section: config.Reload | None) -> None:
        """Have workers replaced when the files change that the section `reload` names."""
        self._watched = section
        if self._sources is None:
            if section is None:
                return
            from rr_py_ws.adapters.php.source_watch import SourceWatch

            self._sources = SourceWatch(self.pools, self._config.directory)
        self._sources.watch(section)

    def _build_workers(self) -> Workers | None:
        if not self._config.starts_workers:
            return None
        from rr_py_ws.server.workers import Workers

        return Workers(self._config, lambda: self.rpc.address if self.rpc else "")

    def _build_probes(self) -> dict[str, Probe]:
        def of_brokers(*names: str) -> Probe:
            return Probe(
                healthy=lambda: True,
                ready=lambda: self.serving and all(map(self.node.ready, names)),
            )

        clients = Probe(
            healthy=lambda: self.pool is None or self.pool.alive,
            ready=lambda: self.serving and (self.pool is None or self.pool.ready),
        )
        pages = Probe(
            healthy=lambda: self.pages is not None and self.pages.alive,
            ready=lambda: self.serving and self.pages is not None and self.pages.ready,
        )
        return {
            **({"websockets": clients} if self._config.websockets else {}),
            **({"http": pages} if self.pages is not None else {}),
            "broadcast": of_brokers(*self.node.brokers),
            **{f"broadcast.{name}": of_brokers(name) for name in self.node.brokers},
        }


def _build_forward(target: str, limits: config.Limits, turns: CallTurns) -> Forward:
    from rr_py_ws.adapters.rpc.forward import Forward

    return Forward(target, limits, turns)


def tls_files(loaded: config.Config, brokers: Mapping[str, Broker]) -> Iterator[TLSFiles]:
    """Yield the files by which connections to Redis are secured."""
    for name, broker in brokers.items():
        section = loaded.broadcast[name]
        if section.driver != "redis":
            continue
        from rr_py_ws.adapters.brokers.redis import RedisBroker, tls_context

        assert isinstance(broker, RedisBroker)
        tls, key = config.redis_options(name, section).tls, f"{section.key}.tls"
        if tls is not None and (files := tuple(filter(None, (tls.ca, tls.cert, tls.key)))):
            yield TLSFiles(key, tls, files, partial(tls_context, tls, key), broker.use)


def report_hold(topic: Topic, behind: int, receivers: int) -> None:
    """Log that publishers wait."""
    broker, name = topic
    text = "publishers wait, many receivers are behind"
    limited.warning(text, broker=broker, topic=name, behind=behind, receivers=receivers)
