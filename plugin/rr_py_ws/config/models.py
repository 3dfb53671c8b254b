"""The configuration as values: what the rest of the program is given.

Every default, accepted type and unit is declared here, in `extensions` and in `brokers`, and nowhere else.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rr_py_ws.address import parse_dsn
from rr_py_ws.config import quantities, values
from rr_py_ws.config.brokers import IMPLEMENTED_DRIVERS, BrokerSection
from rr_py_ws.config.extensions import AddressExtension, Compression, Drain, Limits, Ping, RPCExtension
from rr_py_ws.config.section import (
    DSN,
    Address,
    Count,
    Duration,
    Environment,
    ErrorStatus,
    Flag,
    Networks,
    RRSection,
    Text,
    TextList,
    decoded,
)

LogMode = Literal["development", "production", "raw", "none", "off"]
LogLevel = Literal["debug", "info", "warn", "error", "dpanic", "panic", "fatal"]
LogEncoding = Literal["console", "json"]
ClientAuth = Literal[
    "no_client_cert",
    "request_client_cert",
    "require_any_client_cert",
    "verify_client_cert_if_given",
    "require_and_verify_client_cert",
]


def _client_auth(value: object) -> str:
    # RoadRunner's sample file writes the first word with an s, its code without.
    return values.one_of(*get_args(ClientAuth))("no_client_cert" if value == "no_client_certs" else value)


def cpu_count() -> int:
    """Return the number of processors that this process may run on, as Go counts them."""
    # A container may be bound to some of the machine's processors.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class RPC(RRSection):
    """`rpc`: where PHP publishes."""

    listen: DSN = "tcp://127.0.0.1:6001"


class OnInit(RRSection):
    """`server.on_init`: one command that runs before the workers."""

    command: Text = ""
    exec_timeout: Duration = 60.0
    env: Environment = Field(default_factory=dict)
    user: Text = ""


class Server(RRSection):
    """`server`: how a PHP worker is started."""

    command: Text = ""
    user: Text = ""
    group: Text = ""
    env: Environment = Field(default_factory=dict)
    relay: Annotated[str, decoded(values.relay)] = "pipes"
    relay_timeout: Duration = 60.0
    on_init: OnInit | None = None


class SSL(RRSection):
    """`http.ssl`: TLS is on when a certificate or a key is named."""

    address: Address = "127.0.0.1:443"
    cert: Text = ""
    key: Text = ""
    root_ca: Text = ""
    client_auth_type: Annotated[ClientAuth, decoded(_client_auth)] = "no_client_cert"


class HTTP(RRSection):
    """`http`: the listener that browsers reach."""

    address: Address = ""
    middleware: TextList = ()
    ssl: SSL | None = None
    trusted_subnets: Networks = ()


class Supervisor(RRSection):
    """`websockets.pool.supervisor`: limits of a worker's life; 0 is no limit.

    Attributes:
        watch_tick: seconds between two looks at the workers.
        ttl: age in seconds at which a worker is replaced.
        idle_ttl: idle seconds after which a worker is replaced.
        exec_ttl: seconds of one request, after which the worker is killed.
        max_worker_memory: MiB over which a worker is replaced.
    """

    watch_tick: Duration = 1.0
    ttl: Duration = 0.0
    idle_ttl: Duration = 0.0
    exec_ttl: Duration = 0.0
    max_worker_memory: Count = 0


class Pool(RRSection):
    """`websockets.pool`: the workers that decide who may connect and join.

    Attributes:
        max_jobs: answers of a worker before it is replaced; 0 is no limit.
        allocate_timeout: seconds that a worker may take to start, and a request may wait for a free worker.
        destroy_timeout: seconds that the workers may take to stop.
        debug: a fresh worker for each request.
    """

    num_workers: Count = Field(default_factory=cpu_count)
    max_jobs: Count = 0
    allocate_timeout: Duration = 60.0
    destroy_timeout: Duration = 60.0
    debug: Flag = False
    supervisor: Supervisor | None = None


class WebSockets(RRSection):
    """`websockets`: RoadRunner's keys; from `address` on, extensions.

    Attributes:
        broker: the default broker, a section of `broadcast`.
        path: path of the URL that is served, compared exactly.
        allowed_origin: pages that may connect: exact, or with one `*` for any text.
        pool: the workers; a file without the section has two.
        address: `host:port` to listen on instead of `http.address`; None: `http` counts.
        authorize: `php`: workers decide about connections and joins; `none`: every one is allowed.
        authorize_timeout: seconds for the decision about a handshake, with the wait for a worker, or about a
            join.
        allow_commas: ask PHP about topics with a comma too; without it such a join is refused.
    """

    broker: Text = ""
    path: Annotated[str, decoded(values.url_path)] = "/ws"
    allowed_origin: Annotated[tuple[str, ...], decoded(values.origins)] = ("*",)
    pool: Pool = Pool(num_workers=2)
    address: Address | None = None
    authorize: Annotated[Literal["php", "none"], decoded(values.one_of("php", "none"))] = "php"
    authorize_timeout: Duration = 8.0
    allow_commas: Flag = False
    rpc: RPCExtension | None = None
    metrics: AddressExtension | None = None
    status: AddressExtension | None = None
    limits: Limits = Limits()
    ping: Ping = Ping()
    drain: Drain = Drain()
    compression: Annotated[Compression, decoded(values.switch)] = Compression(enabled=False)


class FileLoggerOptions(RRSection):
    """`logs.file_logger_options`: a rotated file instead of `output`.

    Attributes:
        max_size: bytes; the file has MiB.
        max_age: days.
    """

    log_output: Text = Field(default_factory=tempfile.gettempdir)
    max_size: Annotated[int, decoded(quantities.mebibytes)] = 100 * 1024 * 1024
    max_age: Count = 24
    max_backups: Count = 10
    compress: Flag = False


class Channel(RRSection):
    """`logs.channels.<name>`: the keys of `logs` for one channel; nothing is inherited from `logs`."""

    mode: LogMode = "development"
    level: LogLevel = "debug"
    encoding: Annotated[LogEncoding, decoded(values.one_of("console", "json"))] = "console"
    output: TextList = ("stderr",)
    error_output: TextList = Field(default=("stderr",), alias="erroroutput")
    line_ending: Text = "\n"
    file_logger_options: FileLoggerOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, found: Any) -> Any:
        """Ignore unknown modes and levels; without them, level and encoding follow the mode."""
        if not isinstance(found, dict):
            return found
        mode, level = (str(found.get(key) or "").lower() for key in ("mode", "level"))
        # RoadRunner ignores a mode or level that it does not know; the report warns of it.
        mode = mode if mode in get_args(LogMode) else "development"
        if level not in get_args(LogLevel):
            level = cls._default_level(mode)
        # zap's production configuration writes JSON; the other modes write text.
        encoding = found.get("encoding") or ("json" if mode == "production" else "console")
        return found | {"mode": mode, "level": level, "encoding": encoding}

    @classmethod
    def _default_level(cls, mode: str) -> str:
        # The levels that RoadRunner's logger begins with in these modes.
        return "info" if mode in ("production", "raw") else "debug"


class Logs(Channel):
    """`logs`: how and where this program writes its log."""

    channels: Annotated[dict[str, Channel], decoded(values.sections)] = Field(default_factory=dict)

    @classmethod
    def _default_level(cls, mode: str) -> str:
        return "debug"


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
        broadcast: the brokers by name, in lower case; `websockets.broker` is one of the names.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    directory: Path = Path()
    tree: dict[str, Any] = {}
    rpc: RPC | None = None
    server: Server | None = None
    http: HTTP | None = None
    websockets: WebSockets | None = None
    broadcast: dict[str, BrokerSection] = {}
    logs: Logs = Logs()
    metrics: Metrics | None = None
    status: Status | None = None
    endure: Endure = Endure()

    @property
    def served_brokers(self) -> dict[str, BrokerSection]:
        """The sections of `broadcast` with a driver of `IMPLEMENTED_DRIVERS`."""
        return {
            name: broker for name, broker in self.broadcast.items() if broker.driver in IMPLEMENTED_DRIVERS
        }

    @property
    def rpc_listen(self) -> str | None:
        """The DSN of this program's RPC listener: `websockets.rpc.listen`, else `rpc.listen`, else none."""
        extension = self.websockets.rpc if self.websockets else None
        if extension is not None and extension.listen is not None:
            return extension.listen
        return self.rpc.listen if self.rpc else None

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
