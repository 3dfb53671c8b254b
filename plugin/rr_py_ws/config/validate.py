"""What a configuration needs to be served, beyond being well-formed."""

from __future__ import annotations

from collections.abc import Iterator

from rr_py_ws.config.models import IMPLEMENTED_DRIVERS, SSL, Config
from rr_py_ws.config.redis import redis_options
from rr_py_ws.config.values import shown
from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError


def validate_for_serve(config: Config) -> None:
    """Refuse a configuration that cannot be served.

    Raises:
        ConfigError: the first of its problems.
    """
    for problem in problems(config):
        raise problem


def problems(config: Config) -> Iterator[ConfigError]:
    """Everything that keeps this configuration from being served."""
    if config.websockets is None:
        yield ConfigError("websockets", "missing, so there is nothing to serve; see docs/configuration.md")
        return
    yield from _brokers(config)
    yield from _redis(config)
    yield from _listener(config)
    yield from _workers(config)


def _brokers(config: Config) -> Iterator[ConfigError]:
    assert config.websockets is not None
    name = config.websockets.broker
    section = config.broadcast[name]
    if section.driver not in IMPLEMENTED_DRIVERS:
        yield ConfigError(
            f"broadcast.{name}.driver",
            f"found {shown(section.driver)}, accepted by this version: {', '.join(IMPLEMENTED_DRIVERS)}",
        )


def _redis(config: Config) -> Iterator[ConfigError]:
    for name, section in config.broadcast.items():
        if section.driver != "redis":
            continue
        try:
            tls = redis_options(name, section).tls
        except ConfigError as error:
            yield error
            continue
        for key, file in tls or ():
            if file and key != "server_name" and not (config.directory / file).is_file():
                yield _no_file(f"{section.key}.tls.{key}", file, config)


def _listener(config: Config) -> Iterator[ConfigError]:
    if config.websockets is None or config.websockets.address:
        return
    ssl = config.http.ssl if config.http else None
    if ssl and (ssl.cert or ssl.key):
        yield from _certificate(config, ssl)
    elif lookup(config.tree, "http.ssl.acme") is not None:
        yield ConfigError("http.ssl.acme", "not supported, accepted: files in http.ssl.cert and http.ssl.key")
    elif not config.http or not config.http.address:
        yield ConfigError("http.address", "missing, accepted: host:port here or in websockets.address")


def _certificate(config: Config, ssl: SSL) -> Iterator[ConfigError]:
    for name, file in (("cert", ssl.cert), ("key", ssl.key), ("root_ca", ssl.root_ca)):
        if not file and name != "root_ca":
            yield ConfigError(f"http.ssl.{name}", "missing, TLS needs both cert and key")
        elif file and not (config.directory / file).is_file():
            yield _no_file(f"http.ssl.{name}", file, config)


def _no_file(key: str, file: str, config: Config) -> ConfigError:
    return ConfigError(key, f"found {shown(file)}, which is no file in {config.directory}")


def _workers(config: Config) -> Iterator[ConfigError]:
    assert config.websockets is not None
    server = config.server
    if config.websockets.authorize == "php" and not (server and server.command):
        yield ConfigError(
            "server.command",
            "missing, accepted: the command of a PHP worker, or `authorize: none` under websockets",
        )
    if server and server.on_init and not server.on_init.command:
        yield ConfigError("server.on_init.command", "missing, accepted: a command")
