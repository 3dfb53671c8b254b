"""The configuration as values: what the rest of the program is given.

Every default, accepted type and unit is declared here, in `extensions`, `workers`, `http`, `logs`, `brokers`
and `watching`, nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from rr_py_ws.address import parse_dsn
from rr_py_ws.config import addresses, quantities, values
from rr_py_ws.config.brokers import IMPLEMENTED_DRIVERS, BrokerSection
from rr_py_ws.config.extensions import (
    AddressExtension,
    Compression,
    Drain,
    HistoryRule,
    HTTPExtension,
    Limits,
    Ping,
    RPCExtension,
)
from rr_py_ws.config.http import HTTP, SSL
from rr_py_ws.config.logs import Logs
from rr_py_ws.config.section import (
    DSN,
    Address,
    Duration,
    ErrorStatus,
    Flag,
    Interval,
    RRSection,
    Text,
    decoded,
)
from rr_py_ws.config.watching import Reload
from rr_py_ws.config.workers import Pool, Server
from rr_py_ws.errors import Place

Processes = Annotated[int, decoded(quantities.processes)]
ClientAddressHeader = Literal[
    "x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip"
]


class RPC(RRSection):
    """`rpc`: where PHP publishes."""

    listen: DSN = "tcp://127.0.0.1:6001"


class WebSockets(RRSection):
    """`websockets`: RoadRunner's keys; from `address` on, extensions.

    Attributes:
        broker: the default broker, a section of `broadcast`.
        path: path of the URL that is served, compared exactly.
        allowed_origin: pages that may connect: exact, or with one `*` for any text.
        pool: the workers; a file without the section has two.
        address: `host:port` to listen on instead of `http.address`; None: `http` counts.
        client_address_header: where proxies in `http.trusted_subnets` write the client's address.
        health_path: path where load balancers ask whether the server is ready; empty: nowhere.
        authorize: `php`: workers decide about connections and joins; `none`: every one is allowed.
        authorize_timeout: seconds for the decision about a handshake, with the wait for a worker, or about a
            join.
        allow_commas: ask PHP about topics with a comma too; without it such a join is refused.
        select_broker: whether a client's `broker` selects a section of `broadcast`; on in a file of
            RoadRunner 2.3.0, where it did.
        on_gap: what becomes of a client that may have missed messages and has never used an `id`: it is
            closed, or told like the others.
        history: which topics have a history, and how much is kept of each; the first rule that fits counts.
        processes: how many processes serve clients; 1: the only one. With more there is one beside them that
            has brokers, RPC and PHP workers.
        process_timeout: seconds for which one of several processes may answer nothing; 0: for ever.
    """

    zeros = frozenset({"process_timeout"})

    broker: Text = ""
    path: Annotated[str, decoded(addresses.url_path)] = "/ws"
    allowed_origin: Annotated[tuple[str, ...], decoded(addresses.origins)] = ("*",)
    pool: Pool = Pool(num_workers=2)
    address: Address | None = None
    client_address_header: Annotated[
        ClientAddressHeader, decoded(values.one_of(*get_args(ClientAddressHeader)))
    ] = "x-forwarded-for"
    health_path: Annotated[str, decoded(addresses.url_path)] = ""
    authorize: Annotated[Literal["php", "none"], decoded(values.one_of("php", "none"))] = "php"
    authorize_timeout: Duration = 8.0
    allow_commas: Flag = False
    select_broker: Flag = False
    on_gap: Annotated[Literal["close", "tell"], decoded(values.one_of("close", "tell"))] = "close"
    history: Annotated[tuple[HistoryRule, ...], decoded(values.maps)] = ()
    processes: Processes = 1
    process_timeout: Interval = 5.0
    http: HTTPExtension = HTTPExtension()
    rpc: RPCExtension | None = None
    metrics: AddressExtension | None = None
    status: AddressExtension | None = None
    limits: Limits = Limits()
    ping: Ping = Ping()
    drain: Drain = Drain()
    compression: Annotated[Compression, decoded(values.switch)] = Compression(enabled=False)


class Metrics(RRSection):
    """`metrics`: where Prometheus reads the metrics."""

    address: Address = "127.0.0.1:2112"


class Status(RRSection):
    """`status`: where load balancers and orchestrators ask for health and readiness."""

    address: Address = ""
    unavailable_status_code: ErrorStatus = 503


class Endure(RRSection):
    """`endure`: how long a stop may take."""

    grace_period: Duration = 30.0


class Config(BaseModel):
    """The whole configuration; a section that the file does not have is None (or its defaults).

    Attributes:
        path: the file.
        directory: what relative paths in the file are relative to.
        tree: everything the file says, keys in lower case, after environment, expansion and overrides.
        unset: key -> what to say of a variable in its value that stands for nothing.
        places: dotted key in lower case -> where it was written.
        broadcast: the brokers by name, in lower case; `websockets.broker` is one of the names.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    directory: Path = Path()
    tree: dict[str, Any] = {}
    unset: dict[str, str] = {}
    places: dict[str, Place] = Field(default={}, exclude=True, repr=False)
    rpc: RPC | None = None
    server: Server | None = None
    http: HTTP | None = None
    websockets: WebSockets | None = None
    broadcast: dict[str, BrokerSection] = {}
    logs: Logs = Logs()
    metrics: Metrics | None = None
    status: Status | None = None
    endure: Endure = Endure()
    reload: Reload | None = None

    @property
    def served_brokers(self) -> dict[str, BrokerSection]:
        """The sections of `broadcast` with a driver of `IMPLEMENTED_DRIVERS`."""
        return {
            name: broker for name, broker in self.broadcast.items() if broker.driver in IMPLEMENTED_DRIVERS
        }

    @property
    def settings(self) -> WebSockets:
        """`websockets`, or what counts in its place when the file has no such section."""
        if self.websockets is not None:
            return self.websockets
        name = "default" if "default" in self.broadcast else next(iter(self.broadcast), "")
        return WebSockets(broker=name, authorize="none")

    @property
    def asks_php(self) -> bool:
        """Whether workers decide who may connect and join."""
        return self.settings.authorize == "php"

    @property
    def starts_workers(self) -> bool:
        """Whether there is anything for PHP workers to do."""
        return self.asks_php or self.serves_pages

    @property
    def serves_pages(self) -> bool:
        """Whether requests outside `websockets.path` go to PHP: as in RoadRunner, with a `server` section.

        With an address of its own this program is beside a RoadRunner, which serves them; with
        `websockets.http.forward` another server does.
        """
        own = self.websockets
        if own is None or own.address or own.http.forward:
            return False
        return bool(self.http and self.server and self.server.command)

    @property
    def pools(self) -> tuple[str, ...]:
        """The plugins that have PHP workers."""
        asks = self.websockets is not None and self.asks_php
        return (*(["websockets"] if asks else []), *(["http"] if self.serves_pages else []))

    @property
    def tls(self) -> SSL | None:
        """`http.ssl` when browsers are served there."""
        if self.websockets is None or self.websockets.address or self.http is None:
            return None
        return self.http.ssl if self.http.ssl and self.http.ssl.cert else None

    @property
    def rpc_listen(self) -> str | None:
        """The DSN of this program's RPC listener: `websockets.rpc.listen`, else `rpc.listen`, else none."""
        extension = self.websockets.rpc if self.websockets else None
        if extension is not None and extension.listen is not None:
            return extension.listen
        return self.rpc.listen if self.rpc else None

    @property
    def rpc_forward(self) -> str | None:
        """The DSN of the RPC server that gets the calls of other services: `websockets.rpc.forward`."""
        return self.websockets.rpc.forward if self.websockets and self.websockets.rpc else None

    @property
    def rpc_is_open(self) -> bool:
        """Whether other machines may reach the RPC listener."""
        return self.rpc_listen is not None and not parse_dsn(self.rpc_listen).is_local

    @property
    def metrics_address(self) -> str:
        """`websockets.metrics.address`, else `metrics.address`; empty for none."""
        chosen = (self.websockets.metrics if self.websockets else None) or self.metrics
        return chosen.address if chosen else ""

    @property
    def status_address(self) -> str:
        """`websockets.status.address`, else `status.address`; empty for none."""
        chosen = (self.websockets.status if self.websockets else None) or self.status
        return chosen.address if chosen else ""
