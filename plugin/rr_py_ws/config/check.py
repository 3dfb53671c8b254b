"""What becomes of a configuration: used, ignored and why, different from RoadRunner, wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from rr_py_ws.config.differences import differences
from rr_py_ws.config.known_keys import IGNORED_KEYS, IGNORED_REDIS_OPTIONS, IGNORED_SECTIONS
from rr_py_ws.config.models import BrokerSection, Config
from rr_py_ws.config.redis import RedisOptions, redis_options
from rr_py_ws.config.report import Finding, Kind, Report
from rr_py_ws.config.validate import problems
from rr_py_ws.errors import ConfigError

_SECTIONS = (
    "version",
    "rpc",
    "server",
    "http",
    "websockets",
    "broadcast",
    "logs",
    "metrics",
    "status",
    "endure",
)


def check(config: Config) -> Report:
    """Look at every section of a configuration; nothing is opened, connected to or started."""
    findings = [
        *_used(config),
        *_unread(config),
        *differences(config),
        *(Finding(error.key.split(".")[0], Kind.ERROR, str(error)) for error in problems(config)),
    ]
    order = list(dict.fromkeys((*_SECTIONS, *config.tree)))
    findings.sort(key=lambda finding: order.index(finding.section))
    return Report(config.path, tuple(findings))


def _used(config: Config) -> Iterator[Finding]:
    for section, text in (
        *_listeners(config),
        *_websockets(config),
        ("logs", _logs(config)),
        *_monitoring(config),
        ("endure", f"a stop may take {config.endure.grace_period:g} s"),
    ):
        yield Finding(section, Kind.USED, text)


def _listeners(config: Config) -> Iterator[tuple[str, str]]:
    if listen := config.rpc_listen:
        yield "rpc", f"listens on {listen}"
    if config.http and not (config.websockets and config.websockets.address):
        if config.http.address:
            yield "http", f"listens on {config.http.address}"
        if config.http.ssl and config.http.ssl.cert:
            yield "http", f"listens on {config.http.ssl.address} with TLS"


def _websockets(config: Config) -> Iterator[tuple[str, str]]:
    websockets = config.websockets
    if websockets is None:
        return
    if websockets.address:
        yield "websockets", f"listens on {websockets.address}"
    yield "websockets", f"path {websockets.path}, broker {websockets.broker}"
    yield "websockets", f"allowed origins: {', '.join(websockets.allowed_origin)}"
    if websockets.compression.enabled:
        level, size = websockets.compression.level, websockets.compression.min_size
        yield "websockets", f"messages of {size} bytes and more are compressed, level {level}"
    if websockets.authorize == "php" and config.server:
        workers = "one for each request" if websockets.pool.debug else str(websockets.pool.num_workers)
        yield "websockets", f"PHP workers decide who may connect and join: {workers}"
        yield "server", f"workers run `{config.server.command}`, relay {config.server.relay}"
    for name, section in config.served_brokers.items():
        yield "broadcast", f"broker {name}: {_described(name, section)}"


def _described(name: str, section: BrokerSection) -> str:
    if section.driver == "redis":
        with suppress(ConfigError):
            return redis_options(name, section).described
    return section.driver


def _logs(config: Config) -> str:
    logs = config.logs
    channels = f", own rules for {', '.join(logs.channels)}" if logs.channels else ""
    if logs.mode in ("none", "off"):
        return f"nothing is logged{channels}"
    files = logs.file_logger_options
    output = files.log_output if files else ", ".join(logs.output)
    return f"{logs.mode}, level {logs.level}, to {output}{channels}"


def _monitoring(config: Config) -> Iterator[tuple[str, str]]:
    if address := config.metrics_address:
        yield "metrics", f"figures for Prometheus on {address}"
    if address := config.status_address:
        yield "status", f"health and readiness on {address}"


def _unread(config: Config) -> Iterator[Finding]:
    for name, section in config.tree.items():
        if section is None:
            yield Finding(name, Kind.IGNORED, "no value, so it is the same as absent")
        elif name not in _SECTIONS:
            yield _other_section(config, name)
        elif name in Config.model_fields and name != "broadcast":  # what is in there is the driver's
            for key in _unread_keys(name, Config.model_fields[name].annotation, section):
                yield _unread_key(key)
    for section in config.broadcast.values():
        if section.driver == "redis":
            yield from _unread_options(section)


def _unread_options(section: BrokerSection) -> Iterator[Finding]:
    place = section.key.split(".")[0]
    for key in _unread_keys("", RedisOptions, section.options):
        option = key.removeprefix(".")
        if reason := IGNORED_REDIS_OPTIONS.get(option):
            yield Finding(place, Kind.IGNORED, f"{section.key}.{option}: {reason}")
        else:
            yield Finding(place, Kind.WARNING, f"{section.key}.{option}: unknown key, ignored")


def _other_section(config: Config, name: str) -> Finding:
    brokers = [
        broker
        for broker, section in config.broadcast.items()
        if name in (broker, section.driver) and section.options == config.tree[name]
    ]
    if brokers:
        return Finding(name, Kind.USED, f"options of broker {', '.join(brokers)}")
    reason = IGNORED_SECTIONS.get(name)
    if reason:
        return Finding(name, Kind.IGNORED, reason)
    return Finding(name, Kind.WARNING, "unknown section, ignored")


def _unread_key(key: str) -> Finding:
    section = key.split(".")[0]
    if reason := IGNORED_KEYS.get(key):
        return Finding(section, Kind.IGNORED, f"{key}: {reason}")
    return Finding(section, Kind.WARNING, f"{key}: unknown key, ignored")


def _unread_keys(key: str, annotation: Any, found: Any) -> Iterator[str]:
    """The keys of the file below `key` that no model has."""
    if not isinstance(found, Mapping):
        return
    if get_origin(annotation) is dict:
        for name, entry in found.items():
            yield from _unread_keys(f"{key}.{name}", get_args(annotation)[1], entry)
        return
    for model in (annotation, *get_args(annotation)):  # a model, or a model | None
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            for name, entry in found.items():
                if name in fields:
                    yield from _unread_keys(f"{key}.{name}", fields[name].annotation, entry)
                else:
                    yield f"{key}.{name}"
