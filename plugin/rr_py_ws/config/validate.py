"""What a configuration needs to be served, beyond being well-formed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy

from rr_py_ws.address import (
    Address,
    UnixAddress,
    parse_dsn,
    parse_host_port,
    parse_http_target,
)
from rr_py_ws.config.brokers import IMPLEMENTED_DRIVERS, RedisOptions, redis_key
from rr_py_ws.config.empty_variables import with_cause
from rr_py_ws.config.models import Config
from rr_py_ws.config.named_files import missing
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.values import shown
from rr_py_ws.config.yaml_file import lookup, place_of, without_item
from rr_py_ws.errors import ConfigError

_DECIDES = {"websockets.address": "http", "websockets.authorize": "server"}
"""Keys that decide whether a section is needed."""


def follows_from(problem: ConfigError, errors: Iterable[ConfigError]) -> bool:
    """Whether a problem may be there only because what was wrong has been left out."""
    key = f"{without_item(problem.key)}."
    for error in errors:
        wrong = without_item(error.key)
        if key.startswith((f"{wrong}.", f"{_DECIDES.get(wrong, wrong)}.")):
            return True
    return False


def problems(config: Config) -> Iterator[ConfigError]:
    """Everything that the file alone says and that keeps it from being served."""
    for problem in _problems(config):
        told = with_cause(problem, config.unset)
        told.place = place_of(config.places, told.key)
        yield told


def _problems(config: Config) -> Iterator[ConfigError]:
    websockets = config.settings
    if config.websockets is None and not config.broadcast:
        yield ConfigError("websockets", "missing, so there is nothing to serve; see docs/configuration.md")
        return
    driver = config.broadcast[websockets.broker].driver
    if driver not in IMPLEMENTED_DRIVERS:
        yield ConfigError(
            f"broadcast.{websockets.broker}.driver",
            f"found {shown(driver)}{did_you_mean(driver, IMPLEMENTED_DRIVERS)},"
            f" accepted by this version: {', '.join(IMPLEMENTED_DRIVERS)}",
        )
    yield from _redis(config)
    # With an address of its own, or without clients, `http` is not looked at.
    if config.websockets and not websockets.address:
        yield from _http(config)
        yield from _static(config)
    server = config.server
    if config.asks_php and not (server and server.command):
        yield ConfigError(
            "server.command",
            "missing, accepted: the command of a PHP worker, or `authorize: none` under websockets",
        )
    if websockets.health_path == websockets.path:
        yield ConfigError(
            "websockets.health_path",
            f"found {shown(websockets.path)}, accepted: another path than websockets.path",
        )
    yield from _rpc(config)
    if (address := _own_address(config)) is not None:
        yield ConfigError(
            "websockets.http.forward",
            f"found {shown(websockets.http.forward)}, which is this server's own address {address},"
            " accepted: that of another server",
        )
    limits = websockets.limits
    if (
        limits.max_refusal_size > limits.refusal_memory
    ):  # such a refusal would be cut as soon as it is written
        yield ConfigError(
            "websockets.limits.max_refusal_size",
            f"found {limits.max_refusal_size} bytes,"
            f" accepted: at most `refusal_memory`, {limits.refusal_memory}",
        )
    delay, grace = websockets.drain.delay, config.endure.grace_period
    if delay and delay >= grace:  # nothing would be left for the stop itself
        yield ConfigError(
            "websockets.drain.delay",
            f"found {delay:g} s, accepted: less than endure.grace_period, {grace:g} s, of which it is a part",
        )
    if server and server.on_init and not server.on_init.command:
        yield ConfigError("server.on_init.command", "missing, accepted: a command")


def _rpc(config: Config) -> Iterator[ConfigError]:
    key, forward, listen = "websockets.rpc.forward", config.rpc_forward, config.rpc_listen
    if forward is None:
        return
    if listen is None:
        yield ConfigError(key, "needs an RPC listener, accepted: with rpc.listen or websockets.rpc.listen")
    elif _is_same(parse_dsn(forward), parse_dsn(listen)):  # a call would go round and round
        yield ConfigError(
            key,
            f"found {shown(forward)}, where this program listens itself,"
            " accepted: the address of RoadRunner; give this program another one in websockets.rpc.listen",
        )


def _is_same(target: Address, listen: Address) -> bool:
    """Whether a connection to an address reaches a listener, as far as that can be told without resolving."""
    if target == listen:
        return True
    if isinstance(target, UnixAddress) or isinstance(listen, UnixAddress) or target.port != listen.port:
        return False
    return listen.port != 0 and (target.is_local or target.is_every) and (listen.is_local or listen.is_every)


def _own_address(config: Config) -> str | None:
    """Return the address of ours that `websockets.http.forward` names: a request would go round and round."""
    forward = config.settings.http.forward
    text = config.settings.address or (config.http.address if config.http else "")
    if not forward or not text:
        return None
    return text if _is_same(parse_http_target(forward), parse_host_port(text)) else None


def _redis(config: Config) -> Iterator[ConfigError]:
    for name, section in config.broadcast.items():
        if section.driver != "redis":
            continue
        errors: list[ConfigError] = []
        options = RedisOptions.from_file_in_part(redis_key(name, section), deepcopy(section.options), errors)
        yield from errors
        # pydantic yields pairs of name and value; all but one of them name files.
        for key, file in (options and options.tls) or ():
            if key != "server_name":
                yield from _file(config, f"{section.key}.tls.{key}", file)


def _http(config: Config) -> Iterator[ConfigError]:
    ssl = config.http.ssl if config.http else None
    if ssl and (ssl.cert or ssl.key):
        for name, file in (("cert", ssl.cert), ("key", ssl.key)):
            if not file:
                yield ConfigError(f"http.ssl.{name}", "missing, TLS needs both cert and key")
            yield from _file(config, f"http.ssl.{name}", file)
        yield from _file(config, "http.ssl.root_ca", ssl.root_ca)
        # RoadRunner would let everybody in.
        if ssl.requires_certificates and not ssl.root_ca:
            yield ConfigError(
                "http.ssl.root_ca", f"missing, client_auth_type {ssl.client_auth_type} needs an authority"
            )
    # Serving without TLS what was meant to have it would be worse than not starting.
    elif lookup(config.tree, "http.ssl.acme") is not None:
        yield ConfigError("http.ssl.acme", "not supported, accepted: files in http.ssl.cert and http.ssl.key")
    elif ssl and (ssl.redirect or ssl.requires_certificates):
        key = "redirect" if ssl.redirect else "client_auth_type"
        yield ConfigError(f"http.ssl.{key}", "needs TLS, accepted: files in http.ssl.cert and http.ssl.key")
    elif not config.http or not config.http.address:
        yield ConfigError("http.address", "missing, accepted: host:port here or in websockets.address")


def _static(config: Config) -> Iterator[ConfigError]:
    """Report a directory of files that is not there; as in RoadRunner, it has to be named."""
    http = config.http
    if http is None or http.static is None or not http.serves_files:
        return
    found = http.static.dir
    if not found:
        yield ConfigError("http.static.dir", "missing, accepted: a directory")
    elif problem := missing(config.directory, found, "directory"):
        yield ConfigError("http.static.dir", f"found {shown(found)}, which {problem}")


def _file(config: Config, key: str, file: str) -> Iterator[ConfigError]:
    """Report a file that is not there; an empty text means that the key names none."""
    if file and (problem := missing(config.directory, file)):
        yield ConfigError(key, f"found {shown(file)}, which {problem}")
