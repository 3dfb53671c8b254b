"""Options of the Redis driver: RoadRunner's keys with go-redis' defaults, and our own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from rr_py_ws.config import values
from rr_py_ws.config.decoding import decode_section
from rr_py_ws.config.models import BrokerSection
from rr_py_ws.config.section import (
    Count,
    Duration,
    Flag,
    OwnSection,
    RRSection,
    Size,
    Text,
    decoded,
)

_Timeout = Annotated[float, decoded(values.timeout)]
_Pause = Annotated[float, decoded(values.pause)]


class RedisTLS(OwnSection):
    """`tls`: present, even if empty, it means TLS.

    Attributes:
        ca: whose certificates are trusted; by default the system's authorities.
        cert: our own certificate, for servers that ask for one.
        key: its private key.
        server_name: what the server's certificate must be for; by default the host of its address.
    """

    ca: Text = ""
    cert: Text = ""
    key: Text = ""
    server_name: Text = ""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if bool(self.cert) != bool(self.key):
            raise _conflict(
                "key" if self.cert else "cert", "missing, TLS takes both cert and key, or neither"
            )
        return self


class RedisOptions(RRSection):
    """What RoadRunner reads (RD pubsub/config.go @v2.16.0), and from `tls` on what only this program reads.

    Attributes:
        read_timeout: how long an answer may take; infinity is no limit.
        write_timeout: how long the answer to a publish may take; None is `read_timeout`.
        pool_timeout: how long a join may wait for a connection; None is a second more than `read_timeout`.
        min_retry_backoff: the first pause before connecting again.
        max_retry_backoff: the longest.
        prefix: stands before each topic in the names of channels.
        on_start: what to do when Redis cannot be reached at the start.
        sharded: publish to the shards of a cluster (Redis 7), instead of to all of its nodes.
        publish_queue: most bytes of messages that may wait for Redis to read them.
    """

    addrs: Annotated[tuple[str, ...], decoded(values.redis_addresses)] = ("127.0.0.1:6379",)
    master_name: Text = ""
    username: Text = ""
    password: Text = ""
    sentinel_password: Text = ""
    db: Count = 0
    dial_timeout: Duration = 5.0
    read_timeout: _Timeout = 3.0
    write_timeout: _Timeout | None = None
    pool_timeout: _Timeout | None = None
    min_retry_backoff: _Pause = 0.008
    max_retry_backoff: _Pause = 0.512
    tls: RedisTLS | None = None
    prefix: Text = ""
    on_start: Annotated[Literal["wait", "fail"], decoded(values.one_of("wait", "fail"))] = "wait"
    sharded: Flag = False
    publish_queue: Size = 64 * 1024 * 1024

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        sockets = any(address.startswith("/") for address in self.addrs)
        if sockets and (len(self.addrs) > 1 or self.master_name or self.sharded):
            raise _conflict("addrs", "a unix socket must be the only address, without master_name or sharded")
        if self.sharded and self.master_name:
            raise _conflict("sharded", "found true, but master_name means Sentinel, which has no shards")
        return self

    @property
    def cluster(self) -> bool:
        """Whether the addresses are those of a cluster, by RoadRunner's rule: several, and no master_name."""
        return self.sharded or (len(self.addrs) > 1 and not self.master_name)

    @property
    def described(self) -> str:
        """Where the server is, for people."""
        addresses = ", ".join(self.addrs)
        if self.master_name:
            return f"redis, master {self.master_name} by the sentinels at {addresses}"
        if self.cluster:
            return f"redis, {'sharded over the' if self.sharded else 'the'} cluster at {addresses}"
        return f"redis at {addresses}"


def _conflict(key: str, problem: str) -> PydanticCustomError:
    context: dict[str, Any] = {"key": key}
    return PydanticCustomError("conflict", problem, context)


def redis_options(name: str, section: BrokerSection) -> RedisOptions:
    """Decode the options of a section with the driver `redis`.

    Raises:
        ConfigError: one of them is wrong.
    """
    return decode_section(RedisOptions, section.key or f"broadcast.{name}.config", section.options)
