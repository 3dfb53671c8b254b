"""What nothing reads of a file: RoadRunner's sections and keys, with the reason, and unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from rr_py_ws.config.brokers import RedisOptions
from rr_py_ws.config.middleware import NOT_SERVED
from rr_py_ws.config.models import Config
from rr_py_ws.config.report import Finding, about
from rr_py_ws.config.section import ExtensionSection
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.yaml_file import lookup

SECTIONS = (
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
IGNORED_SECTIONS: dict[str, str] = {
    **dict.fromkeys(_OTHER_PLUGINS.split(), "a section of another RoadRunner plugin"),
    **dict.fromkeys(("memory", "redis"), "no broker uses it"),
}


def unread(config: Config) -> Iterator[Finding]:
    """Sections, keys and options of Redis that nothing reads."""
    for name, section in config.tree.items():
        if section is None:
            yield Finding(name, "ignored", "no value, so it is the same as absent")
        elif name not in (*SECTIONS, "envfile", "include"):
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
    if reason := IGNORED_SECTIONS.get(name):
        return Finding(name, "ignored", reason, name)
    meant = did_you_mean(name, (*SECTIONS, *IGNORED_SECTIONS))
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
