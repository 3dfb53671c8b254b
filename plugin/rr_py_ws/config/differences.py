"""Where a configuration means something else here than in RoadRunner 2.11, or is likely a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from rr_py_ws.config.brokers import BrokerSection, RedisOptions, redis_options
from rr_py_ws.config.extensions import AddressExtension
from rr_py_ws.config.models import Config, LogLevel, LogMode, WebSockets
from rr_py_ws.config.report import Finding
from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError

_MIDDLEWARE = ("websockets", "proxy_ip_parser")
_CLIENT_TIMEOUT = 10.0  # seconds after which Spiral's JavaScript client gives a handshake up for good
_DURATION_KEYS = ("timeout", "ttl", "watch_tick", "grace_period", "interval", "backoff")


def differences(config: Config) -> Iterator[Finding]:
    """Differences, likely mistakes and ignored keys, none of which keeps the server from starting."""
    # Without quotes YAML makes it a number, which RoadRunner does not take for a version.
    if isinstance(config.tree.get("version"), int | float):
        yield _differs("version", "RoadRunner 2.7 and later want it in quotes")
    if config.rpc_listen is None:
        yield _warning("rpc", "missing: nobody can publish")
    elif config.rpc_is_open:
        yield _warning(
            "rpc", f"RPC has no password: whoever reaches {config.rpc_listen} can publish to every topic"
        )
    yield from _nanoseconds(config.tree)
    yield from _log_words("logs", config.tree.get("logs"))
    if config.status and not config.status_address:
        yield _warning("status", "status.address: missing, so health and readiness are told by RPC only")
    if config.server and config.server.group:
        yield Finding("server", "ignored", "group: RoadRunner 2.x ignores it too; the user's group is used")
    if config.websockets:
        yield from _reach(config, config.websockets)
        yield from _extensions(config, config.websockets)
        yield from _brokers(config, config.websockets)
    for name, section in config.broadcast.items():
        if section.driver == "redis":
            yield from _redis(name, section)


def _differs(section: str, text: str) -> Finding:
    return Finding(section, "differs", text)


def _warning(section: str, text: str) -> Finding:
    return Finding(section, "warning", text)


def _reach(config: Config, websockets: WebSockets) -> Iterator[Finding]:
    if config.http and websockets.address:
        yield Finding("http", "ignored", "http.address and http.ssl: websockets.address is used instead")
    elif config.http:
        yield _differs("http", f"only {websockets.path} is served, other requests do not reach PHP")
    middleware = config.http.middleware if config.http else ()
    # In RoadRunner the plugin is a middleware of http, which has to be listed.
    if "websockets" not in middleware:
        yield _differs("http", "http.middleware does not list websockets: RoadRunner would not serve it")
    if config.http and config.http.trusted_subnets and "proxy_ip_parser" not in middleware:
        yield _warning("http", "http.trusted_subnets: ignored, http.middleware does not list proxy_ip_parser")
    if others := [name for name in middleware if name not in _MIDDLEWARE]:
        yield Finding("http", "ignored", f"http.middleware: {', '.join(others)}: for requests to PHP")


def _extensions(config: Config, websockets: WebSockets) -> Iterator[Finding]:
    # RoadRunner may read the same file, while a team moves from one to the other.
    if keys := _set_extensions(WebSockets, "address", config.tree["websockets"]):
        yield _differs("websockets", f"RoadRunner ignores these keys: {keys}")
    if websockets.rpc and websockets.rpc.listen and config.rpc:
        yield Finding("rpc", "ignored", "rpc.listen: websockets.rpc.listen is used instead")
    if websockets.metrics and config.metrics:
        yield _instead("metrics", websockets.metrics)
    if websockets.status and config.status:
        yield _instead("status", websockets.status)
    if len(websockets.allowed_origin) > 1:
        yield _differs("websockets", "allowed_origin has several values: RoadRunner takes one")
    if websockets.authorize == "none":
        yield _warning("websockets", "authorize is none: everybody may connect and join every topic")
        if config.server:
            yield Finding("server", "ignored", "authorize is none, so no workers are started")
    elif websockets.authorize_timeout >= _CLIENT_TIMEOUT:
        yield _warning("websockets", "authorize_timeout: clients may give up after 10 s without an answer")
    # PHP gets the topics of a join as one text, with commas between them.
    if websockets.allow_commas and websockets.authorize == "php":
        yield _warning("websockets", "allow_commas: who may join a and b may also join the topic a,b")


def _instead(section: str, extension: AddressExtension) -> Finding:
    key = f"websockets.{section}.address"
    instead = f"{key} is used instead" if extension.address else f"{key} is empty, so nothing is served"
    return Finding(section, "ignored", f"{section}.address: {instead}")


def _set_extensions(model: type[BaseModel], first: str, found: Mapping[str, Any]) -> str:
    """Name the extensions that have a value; the models have them last, from `first` on."""
    fields = list(model.model_fields)
    return ", ".join(key for key in fields[fields.index(first) :] if found.get(key) is not None)


def _brokers(config: Config, websockets: WebSockets) -> Iterator[Finding]:
    named = lookup(config.tree, "websockets.broker")
    if not named:
        yield _differs(
            "websockets", "no broker, as in RoadRunner 2.3.0: memory is used; later versions refuse"
        )
    elif str(named) != websockets.broker:
        yield _differs("websockets", f"broker {named} is in upper case: RoadRunner would not find it")
    for name in config.broadcast:
        section = lookup(config.tree, f"broadcast.{name}")
        if section and section.get("config") is None and config.tree.get(name) is None:
            yield _differs("broadcast", f"{name} has no config: RoadRunner 2.5 and later refuse that")
    for name, broker in config.broadcast.items():
        if name not in config.served_brokers and name != websockets.broker:
            yield _warning(
                "broadcast",
                f"broadcast.{name}.driver: {broker.driver} is not served by this version; "
                f"what is meant for {name} goes to {websockets.broker}",
            )
    others = [name for name in config.served_brokers if name != websockets.broker]
    if others:
        yield _differs("broadcast", f"also started, RoadRunner would not: {', '.join(others)}")


def _redis(name: str, section: BrokerSection) -> Iterator[Finding]:
    if keys := _set_extensions(RedisOptions, "tls", section.options):
        yield _differs("broadcast", f"{name}: RoadRunner ignores these options: {keys}")
    try:
        options = redis_options(name, section)
    except ConfigError:  # which is among the problems
        return
    if options.prefix:
        yield _differs("broadcast", f"{name}: with a prefix, nothing is exchanged with RoadRunner nodes")
    if options.sharded:
        yield _differs("broadcast", f"{name}: what is published to shards does not reach RoadRunner nodes")
    if options.db and options.cluster:
        yield Finding("broadcast", "ignored", f"{section.key}.db: a cluster has one database")


def _nanoseconds(found: Any, key: str = "") -> Iterator[Finding]:
    """Durations that are bare numbers below a millisecond, in the sections that are read: surely seconds."""
    if isinstance(found, Mapping):
        for name, entry in found.items():
            path = f"{key}.{name}" if key else name
            # Sections of other plugins may count in other units.
            if key or name in ("server", "websockets", "broadcast", "endure", "redis"):
                yield from _nanoseconds(entry, path)
    elif key.endswith(_DURATION_KEYS) and isinstance(found, int | float) and 0 < found < 1e6:
        yield _warning(key.split(".")[0], f"{key}: a bare number is nanoseconds; did you mean {found:g}s?")


def _log_words(key: str, found: Any) -> Iterator[Finding]:
    """Modes and levels that RoadRunner's logger does not know, and ignores."""
    if not isinstance(found, Mapping):
        return
    for name, known in (("mode", get_args(LogMode)), ("level", get_args(LogLevel))):
        word = found.get(name)
        if word is not None and str(word).lower() not in known:
            yield _warning("logs", f"{key}.{name}: {word} is unknown and ignored; known: {', '.join(known)}")
    channels = found.get("channels")
    for channel, entry in channels.items() if isinstance(channels, Mapping) else ():
        yield from _log_words(f"{key}.channels.{channel}", entry)
