"""What becomes of each section: used, ignored and why, different from RoadRunner, wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from rr_py_ws.config.brokers import RedisOptions, redis_options
from rr_py_ws.config.differences import differences
from rr_py_ws.config.models import Config
from rr_py_ws.config.report import Finding
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
"""The sections that are read, in the order of the report."""

# RoadRunner's keys that are not read here, with the reason.
_PHP_REQUESTS = (
    "access_logs cache env fcgi gzip headers http2 internal_error_code max_request_size new_relic otel pool "
    "raw_body sendfile static uploads"
)
_NEWER = (
    "server.after_init server.on_init.exit_on_error websockets.pool.dynamic_allocator "
    "websockets.pool.max_queue_size websockets.pool.reset_timeout"
)
_IGNORED_KEYS: dict[str, str] = {
    **{
        f"http.{key}": "for HTTP requests to PHP, which this program does not serve"
        for key in _PHP_REQUESTS.split()
    },
    **dict.fromkeys(_NEWER.split(), "a key of newer RoadRunner versions"),
    **dict.fromkeys(
        ("websockets.middleware", "websockets.pubsubs"), "RoadRunner 2.x reads it and never uses it"
    ),
    **dict.fromkeys(
        ("endure.log_level", "endure.print_graph", "endure.retry_on_fail"),
        "for RoadRunner's plugin container",
    ),
    "http.ssl.acme": "certificates are not fetched by this program; name files in cert and key",
    "http.ssl.redirect": "nothing but websockets.path is served on the plain port",
    "websockets.pool.command": "RoadRunner's websockets ignores it too; server.command is used",
    "logs.err_output": "RoadRunner 2.x does not read it either; errorOutput is the key",
    "metrics.collect": "metrics of applications are not collected by this program",
}
_IGNORED_REDIS_OPTIONS: dict[str, str] = {
    **dict.fromkeys(
        ("route_by_latency", "route_randomly", "read_only"),
        "no keys are read, so there is nothing to route",
    ),
    **dict.fromkeys(
        ("pool_size", "min_idle_conns", "idle_timeout", "idle_check_freq", "max_conn_age"),
        "there is no pool: one connection publishes, one is subscribed",
    ),
    "max_retries": "a message is never published twice; connecting again never ends",
}
_OTHER_PLUGINS = (
    "amqp app beanstalk boltdb centrifuge fileserver grpc jobs kafka kv lock nats otel service sqs static "
    "tcp temporal"
)
_IGNORED_SECTIONS: dict[str, str] = {
    **dict.fromkeys(_OTHER_PLUGINS.split(), "a section of another RoadRunner plugin"),
    **dict.fromkeys(("memory", "redis"), "no broker uses it"),
    "reload": "workers are not restarted when files change; use `rr-py-ws reset`",
}


def check(config: Config) -> tuple[Finding, ...]:
    """Look at every section of a configuration; nothing is opened, connected to or started.

    Returns:
        The findings, those of a section next to each other, in the order of the sections.
    """
    findings = [
        *(Finding(section, "used", text) for section, text in _used(config)),
        *_unread(config),
        *differences(config),
        *(Finding(error.key.split(".")[0], "error", str(error)) for error in problems(config)),
    ]
    order = list(dict.fromkeys((*_SECTIONS, *config.tree)))
    findings.sort(key=lambda finding: order.index(finding.section))  # stable: within a section, as found
    return tuple(findings)


def _used(config: Config) -> Iterator[tuple[str, str]]:
    """What the server would do: sections, and a text for each thing."""
    if config.rpc_listen:
        yield "rpc", f"listens on {config.rpc_listen}"
    # An address of its own replaces both listeners of `http`.
    if config.websockets and config.websockets.address:
        yield "websockets", f"listens on {config.websockets.address}"
    elif config.http:
        if config.http.address:
            yield "http", f"listens on {config.http.address}"
        if config.http.ssl and config.http.ssl.cert:
            yield "http", f"listens on {config.http.ssl.address} with TLS"
    if config.metrics_address:
        yield "metrics", f"metrics for Prometheus on {config.metrics_address}"
    if config.status_address:
        yield "status", f"health and readiness on {config.status_address}"
    yield from _websockets(config)
    yield "logs", _logs(config)
    yield "endure", f"a stop may take {config.endure.grace_period:g} s"


def _websockets(config: Config) -> Iterator[tuple[str, str]]:
    websockets = config.websockets
    if websockets is None:
        return
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
        elif name not in _SECTIONS:
            yield _other_section(config, name)
        elif name in Config.model_fields and name != "broadcast":  # the keys of its sections are the drivers'
            for key in _unread_keys(name, Config.model_fields[name].annotation, section):
                yield _unread_key(key, _IGNORED_KEYS.get(key))
    for broker in config.broadcast.values():
        if broker.driver == "redis":
            for key in _unread_keys("", RedisOptions, broker.options):
                yield _unread_key(broker.key + key, _IGNORED_REDIS_OPTIONS.get(key.removeprefix(".")))


def _unread_key(key: str, reason: str | None) -> Finding:
    section = key.split(".")[0]
    if reason:
        return Finding(section, "ignored", f"{key}: {reason}")
    return Finding(section, "warning", f"{key}: unknown key, ignored")


def _other_section(config: Config, name: str) -> Finding:
    # RoadRunner 2.5 and later: the options of a broker are a top-level section.
    brokers = [
        broker
        for broker, section in config.broadcast.items()
        if name in (broker, section.driver) and section.options == config.tree[name]
    ]
    if brokers:
        return Finding(name, "used", f"options of broker {', '.join(brokers)}")
    if reason := _IGNORED_SECTIONS.get(name):
        return Finding(name, "ignored", reason)
    return Finding(name, "warning", "unknown section, ignored")


def _unread_keys(key: str, annotation: Any, found: Any) -> Iterator[str]:
    """The keys below `key` that the file has and the model does not.

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
                else:
                    yield f"{key}.{name}"
