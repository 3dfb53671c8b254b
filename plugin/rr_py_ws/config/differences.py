"""Where a configuration means something else here than in RoadRunner 2.11, or is likely a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from rr_py_ws.config.brokers import BrokerSection, RedisOptions, redis_options
from rr_py_ws.config.extensions import AddressExtension
from rr_py_ws.config.logs import LogLevel, LogMode
from rr_py_ws.config.middleware import extension_findings, middleware_findings
from rr_py_ws.config.models import Config, WebSockets
from rr_py_ws.config.report import Finding, about
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.unmatched import unmatched_rules
from rr_py_ws.config.values import shown
from rr_py_ws.config.watching import reload_findings
from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError

_CLIENT_TIMEOUT = 10.0  # seconds after which Spiral's JavaScript client gives a handshake up for good
_DURATION_KEYS = ("timeout", "ttl", "watch_tick", "grace_period", "interval", "backoff")


def differences(config: Config) -> Iterator[Finding]:
    """Differences, likely mistakes and ignored keys, none of which keeps the server from starting."""
    # Without quotes YAML makes it a number, which RoadRunner does not take for a version.
    if isinstance(config.tree.get("version"), int | float):
        yield about("version", "differs", "RoadRunner 2.7 and later want it in quotes")
    if config.rpc_listen is None:
        yield _warning("rpc", "missing: nobody can publish")
    elif config.rpc_is_open:
        yield _warning(
            "rpc", f"RPC has no password: whoever reaches {config.rpc_listen} can publish to every topic"
        )
    yield from (about(key, "warning", text) for key, text in unmatched_rules(config))
    yield from _nanoseconds(config.tree)
    yield from _log_words("logs", config.tree.get("logs"))
    if config.status and not config.status_address:
        yield about("status.address", "warning", "missing, so health and readiness are told by RPC only")
    if config.server and config.server.group:
        yield about("server.group", "warning", "as in RoadRunner 2.x, workers have the group of server.user")
    if config.websockets:
        yield from _reach(config, config.websockets)
        yield from _extensions(config, config.websockets)
        yield from _brokers(config, config.websockets)
    elif config.broadcast:
        yield _warning("websockets", "missing: nobody can listen, messages only go to other nodes")
    if config.reload:
        yield from reload_findings(config.reload, config.pools, config.directory)
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
        ssl = lookup(config.tree, "http.ssl")
        if isinstance(ssl, Mapping) and (ssl.get("redirect") or ssl.get("root_ca")):
            yield _warning("http", "http.ssl: websockets.address is served without TLS all the same")
    elif config.http and not (config.serves_pages or websockets.http.forward):
        yield _differs("http", f"only {websockets.path} is served, other requests do not reach PHP")
    middleware = config.http.middleware if config.http else ()
    # In RoadRunner the plugin is a middleware of http, which has to be listed.
    if "websockets" not in middleware:
        yield _differs("http", "http.middleware does not list websockets: RoadRunner would not serve it")
    yield from _proxies(config, "proxy_ip_parser" in middleware)
    if config.http and not websockets.address:
        http = config.http
        yield from middleware_findings(
            middleware,
            http.static,
            http.headers,
            config.directory,
            serves_pages=config.serves_pages or http.serves_files,
        )
        if config.serves_pages:
            yield from extension_findings("http.uploads", http.uploads.forbid, http.uploads.allow)


def _proxies(config: Config, listed: bool) -> Iterator[Finding]:
    subnets = config.http.trusted_subnets if config.http else ()
    header = lookup(config.tree, "websockets.client_address_header")
    if listed and not subnets:
        yield _warning("http", "proxy_ip_parser: trusts no proxy, http.trusted_subnets is empty")
    elif listed and not header:
        yield _differs(
            "http",
            "proxy_ip_parser: only X-Forwarded-For is read, and from its end;"
            " websockets.client_address_header names another header",
        )
    if header and not (listed and subnets):
        yield _warning("websockets", "client_address_header: no header is read, no proxy is trusted")


def _extensions(config: Config, websockets: WebSockets) -> Iterator[Finding]:
    # RoadRunner may read the same file, while a team moves from one to the other.
    if keys := _set_extensions(WebSockets, "address", config.tree["websockets"]):
        yield _differs("websockets", f"RoadRunner ignores these keys: {keys}")
    if websockets.rpc and websockets.rpc.listen and config.rpc:
        yield about("rpc.listen", "ignored", "websockets.rpc.listen is used instead")
    if websockets.metrics and config.metrics:
        yield _instead("metrics", websockets.metrics)
    if websockets.status and config.status:
        yield _instead("status", websockets.status)
    if len(websockets.allowed_origin) > 1:
        yield _differs("websockets", "allowed_origin has several values: RoadRunner takes one")
    if websockets.authorize == "none":
        yield _warning("websockets", "authorize is none: everybody may connect and join every topic")
        if config.server and not config.serves_pages:
            yield Finding("server", "ignored", "authorize is none, so no workers are started")
    elif websockets.authorize_timeout >= _CLIENT_TIMEOUT:
        yield _warning("websockets", "authorize_timeout: clients may give up after 10 s without an answer")
    # PHP gets the topics of a join as one text, with commas between them.
    if websockets.allow_commas and websockets.authorize == "php":
        yield _warning("websockets", "allow_commas: who may join a and b may also join the topic a,b")


def _instead(section: str, extension: AddressExtension) -> Finding:
    key = f"websockets.{section}.address"
    instead = f"{key} is used instead" if extension.address else f"{key} is empty, so nothing is served"
    return about(f"{section}.address", "ignored", instead)


def _set_extensions(model: type[BaseModel], first: str, found: Mapping[str, Any]) -> str:
    """Name the extensions that have a value; the models have them last, from `first` on."""
    fields = list(model.model_fields)
    return ", ".join(key for key in fields[fields.index(first) :] if found.get(key) is not None)


def _brokers(config: Config, websockets: WebSockets) -> Iterator[Finding]:
    named = lookup(config.tree, "websockets.broker")
    if named and config.tree.get("broadcast") is None:
        text = f"missing: {websockets.broker} is in memory; RoadRunner starts without websockets"
        yield _warning("broadcast", text)
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
            yield about(
                f"broadcast.{name}.driver",
                "warning",
                f"{broker.driver} is not served by this version; "
                f"what is meant for {name} goes to {websockets.broker}",
            )
    others = [name for name in config.served_brokers if name != websockets.broker]
    if others:
        yield _differs("broadcast", f"also started, RoadRunner would not: {', '.join(others)}")
        if websockets.select_broker:
            yield _differs(
                "broadcast", "the broker of a join or leave counts, RoadRunner 2.3.1 and later ignore it"
            )
        else:
            yield Finding(
                "broadcast",
                "ignored",
                f"the broker of a join or leave: all topics are those of {websockets.broker},"
                " as in RoadRunner 2.3.1 and later; see websockets.select_broker",
            )


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
        yield about(f"{section.key}.db", "ignored", "a cluster has one database")


def _nanoseconds(found: Any, key: str = "") -> Iterator[Finding]:
    """Durations that are bare numbers below a millisecond, in the sections that are read: surely seconds."""
    if isinstance(found, Mapping):
        for name, entry in found.items():
            path = f"{key}.{name}" if key else name
            # Sections of other plugins may count in other units.
            if key or name in ("server", "http", "websockets", "broadcast", "endure", "redis"):
                yield from _nanoseconds(entry, path)
    elif key.endswith(_DURATION_KEYS) and isinstance(found, int | float) and 0 < found < 1e6:
        yield about(key, "warning", f"a bare number is nanoseconds; did you mean {found:g}s?")


def _log_words(key: str, found: Any) -> Iterator[Finding]:
    """Modes and levels that RoadRunner's logger does not know, and ignores."""
    if not isinstance(found, Mapping):
        return
    for name, known in (("mode", get_args(LogMode)), ("level", get_args(LogLevel))):
        word = found.get(name)
        if word is not None and str(word).lower() not in known:
            meant = did_you_mean(str(word).lower(), known)
            text = f"{shown(word)} is unknown and ignored{meant}; known: {', '.join(known)}"
            yield about(f"{key}.{name}", "warning", text)
    channels = found.get("channels")
    for channel, entry in channels.items() if isinstance(channels, Mapping) else ():
        yield from _log_words(f"{key}.channels.{channel}", entry)
