"""What becomes of each section: used, ignored and why, different from RoadRunner, wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from rr_py_ws.config.brokers import RedisOptions, redis_options
from rr_py_ws.config.differences import differences
from rr_py_ws.config.middleware import NOT_SERVED
from rr_py_ws.config.models import Config
from rr_py_ws.config.report import Finding, about
from rr_py_ws.config.section import ExtensionSection
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.validate import problems
from rr_py_ws.config.yaml_file import lookup, place_of
from rr_py_ws.errors import ConfigError
from rr_py_ws.masking import command_line

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
    "reload",
    "endure",
)
"""The sections that are read, in the order of the report."""

# RoadRunner's keys that are not read here, with the reason.
_NEWER = (
    "server.after_init status.check_timeout status.shutdown_timeout websockets.pool.dynamic_allocator "
    "websockets.pool.max_queue_size websockets.pool.reset_timeout websockets.pool.stream_timeout"
)
_IGNORED_KEYS: dict[str, str] = {
    "http.env": "RoadRunner 2.3 only; server.env is used",
    "http.sendfile": "the middleware sendfile has no keys",
    "http.gzip": "the middleware gzip has no keys",
    **{f"http.{name}": f"{NOT_SERVED[name]}, which is not here" for name in ("cache", "new_relic", "otel")},
    "http.fcgi": "FastCGI is not served",
    "http.http2": "HTTP/2 is not served",
    "http.http3": "HTTP/3 is not served",
    **dict.fromkeys(_NEWER.split(), "a key of newer RoadRunner versions"),
    **dict.fromkeys(
        ("websockets.middleware", "websockets.pubsubs"), "RoadRunner 2.x reads it and never uses it"
    ),
    **dict.fromkeys(
        ("endure.log_level", "endure.print_graph", "endure.retry_on_fail", "endure.watchdog_sec"),
        "for RoadRunner's plugin container",
    ),
    "http.ssl.acme": "certificates are not fetched by this program; name files in cert and key",
    "websockets.pool.command": "RoadRunner's websockets ignores it too; server.command is used",
    "logs.err_output": "RoadRunner 2.x does not read it either; errorOutput is the key",
    "metrics.collect": "metrics of applications are not collected by this program",
}
_IGNORED_REDIS_OPTIONS: dict[str, str] = {
    **dict.fromkeys(
        ("route_by_latency", "route_randomly", "read_only"),
        "there is nothing to route: histories are read where they are written",
    ),
    **dict.fromkeys(
        ("pool_size", "min_idle_conns", "idle_timeout", "idle_check_freq", "max_conn_age"),
        "there is no pool: one connection publishes, one is subscribed",
    ),
    "max_retries": "a message is never published twice; connecting again never ends",
}
_OTHER_PLUGINS = (
    "amqp app beanstalk boltdb centrifuge fileserver grpc jobs kafka kv lock memcached nats otel service sqs "
    "static tcp temporal"
)
_IGNORED_SECTIONS: dict[str, str] = {
    **dict.fromkeys(_OTHER_PLUGINS.split(), "a section of another RoadRunner plugin"),
    **dict.fromkeys(("memory", "redis"), "no broker uses it"),
}


def check(
    config: Config, found: Iterable[ConfigError] | None = None, advice: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """Look at every section of a configuration.

    Args:
        config: the configuration.
        found: what keeps it from being served; None: what the file alone says of that.
        advice: what others have found, outside of the file.

    Returns:
        The findings, those of a section next to each other, in the order of the sections.
    """
    errors = list(problems(config) if found is None else found)
    findings = [
        *(Finding(section, "used", text) for section, text in _used(config)),
        *_unread(config),
        *differences(config),
        *advice,
    ]
    # A section that could not be read at all is not missing, and what is not set is told with the error.
    wrong = {error.key for error in errors}
    findings = [
        replace(one, place=place_of(config.places, one.key)) if one.key else one
        for one in findings
        if one.kind != "warning" or not {one.section, one.key if one.key in config.unset else ""} & wrong
    ]
    findings += map(finding_of, errors)
    order = list(dict.fromkeys((*_SECTIONS, *config.tree, *(one.section for one in findings))))
    findings.sort(key=lambda finding: order.index(finding.section))  # stable: within a section, as found
    return tuple(findings)


def finding_of(error: ConfigError) -> Finding:
    """Make a line of the report of an error."""
    section = re.split(r"[.\[]", error.key)[0]
    # The key of another error is a file or a flag.
    known = section in (*_SECTIONS, *_IGNORED_SECTIONS) or bool(error.place and error.place.line)
    is_key = known and not error.key.startswith(("/", "-"))
    return Finding(section if is_key else "", "error", str(error), error.key if is_key else "", error.place)


def _used(config: Config) -> Iterator[tuple[str, str]]:
    """What the server would do: sections, and a text for each thing."""
    for name in ("envfile", "include"):
        if config.tree.get(name) is not None:
            yield name, "read, as RoadRunner 2023.3 and later do"
    if config.rpc_listen:
        yield "rpc", f"listens on {config.rpc_listen}"
        if config.rpc_forward:
            yield "rpc", f"calls of other services go to RoadRunner at {config.rpc_forward}"
    # An address of its own replaces both listeners of `http`.
    if config.websockets and config.websockets.address:
        yield "websockets", f"listens on {config.websockets.address}"
    elif config.http:
        ssl = config.http.ssl
        if config.http.address:
            sends_on = ", and sends everybody on to TLS (308)" if ssl and ssl.redirect else ""
            yield "http", f"listens on {config.http.address}{sends_on}"
        if ssl and ssl.cert:
            asks = f", {ssl.client_auth_type}" if ssl.asks_for_certificates else ""
            yield "http", f"listens on {ssl.address} with TLS{asks}"
    if config.metrics_address:
        yield "metrics", f"metrics for Prometheus on {config.metrics_address}"
    if config.status_address:
        yield "status", f"health and readiness on {config.status_address}"
    yield from _websockets(config)
    yield "logs", _logs(config)
    yield "endure", _stop(config)


def _stop(config: Config) -> str:
    grace, drain = config.endure.grace_period, config.websockets.drain if config.websockets else None
    if drain is None or not drain.delay:
        return f"a stop may take {grace:g} s"
    left = max(0.0, grace - drain.delay)
    return f"a stop may take {grace:g} s: {drain.delay:g} s of drain.delay, {left:g} s for the stop itself"


def _websockets(config: Config) -> Iterator[tuple[str, str]]:
    websockets = config.websockets
    if websockets is None:
        yield from _brokers(config)
        return
    yield "websockets", f"path {websockets.path}, broker {websockets.broker}"
    if websockets.processes > 1:
        yield "websockets", f"{websockets.processes} processes serve clients, and one has brokers and workers"
    if websockets.http.forward:
        yield "websockets", f"every other path is passed on to {websockets.http.forward}"
    yield "websockets", f"allowed origins: {', '.join(websockets.allowed_origin)}"
    if websockets.compression.enabled:
        level, size = websockets.compression.level, websockets.compression.min_size
        yield "websockets", f"messages of {size} bytes and more are compressed, level {level}"
    if websockets.authorize == "php" and config.server:
        workers = "one for each request" if websockets.pool.debug else str(websockets.pool.num_workers)
        yield "websockets", f"PHP workers decide who may connect and join: {workers}"
    if config.serves_pages and config.http:
        pool = config.http.pool
        workers = "one for each request" if pool.debug else str(pool.num_workers)
        yield "http", f"PHP workers answer all requests outside {websockets.path}: {workers}"
        if pool.command:
            yield "http", f"these workers run `{command_line(pool.command)}`"
    if config.starts_workers and config.server:
        yield "server", f"workers run `{config.server.command_line}`, relay {config.server.relay}"
    yield from _brokers(config)


def _brokers(config: Config) -> Iterator[tuple[str, str]]:
    for name, section in config.served_brokers.items():
        described = section.driver
        if section.driver == "redis":
            with suppress(ConfigError):  # which is among the problems
                described = redis_options(name, section).described
        yield "broadcast", f"broker {name}: {described}"


def _logs(config: Config) -> str:
    logs = config.logs
    channels = f", own rules for {', '.join(logs.channels)}" if logs.channels else ""
    if logs.mode in ("none", "off"):
        return f"nothing is logged{channels}"
    files = logs.file_logger_options
    output = files.log_output if files else ", ".join(logs.output)
    return f"{logs.mode}, level {logs.level}, to {output}{channels}"


def _unread(config: Config) -> Iterator[Finding]:
    """Sections, keys and options of Redis that nothing reads."""
    for name, section in config.tree.items():
        if section is None:
            yield Finding(name, "ignored", "no value, so it is the same as absent")
        elif name not in (*_SECTIONS, "envfile", "include"):
            yield _other_section(config, name)
        elif name in Config.model_fields and name != "broadcast":  # the keys of its sections are the drivers'
            for key, known in _unread_keys(name, Config.model_fields[name].annotation, section):
                yield _unread_key(key, _IGNORED_KEYS.get(key), known)
    for name, broker in config.broadcast.items():
        if broker.key == f"broadcast.{name}.config":
            for option in lookup(config.tree, f"broadcast.{name}"):
                if option not in ("driver", "config"):
                    said = f"not read, the options of {name} are those below {broker.key}"
                    yield about(f"broadcast.{name}.{option}", "warning", said)
        if broker.driver == "redis":
            for key, known in _unread_keys("", RedisOptions, broker.options):
                reason = _IGNORED_REDIS_OPTIONS.get(key.removeprefix("."))
                yield _unread_key(broker.key + key, reason, known)
    for key, said in config.unset.items():
        if key.split(".")[0] in Config.model_fields:
            yield about(key, "warning", f"{said}, so nothing is in its place")


def _unread_key(key: str, reason: str | None, known: Iterable[str]) -> Finding:
    if reason:
        return about(key, "ignored", reason)
    name = key.rpartition(".")[2]
    return about(key, "warning", f"unknown key, ignored{did_you_mean(name, known)}")


def _other_section(config: Config, name: str) -> Finding:
    # RoadRunner 2.5 and later: the options of a broker are a top-level section.
    brokers = [broker for broker, section in config.served_brokers.items() if section.key == name]
    if brokers:
        return Finding(name, "used", f"options of broker {', '.join(brokers)}")
    if reason := _IGNORED_SECTIONS.get(name):
        return Finding(name, "ignored", reason, name)
    meant = did_you_mean(name, (*_SECTIONS, *_IGNORED_SECTIONS))
    return Finding(name, "warning", f"unknown section, ignored{meant}", name)


def _unread_keys(key: str, annotation: Any, found: Any) -> Iterator[tuple[str, Iterable[str]]]:
    """The keys below `key` that the file has and the model does not, each with those that there are.

    Args:
        key: dotted path of what is looked at; the keys that are found begin with it.
        annotation: type of the model's field: a model, perhaps with None, or a map of models by name.
        found: what the file has there.
    """
    if not isinstance(found, Mapping):
        return
    # Channels of `logs`: any name, each with the keys of the model.
    if get_origin(annotation) is dict:
        for name, entry in found.items():
            yield from _unread_keys(f"{key}.{name}", get_args(annotation)[1], entry)
        return
    for model in (annotation, *get_args(annotation)):  # a model, or a model | None
        if isinstance(model, type) and issubclass(model, BaseModel):
            # The keys of the file are aliases where a model has them (`erroroutput`).
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            for name, entry in found.items():
                if name in fields:
                    yield from _unread_keys(f"{key}.{name}", fields[name].annotation, entry)
                elif not issubclass(model, ExtensionSection):  # which refuses them
                    yield f"{key}.{name}", fields
