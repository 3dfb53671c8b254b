"""What the server would do with a configuration: the lines of `check` that say `used`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from rr_py_ws.config.brokers import redis_options
from rr_py_ws.config.models import Config, WebSockets
from rr_py_ws.config.workers import Pool
from rr_py_ws.errors import ConfigError
from rr_py_ws.masking import command_line


class Use(NamedTuple):
    """What the server does with keys of a section.

    Attributes:
        section: which one.
        text: one line.
        keys: dotted paths of what the text tells; without any it is told whatever they say.
    """

    section: str
    text: str
    keys: tuple[str, ...] = ()

    def is_of(self, left_out: Iterable[str]) -> bool:
        """Whether any of the keys has a default instead of what the file says."""
        return any(_overlap(key, other) for key in self.keys for other in left_out)


def _overlap(one: str, other: str) -> bool:
    if len(one) > len(other):
        one, other = other, one
    return one == other or other.startswith((f"{one}.", f"{one}["))


def used(config: Config) -> Iterator[Use]:
    """What the server would do."""
    for name in ("envfile", "include"):
        if config.tree.get(name) is not None:
            yield Use(name, "read, as RoadRunner 2023.3 and later do")
    if config.rpc_listen:
        yield Use("rpc", f"listens on {config.rpc_listen}", ("rpc.listen", "websockets.rpc.listen"))
        if config.rpc_forward:
            text = f"calls of other services go to RoadRunner at {config.rpc_forward}"
            yield Use("rpc", text, ("websockets.rpc.forward",))
    yield from _listeners(config)
    yield from _websockets(config)
    yield _logs(config)
    keys = "endure.grace_period", "websockets.drain.delay"
    yield Use("endure", _stop(config), keys)


def _listeners(config: Config) -> Iterator[Use]:
    # An address of its own replaces both listeners of `http`.
    if config.websockets and config.websockets.address:
        yield Use("websockets", f"listens on {config.websockets.address}", ("websockets.address",))
    elif config.http:
        ssl = config.http.ssl
        if config.http.address:
            sends_on = ", and sends everybody on to TLS (308)" if ssl and ssl.redirect else ""
            keys = "http.address", "http.ssl.redirect"
            yield Use("http", f"listens on {config.http.address}{sends_on}", keys)
        if ssl and ssl.cert:
            asks = f", {ssl.client_auth_type}" if ssl.asks_for_certificates else ""
            keys = "http.ssl.address", "http.ssl.client_auth_type"
            yield Use("http", f"listens on {ssl.address} with TLS{asks}", keys)
    if config.metrics_address:
        keys = "metrics.address", "websockets.metrics"
        yield Use("metrics", f"metrics for Prometheus on {config.metrics_address}", keys)
    if config.status_address:
        keys = "status.address", "websockets.status"
        yield Use("status", f"health and readiness on {config.status_address}", keys)


def _stop(config: Config) -> str:
    grace, drain = config.endure.grace_period, config.websockets.drain if config.websockets else None
    if drain is None or not drain.delay:
        return f"a stop may take {grace:g} s"
    left = max(0.0, grace - drain.delay)
    return f"a stop may take {grace:g} s: {drain.delay:g} s of drain.delay, {left:g} s for the stop itself"


def _websockets(config: Config) -> Iterator[Use]:
    websockets = config.websockets
    if websockets is None:
        yield from _brokers(config)
        return

    def use(text: str, *keys: str) -> Use:
        return Use("websockets", text, tuple(f"websockets.{key}" for key in keys))

    yield use(f"path {websockets.path}, broker {websockets.broker}", "path", "broker")
    if websockets.processes > 1:
        processes = f"{websockets.processes} processes serve clients, and one has brokers and workers"
        yield use(processes, "processes")
    if websockets.http.forward:
        yield use(f"every other path is passed on to {websockets.http.forward}", "http.forward")
    yield use(f"allowed origins: {', '.join(websockets.allowed_origin)}", "allowed_origin")
    if websockets.compression.enabled:
        level, size = websockets.compression.level, websockets.compression.min_size
        yield use(f"messages of {size} bytes and more are compressed, level {level}", "compression")
    yield from _workers(config, websockets)
    yield from _brokers(config)


def _workers(config: Config, websockets: WebSockets) -> Iterator[Use]:
    def number(pool: Pool) -> str:
        return "one for each request" if pool.debug else str(pool.num_workers)

    if websockets.authorize == "php" and config.server:
        text = f"PHP workers decide who may connect and join: {number(websockets.pool)}"
        yield Use("websockets", text, ("websockets.authorize", "websockets.pool"))
    if config.serves_pages and config.http:
        pool = config.http.pool
        text = f"PHP workers answer all requests outside {websockets.path}: {number(pool)}"
        yield Use("http", text, ("http.pool.num_workers", "http.pool.debug", "websockets.path"))
        if pool.command:
            text = f"these workers run `{command_line(pool.command)}`"
            yield Use("http", text, ("http.pool.command",))
    if config.starts_workers and config.server:
        text = f"workers run `{config.server.command_line}`, relay {config.server.relay}"
        yield Use("server", text, ("server.command", "server.relay"))


def _brokers(config: Config) -> Iterator[Use]:
    for name, section in config.served_brokers.items():
        described = section.driver
        if section.driver == "redis":
            with suppress(ConfigError):  # which is among the problems
                described = redis_options(name, section).described
        yield Use("broadcast", f"broker {name}: {described}", (f"broadcast.{name}.driver", section.key))


def _logs(config: Config) -> Use:
    logs = config.logs
    channels = f", own rules for {', '.join(logs.channels)}" if logs.channels else ""
    if logs.mode in ("none", "off"):
        return Use("logs", f"nothing is logged{channels}", ("logs.mode",))
    files = logs.file_logger_options
    output = files.log_output if files else ", ".join(logs.output)
    keys = "logs.mode", "logs.level", "logs.output", "logs.file_logger_options"
    return Use("logs", f"{logs.mode}, level {logs.level}, to {output}{channels}", keys)
